"""What `advance` promises in every passing state, whatever breaks and whenever it dies."""

from __future__ import annotations

from typing import Any

import pytest

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Outcome, Stage
from shared.domain.instance import State
from shared.flows import instances
from shared.flows.advance import advance
from shared.providers.base import MachineStatus
from shared.sweeps.machines import machines
from tests.support.crashing import Crash, Fuse
from tests.support.world import FakeAgent, World, crash_deps


def agents_act(world: World, id: str) -> None:
    """Whatever an agent would do now: register when its machine runs, follow its orders."""
    for attempt in world.deps.records.open_attempts(id):
        attempt = world.deps.records.load(Attempt, attempt.id)
        agent = FakeAgent(world, attempt.id)
        if attempt.stage is Stage.CREATED and attempt.machine_id in world.provider.made:
            agent.register()
        elif attempt.stage is Stage.ADOPTED:
            for _ in agent.orders("snapshot"):
                agent.take_snapshot()
            agent.finish("restore", stage="restored")
            agent.finish("setup", exit_code=0)


def unwanted_machines(world: World, id: str) -> set[str]:
    wanted = {a.label for a in world.deps.records.open_attempts(id) if a.wants_machine}
    return {m.machine.token for m in world.provider.made.values()} - wanted


class Crashing:
    """A world whose control plane dies once, and is started again."""

    def __init__(self, at: int, after: bool) -> None:
        self.world = World(lease_s=20)
        self.fuse = Fuse(at, after)
        self.deps: Deps = crash_deps(self.world, self.fuse)

    def until(self, id: str, state: State) -> None:
        for _ in range(600):
            instance = self.world.instance(id)
            if instance.state is state and not self.world.ending(id):
                return
            agents_act(self.world, id)
            due = self.world.instance(id).next_action_at
            if due is None or due > self.world.clock.now():
                self.world.clock.step(seconds=1)
                continue
            try:
                advance(self.deps, id)
            except Crash:
                self.fuse.dead = False
            except errors.LeaseHeld:
                self.world.clock.step(seconds=1)
        raise AssertionError(f"never {state}: {self.world.instance(id)}")

    def ask(self, act: Any) -> None:
        """A request whose function may die; the client asks again."""
        for _ in range(3):
            try:
                act()
                return
            except Crash:
                self.fuse.dead = False
            except errors.IllegalTransition:
                return


def story(crashing: Crashing, until: State) -> str:
    """Provision, hibernate, wake, destroy; stops at `until`."""
    world, deps = crashing.world, crashing.deps
    from shared.wire.instances import ProvisionRequest

    body = ProvisionRequest.model_validate({"gpu_name": "RTX 4090", "width": 3})
    user, key = world.user.id, "the-same-key"
    crashing.ask(lambda: instances.provision(body, "race", 0, user, deps, key))
    id = instances.provision(body, "race", 0, user, world.deps, key).id
    crashing.until(id, State.RUNNING)
    if until is State.RUNNING:
        return id
    crashing.ask(lambda: instances.hibernate(id, 0, user, deps))
    instances_or_skip(world, id, State.RUNNING, lambda: instances.hibernate(id, 0, user, world.deps))
    crashing.until(id, State.HIBERNATED)
    if until is State.HIBERNATED:
        return id
    crashing.ask(lambda: instances.wake(id, 0, user, deps))
    instances_or_skip(world, id, State.HIBERNATED, lambda: instances.wake(id, 0, user, world.deps))
    crashing.until(id, State.RUNNING)
    crashing.ask(lambda: instances.destroy(id, 0, user, deps))
    instances_or_skip(world, id, State.RUNNING, lambda: instances.destroy(id, 0, user, world.deps))
    crashing.until(id, State.DESTROYED)
    return id


