"""A standby follows, takes over when the machine is lost, hands back, and nothing is ever written by two."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from shared import errors, leases
from shared.domain.attempt import Attempt, Outcome, Stage
from shared.domain.event import Event
from shared.domain.instance import Instance, State
from shared.domain.order import Pulse
from shared.domain.snapshot import Snapshot
from shared.flows import breaker, instances, snapshots, standby, usage
from shared.flows.advance.step import Step
from shared.providers.base import Features, MachineStatus
from shared.queries import instance_view
from shared.store.base import Store
from shared.store.records import Transaction
from shared.store.shapes import EVENTS_OF_INSTANCE
from shared.sweeps.budgets import budgets
from shared.wire.standby import FailoverBody, StandbyBody
from shared.wire.usage import BudgetBody
from tests.support.world import FakeAgent, World, an_offer


def cpu_world(store: Store | None = None) -> World:
    """A world whose provider sells CPU machines too."""
    world = World(store=store)
    world.provider.features = Features(sells_cpu=True)
    cpu = an_offer(90, gpu_count=0, gpu_name="", vram_gb=0, usd_per_hour=Decimal("0.01"))
    world.provider.stock += [
        replace(cpu, offer_id=f"zone-{z}/e2-small", machine_id=f"zone-{z}/e2-small", host_id=f"zone-{z}/e2-small")
        for z in "abc"
    ]
    return world


@pytest.fixture
def world() -> World:
    return cpu_world()


def standbys(world: World, id: str) -> list[Attempt]:
    return [a for a in world.deps.records.open_attempts(id) if a.is_standby]


def lose(world: World, agent: FakeAgent) -> None:
    """The machine vanishes, and silence lets somebody ask."""
    world.provider.made.pop(str(agent.me.machine_id))
    world.clock.step(seconds=world.deps.settings.silence_after_s + 1)


def with_standby(world: World, **asked: object) -> tuple[Instance, FakeAgent, FakeAgent]:
    """A running instance whose standby holds its first snapshot."""
    instance, agent = world.running()
    body = StandbyBody.model_validate({"instance": instance.id, "interval_s": 30, **asked})
    standby.put(body, world.user.id, world.deps)
    follower = made(world, instance.id)
    beat_until(world, instance.id, agent, lambda i: bool(agent.orders("snapshot")))
    agent.take_snapshot()
    follow(world, instance.id, follower)
    return world.instance(instance.id), agent, follower


def made(world: World, id: str) -> FakeAgent:
    world.settle(id, lambda i: any(a.stage is Stage.CREATED for a in standbys(world, id)))
    follower = world.agent(next(a for a in standbys(world, id) if a.stage is Stage.CREATED))
    assert follower.register(gpus=0).adopted
    return follower


def beat_until(world: World, id: str, agent: FakeAgent, until: object) -> None:
    for _ in range(60):
        if until(world.instance(id)):  # type: ignore[operator]
            return
        world.clock.step(seconds=5)
        agent.beat()
        world.advance(id)
    raise AssertionError(world.instance(id))


def follow(world: World, id: str, follower: FakeAgent) -> None:
    world.settle(id, lambda i: bool(follower.orders("restore")))
    follower.finish("restore", stage="restored")
    assert world.instance(id).standby_snapshot_id == world.instance(id).snapshot_id


def on_standby(world: World) -> tuple[Instance, FakeAgent, FakeAgent]:
    instance, agent, follower = with_standby(world)
    lose(world, agent)
    follower.beat()
    world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)
    return world.instance(instance.id), agent, follower


def gpu_ready(world: World, id: str) -> FakeAgent:
    world.settle(id, lambda i: bool(world.created(id)))
    gpu = world.agent(world.created(id)[0])
    assert gpu.register().adopted
    return gpu


def save_all(world: World, id: str, follower: FakeAgent) -> str:
    """Every snapshot ordered from the standby, the last one too; the newest one's id."""
    world.settle(id, lambda i: i.state is State.FAILING_OVER)
    while follower.orders("snapshot"):
        follower.take_snapshot()
    return str(world.instance(id).snapshot_id)


def test_a_standby_is_made_fills_and_follows(world: World) -> None:
    instance, agent, follower = with_standby(world)
    (shown,) = standby.list_standbys(world.user.id, world.deps).standbys
    assert (shown.phase, shown.lag_s) == ("following", 0.0)

    before = instance.snapshot_id
    beat_until(world, instance.id, agent, lambda i: bool(agent.orders("snapshot")))
    agent.take_snapshot()
    assert world.instance(instance.id).snapshot_id != before
    (shown,) = standby.list_standbys(world.user.id, world.deps).standbys
    assert (shown.phase, shown.lag_bytes) == ("behind", 10)
    follow(world, instance.id, follower)


