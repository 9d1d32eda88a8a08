"""Old records, and reservations whose time is over."""

from __future__ import annotations

from dataclasses import replace

from shared.deps import Deps
from shared.domain.instance import Instance
from shared.store.records import Transaction
from shared.store.shapes import (
    EXPIRED_EVENTS,
    EXPIRED_IDEMPOTENCY,
    EXPIRED_KEPT,
    EXPIRED_METRICS,
    EXPIRED_ORDERS,
    EXPIRED_PRICES,
    EXPIRED_SESSIONS,
    EXPIRED_THROTTLES,
    RESERVED_INSTANCES,
)
from shared.wire.base import Report

BATCH = 200
EXPIRED = (
    EXPIRED_SESSIONS,
    EXPIRED_EVENTS,
    EXPIRED_ORDERS,
    EXPIRED_IDEMPOTENCY,
    EXPIRED_THROTTLES,
    EXPIRED_PRICES,
    EXPIRED_METRICS,
    EXPIRED_KEPT,
)


def records(deps: Deps) -> Report:
    """Firestore's TTL deletes these too, within a day; this makes it so on every store."""
    removed = 0
    for shape in EXPIRED:
        page = deps.store.query(shape, upto=deps.clock.now(), limit=BATCH)
        removed += deps.records.delete(page.documents)
    return Report(name="records", looked_at=removed, changed=removed)


def reservations(deps: Deps) -> Report:
    """After its reservation an instance prefers no host any more; only its snapshot costs money."""
    due, _ = deps.records.query(Instance, RESERVED_INSTANCES, upto=deps.clock.now(), limit=BATCH)

    def let_go(tx: Transaction, instance_id: str) -> None:
        instance = tx.load(Instance, instance_id)
        if instance.reserved_until is None or instance.reserved_until > tx.now:
            return
        tx.save(replace(instance, reserved_until=None, last_host_id=None))
        tx.event(instance, "reservation_over", "the last host is no longer preferred")

    for instance in due:
        deps.records.transact(lambda tx, id=instance.id: let_go(tx, id))  # type: ignore[misc]
    return Report(name="reservations", looked_at=len(due), changed=len(due))