def instances_or_skip(world: World, id: str, state: State, act: Any) -> None:
    """The client's last try, when the crash came before anything was stored."""
    if world.instance(id).state is state:
        act()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_change_still_ends_well_with_nothing_unwanted_left(after: bool) -> None:
    at = 0
    while True:
        at += 1
        crashing = Crashing(at, after)
        id = story(crashing, State.DESTROYED)
        world = crashing.world

        assert world.instance(id).state is State.DESTROYED, at
        world.clock.step(minutes=5)
        machines(world.deps)
        assert world.provider.made == {}, at
        assert len(set(world.provider.creates)) == len(world.provider.creates), f"one token, two machines ({at})"
        assert world.objects.objects == {}, at
        assert world.deps.records.open_attempts(id) == [], at
        if crashing.fuse.seen < at:
            break
    assert at > 40


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_while_hibernating_never_loses_the_snapshot(after: bool) -> None:
    at = 0
    while True:
        at += 1
        crashing = Crashing(at, after)
        id = story(crashing, State.HIBERNATED)

        instance = crashing.world.instance(id)
        assert instance.snapshot_id is not None
        prefix = f"instances/{id}/m/{instance.snapshot_id}"
        assert prefix in crashing.world.objects.objects
        if crashing.fuse.seen < at:
            break


def test_every_step_may_be_repeated() -> None:
    world = World()
    instance = world.provision(width=3)
    for _ in range(5):
        world.advance(instance.id)
        world.clock.step(seconds=1)

    assert len(world.provider.made) == 3
    assert len(world.provider.creates) == 3


def test_two_workers_at_once_do_it_once() -> None:
    world = World()
    instance = world.provision(width=3)
    from shared import leases

    with leases.hold(world.deps, instance.id), pytest.raises(errors.LeaseHeld):
        advance(world.deps, instance.id)


def test_a_late_worker_is_refused_by_its_old_lease() -> None:
    world = World()
    instance = world.provision()
    from shared import leases

    with leases.hold(world.deps, instance.id) as held:
        world.clock.step(seconds=60)
        with leases.hold(world.deps, instance.id), pytest.raises(errors.StaleLease):
            leases.renew(world.deps, instance.id, held)


@pytest.mark.parametrize("verb", ["offers", "create", "list", "terminate"])
@pytest.mark.parametrize(
    "error",
    [errors.ProviderBusy("busy", 2.0), errors.ProviderRejected("no"), errors.ProviderError("odd")],
    ids=lambda e: e.code,
)
def test_a_provider_that_fails_once_anywhere_leaves_nothing_paid_for(verb: str, error: errors.Error) -> None:
    crashing = Crashing(10**9, False)
    crashing.world.provider.fail_next[verb].append(error)
    try:
        id = story(crashing, State.DESTROYED)
    except (errors.ProviderRejected, errors.ProviderBusy, errors.NoCapacity):
        assert crashing.world.provider.made == {}
        return

    assert crashing.world.instance(id).state is State.DESTROYED
    assert crashing.world.provider.made == {}


# Provision ------------------------------------------------------------------------------------------------------------


def test_a_race_of_five_leaves_four_confirmed_receipts() -> None:
    world = World()
    instance, agent = world.running(width=5)

    attempts = world.attempts(instance.id)
    losers = [a for a in attempts if a.id != agent.attempt_id]
    assert len(losers) == 4
    assert all(a.stage is Stage.CLOSED and a.outcome is Outcome.CANCELLED for a in losers)
    assert all(a.receipt is not None and a.receipt.confirmed_at is not None for a in losers)
    assert len(world.provider.made) == 1
    assert instance.state is State.RUNNING


def test_the_race_is_on_distinct_hosts() -> None:
    world = World(offers=0)
    from tests.support.world import an_offer

    world.provider.stock = [an_offer(n, host_id=f"host-{n % 2}") for n in range(1, 7)]
    instance = world.provision(width=5)
    world.settle(instance.id, lambda i: len(world.created(instance.id)) == 2)

    assert {a.host_id for a in world.created(instance.id)} == {"host-0", "host-1"}


def test_a_create_whose_answer_is_lost_leads_to_exactly_one_adopted_machine() -> None:
    world = World()
    world.provider.lose_creates = 1
    instance = world.provision(width=1)

    world.settle(instance.id, lambda i: bool(world.created(instance.id)))
    attempt = world.created(instance.id)[0]
    assert world.agent(attempt).register().adopted
    world.settle(instance.id)

    assert len(world.provider.creates) == 1
    assert len(world.provider.made) == 1
    assert world.instance(instance.id).state is State.RUNNING


