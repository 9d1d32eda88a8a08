"""What machines write to and read from storage, and what makes a snapshot count."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Stage
from shared.domain.instance import Instance, State
from shared.domain.manifest import fetch_head
from shared.domain.order import Order
from shared.domain.snapshot import Snapshot
from shared.flows import keys, retention
from shared.flows.agents.identity import STOP
from shared.flows.snapshot_orders import following, prefix_of, taken_beside
from shared.flows.storage import objects_at, objects_of
from shared.objects.base import ObjectStore
from shared.store.records import Records, Transaction
from shared.store.shapes import SNAPSHOTS_IN_STATE, SNAPSHOTS_OF_INSTANCE
from shared.wire import agent as wire

FIRST_CHECK = timedelta(days=1)
"""From a commit until samples of the snapshot are read."""


def uploads(body: wire.UploadsRequest, agent: Attempt, deps: Deps) -> wire.Uploads:
    """Addresses that can each write one object of this machine's own pending snapshot, and nothing else."""
    snapshot = _pending(_find_snapshot(deps.records, agent, body.snapshot_id), agent, body.snapshot_id)
    prefix, objects = prefix_of(agent.instance_id), objects_at(deps, agent.instance_id)
    expires_in = timedelta(seconds=deps.settings.presign_s)

    def address(key: str) -> wire.Upload:
        return wire.Upload(key=key, url=objects.presign_put(prefix + key, expires_in))

    packs = [f"p/{snapshot.epoch}/{n}-{secrets.token_hex(8)}" for n in range(body.count)]
    return wire.Uploads(
        uploads=[address(key) for key in packs],
        manifest=address(snapshot.manifest_key) if body.manifest else None,
        expires_at=deps.clock.now() + expires_in,
    )


def downloads(body: wire.DownloadsRequest, agent: Attempt, deps: Deps) -> wire.Downloads:
    """Addresses to read objects of this machine's own instance."""
    if agent.stage is not Stage.ADOPTED:
        raise errors.Forbidden("this machine has not been adopted")
    place = _places(deps, agent.instance_id)
    expires_in = timedelta(seconds=deps.settings.presign_s)

    def address(key: str) -> str:
        objects, prefix = place(key)
        return objects.presign_get(prefix + key, expires_in)

    return wire.Downloads(
        urls={key: address(key) for key in body.keys},
        expires_at=deps.clock.now() + expires_in,
    )


def _places(deps: Deps, instance_id: str) -> Callable[[str], tuple[ObjectStore, str]]:
    """In which bucket and below which prefix an object lies.

    That is the instance's own; what a drill's copy or a clone did not write itself is its original's.
    """
    instance = deps.records.load(Instance, instance_id)
    own = (objects_of(deps, instance), prefix_of(instance_id))
    original_id = instance.source.instance_id if instance.source else instance.drill_of
    if original_id is None:
        return lambda key: own
    original = deps.records.load(Instance, original_id)
    theirs = (objects_of(deps, original), prefix_of(original_id))
    mine = deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance_id})
    written = {part for one in mine for part in (one.manifest_key, one.epoch)}
    beside = taken_beside(instance, instance.saving_id) if instance.saving_id else None
    if beside is not None:
        written |= {beside.manifest_key, beside.epoch}

    def place(key: str) -> tuple[ObjectStore, str]:
        name = key if key.startswith("m/") else key.split("/")[1]
        return own if name in written else theirs

    return place


def _find_snapshot(tx: Transaction | Records, agent: Attempt, snapshot_id: str) -> Snapshot | None:
    """On record, or only in the instance while its machine takes it beside its work."""
    beside = taken_beside(tx.load(Instance, agent.instance_id), snapshot_id)
    return beside or tx.find(Snapshot, snapshot_id)


def _pending(snapshot: Snapshot | None, agent: Attempt, snapshot_id: str) -> Snapshot:
    if snapshot is None or snapshot.instance_id != agent.instance_id:
        raise errors.NotFound(f"there is no snapshot {snapshot_id}")
    if agent.stage is not Stage.ADOPTED or snapshot.state != "pending":
        raise errors.Conflict(f"snapshot {snapshot_id} is {snapshot.state}")
    return snapshot


