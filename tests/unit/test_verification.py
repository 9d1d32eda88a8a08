"""Snapshots are read again: damage is told, never restored or built upon; trouble with storage marks nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from agent.snapshot.manifest import Frames, Writer
from agent.snapshot.pack import RAW, Sealer
from shared import errors
from shared.domain.event import Event
from shared.domain.instance import Instance, State
from shared.domain.snapshot import Snapshot
from shared.flows import instances, keys, snapshots
from shared.flows.snapshot_orders import prefix_of
from shared.objects.memory import MemoryObjects
from shared.queries import owned
from shared.store.shapes import EVENTS_OF_INSTANCE, SNAPSHOTS_OF_INSTANCE
from shared.sweeps.retention import retention
from shared.sweeps.verification import verification
from shared.wire.instances import AddressesBody
from tests.support.crashing import Crash, Fuse
from tests.support.world import FakeAgent, World, crash_deps


class Saved:
    """A running instance with snapshots whose packs hold a few real frames each; each names the packs of those before."""

    def __init__(self, count: int = 2, frames: int = 2) -> None:
        self.frames = frames
        self.world = World()
        instance, self.agent = self.world.running()
        self.id = instance.id
        for _ in range(count):
            self.take()

    def take(self) -> Snapshot:
        deps = self.world.deps
        self.world.clock.step(seconds=60)
        if not self.agent.orders("snapshot"):
            instances.take_snapshot(self.id, 0, self.world.user.id, deps)
        snapshot = self.agent.take_snapshot()
        self.fill(snapshot)
        return snapshot

    def fill(self, snapshot: Snapshot) -> None:
        """The pack and manifest as the agent's own code writes them."""
        objects, key, prefix = self.world.objects.objects, keys.data_key(self.world.deps, self.id), prefix_of(self.id)
        pack = next(k for k in objects if f"/p/{snapshot.epoch}/" in k).removeprefix(prefix)
        sealer = Sealer(key, pack)
        sealed = [sealer.seal(number, b"content %d" % number) for number in range(self.frames)]
        objects[prefix + pack] = b"".join(sealed)
        frames = Frames()
        for number, one in enumerate(sealed):
            frames.add((0, sum(map(len, sealed[:number])), len(one), number, RAW, 9))
        objects[prefix + snapshot.manifest_key] = Writer(key, snapshot.manifest_key).finish(
            frames, {}, snapshot_id=snapshot.id, packs=[[pack, len(objects[prefix + pack])]], workspace=[]
        )

    def all(self) -> list[Snapshot]:
        return self.world.deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": self.id})

    def damage(self, snapshot: Snapshot) -> None:
        objects = self.world.objects.objects
        key = next(k for k in objects if f"/p/{snapshot.epoch}/" in k)
        objects[key] = objects[key][:-1] + bytes([objects[key][-1] ^ 1])

    def events(self) -> list[str]:
        return [one.kind for one in self.world.deps.records.all(Event, EVENTS_OF_INSTANCE, {"instance_id": self.id})]

    def instance(self) -> Instance:
        return self.world.instance(self.id)

    def verify(self, snapshot: Snapshot) -> object:
        return snapshots.verify(owned(self.world.deps, self.id, self.world.user.id), snapshot.id, 5, self.world.deps)


def test_good_snapshots_are_read_and_due_again_in_a_week() -> None:
    some = Saved()
    assert verification(some.world.deps).looked_at == 0, "none is due on its first day"
    some.world.clock.step(hours=25)

    report = verification(some.world.deps)

    assert (report.looked_at, report.changed, report.failed) == (2, 0, 0)
    assert verification(some.world.deps).looked_at == 0
    some.world.clock.step(hours=7 * 24 + 1)
    assert verification(some.world.deps).looked_at == 2


def test_one_flipped_bit_is_found_told_and_the_running_instance_saved_anew() -> None:
    some = Saved()
    newest, older = some.all()
    some.damage(newest)
    some.world.clock.step(hours=25)

    report = verification(some.world.deps)

    assert report.changed == 1 and "does not open" in report.notes[0]
    assert some.world.deps.records.load(Snapshot, newest.id).state == "damaged"
    assert some.instance().snapshot_id == older.id and "damaged" in (some.instance().failure or "")
    assert "snapshot_damaged" in some.events()
    (order,) = some.agent.orders("snapshot")
    assert order.payload["parent_manifest_key"] == older.manifest_key, "not built upon the damaged one"