def test_the_standby_takes_over_the_gpu_takes_back_and_the_standby_follows_again(world: World) -> None:
    instance, old, follower = on_standby(world)
    assert instance.machine is not None and instance.attempt_id == follower.attempt_id
    assert instance.failover is not None and instance.failover.promoted_at is not None
    with pytest.raises(errors.Unauthenticated):
        old.beat()

    gpu = gpu_ready(world, instance.id)
    last = save_all(world, instance.id, follower)
    world.settle(instance.id, lambda i: bool(gpu.orders("restore")))
    assert gpu.orders("restore")[0].payload["snapshot_id"] == last
    gpu.finish("restore", stage="restored")
    back = world.settle(instance.id)

    assert (back.state, back.attempt_id) == (State.RUNNING, gpu.attempt_id)
    assert back.failover is not None and back.failover.back_at is not None and back.failure is None
    assert back.standby_attempt_id == follower.attempt_id and back.standby_snapshot_id == last
    assert len(world.provider.made) == 2, "the GPU and the standby, nothing else"


def test_a_standbys_work_is_held_while_it_hands_back_goes_on_when_that_fails_and_ends_once_a_gpu_serves(
    world: World,
) -> None:
    def work(agent: FakeAgent) -> str:
        return str(agent.beat().settings.work)

    instance, old, follower = with_standby(world)
    assert (work(old), work(follower)) == ("runs", "ended")
    lose(world, old)
    follower.beat()
    world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)
    assert work(follower) == "runs"
    gpu = gpu_ready(world, instance.id)
    save_all(world, instance.id, follower)
    assert work(follower) == "held", "its last snapshot is what the GPU gets"
    world.settle(instance.id, lambda i: bool(gpu.orders("restore")))
    assert (work(follower), work(gpu)) == ("held", "runs"), "it may still have to serve on"
    gpu.finish("restore", state="failed", error="no space")
    world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)
    assert work(follower) == "runs"

    gpu = gpu_ready(world, instance.id)
    save_all(world, instance.id, follower)
    world.settle(instance.id, lambda i: bool(gpu.orders("restore")))
    gpu.finish("restore", stage="restored")
    world.settle(instance.id)
    assert (work(gpu), work(follower)) == ("runs", "ended")


def test_a_follower_cannot_write_as_the_instance(world: World) -> None:
    instance, agent, follower = with_standby(world)
    beat_until(world, instance.id, agent, lambda i: bool(agent.orders("snapshot")))

    order = agent.orders("snapshot")[0]
    forged = FakeAgent(world, follower.attempt_id)
    forged.orders = lambda kind: [order] if kind == "snapshot" else []  # type: ignore[method-assign]
    with pytest.raises(errors.Forbidden):
        forged.take_snapshot()


def test_a_silent_machine_that_the_provider_still_has_is_not_failed_over(world: World) -> None:
    instance, _, follower = with_standby(world)
    for _ in range(20):
        world.clock.step(seconds=15)
        follower.beat()
        world.advance(instance.id)

    assert world.instance(instance.id).state is State.RUNNING
    assert "silent" in str(world.instance(instance.id).failure)


@pytest.mark.parametrize("word", [MachineStatus.OFFLINE, MachineStatus.STOPPED, MachineStatus.BROKEN])
def test_a_machine_that_its_provider_calls_dead_too_is_failed_over_once_a_standby_holds_its_files(
    world: World, word: MachineStatus
) -> None:
    instance, agent, follower = with_standby(world)
    alone, other = world.running()
    for each in (agent, other):
        world.provider.set_status(str(each.me.machine_id), word)
    world.clock.step(seconds=world.deps.settings.silence_after_s + 1)
    follower.beat()
    world.advance(instance.id)
    assert world.instance(instance.id).state is State.RUNNING, "suspect is not dead"

    world.clock.step(seconds=world.deps.settings.silence_after_s)
    follower.beat()
    world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)
    world.advance(alone.id)
    assert world.instance(alone.id).state is State.RUNNING, "its machine holds the only copy"


def test_a_provider_that_does_not_answer_proves_nothing(world: World) -> None:
    instance, agent, follower = with_standby(world)
    lose(world, agent)
    world.provider.fail_next["get"] = [errors.ProviderBusy("down", 5)] * 5
    follower.beat()
    world.advance(instance.id)
    assert world.instance(instance.id).state is State.RUNNING

    world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)


