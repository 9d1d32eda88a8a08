"""Old snapshots go: first they are marked, then their manifests and what no kept snapshot names are deleted, then the records.

    mark -> list packs -> read the records and heads of what stays -> note what it cost -> delete manifests -> delete packs
    -> delete records

A crash between any two is made good by the next pass. A pack is deleted only when it was there before the records were read,
the heads of all kept manifests were read and none names it, and no snapshot that may still be committed is writing its epoch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from shared import errors
from shared.deps import Deps
from shared.domain.instance import Instance, State, held_by
from shared.domain.kept import DELETED, KeptDay, Stretch
from shared.domain.manifest import Head, fetch_head
from shared.domain.order import Order
from shared.domain.retention import DEAD_AFTER, reasons
from shared.domain.snapshot import Snapshot
from shared.flows import keys
from shared.flows.snapshot_orders import epoch_of, prefix_of, readers
from shared.flows.storage import objects_of
from shared.objects.base import StoredObject
from shared.store.base import Delete
from shared.store.records import Transaction
from shared.store.shapes import ORDERS_PENDING, SNAPSHOTS_OF_INSTANCE

AFTER = timedelta(hours=1)
"""From a new snapshot until the old ones are looked at."""
AGAIN = timedelta(days=1)
KEPT_FOR = timedelta(days=500)
"""What it cost: as long as usage can be asked for, and the longest minimum of a vendor beyond."""
BATCH = 100


def change(instance_id: str, snapshot_id: str, pinned: bool, deps: Deps) -> Snapshot:
    """Pin a snapshot, which then stays whatever the rules say, or take that back."""

    def apply(tx: Transaction) -> Snapshot:
        snapshot = _one(tx, instance_id, snapshot_id)
        if snapshot.state != "verified":
            raise errors.NotFound(f"there is no whole snapshot {snapshot_id}")
        changed = replace(snapshot, pinned=pinned)
        tx.save(changed)
        return changed

    return deps.records.transact(apply)


def remove(instance_id: str, snapshot_id: str, deps: Deps) -> None:
    """Give one snapshot up. Raises Conflict for one that is needed."""
    instance = deps.records.load(Instance, instance_id)
    all_of_it = deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance_id})
    rules = replace(instance.retention, last=1)
    needed = reasons(rules, held_by(instance), all_of_it, _busy(deps, instance))
    seen = next((one for one in all_of_it if one.id == snapshot_id), None)
    why = needed.get(snapshot_id)
    if why is not None and not why.startswith("the newest of its"):
        raise errors.Conflict(f"snapshot {snapshot_id} stays: {why}")

    def apply(tx: Transaction) -> None:
        fresh = tx.load(Instance, instance_id)
        snapshot = _one(tx, instance_id, snapshot_id)
        if snapshot_id in held_by(fresh) or snapshot != seen:
            raise errors.Conflict(f"snapshot {snapshot_id} is in use; ask again")
        tx.save(replace(snapshot, state="dropped"))
        tx.save(replace(fresh, prune_at=tx.now))
        tx.event(fresh, "snapshot_removed", f"snapshot {snapshot_id} is given up")

    deps.records.transact(apply)


def _one(tx: Transaction, instance_id: str, snapshot_id: str) -> Snapshot:
    snapshot = tx.load(Snapshot, snapshot_id)
    if snapshot.instance_id != instance_id or snapshot.state not in ("verified", "damaged"):
        raise errors.NotFound(f"there is no snapshot {snapshot_id}")
    return snapshot


def _busy(deps: Deps, instance: Instance) -> frozenset[str]:
    """Snapshots that an open order restores, or that a clone reads."""
    found = {one.source.snapshot_id for one in readers(deps, instance) if one.source is not None}
    for attempt in deps.records.open_attempts(instance.id):
        for order in deps.records.all(Order, ORDERS_PENDING, {"attempt_id": attempt.id, "state": "pending"}):
            if order.kind == "restore":
                found.add(str(order.payload["snapshot_id"]))
    return frozenset(found)


def prune(instance_id: str, deps: Deps) -> tuple[int, int]:
    """How many snapshots and objects went. Raises StorageError when storage does not answer: then nothing more is deleted."""
    begun = deps.records.load(Instance, instance_id)
    _mark(begun, deps)
    objects, prefix = objects_of(deps, begun), prefix_of(instance_id)
    # Before the records: a pack in this list belongs to a snapshot that is on record by then, or was and is gone. Of what
    # is written from here on nothing is deleted.
    listed = list(objects.list(prefix + "p/"))
    instance = deps.records.load(Instance, instance_id)
    snapshots = deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance_id})
    stay = [one for one in snapshots if one.state == "verified"]
    writing = {one.epoch for one in snapshots if one.state == "pending"}
    if instance.saving_id is not None:
        writing.add(epoch_of(instance.saving_id))
    damaged = [one for one in snapshots if one.state == "damaged"]
    gone = [one for one in snapshots if one.state not in ("verified", "pending", "damaged")]
    if instance.state is State.DESTROYED or not stay:
        look_again(instance_id, begun.prune_at, None, deps)
        return 0, 0
    named: dict[str, Snapshot] = {}
    data_key = keys.data_key(deps, instance_id)

    def head_of(one: Snapshot) -> Head:
        at = prefix + one.manifest_key
        return fetch_head(lambda length: objects.get(at, length=length), data_key, one.manifest_key)

    for one in sorted(stay, key=lambda s: s.created_at, reverse=True):
        for pack in head_of(one).packs:
            # The oldest that names a pack answers for its bytes.
            named[pack] = one
    for one in damaged:
        # What can still be read of it is its owner's, who gives it up or not; where its manifest is lost, what it wrote.
        try:
            for pack in head_of(one).packs:
                named.setdefault(pack, one)
        except errors.StorageError as error:
            if error.details.get("transient"):
                raise
            writing.add(one.epoch)
    bytes_of = defaultdict[str, int](int)
    owners = {one.epoch: one for one in stay}
    doomed: list[StoredObject] = []
    left: dict[tuple[str, str], tuple[Snapshot, Snapshot | None, int]] = {}

    # What went before left its packs to the oldest that named them.
    oldest = min(gone, key=lambda one: one.created_at, default=None)
    holders = {one.epoch: one for one in gone}

    def pass_on(epoch: str, size: int, heir: Snapshot | None) -> None:
        holder = holders.get(epoch, oldest)
        if holder is not None:
            key = holder.id, heir.id if heir else DELETED
            left[key] = holder, heir, size + (left[key][2] if key in left else 0)

    for item in listed:
        pack = item.key.removeprefix(prefix)
        epoch = _epoch(pack)
        if pack in named:
            owner = owners.get(epoch, named[pack])
            bytes_of[owner.id] += item.size
            if epoch not in owners and owner.state == "verified":
                pass_on(epoch, item.size, owner)
        elif epoch not in writing:
            doomed.append(item)
            pass_on(epoch, item.size, None)
    for one in gone:
        pass_on(one.epoch, one.manifest_size, None)
    # Before anything is deleted: what it cost is known even if this process dies next.
    _note(instance, list(left.values()), deps)
    for one in gone:
        objects.delete(prefix + one.manifest_key)
    for item in doomed:
        objects.delete(item.key)
    _settle(instance, gone, stay, bytes_of, deps)
    look_again(instance_id, begun.prune_at, AGAIN if len(stay) > 1 else None, deps)
    return len(gone), len(doomed)


def _note(instance: Instance, left: Sequence[tuple[Snapshot, Snapshot | None, int]], deps: Deps) -> None:
    """What each that goes had stored: until now where it is deleted, until its heir's beginning where another names it."""
    now, days = deps.clock.now(), defaultdict[str, list[Stretch]](list)
    for holder, heir, size in left:
        until = heir.created_at if heir else now
        if size and until > holder.created_at:
            day = f"{instance.id}|{holder.created_at:%Y%m%d}"
            days[day].append(Stretch(holder.id, heir.id if heir else DELETED, size, holder.created_at, until))

    def apply(tx: Transaction, id: str, parts: list[Stretch]) -> None:
        fresh = KeptDay(id, instance.id, instance.user_id, tx.now, tx.now + KEPT_FOR)
        tx.save((tx.find(KeptDay, id) or fresh).noted(parts, tx.now, tx.now + KEPT_FOR))

    for day, parts in days.items():
        deps.records.transact(partial(apply, id=day, parts=parts))