def test_a_lost_create_that_lists_late_is_waited_for() -> None:
    from datetime import timedelta

    world = World()
    world.provider.lose_creates = 1
    world.provider.list_lag = timedelta(seconds=20)
    instance = world.provision(width=1)

    world.settle(instance.id, lambda i: bool(world.created(instance.id)))

    assert len(world.provider.creates) == 1


def test_the_agent_may_register_before_the_create_was_answered() -> None:
    world = World()
    world.provider.lose_creates = 1
    instance = world.provision(width=1)
    attempt = world.attempts(instance.id)[0]
    assert attempt.stage is Stage.OPEN

    assert world.agent(attempt).register().adopted
    world.settle(instance.id, lambda i: bool(world.attempts(i.id)[0].machine_id))

    running = world.instance(instance.id)
    assert running.state is State.RUNNING
    assert len(world.provider.creates) == 1


def test_machines_that_never_boot_are_replaced_within_the_limits_and_the_failure_says_why() -> None:
    world = World(offers=8, boot_deadline_s=120)
    instance = world.provision(width=2, max_attempts=4)

    failed = world.settle(instance.id, steps=3000)

    assert failed.state is State.FAILED
    assert failed.failure is not None and "4 machines were tried" in failed.failure
    assert "not ready within" in failed.failure
    assert world.provider.made == {}
    assert all(a.outcome is Outcome.FAILED for a in world.attempts(instance.id))


def test_a_machine_that_says_it_is_broken_is_given_up_at_once() -> None:
    world = World()
    instance = world.provision(width=1)
    world.settle(instance.id, lambda i: bool(world.created(instance.id)))
    first = world.created(instance.id)[0]
    assert first.machine_id is not None
    world.provider.set_status(first.machine_id, MachineStatus.BROKEN, "OCI runtime create failed")

    world.settle(instance.id, lambda i: any(a.id != first.id for a in world.created(instance.id)))

    ended = world.deps.records.load(Attempt, first.id)
    assert ended.outcome is Outcome.FAILED and ended.why == "OCI runtime create failed"
    assert (world.clock.now() - instance.created_at).total_seconds() < 60


def test_a_machine_that_is_not_what_was_rented_is_refused() -> None:
    world = World()
    instance = world.provision(width=1)
    world.settle(instance.id, lambda i: bool(world.created(instance.id)))

    answer = world.agent(world.created(instance.id)[0]).register(name="NVIDIA GeForce RTX 3060")

    assert not answer.adopted and "rented RTX 4090" in answer.reason


def test_a_machine_lost_while_it_is_set_up_is_replaced() -> None:
    world = World()
    instance = world.provision(width=1, setup="pip install things")
    world.settle(instance.id, lambda i: bool(world.created(instance.id)))
    first = world.created(instance.id)[0]
    assert world.agent(first).register().adopted
    del world.provider.made[first.machine_id or ""]

    world.settle(instance.id, lambda i: bool(world.created(i.id)))
    agents_act(world, instance.id)
    agents_act(world, instance.id)

    assert world.settle(instance.id).state is State.RUNNING


# Hibernate, wake, loss --------------------------------------------------------------------------------------------


def test_a_machine_is_never_terminated_before_its_snapshot_is_verified() -> None:
    world = World()
    instance, agent = world.running()
    instances.hibernate(instance.id, 0, world.user.id, world.deps)
    for _ in range(30):
        world.clock.step(seconds=20)
        world.advance(instance.id)

    assert len(world.provider.made) == 1, "no snapshot yet: the machine holds the only copy"
    agent.beat()
    agent.take_snapshot()
    assert world.settle(instance.id).state is State.HIBERNATED
    assert world.provider.made == {}


def test_a_snapshot_with_a_damaged_object_keeps_the_machine() -> None:
    world = World()
    instance, agent = world.running()
    instances.hibernate(instance.id, 0, world.user.id, world.deps)

    agent.take_snapshot(damage=True)
    kept = world.settle(instance.id)

    assert kept.state is State.RUNNING
    assert kept.failure is not None and "instead of 10 bytes" in kept.failure
    assert kept.snapshot_id is None
    assert len(world.provider.made) == 1