def test_a_standby_that_is_behind_catches_up_before_it_serves(world: World) -> None:
    instance, agent, follower = with_standby(world)
    beat_until(world, instance.id, agent, lambda i: bool(agent.orders("snapshot")))
    agent.take_snapshot()
    lose(world, agent)
    follower.beat()
    world.settle(instance.id, lambda i: i.state is State.FAILING_OVER)
    for _ in range(3):
        world.advance(instance.id)
        assert world.instance(instance.id).state is State.FAILING_OVER, "half a snapshot is never seen"

    follow(world, instance.id, follower)
    world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)


def test_a_preempted_standby_is_remade_and_filled_again(world: World) -> None:
    instance, agent, follower = with_standby(world)
    world.provider.made.pop(str(follower.me.machine_id))
    beat_until(world, instance.id, agent, lambda i: i.standby_attempt_id is None)
    beat_until(world, instance.id, agent, lambda i: any(a.stage is Stage.CREATED for a in standbys(world, i.id)))
    again = made(world, instance.id)
    follow(world, instance.id, again)
    assert world.instance(instance.id).state is State.RUNNING


@pytest.mark.parametrize("when", ["asked for", "boots", "follows"])
def test_another_standby_replaces_the_one_there_is_at_once(world: World, when: str) -> None:
    instance, agent, _ = with_standby(world) if when == "follows" else (*world.running(), None)
    if when != "follows":
        standby.put(StandbyBody(instance=instance.id), world.user.id, world.deps)
    if when == "boots":
        world.settle(instance.id, lambda i: any(a.stage is Stage.CREATED for a in standbys(world, i.id)))
    (old,) = [a for a in standbys(world, instance.id) if a.wants_machine]
    standby.put(StandbyBody(instance=instance.id, disk_gib=40), world.user.id, world.deps)
    world.settle(instance.id, lambda i: any(a.stage is Stage.CREATED for a in standbys(world, i.id) if a.id != old.id))
    for _ in range(10):
        world.clock.step(seconds=10)
        agent.beat()
        world.advance(instance.id)

    again = made(world, instance.id)
    assert again.attempt_id != old.id
    assert {m.machine.token for m in world.provider.made.values()} == {
        f"dumont-{id}" for id in (agent.attempt_id, again.attempt_id)
    }, "the old one is gone"
    assert world.instance(instance.id).standby_attempt_id == again.attempt_id


def test_a_standby_that_hangs_is_remade_but_not_for_an_outage_of_ours(world: World) -> None:
    instance, agent, follower = with_standby(world)
    silence = world.deps.settings.silence_after_s

    def live(seconds: float, *heard: FakeAgent) -> None:
        for _ in range(int(seconds / 10)):
            world.clock.step(seconds=10)
            for one in heard:
                one.beat()
            world.advance(instance.id)

    live(20 * silence)
    agent.beat()
    world.advance(instance.id)
    live(3 * silence, agent, follower)
    live(9 * silence, agent)
    assert world.instance(instance.id).standby_attempt_id == follower.attempt_id, "it may come back"
    live(3 * silence, agent, follower)
    assert world.instance(instance.id).standby_silent_since is None
    live(12 * silence, agent)
    again = made(world, instance.id)
    follow(world, instance.id, again)
    assert again.attempt_id != follower.attempt_id and world.instance(instance.id).state is State.RUNNING


def test_a_standby_lost_while_it_serves_leaves_the_newest_snapshot(world: World) -> None:
    instance, _, follower = on_standby(world)
    world.clock.step(minutes=6)
    follower.beat()
    world.provider.made.pop(str(follower.me.machine_id))
    world.clock.step(seconds=world.deps.settings.silence_after_s + 1)
    world.settle(instance.id, lambda i: i.state in (State.FAILING_OVER, State.HIBERNATED))

    gpu = gpu_ready(world, instance.id)
    gpu.finish("restore", stage="restored")
    assert world.settle(instance.id).state is State.RUNNING


def test_a_gpu_lost_during_hand_back_leaves_the_standby_serving(world: World) -> None:
    instance, _, follower = on_standby(world)
    gpu = gpu_ready(world, instance.id)
    save_all(world, instance.id, follower)
    world.settle(instance.id, lambda i: bool(gpu.orders("restore")))
    world.provider.made.pop(str(gpu.me.machine_id))
    for _ in range(20):
        world.clock.step(seconds=10)
        follower.beat()
        world.advance(instance.id)
        if world.instance(instance.id).state is State.ON_STANDBY:
            break
    back = world.instance(instance.id)
    assert (back.state, back.attempt_id) == (State.ON_STANDBY, follower.attempt_id)

    second = gpu_ready(world, instance.id)
    save_all(world, instance.id, follower)
    world.settle(instance.id, lambda i: bool(second.orders("restore")))
    second.finish("restore", stage="restored")
    assert world.settle(instance.id).state is State.RUNNING


