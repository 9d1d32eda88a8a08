"""Ordering a snapshot from an instance's agent."""

from __future__ import annotations

import uuid
from datetime import timedelta

from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.domain.instance import Instance
from shared.domain.order import Order
from shared.domain.snapshot import Snapshot
from shared.store.records import Transaction
from shared.store.shapes import INSTANCES_OF_USER

ORDERS_KEPT = timedelta(days=7)
COPY = "d-"
"""Begins the id of a drill's copy; every other instance's begins otherwise."""


def prefix_of(instance_id: str) -> str:
    """Everything of one instance lies below this, and nothing else does."""
    return f"instances/{instance_id}/"


def readers(deps: Deps, original: Instance) -> list[Instance]:
    """Clones that still read a snapshot of this instance."""
    own = deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": original.user_id})
    return [one for one in own if one.reads_source and one.source and one.source.instance_id == original.id]


def restore_order(
    tx: Transaction,
    instance: Instance,
    snapshot: Snapshot,
    attempt_id: str,
    *,
    follow: bool = False,
    exact: bool = False,
) -> Order:
    """The record of a restore; saved with the transaction. `exact`: what is gone is removed; `follow`: a standby's."""
    order = Order(
        id=f"o-{uuid.uuid4().hex[:16]}",
        instance_id=instance.id,
        attempt_id=attempt_id,
        kind="restore",
        payload={
            "snapshot_id": snapshot.id,
            "manifest_key": snapshot.manifest_key,
            "workspace": list(instance.spec.workspace),
            "hot": list(instance.spec.hot),
            "max_connections": 8,
            # A clone's files are sealed with its original's key until it has saved them itself.
            "key_of": instance.source.instance_id if instance.source else instance.id,
            "exact": follow or exact,
            "follow": follow,
        },
        created_at=tx.now,
        expires_at=tx.now + ORDERS_KEPT,
    )
    tx.save(order)
    return order


def order_snapshot(tx: Transaction, instance: Instance, attempt: Attempt, *, final: bool, quiet: bool = False) -> Order:
    """The records of one snapshot to be taken; saved with the transaction. `quiet`: only when something has changed."""
    snapshot_id = f"s-{uuid.uuid4().hex[:16]}"
    parent = tx.find(Snapshot, instance.snapshot_id) if instance.snapshot_id else None
    order = Order(
        id=f"o-{uuid.uuid4().hex[:16]}",
        instance_id=instance.id,
        attempt_id=attempt.id,
        kind="snapshot",
        payload={
            "snapshot_id": snapshot_id,
            "prefix": prefix_of(instance.id),
            "workspace": list(instance.spec.workspace),
            "excludes": list(instance.spec.excludes),
            "parent_manifest_key": parent.manifest_key if parent else None,
            "final": final,
            "only_changes": quiet,
        },
        created_at=tx.now,
        expires_at=tx.now + ORDERS_KEPT,
    )
    tx.save(order)
    tx.save(
        Snapshot(
            id=snapshot_id,
            instance_id=instance.id,
            user_id=instance.user_id,
            order_id=order.id,
            state="pending",
            created_at=tx.now,
            epoch=uuid.uuid4().hex[:12],
            manifest_key=f"m/{snapshot_id}",
            parent_id=parent.id if parent else None,
        )
    )
    if not quiet:
        tx.event(instance, "snapshot_ordered", f"snapshot {snapshot_id} was ordered", snapshot_id=snapshot_id)
    return order