def commit_snapshot(body: wire.SnapshotCommit, agent: Attempt, deps: Deps) -> wire.Committed:
    """A snapshot counts only after its manifest was read and every object it names was found at its full size."""
    known = _find_snapshot(deps.records, agent, body.snapshot_id)
    if known is not None and known.instance_id == agent.instance_id and known.state == "verified":
        return wire.Committed(snapshot_id=known.id, verified=True)
    snapshot = _pending(known, agent, body.snapshot_id)
    problem = _problem(deps, snapshot, body)

    def settle(tx: Transaction) -> None:
        instance = tx.load(Instance, snapshot.instance_id)
        beside = taken_beside(instance, snapshot.id)
        fresh = _pending(beside or tx.find(Snapshot, snapshot.id), agent, snapshot.id)
        if fresh.attempt_id != agent.id:
            raise errors.Forbidden("this snapshot was ordered from another machine")
        if not tx.load(Attempt, agent.id).wants_machine:
            raise errors.Unauthenticated("this machine is no longer wanted", **STOP)
        if instance.attempt_id != agent.id:
            # A standby that has handed back lives on; a snapshot it was still at must not follow the GPU's.
            raise errors.Conflict(f"another machine serves instance {instance.id} now")
        state = "failed" if problem else "verified"
        half = None if problem else instance.half_restored_id
        aside = half and f"its files are those of a restore of {half} that failed half-way; a wake brings {half} back"
        tx.save(
            replace(
                fresh,
                state=state,
                manifest_size=body.manifest_size,
                files=body.files,
                directories=body.directories,
                bytes=body.bytes,
                stored_bytes=body.stored_bytes,
                seconds=body.seconds,
                torn=tuple(body.torn),
                unreadable=tuple(body.unreadable),
                verified_at=None if problem else tx.now,
                # A drill's copy is gone before the day is over.
                check_at=None if problem or instance.drill_of else tx.now + FIRST_CHECK,
                problem=problem or aside,
                pinned=fresh.pinned or aside is not None,
            )
        )
        if fresh.order_id is not None:
            order = tx.load(Order, fresh.order_id)
            tx.save(replace(order, state="failed" if problem else "done", error=problem, finished_at=tx.now))
        changed = replace(
            instance,
            # Half-restored files are kept, but nothing takes them for what the user has.
            snapshot_id=instance.snapshot_id if problem or half else fresh.id,
            prune_at=instance.prune_at or tx.now + retention.AFTER,
            saving_id=None if beside else instance.saving_id,
        )
        if not (beside and instance.state is State.RUNNING):
            changed = replace(changed, pokes=instance.pokes + 1, next_action_at=tx.now)
        tx.save(following(changed))
        if beside and instance.snapshot_id is not None and not (problem or body.note):
            # One of thousands a day: its record says it all.
            return
        words = problem or f"{body.files} files, {body.bytes} bytes, {body.stored_bytes} newly stored"
        words += f"; kept aside: {aside}" if aside else ""
        if body.note:
            words += f"; the snapshot before could not be built upon: {body.note}"
        tx.event(
            instance,
            f"snapshot_{state}",
            f"snapshot {fresh.id}: {words}",
            "agent",
            snapshot_id=fresh.id,
            torn=list(body.torn[:20]),
            unreadable=list(body.unreadable[:20]),
        )

    deps.records.transact(settle)
    return wire.Committed(snapshot_id=snapshot.id, verified=problem is None, problem=problem)


def _problem(deps: Deps, snapshot: Snapshot, body: wire.SnapshotCommit) -> str | None:
    """What is wrong with a snapshot in storage, or None."""
    if body.manifest_key != snapshot.manifest_key:
        return "the manifest is not where it was to be"
    place = _places(deps, snapshot.instance_id)
    try:
        objects, prefix = place(snapshot.manifest_key)
        data_key, at = keys.data_key(deps, snapshot.instance_id), prefix + snapshot.manifest_key
        head = fetch_head(lambda length: objects.get(at, length=length), data_key, snapshot.manifest_key)
    except errors.StorageError as error:
        return f"the manifest cannot be read: {error.message}"
    if head.snapshot_id != snapshot.id:
        return "the manifest is another snapshot's"
    stored = {
        item.key.removeprefix(where): item.size
        for bucket, where in {place(key) for key in (snapshot.manifest_key, *head.packs)}
        for item in bucket.list(where + "p/")
    }
    bad = deps.records.all(Snapshot, SNAPSHOTS_IN_STATE, {"instance_id": snapshot.instance_id, "state": "damaged"})
    damaged = {pack for one in bad for pack in one.damaged_packs}
    for key, size in head.packs.items():
        if key in damaged:
            return f"object {key}, which it is built upon, is damaged"
        if stored.get(key) != size:
            return f"object {key} is missing or has {stored.get(key)} instead of {size} bytes"
    return None