def test_destroying_and_hibernating_leave_no_standby_behind(world: World) -> None:
    instance, agent, follower = with_standby(world)
    instances.hibernate(instance.id, 0, world.user.id, world.deps)
    agent.take_snapshot()
    world.settle(instance.id)
    follower.beat()
    world.advance(instance.id)
    assert len(world.provider.made) == 1, "kept through the reservation"
    (shown,) = standby.list_standbys(world.user.id, world.deps).standbys
    assert shown.phase in ("following", "behind"), "what costs money is not off"
    world.clock.step(seconds=world.deps.settings.reservation_s + 1)
    world.advance(instance.id)
    world.settle(instance.id)
    assert world.provider.made == {}
    (shown,) = standby.list_standbys(world.user.id, world.deps).standbys
    assert shown.phase == "off"

    other, _, _ = with_standby(world)
    instances.destroy(other.id, 0, world.user.id, world.deps)
    world.settle(other.id)
    assert world.provider.made == {}


def test_removing_a_standby_ends_its_machine(world: World) -> None:
    instance, agent, _ = with_standby(world)
    standby.remove(instance.id, world.user.id, world.deps)
    agent.beat()
    for _ in range(5):
        world.advance(instance.id)
        world.clock.step(seconds=3)
    assert len(world.provider.made) == 1
    assert standby.list_standbys(world.user.id, world.deps).standbys == []


def test_a_person_may_fail_over_a_machine_that_still_runs(world: World) -> None:
    instance, old, follower = with_standby(world)
    standby.fail_over(FailoverBody(instance=instance.id), 0, world.user.id, world.deps)
    world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)

    with pytest.raises(errors.Unauthenticated):
        old.beat()
    assert follower.attempt_id == world.instance(instance.id).attempt_id


def test_a_gpu_that_won_as_the_serving_standby_was_lost_is_let_go_and_a_wake_gets_another(world: World) -> None:
    instance, _, follower = on_standby(world)
    world.settle(instance.id, lambda i: bool(world.created(instance.id)))
    won = world.agent(world.created(instance.id)[0])
    lose(world, follower)
    won.register()
    world.settle(instance.id, lambda i: i.state is State.HIBERNATED)
    assert world.instance(instance.id).incoming_attempt_id is None

    instances.wake(instance.id, 0, world.user.id, world.deps)
    gpu = gpu_ready(world, instance.id)
    assert gpu.attempt_id != won.attempt_id
    gpu.finish("restore", stage="restored")
    world.settle(instance.id, lambda i: i.state is State.RUNNING and not i.restoring)
    labels = {made.machine.token for made in world.provider.made.values()}
    assert f"dumont-{won.attempt_id}" not in labels, "nobody wants it, so nobody pays for it"


def kinds(world: World, id: str) -> list[str]:
    found = world.deps.records.all(Event, EVENTS_OF_INSTANCE, {"instance_id": id})
    return [e.kind for e in sorted(found, key=lambda e: e.at)]


def test_every_phase_of_a_failover_is_an_event_with_its_time_and_the_figures_are_measured(world: World) -> None:
    instance, _, follower = on_standby(world)
    gpu = gpu_ready(world, instance.id)
    save_all(world, instance.id, follower)
    world.settle(instance.id, lambda i: bool(gpu.orders("restore")))
    world.clock.step(seconds=7)
    gpu.finish("restore", stage="restored")
    world.settle(instance.id)

    told = kinds(world, instance.id)
    phases = ["failing_over", "promoted", "searching", "gpu_found", "handing_back", "restored", "handed_back"]
    # Those of one moment have no order among them.
    assert sorted(k for k in told if k in phases) == sorted(phases)
    assert told.index("failing_over") < told.index("handed_back")
    shown = instance_view(world.instance(instance.id)).failover
    assert shown is not None and shown.rpo_s is not None and shown.rto_s is not None
    assert shown.gpu_back_s is not None and shown.gpu_back_s >= 7
    assert shown.gpu_back_s == (shown.back_at - shown.detected_at).total_seconds()  # type: ignore[operator]


def test_a_failover_without_a_standby_is_measured_too(world: World) -> None:
    instance, agent = world.running(snapshot_every_s=60)
    world.clock.step(seconds=60)
    agent.beat()
    agent.take_snapshot()
    standby.fail_over(FailoverBody(instance=instance.id), 0, world.user.id, world.deps)
    gpu_ready(world, instance.id).finish("restore", stage="restored")
    world.settle(instance.id)

    shown = instance_view(world.instance(instance.id)).failover
    assert shown is not None and shown.promoted_at is None
    assert shown.rto_s is not None and shown.rto_s == shown.gpu_back_s


