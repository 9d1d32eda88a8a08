"""What a heartbeat tells and costs: a standby's whole day is heartbeats, so each reads little and writes less."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from shared import errors
from shared.domain.instance import Instance, State
from shared.domain.order import Pulse
from shared.domain.snapshot import Snapshot
from shared.flows import agents, instances
from shared.providers.base import MachineStatus
from shared.store.counting import CountingStore
from shared.store.records import Transaction
from shared.store.shapes import SNAPSHOTS_OF_INSTANCE
from shared.store.sqlite import SqliteStore
from shared.wire import agent as wire
from shared.wire.instances import ExecRequest
from tests.support.world import FakeAgent, World
from tests.unit.test_standby import cpu_world, with_standby


@pytest.fixture
def world() -> World:
    return cpu_world()


def told(answer: wire.HeartbeatAnswer) -> list[str]:
    return [order.kind for order in answer.orders]


def test_the_heartbeat_that_is_due_begins_the_snapshot_and_the_next_comes_when_one_is_due(world: World) -> None:
    instance, agent, _ = with_standby(world)
    world.clock.step(seconds=24)
    answer = agent.beat()
    assert told(answer) == []
    # The first was begun some seconds ago: not a whole heartbeat is waited for.
    begun = world.instance(instance.id).snapshot_at
    assert begun is not None
    left = (begun + timedelta(seconds=30) - world.clock.now()).total_seconds()
    assert answer.settings.heartbeat_s == pytest.approx(max(1.0, left)) and left < 10

    world.clock.step(seconds=answer.settings.heartbeat_s)
    answer = agent.beat()
    assert told(answer) == ["snapshot"] and answer.orders[0].payload["only_changes"]
    assert told(agent.beat()) == ["snapshot"], "an answer may be lost: it is told until it is done"
    assert world.instance(instance.id).snapshot_at == world.clock.now()


def test_a_follower_hears_of_a_new_snapshot_from_its_heartbeat_and_nobody_has_to_wake_for_it(world: World) -> None:
    instance, agent, follower = with_standby(world)
    pokes = world.instance(instance.id).pokes
    world.clock.step(seconds=31)
    agent.beat()
    taken = agent.take_snapshot()
    (order,) = follower.beat().orders
    assert (order.kind, order.payload["snapshot_id"], order.payload["exact"]) == ("restore", taken.id, True)
    agents.result(wire.OrderResult(order_id=order.id, state="done"), follower.me, world.deps)

    now = world.instance(instance.id)
    assert (now.standby_snapshot_id, now.standby_at) == (taken.id, world.clock.now())
    assert now.pokes == pokes and follower.beat().orders == []
    agents.result(wire.OrderResult(order_id=order.id, state="running"), follower.me, world.deps)
    with pytest.raises(errors.NotFound):
        agents.result(wire.OrderResult(order_id=order.id, state="done"), follower.me, world.deps)


def test_a_follower_that_could_not_is_told_again_later_under_another_name(world: World) -> None:
    instance, agent, follower = with_standby(world)
    world.clock.step(seconds=31)
    agent.beat()
    agent.take_snapshot()
    (first,) = follower.beat().orders
    agents.result(wire.OrderResult(order_id=first.id, state="failed", error="disk full"), follower.me, world.deps)
    world.advance(instance.id)
    assert follower.beat().orders == [], "not at once"
    world.clock.step(seconds=11)
    world.advance(instance.id)
    (second,) = follower.beat().orders
    assert second.payload == first.payload and second.id != first.id


def test_the_instances_machine_is_never_told_to_follow_and_a_follower_never_to_save(world: World) -> None:
    instance, agent, follower = with_standby(world)
    world.clock.step(seconds=31)
    (save,) = agent.beat().orders
    assert follower.beat().orders == []
    with pytest.raises(errors.NotFound):
        agents.result(wire.OrderResult(order_id=save.id, state="done", stage="unchanged"), follower.me, world.deps)
    agent.take_snapshot()
    assert agent.beat().orders == [] and told(follower.beat()) == ["restore"]
    assert world.instance(instance.id).state is State.RUNNING


def test_a_snapshot_beside_the_work_is_on_record_once_it_is_committed_and_leaves_none_when_nothing_changed(
    world: World,
) -> None:
    instance, agent, _ = with_standby(world)

    def on_record() -> list[Snapshot]:
        return world.deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance.id})

    world.clock.step(seconds=31)
    (order,) = agent.beat().orders
    assert len(on_record()) == 1
    agents.result(wire.OrderResult(order_id=order.id, state="done", stage="unchanged"), agent.me, world.deps)
    assert world.instance(instance.id).saving_id is None and len(on_record()) == 1

    world.clock.step(seconds=31)
    agent.beat()
    agent.take_snapshot()
    assert [one.state for one in on_record()] == ["verified", "verified"]
    world.clock.step(seconds=31)
    (order,) = agent.beat().orders
    agents.result(wire.OrderResult(order_id=order.id, state="failed", error="unreadable"), agent.me, world.deps)
    assert on_record()[0].state == "failed" and world.instance(instance.id).saving_id is None
    with pytest.raises(errors.Conflict):
        agent.take_snapshot(order=order)


def test_orders_are_listed_when_there_are_new_ones_and_all_of_them_to_an_agent_that_starts_again(world: World) -> None:
    instance, agent = world.running()
    carry = agent.beat().carry
    for number in range(3):
        body = ExecRequest(command=["true"])
        instances.start_exec(instance.id, body, world.user.id, world.deps, f"key-{number}")
        answer = agent.beat(carry=carry)
        assert len(answer.orders) == number + 1
        carry = answer.carry
    assert agent.beat(carry=carry).orders == [], "it is at them"
    assert len(agent.beat().orders) == 3


def test_what_a_machine_carries_is_believed_only_about_the_last_minutes(world: World) -> None:
    _, agent = world.running()
    carry = agent.beat().carry
    heard = world.clock.now()
    for at in (heard + timedelta(hours=1), heard - timedelta(days=400)):
        assert carry.minute is not None
        lie = carry.model_copy(update={"at": at, "minute": carry.minute.model_copy(update={"at": at})})
        world.clock.step(seconds=10)
        assert agent.beat(carry=lie).carry.at == world.clock.now()
        pulse = world.deps.records.load(Pulse, agent.attempt_id)
        assert pulse.at == world.clock.now() and pulse.minute is not None and pulse.minute.at <= world.clock.now()


def test_an_hour_of_a_standby_costs_few_reads_and_writes() -> None:
    store = CountingStore(SqliteStore(":memory:"))
    world = cpu_world(store)
    world.uncounted = replace(world.deps, store=store.inner, records=type(world.deps.records)(store.inner, world.clock))
    instance, agent, follower = with_standby(world)
    for made in list(world.provider.made):
        world.provider.set_status(made, MachineStatus.RUNNING)
    world.advance(instance.id)
    reads, writes = store.reads, store.writes
    carried: dict[str, wire.Carry | None] = {}

    def beat(one: FakeAgent) -> list[wire.Order]:
        answer = one.beat(carry=carried.get(one.attempt_id))
        carried[one.attempt_id] = answer.carry
        return answer.orders

    for _ in range(60):
        world.clock.step(seconds=10)
        for order in beat(agent):
            agent.take_snapshot(order=order)
        for order in beat(follower):
            done = wire.OrderResult(order_id=order.id, state="done", stage="restored")
            agents.result(done, follower.me, world.deps)
        due = world.looks.records.load(Instance, instance.id).next_action_at
        if due is not None and due <= world.clock.now():
            world.advance(instance.id)
    assert world.instance(instance.id).standby_snapshot_id == world.instance(instance.id).snapshot_id
    # Ten minutes. A heartbeat reads two documents; what else there is comes once a snapshot, or once a look.
    assert store.reads - reads <= 640
    assert store.writes - writes <= 210


def test_an_order_counts_once_whoever_else_changes_the_instance(world: World) -> None:
    instance, _ = world.running()
    before = world.instance(instance.id).orders

    def place(tx: Transaction) -> None:
        fresh = tx.load(Instance, instance.id)
        for _ in range(2):
            tx.save(agents.new_order(tx, fresh, str(fresh.attempt_id), "keys", {"authorized_keys": []}))
        tx.save(replace(fresh, name="other"))

    world.deps.records.transact(place)
    now = world.instance(instance.id)
    assert (now.orders, now.name) == (before + 1, "other")
