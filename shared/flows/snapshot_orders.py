"""Telling an instance's machines to save and to restore.

What somebody waits for is an `Order` on record. What goes on all the time, snapshots beside the work and the standby that
follows them, is in the instance's own record, and heartbeats hand it out from there: documents of its own would be most of
what a standby costs.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

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
SAVE, FOLLOW = "q-", "f-"
"""Begin the ids of orders that are not on record."""


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
    exact: bool = False,
) -> Order:
    """The record of a restore; saved with the transaction. `exact`: what is gone is removed."""
    order = Order(
        id=f"o-{uuid.uuid4().hex[:16]}",
        instance_id=instance.id,
        attempt_id=attempt_id,
        kind="restore",
        payload=_restore(instance, snapshot.id, exact=exact, follow=False),
        created_at=tx.now,
        expires_at=tx.now + ORDERS_KEPT,
    )
    tx.save(order)
    return order


def order_snapshot(tx: Transaction, instance: Instance, attempt: Attempt, *, final: bool) -> Order:
    """The records of one snapshot to be taken; saved with the transaction."""
    snapshot_id = _new_snapshot_id()
    order = Order(
        id=f"o-{uuid.uuid4().hex[:16]}",
        instance_id=instance.id,
        attempt_id=attempt.id,
        kind="snapshot",
        payload=_snapshot(instance, snapshot_id, final=final, only_changes=False),
        created_at=tx.now,
        expires_at=tx.now + ORDERS_KEPT,
    )
    tx.save(order)
    tx.save(_pending(instance, snapshot_id, attempt.id, order.id, tx.now))
    tx.event(instance, "snapshot_ordered", f"snapshot {snapshot_id} was ordered", snapshot_id=snapshot_id)
    return order


def begin_saving(tx: Transaction, instance: Instance) -> Instance:
    """The instance with a snapshot that its machine takes beside its work; saved with the transaction."""
    saving = replace(instance, saving_id=_new_snapshot_id(), snapshot_at=tx.now)
    tx.save(saving)
    return saving


def taken_beside(instance: Instance, snapshot_id: str) -> Snapshot | None:
    """The snapshot that its machine takes beside its work, when it is this one: on record only once it is committed."""
    if instance.saving_id != snapshot_id or instance.attempt_id is None:
        return None
    return _pending(instance, snapshot_id, instance.attempt_id, None, instance.snapshot_at or instance.entered_at)


def following(instance: Instance) -> Instance:
    """The instance with its newest snapshot ordered from its standby, unless it holds that, serves, or is at another."""
    idle = instance.standby_attempt_id not in (None, instance.attempt_id) and instance.standby_order_id is None
    if not idle or instance.snapshot_id in (None, instance.standby_snapshot_id):
        return instance
    order_id = f"{FOLLOW}{uuid.uuid4().hex[:8]}-{instance.snapshot_id}"
    return replace(instance, standby_order_id=order_id, standby_retry_at=None)


def followed(order_id: str) -> str:
    """The snapshot that such an order is about."""
    return order_id.split("-", 2)[2]


def standing(instance: Instance, attempt_id: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, kind and payload of what a machine is told to do without an order on record."""
    if attempt_id == instance.attempt_id:
        if instance.saving_id is not None:
            # The first has nothing to compare with.
            payload = _snapshot(
                instance, instance.saving_id, final=False, only_changes=instance.snapshot_id is not None
            )
            yield SAVE + instance.saving_id, "snapshot", payload
    elif attempt_id == instance.standby_attempt_id and instance.standby_order_id is not None:
        snapshot_id = followed(instance.standby_order_id)
        yield instance.standby_order_id, "restore", _restore(instance, snapshot_id, exact=True, follow=True)


def _new_snapshot_id() -> str:
    return f"s-{uuid.uuid4().hex[:16]}"


def _manifest_key(snapshot_id: str) -> str:
    return f"m/{snapshot_id}"


def _restore(instance: Instance, snapshot_id: str, *, exact: bool, follow: bool) -> dict[str, Any]:
    return {
        "snapshot_id": snapshot_id,
        "manifest_key": _manifest_key(snapshot_id),
        "workspace": list(instance.spec.workspace),
        "hot": list(instance.spec.hot),
        "max_connections": 8,
        # A clone's files are sealed with its original's key until it has saved them itself.
        "key_of": instance.source.instance_id if instance.source else instance.id,
        "exact": exact,
        "follow": follow,
    }


def _snapshot(instance: Instance, snapshot_id: str, *, final: bool, only_changes: bool) -> dict[str, Any]:
    return {
        "snapshot_id": snapshot_id,
        "prefix": prefix_of(instance.id),
        "workspace": list(instance.spec.workspace),
        "excludes": list(instance.spec.excludes),
        "parent_manifest_key": _manifest_key(instance.snapshot_id) if instance.snapshot_id else None,
        "final": final,
        "only_changes": only_changes,
    }


def epoch_of(snapshot_id: str) -> str:
    """What the names of all its packs begin with."""
    return hashlib.sha256(snapshot_id.encode()).hexdigest()[:12]


def _pending(
    instance: Instance, snapshot_id: str, attempt_id: str, order_id: str | None, begun_at: datetime
) -> Snapshot:
    return Snapshot(
        id=snapshot_id,
        instance_id=instance.id,
        user_id=instance.user_id,
        order_id=order_id,
        attempt_id=attempt_id,
        state="pending",
        created_at=begun_at,
        epoch=epoch_of(snapshot_id),
        manifest_key=_manifest_key(snapshot_id),
        parent_id=instance.snapshot_id,
    )
