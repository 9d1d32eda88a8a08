"""Sweeps: what they touch, what they leave alone, how much they read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared import errors
from shared.domain.attempt import Attempt, Stage
from shared.domain.event import Event
from shared.domain.instance import Instance, State
from shared.domain.offer import MachineSpec
from shared.flows import keys
from shared.store import codec
from shared.store.base import Create, Put
from shared.store.counting import CountingStore
from shared.store.records import Records
from shared.store.shapes import EVENTS_OF_INSTANCE
from shared.store.sqlite import SqliteStore
from shared.sweeps.machines import machines
from shared.sweeps.motion import motion
from shared.sweeps.records import records, reservations
from tests.support.world import World

SPEC = MachineSpec(image="x", disk_gib=10, onstart="true")


# Motion ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fleet", [1_000, 20_000])
def test_the_idle_tick_of_an_idle_fleet_is_one_query_whatever_the_fleet(fleet: int) -> None:
    counting = CountingStore(SqliteStore(":memory:"))
    world = World(store=counting)
    asleep = replace(world.provision(), state=State.HIBERNATED, next_action_at=None)
    for start in range(0, fleet, 400):
        counting.inner.commit(
            [
                Put("instances", f"i-{n:06d}", codec.encode(replace(asleep, id=f"i-{n:06d}")))
                for n in range(start, min(fleet, start + 400))
            ]
        )
    counting.inner.commit([Put("instances", asleep.id, codec.encode(asleep))])
    counting.calls.clear()
    counting.documents = 0

    report = motion(world.deps)

    assert dict(counting.calls) == {"query": 1}
    assert counting.documents == 0
    assert report.looked_at == 0


def test_the_tick_drives_what_is_due_and_leaves_the_rest() -> None:
    world = World(sweep_budget_s=0)
    due, later = world.provision(), world.provision()
    document = world.store.get("instances", later.id)
    assert document is not None
    world.clock.step(seconds=10)
    world.store.commit(
        [Put("instances", later.id, {**document.data, "next_action_at": world.clock.now() + timedelta(hours=1)})]
    )

    report = motion(world.deps)

    assert report.looked_at == 1 and report.failed == 0
    assert world.instance(due.id).opened > 0


def test_one_damaged_record_does_not_stop_the_others() -> None:
    world = World(sweep_budget_s=0)
    good = world.provision()
    world.store.commit([Create("instances", "i-bad", {"state": "nonsense", "next_action_at": world.clock.now()})])
    before = len(world.attempts(good.id))

    report = motion(world.deps)

    assert report.failed == 1 and "i-bad" in report.notes[0]
    assert len(world.attempts(good.id)) >= before


# Orphans --------------------------------------------------------------------------------------------------------------


def orphan(world: World, attempt_id: str | None = None) -> str:
    attempt_id = attempt_id or keys.new_attempt_id(world.deps.settings)
    # A database that knows of something is not a lost one.
    world.store.commit([Put("attempts", "0" * 28, {"open": False})])
    return world.provider.create(world.provider.stock[-1], SPEC, f"dumont-{attempt_id}").machine_id


def test_a_machine_whose_attempt_nobody_knows_is_terminated_after_the_grace() -> None:
    world = World()
    machine = orphan(world)

    machines(world.deps)
    assert machine in world.provider.made, "too young"
    world.clock.step(minutes=2)
    report = machines(world.deps)

    assert world.provider.made == {}
    assert report.changed == 1 and "no attempt is on record" in report.notes[0]


def test_only_labels_that_we_signed_are_touched() -> None:
    world = World()
    kept = [world.provider.add_foreign(label) for label in ("mine", "dumont-" + "a" * 28, "dumont-x", "")]
    world.clock.step(hours=1)

    machines(world.deps)

    assert set(world.provider.made) == set(kept)


def test_a_machine_that_is_wanted_stays_and_its_twin_goes() -> None:
    world = World()
    instance, _ = world.running(width=1)
    attempt = world.attempts(instance.id)[0]
    twin = orphan(world, attempt.id)
    world.clock.step(minutes=5)

    machines(world.deps)

    assert list(world.provider.made) == [attempt.machine_id]
    assert twin in world.provider.gone
    events = world.deps.records.all(Event, EVENTS_OF_INSTANCE, {"instance_id": instance.id})
    assert [twin in e.message for e in events if e.kind == "orphan"] == [True], "its user hears of it"


def test_a_machine_rented_between_the_two_lists_is_spared() -> None:
    """Machines are listed first: what is created afterwards cannot look like an orphan."""
    world = World(orphan_grace_s=0)
    listed = world.provider.list

    def list_then_rent() -> Any:
        found = listed()
        world.provision(width=1)
        return found

    world.provider.list = list_then_rent  # type: ignore[method-assign]

    report = machines(world.deps)

    assert report.changed == 0 and len(world.provider.made) == 1


def test_a_provider_that_cannot_be_listed_is_reported_and_tried_again() -> None:
    world = World()
    orphan(world)
    world.clock.step(minutes=5)
    world.provider.fail_next["list"].append(errors.ProviderBusy("500", 1))

    assert machines(world.deps).failed == 1
    assert machines(world.deps).changed == 1


# Records --------------------------------------------------------------------------------------------------------------


def test_expired_records_go_and_others_stay() -> None:
    world = World()
    now = world.clock.now()
    for collection in ("sessions", "events", "orders", "idempotency", "throttles"):
        world.store.commit(
            [
                Create(collection, "old", {"expires_at": now - timedelta(seconds=1)}),
                Create(collection, "new", {"expires_at": now + timedelta(days=1)}),
            ]
        )

    assert records(world.deps).changed == 5

    for collection in ("sessions", "events", "orders", "idempotency", "throttles"):
        assert world.store.get(collection, "old") is None
        assert world.store.get(collection, "new") is not None


def test_a_reservation_ends_after_its_time_and_the_snapshot_stays() -> None:
    world = World()
    asleep = world.hibernated()
    assert asleep.last_host_id is not None

    reservations(world.deps)
    assert world.instance(asleep.id).last_host_id == asleep.last_host_id
    world.clock.step(minutes=31)
    reservations(world.deps)

    after = world.instance(asleep.id)
    assert after.last_host_id is None and after.snapshot_id == asleep.snapshot_id


# Transactions ---------------------------------------------------------------------------------------------------------


def test_a_transaction_that_was_overtaken_runs_again_on_fresh_records() -> None:
    world = World()
    instance = world.provision()
    seen: list[str] = []

    def rename(tx: Any) -> None:
        one = tx.load(Instance, instance.id)
        seen.append(one.name)
        if len(seen) == 1:
            other = Records(world.store, world.clock)
            other.transact(lambda t: t.save(replace(t.load(Instance, instance.id), name="first")))
        tx.save(replace(one, labels={"a": "b"}))

    world.deps.records.transact(rename)

    after = world.instance(instance.id)
    assert (after.name, after.labels) == ("first", {"a": "b"})
    assert len(seen) == 2


def test_what_breaks_inside_a_transaction_changes_nothing() -> None:
    world = World()
    instance = world.provision()

    def break_off(tx: Any) -> None:
        tx.save(replace(tx.load(Instance, instance.id), name="changed"))
        raise errors.Conflict("no")

    with pytest.raises(errors.Conflict):
        world.deps.records.transact(break_off)

    assert world.instance(instance.id).name == instance.name


def test_an_attempt_that_was_never_asked_for_is_closed_without_a_provider() -> None:
    world = World()
    instance = world.provision(width=1)
    attempt = world.attempts(instance.id)[0]
    open_again = replace(attempt, stage=Stage.OPEN, asked_at=None, machine_id=None, created_at=None)
    world.store.commit([Put("attempts", attempt.id, codec.encode(open_again))])
    world.provider.made.clear()
    from shared.flows import instances

    instances.destroy(instance.id, 0, world.user.id, world.deps)
    world.settle(instance.id, lambda i: i.state is State.DESTROYED)

    closed = world.deps.records.load(Attempt, attempt.id)
    assert closed.stage is Stage.CLOSED and closed.receipt is not None and closed.receipt.tries == 0
