"""Old snapshots go, and nothing that a kept one needs goes with them, wherever the process dies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared import errors
from shared.domain.instance import Instance
from shared.domain.retention import Candidate, Rules, kept
from shared.domain.snapshot import Snapshot, read_head
from shared.flows import instances, keys, retention
from shared.flows.retention import prune
from shared.flows.snapshot_orders import prefix_of
from shared.objects.memory import MemoryObjects
from shared.queries import list_snapshots
from shared.store.shapes import SNAPSHOTS_OF_INSTANCE
from shared.sweeps.retention import retention as sweep
from shared.wire.instances import ListSnapshotsQuery, Patch, RetentionBody
from tests.support.crashing import Crash, CrashingObjects, Fuse
from tests.support.world import FakeAgent, World, crash_deps

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def every(hours: float, count: int) -> list[Candidate]:
    return [Candidate(f"s{n}", NOW - timedelta(hours=hours * n)) for n in range(count)]


def test_the_newest_of_hours_days_and_weeks_stay() -> None:
    found = kept(every(0.25, 4 * 24 * 60), Rules(last=2, hourly=5, daily=4, weekly=3))

    assert found["s0"] == "the newest" and found["s1"] == "one of the last 2"
    assert sum("hour" in why for why in found.values()) == 3, "two hours are those of the last two"
    assert 3 <= sum("day" in why for why in found.values()) <= 4
    assert len(found) <= 2 + 5 + 4 + 3


def test_pinned_ones_stay_and_nothing_is_kept_without_a_rule() -> None:
    snapshots = [*every(1, 10), Candidate("old", NOW - timedelta(days=900), pinned=True)]

    assert kept(snapshots, Rules(last=1, hourly=0, daily=0, weekly=0)) == {"s0": "the newest", "old": "pinned"}


class Kept:
    """An instance that has had some snapshots, each with a pack of its own, an hour apart."""

    def __init__(self, count: int = 6) -> None:
        self.world = World()
        instance, self.agent = self.world.running(snapshot_every_s=3600)
        self.id = instance.id
        for _ in range(count):
            self.take()

    def take(self) -> Snapshot:
        self.world.clock.step(seconds=3601)
        self.agent.beat()
        self.world.advance(self.id)
        return self.agent.take_snapshot()

    def rules(self, **rules: int) -> None:
        body = Patch(retention=RetentionBody(**{"last": 1, "hourly": 0, "daily": 0, "weekly": 0, **rules}))
        instances.edit(self.id, body, self.world.user.id, self.world.deps)

    def snapshots(self) -> list[Snapshot]:
        return self.world.deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": self.id})

    def whole(self, snapshot: Snapshot) -> bool:
        prefix, objects = prefix_of(self.id), self.world.objects
        manifest = objects.get(prefix + snapshot.manifest_key)
        head = read_head(manifest, keys.data_key(self.world.deps, self.id), snapshot.manifest_key)
        return all(prefix + pack in objects.objects for pack in head.packs)

    def verified(self) -> list[Snapshot]:
        return [one for one in self.snapshots() if one.state == "verified"]


def test_what_goes_takes_its_objects_along_and_leaves_the_rest_whole() -> None:
    some = Kept()
    assert len(some.verified()) == 6
    some.rules(last=2)

    report = sweep(some.world.deps)

    assert report.changed == 4
    left = some.verified()
    assert len(left) == 2 == len(some.snapshots()) and all(some.whole(one) for one in left)
    assert len([key for key in some.world.objects.objects if "/p/" in key]) == 2
    assert left[0].id == some.world.instance(some.id).snapshot_id
    stored = sum(map(len, some.world.objects.objects.values()))
    assert sum(one.stored_bytes for one in left) == stored, "the bill is for what is left"


def test_a_pack_that_a_kept_snapshot_names_stays_with_its_owner_gone() -> None:
    some = Kept(1)
    first = some.verified()[0]
    prefix = prefix_of(some.id)
    shared_pack = next(key for key in some.world.objects.objects if "/p/" in key).removeprefix(prefix)
    real = FakeAgent.take_snapshot

    # The next one carries the first one's pack over, as an incremental snapshot does.
    from shared.domain.snapshot import seal_head

    second = some.take()
    key = keys.data_key(some.world.deps, some.id)
    manifest = some.world.objects.get(prefix + second.manifest_key)
    own = read_head(manifest, key, second.manifest_key)
    head = {**own.fields, "packs": [*own.fields["packs"], [shared_pack, 10]]}
    some.world.objects.put(prefix + second.manifest_key, seal_head(head, key, second.manifest_key, bytes(16)))
    assert real is FakeAgent.take_snapshot

    some.rules(last=1)
    sweep(some.world.deps)

    assert [one.id for one in some.snapshots()] == [second.id] and first.id != second.id
    assert some.whole(second) and prefix + shared_pack in some.world.objects.objects


def test_pinned_pending_and_restored_snapshots_stay() -> None:
    some = Kept(3)
    oldest = some.verified()[-1]
    retention.change(some.id, oldest.id, True, some.world.deps)
    some.world.clock.step(seconds=3601)
    some.agent.beat()
    some.world.advance(some.id)
    (order,) = some.agent.orders("snapshot")
    some.rules(last=1)

    sweep(some.world.deps)

    states = {one.id: one.state for one in some.snapshots()}
    assert states == {oldest.id: "verified", some.world.instance(some.id).snapshot_id: "verified",
                      order.payload["snapshot_id"]: "pending"}  # fmt: skip
    taken = some.agent.take_snapshot()
    assert taken.state == "verified" and some.whole(taken), "what was being written was not touched"


def test_a_snapshot_that_begins_while_old_ones_go_keeps_its_packs() -> None:
    some = Kept(4)
    some.rules(last=1)
    begun: list[str] = []

    class Busy(MemoryObjects):
        """Between two of its calls a machine begins a snapshot and writes a pack."""

        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            if not begun:
                some.world.clock.step(seconds=3601)
                some.agent.beat()
                some.world.advance(some.id)
                (order,) = some.agent.orders("snapshot")
                snapshot = some.world.deps.records.load(Snapshot, order.payload["snapshot_id"])
                begun.append(f"{prefix_of(some.id)}p/{snapshot.epoch}/0-{'0' * 16}")
                self.put(begun[0], b"just written")
            return super().get(key, start=start, length=length)

    busy = Busy()
    busy.objects = some.world.objects.objects
    prune(some.id, replace(some.world.deps, objects=lambda: busy))

    assert begun[0] in busy.objects
    assert len(some.verified()) == 1 and some.whole(some.agent.take_snapshot())


def test_one_that_is_needed_is_not_given_up_and_another_is() -> None:
    some = Kept(3)
    newest, middle, _ = some.verified()
    with pytest.raises(errors.Conflict, match="the newest"):
        retention.remove(some.id, newest.id, some.world.deps)
    with pytest.raises(errors.NotFound):
        retention.remove(some.id, "s-none", some.world.deps)

    retention.remove(some.id, middle.id, some.world.deps)

    view = list_snapshots(some.id, ListSnapshotsQuery(), some.world.user.id, some.world.deps)
    assert middle.id not in [one.id for one in view.snapshots]
    assert view.snapshots[0].kept == "the newest"
    sweep(some.world.deps)
    assert middle.id not in [one.id for one in some.snapshots()]


def test_a_manifest_that_cannot_be_read_stops_the_pruning_before_anything_is_deleted() -> None:
    some = Kept(4)
    some.rules(last=2)
    newest = some.verified()[0]
    some.world.objects.objects[prefix_of(some.id) + newest.manifest_key] = b"damaged" * 100
    before = dict(some.world.objects.objects)

    report = sweep(some.world.deps)

    assert report.failed == 1 and report.notes
    assert some.world.objects.objects == before
    due = some.world.instance(some.id).prune_at
    assert due is not None and due > some.world.clock.now()


def test_the_process_may_die_at_any_change() -> None:
    at = 0
    while True:
        at += 1
        some = Kept(4)
        some.rules(last=2)
        fuse = Fuse(at)
        objects = CrashingObjects(some.world.objects, fuse)
        deps = replace(crash_deps(some.world, fuse), objects=lambda objects=objects: objects)  # type: ignore[misc]
        try:
            prune(some.id, deps)
        except Crash:
            pass
        else:
            break
        assert all(some.whole(one) for one in some.verified()), at
        sweep(some.world.deps)
        left = some.verified()
        assert len(left) == 2 and all(some.whole(one) for one in left), at
        assert len([key for key in some.world.objects.objects if "/p/" in key]) == 2, at
    assert at > 4


def test_a_snapshot_that_was_never_committed_is_dead_one_day() -> None:
    some = Kept(1)
    some.world.clock.step(seconds=3601)
    some.agent.beat()
    some.world.advance(some.id)
    (order,) = some.agent.orders("snapshot")
    some.world.clock.step(hours=25)
    some.world.deps.records.transact(
        lambda tx: tx.save(replace(tx.load(Instance, some.id), prune_at=some.world.clock.now()))
    )

    sweep(some.world.deps)

    with pytest.raises((errors.Conflict, errors.NotFound)):
        some.agent.take_snapshot()
    assert order.payload["snapshot_id"] not in [one.id for one in some.snapshots()]


def test_an_instance_with_nothing_whole_is_not_looked_at_for_ever() -> None:
    some = Kept(0)
    some.world.clock.step(seconds=3601)
    some.agent.beat()
    some.world.advance(some.id)
    some.agent.take_snapshot(damage=True)
    assert some.world.instance(some.id).prune_at is not None
    some.world.clock.step(hours=2)

    assert sweep(some.world.deps).looked_at == 1
    assert sweep(some.world.deps).looked_at == 0


def test_one_given_up_while_old_ones_go_is_looked_at_at_once() -> None:
    some = Kept(3)
    due = some.world.instance(some.id).prune_at
    some.world.clock.step(seconds=5)
    retention.remove(some.id, some.verified()[1].id, some.world.deps)

    retention.look_again(some.id, due, retention.AGAIN, some.world.deps)

    assert some.world.instance(some.id).prune_at == some.world.clock.now()