def test_a_disk_smaller_than_the_workspace_and_instances_that_are_gone_are_refused(world: World) -> None:
    instance, _, _ = with_standby(world)
    rented = len(world.provider.creates)
    big = replace(world.deps.records.load(Snapshot, str(instance.snapshot_id)), bytes=50 * standby.GIB)

    def grow(tx: Transaction) -> None:
        tx.load(Snapshot, big.id)
        tx.save(big)

    world.deps.records.transact(grow)
    with pytest.raises(errors.InvalidRequest, match="disk_gib"):
        standby.put(StandbyBody(instance=instance.id, disk_gib=20), world.user.id, world.deps)
    with pytest.raises(errors.NotFound):
        standby.fail_over(FailoverBody(instance=instance.id), 0, "u-other", world.deps)
    instances.destroy(instance.id, 0, world.user.id, world.deps)
    world.settle(instance.id, lambda i: i.state is State.DESTROYED)
    for ask in (
        lambda: standby.put(StandbyBody(instance=instance.id), world.user.id, world.deps),
        lambda: standby.fail_over(FailoverBody(instance=instance.id), 0, world.user.id, world.deps),
    ):
        with pytest.raises(errors.IllegalTransition, match=r"is destroyed; a (standby|failover) needs running"):
            ask()
    assert len(world.provider.creates) == rented and world.provider.made == {}


def test_what_the_machine_measures_decides_whether_a_disk_is_large_enough_holes_do_not_count(world: World) -> None:
    instance, agent = world.running()
    world.clock.step(seconds=30)
    agent.beat(workspace_bytes=19 * standby.GIB)
    rented = len(world.provider.creates)
    with pytest.raises(errors.InvalidRequest, match=r"the workspace has 19\.0 GiB; 10 GiB would not hold it"):
        standby.put(StandbyBody(instance=instance.id, disk_gib=10), world.user.id, world.deps)
    assert len(world.provider.creates) == rented, "before its first snapshot as well"
    world.clock.step(seconds=30)
    agent.beat(workspace_bytes=standby.GIB)
    standby.put(StandbyBody(instance=instance.id, disk_gib=10), world.user.id, world.deps)


def test_bad_requests_rent_nothing(world: World) -> None:
    instance, _ = world.running()
    rented = len(world.provider.creates)

    def ask(**body: object) -> None:
        standby.put(StandbyBody.model_validate({"instance": instance.id, **body}), world.user.id, world.deps)

    with pytest.raises(errors.InvalidRequest, match="zone"):
        ask(zone="mars-1")
    with pytest.raises(errors.InvalidRequest, match="machine_type"):
        ask(machine_type="h200")
    with pytest.raises(errors.Conflict, match="no snapshot"):
        standby.fail_over(FailoverBody(instance=instance.id), 0, world.user.id, world.deps)
    with pytest.raises(errors.NotFound):
        standby.put(StandbyBody(instance=instance.id), "u-other", world.deps)
    with pytest.raises(errors.NotFound):
        standby.remove(instance.id, world.user.id, world.deps)
    asleep = world.hibernated()
    rented = len(world.provider.creates)
    with pytest.raises(errors.IllegalTransition):
        standby.put(StandbyBody(instance=asleep.id), world.user.id, world.deps)
    seen = standby.put(StandbyBody(instance=instance.id, preview=True), world.user.id, world.deps)
    assert seen.phase == "preview" and seen.usd_per_month == Decimal("7.30")
    assert len(world.provider.creates) == rented


def test_a_standby_that_has_handed_back_can_commit_nothing_more(world: World) -> None:
    instance, _, follower = on_standby(world)
    beat_until(world, instance.id, follower, lambda i: bool(follower.orders("snapshot")))
    slow = follower.orders("snapshot")[0]
    gpu = gpu_ready(world, instance.id)
    world.settle(instance.id, lambda i: len(follower.orders("snapshot")) == 2)
    last = follower.take_snapshot(order=next(o for o in follower.orders("snapshot") if o.id != slow.id))
    world.settle(instance.id, lambda i: bool(gpu.orders("restore")))
    gpu.finish("restore", stage="restored")
    world.settle(instance.id)

    with pytest.raises(errors.NotFound, match="no snapshot"):
        follower.take_snapshot(order=slow)
    assert world.instance(instance.id).snapshot_id == last.id


def test_the_last_sign_of_life_is_measured_even_when_the_failover_died_after_fencing(world: World) -> None:
    instance, agent, follower = with_standby(world)
    agent.beat()
    heard = world.deps.records.load(Pulse, agent.attempt_id).at
    with leases.hold(world.deps, instance.id) as held:
        attempts = world.deps.records.open_attempts(instance.id)
        step = Step(world.deps, world.instance(instance.id), held.lease, attempts, "system")
        step.end_attempt(agent.me, Outcome.LOST, "gone")
    for _ in range(5):
        world.clock.step(seconds=3)
        follower.beat()
        world.advance(instance.id)
    failed_over = world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)
    assert failed_over.failover is not None and failed_over.failover.heard_at == heard


