"""A drill tries a failover out on a copy, measures it and leaves nothing; the instance goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Stage
from shared.domain.budget import Budget
from shared.domain.instance import Instance, State
from shared.domain.snapshot import Snapshot
from shared.flows import agents, drill, instances, standby
from shared.flows.advance import advance
from shared.queries import instance_view, list_instances
from shared.store.shapes import INSTANCES_OF_USER
from shared.sweeps.budgets import budgets
from shared.wire.agent import DownloadsRequest
from shared.wire.instances import ListQuery
from tests.support.crashing import Crash, Fuse
from tests.support.world import FakeAgent, World, crash_deps
from tests.unit.test_standby import cpu_world, gpu_ready, made, save_all, with_standby


@pytest.fixture
def world() -> World:
    return cpu_world()


def saved(world: World) -> Instance:
    """A running instance without a standby that has a snapshot; its original machine beats on."""
    instance, agent = world.running(snapshot_every_s=60)
    world.clock.step(seconds=60)
    agent.beat()
    agent.take_snapshot()
    return world.instance(instance.id)


def copies(world: World) -> list[Instance]:
    owned = world.deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": world.user.id})
    return [one for one in owned if one.drill_of]


def begin(world: World, id: str, deps: Deps | None = None) -> str:
    found = drill.begin(id, 0, world.user.id, deps or world.deps)
    assert found.drill is not None
    return found.drill.copy_id


def follow(world: World, copy_id: str) -> FakeAgent:
    follower = made(world, copy_id)
    world.settle(copy_id, lambda i: bool(follower.orders("restore")))
    follower.finish("restore", stage="restored")
    return follower


def test_a_drill_with_a_standby_measures_the_whole_failover_and_leaves_the_instance_alone(world: World) -> None:
    instance, agent, _ = with_standby(world)
    before = set(world.provider.made)
    copy_id = begin(world, instance.id)
    follower = follow(world, copy_id)
    world.settle(copy_id, lambda i: i.state is State.ON_STANDBY)
    gpu = gpu_ready(world, copy_id)
    last = save_all(world, copy_id, follower)
    world.settle(copy_id, lambda i: bool(gpu.orders("restore")))
    assert gpu.orders("restore")[0].payload["snapshot_id"] == last
    world.clock.step(seconds=2)
    gpu.finish("restore", stage="restored")
    world.settle(copy_id, lambda i: i.state is State.DESTROYED)

    assert set(world.provider.made) == before
    after = world.instance(instance.id)
    assert (after.state, after.attempt_id, after.failover, after.failovers) == (
        State.RUNNING,
        agent.attempt_id,
        None,
        (),
    )
    assert after.snapshot_id == instance.snapshot_id != last
    shown = instance_view(after).drill
    assert shown is not None and shown.failure is None and shown.gone_at is not None
    assert shown.failover is not None and shown.failover.rpo_s is not None and shown.failover.rto_s is not None
    assert shown.failover.gpu_back_s is not None and shown.failover.gpu_back_s >= 2
    assert not [key for key in world.objects.objects if key.startswith(f"instances/{copy_id}/")]
    assert [key for key in world.objects.objects if key.startswith(f"instances/{instance.id}/")]


def test_a_drill_without_a_standby_wakes_the_copy_elsewhere(world: World) -> None:
    instance = saved(world)
    before = set(world.provider.made)
    copy_id = begin(world, instance.id)
    gpu_ready(world, copy_id).finish("restore", stage="restored")
    world.settle(copy_id, lambda i: i.state is State.DESTROYED)

    done = world.instance(instance.id).drill
    assert done is not None and done.failover is not None and done.failover.back_at is not None
    assert set(world.provider.made) == before


def test_a_copy_reads_its_originals_objects_and_its_own_and_is_hidden_and_untouchable(world: World) -> None:
    instance, _, _ = with_standby(world)
    copy_id = begin(world, instance.id)
    follower = follow(world, copy_id)
    world.settle(copy_id, lambda i: i.state is State.ON_STANDBY)
    gpu_ready(world, copy_id)
    save_all(world, copy_id, follower)
    of_original = world.deps.records.load(Snapshot, str(instance.snapshot_id)).manifest_key
    own = world.deps.records.load(Snapshot, str(world.instance(copy_id).snapshot_id)).manifest_key

    urls = agents.downloads(DownloadsRequest(keys=[of_original, own]), follower.me, world.deps).urls

    assert f"instances/{instance.id}/{of_original}" in urls[of_original]
    assert f"instances/{copy_id}/{own}" in urls[own]
    assert [i.id for i in list_instances(ListQuery(), world.user.id, world.deps).instances] == [instance.id]
    assert [s.instance_id for s in standby.list_standbys(world.user.id, world.deps).standbys] == [instance.id]
    with pytest.raises(errors.IllegalTransition, match="copy of a drill"):
        instances.start_exec(copy_id, instances.wire.ExecRequest(command=["true"]), world.user.id, world.deps, None)


def test_drills_are_limited_and_need_a_running_instance_with_a_snapshot_and_a_budget(world: World) -> None:
    bare, _ = world.running()
    with pytest.raises(errors.Conflict, match="no snapshot"):
        begin(world, bare.id)
    with pytest.raises(errors.NotFound):
        drill.begin(bare.id, 0, "u-other", world.deps)
    instance = saved(world)
    copy_id = begin(world, instance.id)
    with pytest.raises(errors.Conflict, match="under way"):
        begin(world, instance.id)
    instances.destroy(copy_id, 0, world.user.id, world.deps)
    world.settle(copy_id, lambda i: i.state is State.DESTROYED)
    ended = world.instance(instance.id).drill
    assert ended is not None and ended.failure is not None and ended.gone_at is not None
    with pytest.raises(errors.Conflict, match="5 minutes"):
        begin(world, instance.id)
    now = world.clock.now()
    many = tuple(now - timedelta(hours=h) for h in range(1, 6))
    world.deps.records.transact(lambda tx: tx.save(replace(tx.load(Instance, instance.id), drills=many)))
    with pytest.raises(errors.Conflict, match="within a day"):
        begin(world, instance.id)
    world.deps.records.transact(lambda tx: tx.save(Budget(id=world.user.id, usd_per_month=Decimal("0.000001"))))
    with pytest.raises(errors.BudgetReached):
        begin(world, instance.id)
    assert len(copies(world)) == 1


def test_a_reached_budget_ends_a_drill(world: World) -> None:
    instance = saved(world)
    copy_id = begin(world, instance.id)
    world.settle(copy_id, lambda i: bool(world.created(copy_id)))
    world.clock.step(minutes=1)
    world.deps.records.transact(lambda tx: tx.save(Budget(id=world.user.id, usd_per_month=Decimal("0.000001"))))
    budgets(world.deps)
    world.settle(copy_id, lambda i: i.state is State.DESTROYED)
    assert not world.ending(copy_id)


def test_a_drill_that_finds_no_machine_ends_by_itself_with_the_reason(world: World) -> None:
    instance, _, _ = with_standby(world)
    left = set(world.provider.made)
    copy_id = begin(world, instance.id)
    follow(world, copy_id)
    world.provider.stock = [o for o in world.provider.stock if o.gpu_count == 0]
    for _ in range(90):
        world.clock.step(minutes=1)
        for attempt in world.deps.records.open_attempts(copy_id):
            if attempt.stage is Stage.ADOPTED:
                FakeAgent(world, attempt.id).beat()
        world.advance(copy_id)
    assert world.instance(copy_id).state is State.DESTROYED and set(world.provider.made) == left
    done = world.instance(instance.id).drill
    assert done is not None and "60 minutes" in str(done.failure)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 60, 3))
def test_a_drill_cut_off_at_any_change_leaves_no_machine(at: int, after: bool) -> None:
    world = cpu_world()
    instance, _, _ = with_standby(world)
    left = set(world.provider.made)
    fuse = Fuse(at, after)
    deps = crash_deps(world, fuse)
    try:
        begin(world, instance.id, deps)
    except Crash:
        fuse.dead = False
    if not copies(world):
        assert set(world.provider.made) == left
        return
    copy_id = copies(world)[0].id
    for _ in range(900):
        if world.instance(copy_id).state is State.DESTROYED and _gone(world, instance.id):
            break
        _act(world, copy_id)
        due = world.instance(copy_id).next_action_at
        if due is None or due > world.clock.now():
            world.clock.step(seconds=1)
            continue
        try:
            advance(deps, copy_id)
        except Crash:
            fuse.dead = False
        except errors.LeaseHeld:
            world.clock.step(seconds=1)
    assert _gone(world, instance.id), world.instance(copy_id)
    assert set(world.provider.made) == left


def _gone(world: World, id: str) -> bool:
    done = world.instance(id).drill
    return done is not None and done.gone_at is not None


def _act(world: World, id: str) -> None:
    """Whatever the copy's agents would do now."""
    for attempt in world.deps.records.open_attempts(id):
        attempt = world.deps.records.load(Attempt, attempt.id)
        agent = FakeAgent(world, attempt.id)
        if attempt.stage is Stage.CREATED and attempt.machine_id in world.provider.made:
            agent.register(gpus=attempt.gpu_count)
        elif attempt.stage is Stage.ADOPTED:
            while agent.orders("snapshot"):
                agent.take_snapshot()
            agent.finish("restore", stage="restored")