def test_a_damaged_snapshot_is_not_restored_and_an_instance_without_a_whole_one_does_not_wake_empty() -> None:
    world = World()
    instance = world.hibernated()
    (only,) = world.deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance.id})
    world.objects.objects[prefix_of(instance.id) + only.manifest_key] = b"DMF1" + bytes(100)
    world.clock.step(hours=25)

    assert verification(world.deps).changed == 1

    with pytest.raises(errors.Conflict, match="damaged"):
        snapshots.restore(instance.id, only.id, world.user.id, world.deps)
    with pytest.raises(errors.Conflict, match="no whole snapshot"):
        instances.wake(instance.id, 0, world.user.id, world.deps)
    assert world.instance(instance.id).state is State.HIBERNATED


def test_storage_in_trouble_marks_nothing() -> None:
    some = Saved()
    some.world.clock.step(hours=25)

    class Down(MemoryObjects):
        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            raise errors.StorageError("503", transient=True)

    class Empty(MemoryObjects):
        """The manifests are there, and a listing that lost everything."""

        def __init__(self) -> None:
            super().__init__()
            self.objects = {k: v for k, v in some.world.objects.objects.items() if "/m/" in k}

    for objects in (Down(), Empty()):
        report = verification(replace(some.world.deps, objects=lambda objects=objects: objects))  # type: ignore[misc]
        assert report.failed == 2 and report.changed == 0
        some.world.clock.step(hours=2)
    assert [one.state for one in some.all()] == ["verified", "verified"]


def test_a_check_on_demand_reads_everything_and_takes_a_mark_back_when_all_is_good() -> None:
    some = Saved(1)
    (only,) = some.all()
    whole = dict(some.world.objects.objects)
    some.damage(only)
    found = some.verify(only)
    assert (found.state, found.frames) == ("damaged", 2)  # type: ignore[attr-defined]
    assert found.problem is not None  # type: ignore[attr-defined]

    some.world.objects.objects.update(whole)
    healed = some.verify(only)

    assert (healed.state, healed.problem, healed.frames_read) == ("verified", None, 2)  # type: ignore[attr-defined]


def test_a_check_of_everything_goes_on_over_calls_and_sweeps_and_ends_with_an_event() -> None:
    some = Saved(1, frames=3 * snapshots.AT_ONCE + 1)
    (only,) = some.all()
    instance, deps = owned(some.world.deps, some.id, some.world.user.id), some.world.deps

    seen = [snapshots.verify(instance, only.id, 0, deps, go_on=call > 0) for call in range(2)]
    assert [(one.frames_read, one.whole) for one in seen] == [(16, False), (32, False)]
    report = verification(deps)

    assert report.changed == 1 and "snapshot_checked" in some.events()
    told = snapshots.verify(instance, only.id, 0, deps, go_on=True)
    assert (told.frames_read, told.whole) == (49, True), "it is not begun anew"
    assert snapshots.verify(instance, only.id, 0, deps).frames_read == 16, "unless that is asked for"


def test_damage_at_the_very_end_is_found_by_a_later_call() -> None:
    some = Saved(1, frames=2 * snapshots.AT_ONCE)
    (only,) = some.all()
    some.damage(only)
    instance, deps = owned(some.world.deps, some.id, some.world.user.id), some.world.deps

    first = snapshots.verify(instance, only.id, 0, deps)
    assert (first.problem, first.state, first.whole) == (None, "verified", False)
    second = snapshots.verify(instance, only.id, 0, deps, go_on=True)

    assert "frame 31" in str(second.problem) and second.state == "damaged" and not second.whole
    third = snapshots.verify(instance, only.id, 0, deps, go_on=True)
    assert third.problem == second.problem, "told again where it had ended"


def test_a_check_that_storage_interrupts_is_gone_on_with_later() -> None:
    some = Saved(1, frames=2 * snapshots.AT_ONCE)
    (only,) = some.all()
    snapshots.verify(owned(some.world.deps, some.id, some.world.user.id), only.id, 0, some.world.deps)

    class Down(MemoryObjects):
        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            raise errors.StorageError("503", transient=True)

    assert verification(replace(some.world.deps, objects=Down)).failed == 1
    assert verification(some.world.deps).looked_at == 0, "not at once"
    some.world.clock.step(hours=2)
    assert verification(some.world.deps).changed == 1 and "snapshot_checked" in some.events()


