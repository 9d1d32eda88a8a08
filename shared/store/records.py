"""Typed records over the document store, and small optimistic transactions over several of them.

`transact(fn)` runs `fn` with a `Transaction`; whatever it loaded and saved is committed in one batch that holds only
if nothing it loaded and saved has changed meanwhile; otherwise `fn` runs again on fresh records. So `fn` must not
call anything but the transaction and pure code.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from shared import errors
from shared.clock import Clock
from shared.domain.alert import PriceAlert
from shared.domain.attempt import Attempt
from shared.domain.bids import BidMemory
from shared.domain.breaker import Breaker
from shared.domain.budget import Budget
from shared.domain.event import Event
from shared.domain.instance import PASSING, Instance, State
from shared.domain.kept import KeptDay
from shared.domain.lease import Lease
from shared.domain.machine_history import Block, MachineHistory
from shared.domain.metrics import MetricHour
from shared.domain.models import Deployment
from shared.domain.order import Order, Pulse
from shared.domain.pool import Pool
from shared.domain.prices import PriceDay
from shared.domain.snapshot import Snapshot
from shared.domain.storage import StorageProfile
from shared.domain.webhook import Webhook
from shared.logs import TRACE
from shared.store import codec
from shared.store.base import Create, Delete, Document, Put, Replace, Shape, Store, Write
from shared.store.shapes import ATTEMPTS_OF_ROUND, OPEN_ATTEMPTS

T = TypeVar("T")
R = TypeVar(
    "R",
    Instance,
    Attempt,
    Snapshot,
    Order,
    Event,
    Pulse,
    MachineHistory,
    Block,
    Pool,
    Budget,
    Deployment,
    PriceDay,
    BidMemory,
    Webhook,
    PriceAlert,
    MetricHour,
    KeptDay,
    StorageProfile,
    Breaker,
)

COLLECTION: dict[type, str] = {
    Instance: "instances",
    Attempt: "attempts",
    Snapshot: "snapshots",
    Order: "orders",
    Event: "events",
    Pulse: "pulses",
    MachineHistory: "machines",
    Block: "blocks",
    Pool: "pools",
    Budget: "budgets",
    Deployment: "models",
    PriceDay: "prices",
    BidMemory: "bids",
    Webhook: "webhooks",
    PriceAlert: "alerts",
    MetricHour: "metrics",
    KeptDay: "kept",
    StorageProfile: "storage",
    Breaker: "breakers",
}
EVENTS_KEPT = timedelta(days=90)
TRIES = 12


class Transaction:
    """Loads and saves of one try."""

    def __init__(self, store: Store, now: datetime, lease: Lease | None) -> None:
        self.now = now
        self._store = store
        self._lease = lease
        self._revs: dict[tuple[str, str], str | None] = {}
        self._writes: dict[tuple[str, str], Write] = {}
        self._told: set[str] = set()
        """Instances whose machines get new orders."""
        self._states: dict[str, State] = {}
        """Of instances, as they were loaded."""

    def find(self, cls: type[R], id: str) -> R | None:
        """The record, or None."""
        collection = COLLECTION[cls]
        document = self._store.get(collection, id)
        self._revs[collection, id] = document.rev if document else None
        if document is None:
            return None
        record = codec.decode(cls, document.data)
        if isinstance(record, Instance):
            self._fence(record)
            self._states[id] = record.state
        return record

    def load(self, cls: type[R], id: str) -> R:
        """The record; raises NotFound."""
        record = self.find(cls, id)
        if record is None:
            raise errors.NotFound(f"there is no {cls.__name__.lower()} {id}")
        return record

    def save(
        self,
        record: Instance
        | Attempt
        | Snapshot
        | Order
        | Event
        | MachineHistory
        | Block
        | Pool
        | Budget
        | Deployment
        | PriceDay
        | BidMemory
        | Webhook
        | PriceAlert
        | MetricHour
        | KeptDay
        | StorageProfile
        | Breaker,
    ) -> None:
        """Write a record that was loaded here, or create one that was not."""
        collection = COLLECTION[type(record)]
        rev = self._revs.get((collection, record.id))
        # For whose request it moves, or is ordered, is known from here on.
        if isinstance(record, Instance):
            if record.state in PASSING and record.state is not self._states.get(record.id):
                record = replace(record, trace=TRACE.get())
        elif isinstance(record, Order) and rev is None:
            record = replace(record, trace=TRACE.get())
        data = codec.encode(record)
        if rev is None:
            if isinstance(record, Order):
                self._told.add(record.instance_id)
            self._writes[collection, record.id] = Create(collection, record.id, data)
        else:
            self._writes[collection, record.id] = Replace(collection, record.id, data, rev)

    def delete(self, cls: type[R], id: str) -> None:
        """Remove a record that was loaded here."""
        collection = COLLECTION[cls]
        self._writes[collection, id] = Delete(collection, id, self._revs[collection, id])

    def write(self, write: Write) -> None:
        self._writes[write.collection, write.id] = write

    def event(self, instance: Instance, kind: str, message: str, actor: str = "system", **details: Any) -> None:
        self.save(
            Event(
                id=f"{instance.id}-{uuid.uuid4().hex[:16]}",
                instance_id=instance.id,
                user_id=instance.user_id,
                at=self.now,
                kind=kind,
                message=message,
                actor=actor,
                details=details,
                expires_at=self.now + EVENTS_KEPT,
            )
        )

    def user_event(self, user_id: str, kind: str, message: str, **details: Any) -> None:
        """Something that concerns a user and none of the instances; webhooks tell it like any other."""
        self.save(
            Event(
                id=f"{user_id}-{uuid.uuid4().hex[:16]}",
                instance_id="",
                user_id=user_id,
                at=self.now,
                kind=kind,
                message=message,
                actor="system",
                details=details,
                expires_at=self.now + EVENTS_KEPT,
            )
        )

    def commit(self) -> None:
        for instance_id in self._told:
            self._count_order(instance_id)
        if self._writes:
            self._store.commit(list(self._writes.values()))

    def _count_order(self, instance_id: str) -> None:
        """In the batch that places an order its instance's count grows: heartbeats list orders only when it has."""
        place = "instances", instance_id
        write = self._writes.get(place)
        document = self._store.get(*place) if write is None else None
        if document is not None:
            write = Replace(*place, document.data, document.rev)
        if isinstance(write, Create | Replace):
            self._writes[place] = replace(write, data={**write.data, "orders": write.data.get("orders", 0) + 1})

    def _fence(self, instance: Instance) -> None:
        if self._lease is None:
            return
        held = instance.lease
        if held is None or held.generation != self._lease.generation:
            raise errors.StaleLease(f"the lease on instance {instance.id} was taken by another worker")