def spend_all(world: World) -> None:
    usage.set_budget(BudgetBody(usd_per_month=Decimal(0)), world.user.id, world.deps)


@pytest.mark.parametrize("gpu", ["none", "raced for", "ready"])
def test_a_used_up_budget_saves_what_the_standby_holds_and_pays_for_nothing_more(world: World, gpu: str) -> None:
    instance, _, follower = on_standby(world)
    if gpu != "none":
        world.settle(instance.id, lambda i: bool(world.created(i.id)))
    waiting = [world.agent(a) for a in world.created(instance.id)]
    if gpu == "ready":
        # Between the GPU's word and the next step.
        waiting[0].register()
        assert world.instance(instance.id).incoming_attempt_id == waiting[0].attempt_id
    spend_all(world)
    budgets(world.deps)
    asleep = world.instance(instance.id)
    assert asleep.state is State.HIBERNATING and asleep.incoming_attempt_id is None
    for one in waiting:
        with pytest.raises(errors.Unauthenticated):
            one.beat()
    while follower.orders("snapshot"):
        follower.take_snapshot()
    asleep = world.settle(instance.id)

    assert asleep.state is State.HIBERNATED and asleep.snapshot_id != instance.snapshot_id
    assert world.provider.made == {}, "the standby goes as well: it would cost money"
    assert asleep.standby is not None and asleep.standby_attempt_id is None
    assert asleep.last_machine is not None and asleep.last_machine.gpu_count == 1
    with pytest.raises(errors.BudgetReached):
        instances.wake(instance.id, 0, world.user.id, world.deps)
    usage.set_budget(BudgetBody(usd_per_month=None), world.user.id, world.deps)
    instances.wake(instance.id, 0, world.user.id, world.deps)
    back = gpu_ready(world, instance.id)
    world.settle(instance.id, lambda i: bool(back.orders("restore")))
    assert back.orders("restore")[0].payload["snapshot_id"] == asleep.snapshot_id


def test_no_gpu_is_searched_on_a_used_up_budget_and_the_standby_keeps_what_cannot_be_saved(world: World) -> None:
    instance, agent, follower = with_standby(world)
    lose(world, agent)
    follower.beat()
    world.provider.stock = [o for o in world.provider.stock if o.gpu_count == 0]
    world.settle(
        instance.id, lambda i: i.state is State.ON_STANDBY and i.opened == 0 and i.hibernate_not_before is not None
    )
    world.provider.stock += [an_offer(n) for n in range(1, 4)]
    spend_all(world)
    tried = len(world.provider.creates)
    world.clock.step(seconds=600)
    follower.beat()
    world.advance(instance.id)
    assert len(world.provider.creates) == tried and world.instance(instance.id).state is State.ON_STANDBY

    budgets(world.deps)
    world.settle(instance.id, lambda i: bool(follower.orders("snapshot")))
    follower.finish("snapshot", state="failed", error="storage is away")
    kept = world.settle(instance.id, lambda i: i.state is not State.HIBERNATING)
    assert kept.state is State.ON_STANDBY and kept.attempt_id == follower.attempt_id
    assert kept.failure is not None and "storage is away" in kept.failure
    budgets(world.deps)
    while follower.orders("snapshot"):
        follower.take_snapshot()
    assert world.settle(instance.id).state is State.HIBERNATED


def test_a_user_may_put_what_runs_on_its_standby_to_sleep(world: World) -> None:
    instance, _, follower = on_standby(world)
    instances.hibernate(instance.id, 0, world.user.id, world.deps)
    while follower.orders("snapshot"):
        follower.take_snapshot()
    assert world.settle(instance.id).state is State.HIBERNATED


def worked_and_lost(world: World, times: int, apart_s: float) -> Instance:
    """An instance with a snapshot whose machine is lost again and again, so long after it came back."""
    instance, agent = world.running(snapshot_every_s=60)
    world.clock.step(seconds=60)
    agent.beat()
    agent.take_snapshot()
    for number in range(times):
        lose(world, agent)
        lost = world.settle(instance.id, lambda i: i.state is not State.RUNNING)
        if lost.state is not State.FAILING_OVER:
            break
        agent = gpu_ready(world, instance.id)
        agent.finish("restore", stage="restored")
        world.settle(instance.id)
        if number + 1 < times:
            # Since the last failover began, so that the next begins exactly so long after it.
            since = (world.clock.now() - world.instance(instance.id).failovers[-1]).total_seconds()
            silence = world.deps.settings.silence_after_s + 1
            world.clock.step(seconds=max(0.0, apart_s - since - silence))
            agent.beat()
    return world.instance(instance.id)