@pytest.mark.parametrize("after", [False, True])
def test_the_process_may_die_at_any_change_while_damage_is_marked(after: bool) -> None:
    at = 0
    while True:
        at += 1
        some = Saved(3)
        newest, middle, oldest = some.all()
        some.damage(newest)
        some.world.clock.step(hours=25)
        fuse = Fuse(at, after=after)
        try:
            verification(crash_deps(some.world, fuse))
        except Crash:
            pass
        half = some.instance().snapshot_id
        assert half in (newest.id, middle.id), (at, "it falls back to a whole one or has not begun to")
        if some.world.deps.records.load(Snapshot, newest.id).state == "damaged":
            assert half == middle.id, (at, "marked and fallen back in one batch")
        some.world.clock.step(hours=2)
        verification(some.world.deps)

        states = {one.id: one.state for one in some.all() if one.id in (newest.id, middle.id, oldest.id)}
        assert states == {newest.id: "damaged", middle.id: "verified", oldest.id: "verified"}, at
        assert some.instance().snapshot_id == middle.id, at
        assert some.events().count("snapshot_damaged") == 1, at
        assert len(some.agent.orders("snapshot")) == 1, (at, "saved anew, once")
        if not fuse.dead:
            break
    assert at > 3


def test_what_can_be_read_of_a_damaged_snapshot_stays_until_it_is_given_up() -> None:
    some = Saved(2)
    newest, older = some.all()
    some.damage(older)
    some.verify(older)
    before = set(some.world.objects.objects)
    some.world.clock.step(hours=2)

    retention(some.world.deps)
    assert set(some.world.objects.objects) == before

    from shared.flows.retention import remove

    remove(some.id, older.id, some.world.deps)
    retention(some.world.deps)
    assert [one.id for one in some.all()] == [newest.id]
    assert len([key for key in some.world.objects.objects if "/p/" in key]) == 1


def test_a_running_instance_goes_back_exactly_and_a_hibernated_one_by_its_next_wake() -> None:
    some = Saved(2)
    newest, older = some.all()

    snapshots.restore(some.id, older.id, some.world.user.id, some.world.deps)

    (order,) = some.agent.orders("restore")
    assert order.payload["manifest_key"] == older.manifest_key and order.payload["exact"]
    assert not order.payload["follow"] and some.instance().restoring
    with pytest.raises(errors.Conflict, match="restoring"):
        snapshots.restore(some.id, newest.id, some.world.user.id, some.world.deps)
    some.agent.finish("restore")
    assert not some.instance().restoring and some.instance().state is State.RUNNING

    instances.hibernate(some.id, 0, some.world.user.id, some.world.deps)
    some.agent.take_snapshot()
    some.world.settle(some.id)
    snapshots.restore(some.id, older.id, some.world.user.id, some.world.deps)
    instances.wake(some.id, 0, some.world.user.id, some.world.deps)
    some.world.settle(some.id, lambda i: bool(some.world.created(some.id)))
    agent = FakeAgent(some.world, some.world.created(some.id)[0].id)
    assert agent.register().adopted
    assert [one.payload["snapshot_id"] for one in agent.orders("restore")] == [older.id]


def test_a_failed_restore_is_told_and_may_be_ordered_again() -> None:
    some = Saved(1)
    (only,) = some.all()
    snapshots.restore(some.id, only.id, some.world.user.id, some.world.deps)
    some.agent.finish("restore", state="failed", error="disk full")
    assert "disk full" in (some.instance().failure or "")

    snapshots.restore(some.id, only.id, some.world.user.id, some.world.deps)

    assert len(some.agent.orders("restore")) == 1


def test_an_address_is_given_for_packs_and_the_manifest_only() -> None:
    some = Saved(1)
    (only,) = some.all()
    instance = some.instance()

    view = snapshots.addresses(instance, only.id, [], some.world.deps)

    assert list(view.urls) == [only.manifest_key]
    with pytest.raises(ValidationError):
        AddressesBody(keys=["../i-2/m/s"])
    with pytest.raises(errors.NotFound):
        snapshots.addresses(instance, "s-none", [], some.world.deps)
