"""Snapshots after they were taken: read again and judged, restored by order, and read by their owner.

Only what storage certainly has wrong is damage: an object that is gone, has another size, or does not open twice in a row.
Storage that does not answer, lists nothing at all or holds a manifest of a newer version is trouble, and marks nothing.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.domain.instance import Action, Instance, State
from shared.domain.manifest import (
    MAGIC,
    WHOLE_LIMIT,
    Head,
    associated,
    head_length,
    nonce,
    object_key,
    read_head,
    salt_of,
    salted,
)
from shared.domain.order import Order
from shared.domain.snapshot import Snapshot
from shared.flows import keys
from shared.flows.advance import kick
from shared.flows.snapshot_orders import COPY, order_snapshot, prefix_of, restore_order
from shared.flows.storage import objects_at, objects_of
from shared.store.records import Transaction
from shared.store.shapes import ORDERS_PENDING, SNAPSHOTS_OF_INSTANCE
from shared.wire import instances as wire

RAW, ZSTD = 0, 1
"""How a manifest's section is compressed."""
SECTION_LIMIT = 16 << 20
"""Of 5,000 frames' places, expanded: they take a thirtieth."""
NEXT_CHECK = timedelta(days=7)
SAMPLE = 8
"""Frames read of each snapshot that is due; at most 4 MiB each."""
READERS, AT_ONCE = 4, 16
"""Frames that are read at the same time, and between two looks at the clock."""
END = 1 << 62
BUSY_FOR = timedelta(minutes=2)


@dataclass
class Found:
    """What a check found; `problem` is None where nothing was wrong with what was read."""

    objects: int = 0
    frames: int = 0
    read: int = 0
    problem: str | None = None
    bad_packs: list[str] = field(default_factory=list)

    def bad(self, words: str, pack: str | None = None) -> None:
        self.problem = self.problem or words
        if pack is not None and pack not in self.bad_packs:
            self.bad_packs.append(pack)


def check(snapshot: Snapshot, deps: Deps, *, sample: int | None = None, start: int = 0, seconds: float = 60.0) -> Found:
    """Every object's size, the whole manifest, and `sample` frames at random; or else all frames in their order, from
    `start` on, for so many seconds. Some are read however short the time is.

    Raises StorageError when storage's answer says nothing about the snapshot.
    """
    found, objects, prefix = Found(), objects_at(deps, snapshot.instance_id), prefix_of(snapshot.instance_id)
    until = time.monotonic() + seconds
    try:
        # Twice: what was read once and does not open may have been garbled on the way.
        for _ in "12":
            manifest = objects.get(prefix + snapshot.manifest_key, length=WHOLE_LIMIT)
            head = _head(manifest, snapshot, deps)
            if head is not None:
                break
    except errors.ObjectNotFound:
        found.bad("its manifest is gone")
        return found
    if head is None:
        found.bad("its manifest is damaged")
        return found
    stored = {item.key.removeprefix(prefix): item.size for item in objects.list(prefix + "p/")}
    if head.packs and not stored:
        raise errors.StorageError(f"storage lists nothing below {prefix}p/; is it the right bucket?")
    found.objects = 1 + len(head.packs)
    for pack, size in head.packs.items():
        if stored.get(pack) != size:
            found.bad(f"object {pack} is missing or has {stored.get(pack)} instead of {size} bytes", pack)
    key = keys.data_key(deps, snapshot.instance_id)
    rows = []
    try:
        rows = list(_frames(manifest, head, key, snapshot.manifest_key, found))
    except (ValueError, TypeError):
        # A machine that has the key may have written anything.
        found.bad("its manifest makes no sense")
    found.frames = len(rows)
    names = list(head.packs)

    def opens(row: list[Any]) -> bool:
        place, offset, length, number = row[:4]
        pack = names[place]
        if pack in found.bad_packs:
            return True
        return any(_opens(objects.get(prefix + pack, start=offset, length=length), key, pack, number) for _ in "12")

    wanted = rows[start:] if sample is None else random.sample(rows, min(len(rows), sample))
    found.read = min(start, len(rows)) if sample is None else 0
    with ThreadPoolExecutor(READERS) as pool:
        for at in range(0, len(wanted), AT_ONCE):
            for row, good in zip(wanted[at : at + AT_ONCE], pool.map(opens, wanted[at : at + AT_ONCE]), strict=True):
                found.read += 1
                if not good:
                    found.bad(f"frame {row[3]} of object {names[row[0]]} does not open", names[row[0]])
            if time.monotonic() >= until:
                break
    return found


def _head(manifest: bytes, snapshot: Snapshot, deps: Deps) -> Head | None:
    """None when it is damaged."""
    if manifest[:3] == MAGIC[:3] and manifest[:4] > MAGIC:
        raise errors.StorageError(f"the manifest of {snapshot.id} is of a newer version: {manifest[3:4]!r}")
    try:
        return read_head(manifest, keys.data_key(deps, snapshot.instance_id), snapshot.manifest_key)
    except errors.StorageError:
        return None