def test_two_failovers_are_five_minutes_apart_and_the_second_too_early_asks_a_person(world: World) -> None:
    early = worked_and_lost(world, 2, apart_s=200)
    assert early.state is State.HIBERNATED and len(early.failovers) == 1
    assert "less than 5 minutes ago" in str(early.failure) and "wake it" in str(early.failure)
    assert kinds(world, early.id).count("machine_lost") == 1

    late = worked_and_lost(world, 2, apart_s=301)
    assert late.state is State.RUNNING and len(late.failovers) == 2


def test_the_sixth_failover_of_a_day_asks_a_person_and_a_wake_is_the_way_out(world: World) -> None:
    some = worked_and_lost(world, 6, apart_s=400)
    assert some.state is State.HIBERNATED and len(some.failovers) == 5
    assert "5 within a day are the most" in str(some.failure)
    assert world.provider.made == {}

    instances.wake(some.id, 0, world.user.id, world.deps)
    gpu_ready(world, some.id).finish("restore", stage="restored")
    assert world.settle(some.id).state is State.RUNNING


def test_many_failovers_at_once_open_the_breaker_and_an_administrator_closes_it(world: World) -> None:
    world.deps = replace(world.deps, settings=world.deps.settings.model_copy(update={"failovers_at_once": 1}))
    fleet = [with_standby(world) for _ in range(3)]
    for _, agent, _ in fleet:
        world.provider.made.pop(str(agent.me.machine_id))
    world.clock.step(seconds=world.deps.settings.silence_after_s + 1)
    for instance, _, follower in fleet:
        follower.beat()
        for _ in range(4):
            world.advance(instance.id)
    states = [world.instance(i.id).state for i, _, _ in fleet]
    assert states == [State.ON_STANDBY, State.RUNNING, State.RUNNING]
    held = world.instance(fleet[1][0].id)
    assert "taken for lost" in str(held.failure) and kinds(world, held.id).count("failover_held") == 1
    assert held.attempt_id == fleet[1][1].attempt_id and fleet[1][1].me.wants_machine, "nothing was fenced"
    assert breaker.show(world.deps).open and breaker.show(world.deps).recent == 1

    asked = fleet[2][0]
    standby.fail_over(FailoverBody(instance=asked.id), 0, world.user.id, world.deps)
    world.settle(asked.id, lambda i: i.state is State.ON_STANDBY)

    world.clock.step(hours=3)
    for _, _, follower in fleet:
        follower.beat()
    world.advance(held.id)
    assert world.instance(held.id).state is State.RUNNING, "time alone does not close it"
    assert kinds(world, held.id).count("failover_held") == 1
    breaker.close(world.deps)
    assert not breaker.show(world.deps).open
    world.settle(held.id, lambda i: i.state is State.ON_STANDBY)


def test_a_machine_that_was_there_all_the_time_goes_on_while_the_breaker_is_open(world: World) -> None:
    world.deps = replace(world.deps, settings=world.deps.settings.model_copy(update={"failovers_at_once": 0}))
    instance, agent, follower = with_standby(world)
    made = world.provider.made.pop(str(agent.me.machine_id))
    world.clock.step(seconds=world.deps.settings.silence_after_s + 1)
    follower.beat()
    world.advance(instance.id)
    assert "taken for lost" in str(world.instance(instance.id).failure)

    world.provider.made[made.machine.machine_id] = made
    agent.beat()
    world.advance(instance.id)
    back = world.instance(instance.id)
    assert (back.state, back.failure, back.attempt_id) == (State.RUNNING, None, agent.attempt_id)


def test_a_silent_standby_that_its_provider_still_has_is_not_asked_after_all_the_time(world: World) -> None:
    instance, agent, _ = with_standby(world)
    for made in list(world.provider.made):
        world.provider.set_status(made, MachineStatus.RUNNING)
    for _ in range(20):
        world.clock.step(seconds=10)
        agent.beat()
        world.advance(instance.id)
        due = world.instance(instance.id).next_action_at
        assert due is not None and due > world.clock.now() + timedelta(seconds=10)


def damage(world: World, snapshot_id: str | None) -> None:
    snapshot = world.deps.records.load(Snapshot, str(snapshot_id))
    found = snapshots.Found()
    found.bad("a frame does not open", "p/none")
    snapshots.mark(snapshot, found, world.deps)


