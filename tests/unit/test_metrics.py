"""What a machine did: cheap to write, honest to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared import errors
from shared.domain import metrics
from shared.domain.metrics import Minute
from shared.domain.order import Pulse
from shared.flows import agents, instances
from shared.flows import metrics as flow
from shared.queries import recent_events
from shared.store import codec
from shared.store.base import Replace, Write
from shared.store.counting import CountingStore
from shared.store.sqlite import SqliteStore
from shared.sweeps.records import records
from shared.wire import agent as wire
from shared.wire.instances import RecentQuery
from shared.wire.metrics import MetricsQuery
from tests.support.world import FakeAgent, World

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def world() -> Iterator[World]:
    yield World()


def beat(world: World, agent: FakeAgent, percent: float = 80.0, **changes: Any) -> None:
    gpus = [
        wire.Gpu(index=n, name="RTX 4090", memory_total_mb=24564, memory_used_mb=1000, utilization=percent * n)
        for n in (0, 1)
    ]
    body = wire.Heartbeat(at=world.clock.now(), gpus=gpus, idle_since=None, why="active", network_mbit=7, **changes)
    agents.heartbeat(body, agent.me, world.deps)


def minute(at: datetime, gpu: float | None = 50.0, samples: int = 6, peak: float | None = None) -> Minute:
    return Minute(
        at=at, samples=samples, gpu=gpu, gpu_peak=peak if peak is not None else gpu, vram_mb=1.0, vram_total_mb=2.0,
        network_mbit=None, disk_mb_s=None,
    )  # fmt: skip


class Written(CountingStore):
    """Counts writes by collection as well."""

    def commit(self, writes: Sequence[Write]) -> list[str]:
        self.calls.update(f"write {one.collection}" for one in writes)
        return super().commit(writes)


def test_an_hour_of_heartbeats_is_one_document_written_once_a_minute() -> None:
    counting = Written(SqliteStore(":memory:"))
    world = World(store=counting)
    instance, agent = world.running()
    world.clock.step(seconds=60 - world.clock.now().second)
    beat(world, agent)
    counting.calls.clear()

    for _ in range(60):
        world.clock.step(seconds=10)
        beat(world, agent)

    # The pulses were written before as well.
    assert (counting.calls["write pulses"], counting.calls["write metrics"]) == (60, 10)
    view = flow.show(MetricsQuery(), world.instance(instance.id), world.deps)
    assert len(view.points) >= 10
    full = [point for point in view.points if point.samples == 6]
    assert {(p.gpu, p.gpu_peak, p.vram_mb, p.vram_total_mb, p.network_mbit) for p in full} == {
        (80.0, 80.0, 2000.0, 49128.0, 7.0)
    }


def test_the_minute_that_is_not_over_is_shown_already(world: World) -> None:
    instance, agent = world.running()
    world.clock.step(seconds=30)
    beat(world, agent, percent=33)

    points = flow.show(MetricsQuery(), world.instance(instance.id), world.deps).points

    assert points[-1].at == metrics.minute_of(world.clock.now())
    assert points[-1].gpu_peak == 33


def test_a_machine_that_does_not_serve_the_instance_says_nothing_of_its_work(world: World) -> None:
    instance, agent = world.running()
    known = world.instance(instance.id)
    document = world.store.get("instances", instance.id)
    assert document is not None
    other = replace(known, attempt_id=None)
    world.store.commit([Replace("instances", instance.id, codec.encode(other), document.rev)])
    world.clock.step(minutes=5)

    beat(world, agent)

    assert world.deps.records.load(Pulse, agent.attempt_id).minute is None


def test_a_minute_that_is_written_again_after_a_crash_changes_nothing() -> None:
    hour = metrics.with_minute(metrics.new_hour("i", NOON), minute(NOON, samples=6))

    assert metrics.with_minute(hour, minute(NOON, samples=6)) is hour
    assert metrics.with_minute(hour, minute(NOON, samples=2)) is hour
    assert metrics.with_minute(hour, minute(NOON, gpu=9, samples=7)).minutes == (minute(NOON, gpu=9, samples=7),)


def test_points_of_several_minutes_keep_the_peak_and_weigh_by_samples() -> None:
    minutes = [minute(NOON, 10, samples=1), minute(NOON + timedelta(minutes=1), 70, samples=3, peak=99)]

    (point,) = metrics.points(minutes, NOON, NOON + timedelta(hours=1), 5)

    assert (point.gpu, point.gpu_peak, point.samples, point.network_mbit) == (55.0, 99, 4, None)


@pytest.mark.parametrize(
    ("span", "step"), [(timedelta(hours=25), 1), (timedelta(days=1, hours=2), 5), (timedelta(days=7), 15)]
)
def test_a_longer_range_has_coarser_points_and_never_too_many(span: timedelta, step: int) -> None:
    assert metrics.step_of(span) == step
    assert span / timedelta(minutes=step) <= metrics.POINTS


HOURS = [NOON + timedelta(hours=n) for n in range(7)]


@pytest.mark.parametrize(
    ("events", "now_asleep", "spans"),
    [
        ([], True, [(0, 6)]),
        ([], False, []),
        ([(2, "hibernated")], True, [(2, 6)]),
        ([(2, "waking"), (3, "running")], False, [(0, 2)]),
        ([(1, "running")], False, []),
        ([(1, "hibernated"), (2, "waking"), (3, "wake_failed"), (4, "waking")], False, [(1, 2), (3, 4)]),
        ([(1, "machine_lost"), (2, "destroying")], False, [(1, 2)]),
        ([(1, "idle"), (2, "snapshot_verified")], False, []),
    ],
)
def test_sleep_is_what_events_say(
    events: list[tuple[int, str]], now_asleep: bool, spans: list[tuple[int, int]]
) -> None:
    found = metrics.asleep([(HOURS[n], kind) for n, kind in events], HOURS[0], HOURS[6], now_asleep)

    assert found == [(HOURS[a], HOURS[b]) for a, b in spans]


def test_a_hibernated_instance_is_shaded_until_now(world: World) -> None:
    instance = world.hibernated()
    asleep_at = world.instance(instance.id).entered_at
    world.clock.step(hours=2)

    view = flow.show(MetricsQuery(), world.instance(instance.id), world.deps)

    assert [(one.since, one.until) for one in view.asleep] == [(asleep_at, world.clock.now())]
    assert view.idle_gpu_percent == 5


@pytest.mark.parametrize("hours", [-1, 24 * 7 + 1])
def test_a_range_backwards_or_too_long_is_refused(world: World, hours: int) -> None:
    instance, _ = world.running()
    since = world.clock.now() - timedelta(hours=hours)

    with pytest.raises(errors.InvalidRequest):
        flow.show(MetricsQuery(since=since), instance, world.deps)


def test_minutes_expire_after_thirty_days(world: World) -> None:
    instance, agent = world.running()
    for _ in range(2):
        world.clock.step(seconds=61)
        beat(world, agent)
    known = metrics.hour_id(instance.id, world.clock.now())
    assert world.store.get("metrics", known) is not None

    world.clock.step(days=31)
    records(world.deps)

    assert world.store.get("metrics", known) is None


def test_recent_events_are_those_worth_telling_of_all_of_ones_own_instances(world: World) -> None:
    first, _ = world.running()
    second = world.hibernated()
    told = recent_events(RecentQuery(limit=3), world.user.id, world.deps).events

    assert [one.kind for one in told] == ["hibernated", "running", "running"]
    assert {one.instance_id for one in told} == {first.id, second.id}
    assert recent_events(RecentQuery(), "u-somebody", world.deps).events == []
    instances.destroy(first.id, 0, world.user.id, world.deps)
