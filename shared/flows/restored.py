"""After the database was lost: machines without a record are spared while they may matter, and storage is believed.

`meta/store` says that this database came from an export: `importing` while it is written, then `whole` with its time. A stray is
a working machine whose attempt is on no record: it was adopted after the export, and may hold the only copy of its work. Strays
are told of in every sweep's report, and end only when a person says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared import errors
from shared.deps import Deps
from shared.domain.instance import Instance
from shared.domain.manifest import Head, fetch_head
from shared.domain.snapshot import Snapshot
from shared.flows import keys
from shared.flows.snapshot_orders import prefix_of
from shared.flows.storage import objects_of
from shared.frozen import dataclass
from shared.providers.base import RentedMachine
from shared.store import codec
from shared.store.base import Data, Put, Store
from shared.store.shapes import ATTEMPTS

META, MARK, STRAYS = "meta", "store", "strays"
HEARD_AGAIN = timedelta(minutes=10)
"""So long after a restore every machine has had the time to say that it works."""
NOTED_EVERY = timedelta(minutes=1)
ORDERS_FORGOTTEN = 1_000_000
"""More than an instance was given since its export: machines carry how many they were told of, and as many count as told."""


def note_stray(store: Store, now: datetime, attempt_id: str) -> None:
    known = store.get(STRAYS, attempt_id)
    if known is not None and (known.data.get("ended_at") or now - known.data["at"] < NOTED_EVERY):
        return
    store.commit([Put(STRAYS, attempt_id, {"at": now})])


def let_go(store: Store, now: datetime, attempt_id: str) -> None:
    """A person's word that a stray holds nothing that matters: the next sweep ends its machine."""
    if store.get(STRAYS, attempt_id) is None:
        raise errors.NotFound(f"there is no stray {attempt_id}")
    store.commit([Put(STRAYS, attempt_id, {"at": now, "ended_at": now})])


def why_spared(deps: Deps, attempt_id: str, machine: RentedMachine) -> str | None:
    """Why a machine of ours without a record is not ended, or None. Asked only for such machines, so it may read."""
    stray = deps.store.get(STRAYS, attempt_id)
    if stray is not None:
        return None if stray.data.get("ended_at") else f"it works, and attempt {attempt_id} is on no record"
    mark = deps.store.get(META, MARK)
    if mark is None:
        knows = deps.store.query(ATTEMPTS, limit=1).documents
        return None if knows else "the database knows of no machine at all; was it lost?"
    if mark.data["state"] == "importing":
        return "the database is being restored"
    restored_at: datetime = mark.data["at"]
    if machine.started_at is not None and machine.started_at >= restored_at:
        return None
    patience = max(HEARD_AGAIN * deps.settings.time_scale, timedelta(seconds=5 * deps.settings.silence_after_s))
    if deps.clock.now() - restored_at < patience:
        return "the database was restored a moment ago; machines have time to say that they work"
    return None


@dataclass(frozen=True)
class Reconciled:
    instance: Data
    snapshots: dict[str, Data]
    """Those that differ from what the export said, by id."""


def reconcile(deps: Deps, document: Data, exported: Sequence[Data]) -> Reconciled:
    """An exported instance and its snapshots as storage has them now.

    A snapshot that was committed after the export is whole in storage, so it is taken up, and nothing prunes its objects; one
    whose objects are gone is marked. Its instance's key must be on record. Raises StorageError when storage does not answer.
    """
    instance = codec.decode(Instance, document)
    instance = replace(instance, orders=instance.orders + ORDERS_FORGOTTEN)
    prefix, objects = prefix_of(instance.id), objects_of(deps, instance)
    key = keys.data_key(deps, instance.id)
    packs = {item.key.removeprefix(prefix): item.size for item in objects.list(prefix + "p/")}
    stored = {item.key.removeprefix(prefix): item.size for item in objects.list(prefix + "m/")}
    known = {s.id: s for s in (codec.decode(Snapshot, data) for data in exported)}
    changed: dict[str, Snapshot] = {}
    heads: dict[str, Head] = {}
    for name in stored:
        try:
            head = fetch_head(lambda length, at=prefix + name: objects.get(at, length=length), key, name)  # type: ignore[misc]
        except errors.ObjectNotFound:
            continue
        except errors.StorageError:
            # Half-written or damaged; a record that relies on it is marked below.
            continue
        if all(packs.get(pack) == size for pack, size in head.packs.items()):
            heads[name] = head
    now = deps.clock.now()
    for name, head in heads.items():
        before = known.get(head.snapshot_id)
        if before is None or before.state == "pending":
            changed[head.snapshot_id] = _taken_up(instance, before, head, name, stored[name], now)
    for snapshot in known.values():
        if snapshot.state == "verified" and snapshot.manifest_key not in heads:
            changed[snapshot.id] = replace(snapshot, state="failed", problem="not whole in storage after a restore")
    whole = [s for s in {**known, **changed}.values() if s.state == "verified"]
    newest = max(whole, key=lambda s: s.created_at, default=None)
    taken_up = [s for s in changed.values() if s.state == "verified"]
    if newest is not None and (taken_up or instance.snapshot_id not in {s.id for s in whole}):
        instance = replace(instance, snapshot_id=newest.id)
    elif newest is None and instance.snapshot_id is not None:
        instance = replace(instance, failure="none of its snapshots is whole in storage")
    return Reconciled(codec.encode(instance), {id: codec.encode(s) for id, s in changed.items()})


def _taken_up(instance: Instance, before: Snapshot | None, head: Head, name: str, size: int, now: datetime) -> Snapshot:
    fields: dict[str, Any] = head.fields
    if before is None:
        epochs = [key.split("/")[1] for key in head.packs]
        before = Snapshot(
            id=head.snapshot_id,
            instance_id=instance.id,
            user_id=instance.user_id,
            order_id=None,
            state="pending",
            created_at=_begun(fields) or now,
            epoch=epochs[-1] if epochs else "0" * 12,
            manifest_key=name,
        )
    return replace(before, state="verified", verified_at=now, manifest_size=size)


def _begun(fields: dict[str, Any]) -> datetime | None:
    """When a snapshot was begun, by its own head."""
    try:
        return datetime.fromtimestamp(int(fields["created_ns"]) / 1e9, UTC)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