@pytest.mark.parametrize("older", [True, False])
def test_a_standby_that_holds_what_storage_has_damaged_serves_it_and_takes_nothing_older(
    world: World, older: bool
) -> None:
    instance, agent, follower = with_standby(world)
    if older:
        world.clock.step(seconds=31)
        agent.beat()
        agent.take_snapshot()
        follow(world, instance.id, follower)
    held = world.instance(instance.id).standby_snapshot_id
    damage(world, held)
    fell_back = world.instance(instance.id)
    assert fell_back.snapshot_id == (instance.snapshot_id if older else None)
    for _ in range(3):
        world.advance(instance.id)
        assert follower.beat().orders == [], "an older one would take files away"

    lose(world, agent)
    follower.beat()
    served = world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)
    assert served.attempt_id == follower.attempt_id and served.standby_snapshot_id == held
    assert served.failover is not None
    assert served.failover.snapshot_at == world.deps.records.load(Snapshot, str(held)).created_at

    gpu = gpu_ready(world, instance.id)
    last = save_all(world, instance.id, follower)
    world.settle(instance.id, lambda i: bool(gpu.orders("restore")))
    assert gpu.orders("restore")[0].payload["snapshot_id"] == last not in (held, instance.snapshot_id)


def test_a_last_snapshot_that_is_found_damaged_at_once_is_taken_again(world: World) -> None:
    instance, _, follower = on_standby(world)
    gpu = gpu_ready(world, instance.id)
    last = save_all(world, instance.id, follower)
    damage(world, last)
    back = world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)
    assert back.attempt_id == follower.attempt_id and gpu.orders("restore") == []

    again = gpu_ready(world, instance.id)
    newer = save_all(world, instance.id, follower)
    world.settle(instance.id, lambda i: bool(again.orders("restore")))
    assert again.orders("restore")[0].payload["snapshot_id"] == newer != last


def test_gpus_that_do_not_get_the_files_are_tried_ever_more_seldom(world: World) -> None:
    instance, _, follower = on_standby(world)
    waits = []
    for _ in range(4):
        gpu = gpu_ready(world, instance.id)
        save_all(world, instance.id, follower)
        world.settle(instance.id, lambda i, gpu=gpu: bool(gpu.orders("restore")))  # type: ignore[misc]
        gpu.finish("restore", state="failed", error="disk full")
        follower.beat()
        back = world.settle(instance.id, lambda i: i.state is State.ON_STANDBY)
        until = back.hibernate_not_before
        waits.append(round((until - world.clock.now()).total_seconds()) if until else 0)
    assert waits == [0, 60, 120, 240]


def test_a_half_restored_tree_is_kept_aside_and_never_becomes_what_a_wake_brings_back(world: World) -> None:
    instance, agent = world.running(snapshot_every_s=60)
    world.clock.step(seconds=60)
    agent.beat()
    wanted = agent.take_snapshot()
    snapshots.restore(instance.id, wanted.id, world.user.id, world.deps)
    with pytest.raises(errors.Conflict, match="still restoring"):
        instances.hibernate(instance.id, 0, world.user.id, world.deps)
    agent.finish("restore", state="failed", error="storage answered 500")
    broken = world.instance(instance.id)
    assert "failed half-way" in str(broken.failure) and not broken.restoring

    world.clock.step(minutes=10)
    assert agent.beat().orders == [], "no snapshot beside the work of files that nobody wanted"
    idle = world.clock.now() - timedelta(minutes=4)
    agent.beat(idle_since=idle, why="idle since then")
    world.settle(instance.id, lambda i: bool(agent.orders("snapshot")))
    aside = agent.take_snapshot()
    asleep = world.settle(instance.id)

    assert (asleep.state, asleep.snapshot_id) == (State.HIBERNATED, wanted.id)
    assert f"a wake brings {wanted.id} back" in str(asleep.failure)
    assert aside.state == "verified" and aside.pinned and "half-way" in str(aside.problem)
    instances.wake(instance.id, 0, world.user.id, world.deps)
    gpu = gpu_ready(world, instance.id)
    assert gpu.orders("restore")[0].payload["snapshot_id"] == wanted.id
    gpu.finish("restore", stage="restored")
    assert world.settle(instance.id).half_restored_id is None


def test_a_restore_that_is_done_the_second_time_makes_the_files_whole_again(world: World) -> None:
    instance, agent = world.running(snapshot_every_s=60)
    world.clock.step(seconds=60)
    agent.beat()
    wanted = agent.take_snapshot()
    for state in ("failed", "done"):
        snapshots.restore(instance.id, wanted.id, world.user.id, world.deps)
        agent.finish("restore", state=state, stage="restored" if state == "done" else None)
    world.clock.step(seconds=61)
    agent.beat()
    newer = agent.take_snapshot()
    assert world.instance(instance.id).snapshot_id == newer.id and newer.problem is None