def test_a_wake_that_fails_is_hibernated_again_with_its_snapshot() -> None:
    world = World()
    asleep = world.hibernated()
    world.provider.stock = []
    instances.wake(asleep.id, 0, world.user.id, world.deps)

    back = world.settle(asleep.id)

    assert back.state is State.HIBERNATED
    assert back.snapshot_id == asleep.snapshot_id
    assert back.failure is not None and "no offer fits" in back.failure


def test_a_restore_that_fails_on_one_machine_goes_on_with_another() -> None:
    world = World()
    asleep = world.hibernated()
    instances.wake(asleep.id, 0, world.user.id, world.deps)
    world.settle(asleep.id, lambda i: bool(world.created(i.id)))
    first = world.created(asleep.id)[0]
    agent = world.agent(first)
    assert agent.register().adopted
    agent.finish("restore", state="failed", error="No space left on device")

    world.settle(asleep.id, lambda i: bool(world.created(i.id)))
    second = world.agent(world.created(asleep.id)[0])
    assert second.register().adopted
    second.finish("restore", stage="restored")

    awake = world.settle(asleep.id)
    assert awake.state is State.RUNNING
    assert awake.attempt_id == second.attempt_id
    assert world.deps.records.load(Attempt, first.id).outcome is Outcome.FAILED


def test_an_idle_instance_hibernates_by_itself_and_not_before_its_time() -> None:
    world = World()
    instance, agent = world.running()
    since = world.clock.now()
    agent.beat(idle_since=since, why="idle since 12:00; GPU 0 %; no veto")
    world.clock.step(seconds=179)
    world.advance(instance.id)
    assert world.instance(instance.id).state is State.RUNNING

    world.clock.step(seconds=2)
    world.advance(instance.id)

    assert world.instance(instance.id).state is State.HIBERNATING


def test_activity_and_keep_awake_hold_an_idle_instance() -> None:
    from shared.wire.instances import Patch

    world = World()
    instance, agent = world.running()
    agent.beat(idle_since=world.clock.now())
    agent.beat(idle_since=None)
    world.clock.step(minutes=10)
    agent.beat(idle_since=None)
    world.advance(instance.id)
    assert world.instance(instance.id).state is State.RUNNING

    agent.beat(idle_since=world.clock.now())
    instances.edit(instance.id, Patch(keep_awake_s=3600), world.user.id, world.deps)
    world.clock.step(minutes=30)
    agent.beat(idle_since=later_idle(world))
    world.advance(instance.id)
    assert world.instance(instance.id).state is State.RUNNING

    world.clock.step(minutes=31)
    agent.beat(idle_since=later_idle(world))
    world.advance(instance.id)
    assert world.instance(instance.id).state is State.HIBERNATING


def later_idle(world: World) -> Any:
    from datetime import timedelta

    return world.clock.now() - timedelta(minutes=20)


def awake_again(world: World, **request: Any) -> str:
    """An instance that runs and has a snapshot."""
    asleep = world.hibernated(**request)
    instances.wake(asleep.id, 0, world.user.id, world.deps)
    world.settle(asleep.id, lambda i: bool(world.created(i.id)))
    agents_act(world, asleep.id)
    agents_act(world, asleep.id)
    assert world.settle(asleep.id).state is State.RUNNING
    return asleep.id


def test_a_machine_that_is_gone_is_replaced_from_the_newest_snapshot() -> None:
    world = World()
    id = awake_again(world)
    old = world.instance(id)
    world.provider.made.clear()
    world.clock.step(minutes=5)

    over = world.settle(id, lambda i: i.state is State.FAILING_OVER and bool(world.created(i.id)))
    agents_act(world, id)
    agents_act(world, id)
    back = world.settle(id)

    assert over.failure is not None and "later changes are lost" in over.failure
    assert back.state is State.RUNNING and back.snapshot_id == old.snapshot_id
    assert back.attempt_id != old.attempt_id
    assert world.deps.records.load(Attempt, old.attempt_id or "").outcome is Outcome.LOST