def _opens(sealed: bytes, key: bytes, name: str, number: int) -> bool:
    return _opened(sealed, key, name, number) is not None


def _opened(sealed: bytes, key: bytes, name: str, number: int) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(object_key(key, name)).decrypt(nonce(number), sealed, associated(name, number))
    except (InvalidTag, ValueError):
        return None


def _frames(manifest: bytes, head: Head, key: bytes, name: str, found: Found) -> Iterator[list[Any]]:
    """Where the frames lie; every section of the manifest is opened on the way. Raises ValueError or TypeError for nonsense."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    under, at = salted(name, salt_of(manifest)), head_length(manifest)
    for number, (kind, size, codec, *_) in enumerate(head.fields.get("sections", []), 1):
        text = _opened(manifest[at : at + size], key, under, number)
        at += size
        if text is None:
            found.bad("its manifest is damaged")
        elif kind == "frames" and codec in (RAW, ZSTD):
            try:
                expanded = zstd.ZstdDecompressor().decompress(text, SECTION_LIMIT) if codec == ZSTD else text
                yield from (_frame(row, len(head.packs)) for row in json.loads(expanded))
            except zstd.ZstdError as error:
                raise ValueError(f"a section does not expand: {error}") from error


def _frame(row: Any, packs: int) -> list[int]:
    """Raises ValueError unless it is where a frame may lie."""
    if len(row) < 4 or not all(type(number) is int and number >= 0 for number in row[:4]) or row[0] >= packs:
        raise ValueError("no such place")
    return list(row)


def verify(instance: Instance, snapshot_id: str, seconds: float, deps: Deps, *, go_on: bool = False) -> wire.VerifyView:
    """A check of everything on demand, for a while; the next call goes on from there, and so does a sweep.

    `go_on`: one that ended meanwhile is not begun anew. What is damaged is marked; a damaged one that was read whole and is
    good is one to restore again.
    """
    snapshot = _of(deps, instance.id, snapshot_id)
    ended = go_on and snapshot.reading is None
    found = check(snapshot, deps, start=END) if ended else read_on(snapshot, seconds, deps)
    state = deps.records.load(Snapshot, snapshot.id)
    return wire.VerifyView(
        snapshot_id=snapshot.id,
        state=state.state,
        problem=found.problem or (state.problem if ended else None),
        objects=found.objects,
        frames=found.frames,
        frames_read=found.read,
        whole=found.problem is None and found.read == found.frames,
    )


def read_on(snapshot: Snapshot, seconds: float, deps: Deps) -> Found:
    """A check of everything from where it is, until it is whole, finds damage, or the time is over."""
    found = check(snapshot, deps, start=snapshot.reading or 0, seconds=seconds)
    if found.problem is not None:
        mark(snapshot, found, deps)
    deps.records.transact(lambda tx: _noted(tx, snapshot.id, found))
    return found


def _noted(tx: Transaction, snapshot_id: str, found: Found) -> None:
    snapshot = tx.find(Snapshot, snapshot_id)
    if snapshot is None or snapshot.state not in ("verified", "damaged"):
        return
    if found.problem is not None:
        tx.save(replace(snapshot, reading=None))
        return
    if found.read < found.frames:
        # Due at once: a sweep goes on where nobody asks again.
        tx.save(replace(snapshot, reading=max(found.read, snapshot.reading or 0), check_at=tx.now))
        return
    words = "every byte of it was read, and it is whole"
    if snapshot.state == "damaged":
        snapshot = replace(snapshot, state="verified", problem=None, damaged_packs=())
        words = "it is whole again; every byte was read"
    tx.save(replace(snapshot, reading=None, check_at=tx.now + NEXT_CHECK))
    instance = tx.load(Instance, snapshot.instance_id)
    tx.event(instance, "snapshot_checked", f"snapshot {snapshot.id}: {words}", snapshot_id=snapshot.id)


def _of(deps: Deps, instance_id: str, snapshot_id: str) -> Snapshot:
    if instance_id.startswith(COPY):
        raise errors.Conflict("a drill's copy has no files of its own; name the instance it is a copy of")
    snapshot = deps.records.find(Snapshot, snapshot_id)
    if snapshot is None or snapshot.instance_id != instance_id or snapshot.state not in ("verified", "damaged"):
        raise errors.NotFound(f"there is no snapshot {snapshot_id}")
    return snapshot


def mark(snapshot: Snapshot, found: Found, deps: Deps) -> list[str]:
    """Mark it, and every other that names the same bad object, so that none is restored or built upon; their ids.

    An instance whose newest one is damaged falls back to the newest whole one, and says so; one that runs is saved anew.
    """
    everyone = deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": snapshot.instance_id})
    hit = [snapshot.id, *(one.id for one in everyone if one.id != snapshot.id and _names(one, found.bad_packs, deps))]
    whole = [one.id for one in everyone if one.state == "verified" and one.id not in hit]

    def apply(tx: Transaction) -> list[str]:
        instance = tx.load(Instance, snapshot.instance_id)
        marked = []
        for id in hit:
            fresh = tx.find(Snapshot, id)
            if fresh is not None and fresh.state == "verified":
                bad = tuple(found.bad_packs)
                tx.save(replace(fresh, state="damaged", problem=found.problem, damaged_packs=bad, check_at=None))
                tx.event(instance, "snapshot_damaged", f"snapshot {id} is damaged: {found.problem}", snapshot_id=id)
                marked.append(id)
        if instance.snapshot_id not in marked:
            return marked
        sound = (tx.find(Snapshot, id) for id in whole)
        left = next((one for one in sound if one is not None and one.state == "verified"), None)
        rest = (
            f"{left.id} of {left.created_at:%Y-%m-%d %H:%M} UTC is the newest whole one"
            if left
            else "no whole one is left"
        )
        words = f"the newest snapshot is damaged; {rest}"
        changed = replace(instance, snapshot_id=left.id if left else None, failure=words, pokes=instance.pokes + 1)
        tx.save(changed)
        if (
            changed.state is State.RUNNING
            and changed.attempt_id is not None
            and not (changed.restoring or changed.half_restored_id)
        ):
            order_snapshot(tx, changed, tx.load(Attempt, changed.attempt_id), final=False)
        return marked

    return deps.records.transact(apply)


def _names(one: Snapshot, packs: list[str], deps: Deps) -> bool:
    if one.state != "verified" or not packs:
        return False
    try:
        at = prefix_of(one.instance_id) + one.manifest_key
        manifest = objects_at(deps, one.instance_id).get(at, length=WHOLE_LIMIT)
        head = _head(manifest, one, deps)
    except errors.ObjectNotFound:
        return False
    return head is not None and any(pack in head.packs for pack in packs)


def restore(instance_id: str, snapshot_id: str, user_id: str, deps: Deps) -> Instance:
    """Hibernated: the next wake brings this one back. Running: the workspace becomes it, and what it does not name goes.

    Raises Conflict for a damaged one and while files are saved or restored, IllegalTransition in other states.
    """
    known = deps.records.load(Instance, instance_id)
    pending = {"attempt_id": known.attempt_id, "state": "pending"}
    busy = deps.records.all(Order, ORDERS_PENDING, pending) if known.attempt_id is not None else []
    saving = f"instance {instance_id} is saving or restoring files; wait until that is done"
    if any(order.kind in ("snapshot", "restore") for order in busy):
        raise errors.Conflict(saving)
    _of(deps, instance_id, snapshot_id)

    def apply(tx: Transaction) -> None:
        instance, snapshot = tx.load(Instance, instance_id), tx.load(Snapshot, snapshot_id)
        instance.require(Action.RESTORE)
        if snapshot.state != "verified":
            raise errors.Conflict(f"snapshot {snapshot_id} is {snapshot.state}: {snapshot.problem}")
        if instance.saving_id is not None:
            raise errors.Conflict(saving)
        # Also kept as what a wake brings back, should the machine be lost on the way.
        changed = replace(instance, snapshot_id=snapshot.id, failure=None, pokes=instance.pokes + 1)
        if instance.state is State.RUNNING:
            if instance.attempt_id is None or instance.attempt_id != known.attempt_id:
                raise errors.Conflict(f"instance {instance_id} changes its machine; ask again")
            restore_order(tx, instance, snapshot, instance.attempt_id, exact=True)
            changed = replace(changed, restoring=True, busy_until=tx.now + BUSY_FOR)
        tx.save(changed)
        where = "now" if instance.state is State.RUNNING else "by the next wake"
        tx.event(instance, "restore_ordered", f"snapshot {snapshot.id} is restored {where}", user_id)

    deps.records.transact(apply)
    return kick(deps, instance_id, user_id)


def addresses(instance: Instance, snapshot_id: str, wanted: list[str], deps: Deps) -> wire.AddressesView:
    """Where the owner reads a snapshot's objects, each for a while; always its manifest's as well."""
    snapshot = _of(deps, instance.id, snapshot_id)
    expires_in, prefix = timedelta(seconds=deps.settings.presign_s), prefix_of(instance.id)
    objects = objects_of(deps, instance)
    return wire.AddressesView(
        manifest_key=snapshot.manifest_key,
        urls={key: objects.presign_get(prefix + key, expires_in) for key in {snapshot.manifest_key, *wanted}},
        expires_at=deps.clock.now() + expires_in,
    )
