"""Old snapshots go, and nothing that a kept one needs goes with them, wherever the process dies."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared import errors
from shared.domain import usage as usage_domain
from shared.domain.attempt import seconds as attempt_seconds
from shared.domain.instance import Instance
from shared.domain.manifest import read_head, seal_head
from shared.domain.reference_prices import STORAGE
from shared.domain.retention import Candidate, Rules, kept
from shared.domain.snapshot import Snapshot
from shared.flows import instances, keys, retention, usage
from shared.flows.retention import prune
from shared.flows.snapshot_orders import epoch_of, prefix_of
from shared.objects.memory import MemoryObjects
from shared.queries import list_snapshots
from shared.store.shapes import SNAPSHOTS_OF_INSTANCE
from shared.sweeps.retention import retention as sweep
from shared.wire.instances import ListSnapshotsQuery, Patch, RetentionBody
from shared.wire.usage import UsageQuery
from tests.support.crashing import Crash, CrashingObjects, Fuse
from tests.support.world import World, crash_deps

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


def name_too(some: Kept, snapshot: Snapshot, pack: str) -> None:
    """Its manifest names a pack of another as well."""
    key = keys.data_key(some.world.deps, some.id)
    place = prefix_of(some.id) + snapshot.manifest_key
    own = read_head(some.world.objects.get(place), key, snapshot.manifest_key)
    head = {**own.fields, "packs": [*own.fields["packs"], [pack, 10]]}
    some.world.objects.put(place, seal_head(head, key, snapshot.manifest_key, bytes(16)))


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

    # The next one carries the first one's pack over, as an incremental snapshot does.
    second = some.take()
    name_too(some, second, shared_pack)

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
    assert some.agent.orders("snapshot")
    some.rules(last=1)

    sweep(some.world.deps)

    states = {one.id: one.state for one in some.snapshots()}
    assert states == {oldest.id: "verified", some.world.instance(some.id).snapshot_id: "verified"}
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
                epoch = epoch_of(order.payload["snapshot_id"])
                begun.append(f"{prefix_of(some.id)}p/{epoch}/0-{'0' * 16}")
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


def test_rules_are_previewed_and_nothing_changes() -> None:
    some = Kept(4)
    kept = some.world.instance(some.id).retention
    asked = ListSnapshotsQuery(last=1, hourly=0, daily=0, weekly=0)

    view = list_snapshots(some.id, asked, some.world.user.id, some.world.deps)

    assert [one.kept for one in view.snapshots] == ["the newest", None, None, None]
    assert view.retention.last == 1 and some.world.instance(some.id).retention == kept
    prune(some.id, some.world.deps)
    assert len(some.verified()) == 4
    some.rules(last=1)
    prune(some.id, some.world.deps)
    assert [one.id for one in some.verified()] == [one.id for one in view.snapshots if one.kept], "as it was previewed"


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

    with pytest.raises(errors.NotFound):
        some.agent.take_snapshot(order=order)
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


def cost_of_storage(world: World, since: datetime) -> Decimal:
    return usage.show(UsageQuery(since=since), world.user.id, world.deps).storage.usd


def heavy(some: Kept, size: int) -> None:
    """Every object of the instance as large as this; manifests stay as they are."""
    for key in list(some.world.objects.objects):
        if "/p/" in key:
            some.world.objects.objects[key] = bytes(size)
    for one in some.verified():
        some.world.deps.records.transact(
            lambda tx, one=one: tx.save(  # type: ignore[misc]
                replace(tx.load(Snapshot, one.id), stored_bytes=size + one.manifest_size)
            )
        )


@pytest.mark.parametrize(("vendor", "least_days"), [("s3", 0), ("r2", 0), ("b2", 0), ("wasabi", 90)])
def test_a_snapshot_that_went_costs_until_it_was_deleted_and_at_least_the_vendors_minimum(
    vendor: str, least_days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = Kept(3)
    world = some.world
    world.deps = replace(world.deps, settings=world.deps.settings.model_copy(update={"s3_vendor": vendor}))
    heavy(some, 5_000_000)
    begun = {one.id: (one.created_at, one.stored_bytes) for one in some.verified()}
    start = min(at for at, _ in begun.values())
    world.clock.step(hours=240)
    before = cost_of_storage(world, start)
    some.rules(last=1)
    # Dies between noting and deleting, again and again: what it cost is noted once.
    for step in range(12):
        dying = replace(world.deps, objects=lambda step=step: CrashingObjects(world.objects, Fuse(step)))  # type: ignore[misc]
        with suppress(Crash):
            prune(some.id, dying)
    prune(some.id, world.deps)
    gone_at = world.clock.now()
    (kept_one,) = some.verified()
    assert cost_of_storage(world, start) == pytest.approx(before, rel=Decimal("0.001")), "no past is forgotten"

    world.clock.step(hours=24 * 150)
    price = STORAGE[vendor].usd_per_gb_month / Decimal(10**9) / usage_domain.MONTH_S
    expected = Decimal(0)
    for id, (at, size) in begun.items():
        end = world.clock.now() if id == kept_one.id else max(gone_at, at + timedelta(days=least_days))
        expected += price * size * attempt_seconds(end - at)
    assert cost_of_storage(world, start) == pytest.approx(expected, rel=Decimal("0.001"))
    assert usage.show(UsageQuery(since=start), "u-other", world.deps).storage.usd == 0


def test_what_an_heir_takes_over_is_counted_without_a_gap_and_once() -> None:
    some = Kept(1)
    world, prefix = some.world, prefix_of(some.id)
    (first,) = some.verified()
    shared_pack = next(key for key in world.objects.objects if "/p/" in key).removeprefix(prefix)
    second = some.take()
    name_too(some, second, shared_pack)
    heavy(some, 5_000_000)
    start = first.created_at
    world.clock.step(hours=100)
    before = cost_of_storage(world, start)
    some.rules(last=1)
    prune(some.id, world.deps)
    assert cost_of_storage(world, start) == pytest.approx(before, rel=Decimal("0.001"))
    heir = some.verified()[0]
    assert heir.id == second.id and heir.stored_bytes >= 10_000_000