def test_by_policy_a_lost_instance_waits_for_its_user() -> None:
    world = World()
    id = awake_again(world, on_loss="hibernate")
    world.provider.made.clear()
    world.clock.step(minutes=5)

    lost = world.settle(id, lambda i: i.state is not State.RUNNING)

    assert lost.state is State.HIBERNATED
    assert lost.failure is not None and "later changes are lost" in lost.failure


def test_failovers_are_limited_then_a_person_is_asked() -> None:
    world = World(offers=40)
    id = awake_again(world)
    for _ in range(8):
        world.provider.made.clear()
        world.clock.step(minutes=6)
        state = world.settle(id, lambda i: i.state is not State.RUNNING).state
        if state is State.HIBERNATED:
            break
        world.settle(id, lambda i: bool(world.created(i.id)))
        agents_act(world, id)
        agents_act(world, id)
        world.settle(id)

    assert world.instance(id).state is State.HIBERNATED
    assert len(world.instance(id).failovers) == 5
    assert "5 within a day are the most; wake it when you have looked" in str(world.instance(id).failure)


def test_an_interrupted_machine_is_replaced_and_a_stopped_one_that_is_not_for_interruption_is_kept() -> None:
    from shared.providers.base import Features

    for interruptible in (True, False):
        world = World()
        world.provider.features = Features(sells_spot=True)
        id = awake_again(world, interruptible=interruptible)
        (machine,) = world.provider.made
        world.provider.set_status(machine, MachineStatus.STOPPED)
        world.clock.step(minutes=5)
        world.advance(id)

        state = world.instance(id).state
        assert state is (State.FAILING_OVER if interruptible else State.RUNNING)


def test_snapshots_are_taken_while_running_and_none_when_nothing_changed() -> None:
    world = World()
    instance, agent = world.running(snapshot_every_s=60)
    world.clock.step(seconds=61)
    agent.beat()
    world.advance(instance.id)
    first = agent.take_snapshot()
    assert first.state == "verified" and world.instance(instance.id).state is State.RUNNING

    world.clock.step(seconds=61)
    agent.beat()
    world.advance(instance.id)
    agent.finish("snapshot", stage="unchanged")
    world.advance(instance.id)

    after = world.instance(instance.id)
    assert after.snapshot_id == first.id
    assert agent.orders("snapshot") == []


def test_a_silent_machine_that_still_exists_is_kept() -> None:
    world = World()
    instance, _ = world.running()
    for _ in range(20):
        world.clock.step(minutes=1)
        world.advance(instance.id)

    kept = world.instance(instance.id)
    assert kept.state is State.RUNNING
    assert kept.failure is not None and "silent" in kept.failure
    assert len(world.provider.made) == 1


def test_a_stubborn_machine_is_terminated_until_it_is_gone() -> None:
    world = World()
    world.provider.stubborn = 4
    instance, _ = world.running(width=2)
    instances.destroy(instance.id, 0, world.user.id, world.deps)

    world.settle(instance.id, lambda i: i.state is State.DESTROYED)

    assert world.provider.made == {}
    for attempt in world.attempts(instance.id):
        assert attempt.receipt is not None and attempt.receipt.confirmed_at is not None
        assert attempt.receipt.tries == 5


@pytest.mark.parametrize("moment", ["provisioning", "hibernating", "hibernated", "waking", "running"])
def test_destroy_works_in_every_state_and_leaves_nothing(moment: str) -> None:
    world = World()
    if moment == "provisioning":
        id = world.provision().id
    elif moment == "hibernating":
        id = world.running()[0].id
        instances.hibernate(id, 0, world.user.id, world.deps)
    elif moment == "running":
        id = world.running()[0].id
    else:
        id = world.hibernated().id
        if moment == "waking":
            instances.wake(id, 0, world.user.id, world.deps)
    assert world.instance(id).state == moment

    instances.destroy(id, 0, world.user.id, world.deps)
    world.settle(id, lambda i: i.state is State.DESTROYED)

    assert world.provider.made == {}
    assert world.objects.objects == {}
    assert world.store.get("instance_keys", id) is None