class Records:
    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def transact(self, fn: Callable[[Transaction], T], lease: Lease | None = None) -> T:
        """Commit what `fn` saves, or nothing. Raises what `fn` raises; Unavailable when it cannot get through."""
        last: errors.StoreConflict | None = None
        for attempt in range(TRIES):
            transaction = Transaction(self.store, self._clock.now(), lease)
            result = fn(transaction)
            try:
                transaction.commit()
            except errors.StoreConflict as conflict:
                last = conflict
                self._clock.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 6)))
                continue
            return result
        raise errors.Unavailable("too many writers at once; ask again") from last

    def find(self, cls: type[R], id: str) -> R | None:
        document = self.store.get(COLLECTION[cls], id)
        return codec.decode(cls, document.data) if document else None

    def load(self, cls: type[R], id: str) -> R:
        record = self.find(cls, id)
        if record is None:
            raise errors.NotFound(f"there is no {cls.__name__.lower()} {id}")
        return record

    def put_pulse(self, pulse: Pulse) -> None:
        self.store.commit([Put("pulses", pulse.id, codec.encode(pulse))])

    def query(
        self, cls: type[R], shape: Shape, equal: Mapping[str, Any] | None = None, **options: Any
    ) -> tuple[list[R], str | None]:
        page = self.store.query(shape, equal, **options)
        return [codec.decode(cls, document.data) for document in page.documents], page.cursor

    def all(self, cls: type[R], shape: Shape, equal: Mapping[str, Any]) -> list[R]:
        """Every page of a query whose answer is small by nature."""
        found: list[R] = []
        cursor: str | None = None
        while True:
            some, cursor = self.query(cls, shape, equal, limit=200, cursor=cursor)
            found += some
            if cursor is None:
                return found

    def open_attempts(self, instance_id: str) -> list[Attempt]:
        return self.all(Attempt, OPEN_ATTEMPTS, {"instance_id": instance_id, "open": True})

    def attempts_of_round(self, instance_id: str, round: int) -> list[Attempt]:
        return self.all(Attempt, ATTEMPTS_OF_ROUND, {"instance_id": instance_id, "round": round})

    def delete(self, documents: Iterable[Document]) -> int:
        """Remove documents; how many."""
        batch: list[Write] = [Delete(d.collection, d.id) for d in documents]
        for start in range(0, len(batch), 400):
            self.store.commit(batch[start : start + 400])
        return len(batch)