def _epoch(pack: str) -> str:
    return pack.split("/")[1]


def _mark(instance: Instance, deps: Deps) -> None:
    """What goes can be neither restored nor committed from here on."""
    now = deps.clock.now()
    snapshots = deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance.id})
    stay = reasons(instance.retention, held_by(instance), snapshots, _busy(deps, instance))

    if instance.saving_id is not None and now - (instance.snapshot_at or now) > DEAD_AFTER:
        deps.records.transact(partial(_give_up, instance_id=instance.id, saving_id=instance.saving_id))
    dead = [one for one in snapshots if one.state == "pending" and now - one.created_at > DEAD_AFTER]
    goes = [*dead, *(one for one in snapshots if one.state == "verified" and one.id not in stay)]

    def drop(tx: Transaction, some: Sequence[Snapshot]) -> None:
        held = held_by(tx.load(Instance, instance.id))
        for one in some:
            fresh = tx.find(Snapshot, one.id)
            # One that was pinned, cloned or judged since it was looked at is another record.
            if fresh == one and not one.pinned and one.id not in held:
                tx.save(replace(one, state="dropped"))

    for start in range(0, len(goes), BATCH):
        deps.records.transact(partial(drop, some=goes[start : start + BATCH]))


def _give_up(tx: Transaction, instance_id: str, saving_id: str) -> None:
    fresh = tx.load(Instance, instance_id)
    if fresh.saving_id == saving_id:
        tx.save(replace(fresh, saving_id=None))


def _settle(
    instance: Instance, gone: Sequence[Snapshot], stay: Sequence[Snapshot], bytes_of: dict[str, int], deps: Deps
) -> None:
    """Records go last; what is left is accounted to those that stay."""
    if not gone:
        return

    def account(tx: Transaction, id: str) -> None:
        fresh = tx.load(Snapshot, id)
        tx.save(replace(fresh, stored_bytes=bytes_of[id] + fresh.manifest_size))

    # Nothing leads back from being given up: no look is needed before they are deleted.
    writes = [Delete("snapshots", one.id) for one in gone]
    for start in range(0, len(writes), BATCH):
        deps.store.commit(writes[start : start + BATCH])
    for one in stay:
        if one.stored_bytes != bytes_of[one.id] + one.manifest_size:
            deps.records.transact(partial(account, id=one.id))
    message = f"{len(gone)} old snapshots are gone, {len(stay)} stay"
    deps.records.transact(lambda tx: tx.event(instance, "pruned", message))


def look_again(instance_id: str, due: datetime | None, after: timedelta | None, deps: Deps) -> None:
    """When the old ones are looked at next, unless somebody has said otherwise since it was `due`."""

    def apply(tx: Transaction) -> None:
        instance = tx.load(Instance, instance_id)
        if instance.prune_at == due:
            tx.save(replace(instance, prune_at=tx.now + after if after is not None else None))

    deps.records.transact(apply)
