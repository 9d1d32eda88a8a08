"""What a machine did over time: gathered from heartbeats, read for charts."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared import errors
from shared.deps import Deps
from shared.domain import metrics
from shared.domain.event import Event
from shared.domain.instance import Instance, State
from shared.domain.metrics import MetricHour, Minute
from shared.domain.order import Pulse
from shared.store import codec
from shared.store.records import Transaction
from shared.store.shapes import EVENTS_OF_INSTANCE
from shared.wire import agent as agent_wire
from shared.wire import metrics as wire

DEFAULT = timedelta(hours=6)
EVENT_PAGES = 20


def gather(deps: Deps, instance_id: str, old: Pulse | None, body: agent_wire.Heartbeat, now: datetime) -> Minute:
    """This minute with one more sample. A minute that is over is written to its hour first.

    A crash between that write and the pulse's repeats it, which changes nothing.
    """
    sample = _sample(body, now)
    before = old.minute if old else None
    if before is None:
        return sample
    if before.at == sample.at:
        return metrics.merged([before, sample])

    def keep(tx: Transaction) -> None:
        fresh = metrics.new_hour(instance_id, before.at)
        hour = tx.find(MetricHour, fresh.id) or fresh
        changed = metrics.with_minute(hour, before)
        if changed != hour:
            tx.save(changed)

    deps.records.transact(keep)
    return sample


def _sample(body: agent_wire.Heartbeat, now: datetime) -> Minute:
    busiest = max((gpu.utilization for gpu in body.gpus), default=None)
    return Minute(
        at=metrics.minute_of(now),
        samples=1,
        gpu=busiest,
        gpu_peak=busiest,
        vram_mb=sum(gpu.memory_used_mb for gpu in body.gpus) if body.gpus else None,
        vram_total_mb=sum(gpu.memory_total_mb for gpu in body.gpus) if body.gpus else None,
        network_mbit=body.network_mbit,
        disk_mb_s=body.disk_mb_s,
    )


def show(query: wire.MetricsQuery, instance: Instance, deps: Deps) -> wire.MetricsView:
    """The range's points, and when there was no machine. Raises InvalidRequest for a range backwards or too long."""
    now = deps.clock.now()
    until = min(query.until or now, now)
    since = query.since or until - DEFAULT
    if since >= until:
        raise errors.InvalidRequest(f"since ({since.isoformat()}) must lie before until ({until.isoformat()})")
    if until - since > metrics.LONGEST:
        raise errors.InvalidRequest(f"at most {metrics.LONGEST.days} days can be asked for at once")
    hours = int((until - metrics.minute_of(since).replace(minute=0)) / timedelta(hours=1)) + 1
    ids = [metrics.hour_id(instance.id, since + timedelta(hours=n)) for n in range(hours)]
    found = [codec.decode(MetricHour, one.data) for one in deps.store.get_many("metrics", ids) if one]
    minutes = {one.at: one for hour in found for one in hour.minutes}
    pulse = deps.records.find(Pulse, instance.attempt_id) if instance.attempt_id else None
    if pulse is not None and pulse.minute is not None:
        # The minute that is not over, or whose successor was never heard.
        known = minutes.get(pulse.minute.at)
        if known is None or known.samples < pulse.minute.samples:
            minutes[pulse.minute.at] = pulse.minute
    step = metrics.step_of(until - since)
    return wire.MetricsView(
        since=since,
        until=until,
        step_s=step * 60,
        idle_gpu_percent=instance.idle_policy.gpu_percent,
        kept_days=metrics.KEPT.days,
        points=[
            wire.MetricPointView.model_validate(one, from_attributes=True)
            for one in metrics.points(minutes.values(), since, until, step)
        ],
        asleep=[
            wire.AsleepView(since=start, until=end)
            for start, end in metrics.asleep(
                _events(instance, since, deps),
                max(since, instance.created_at),
                until,
                instance.state is State.HIBERNATED,
            )
        ],
    )


def _events(instance: Instance, since: datetime, deps: Deps) -> list[tuple[datetime, str]]:
    """The range's events, oldest first; of a very talkative instance only the newest."""
    found: list[tuple[datetime, str]] = []
    cursor: str | None = None
    for _ in range(EVENT_PAGES):
        page, cursor = deps.records.query(
            Event, EVENTS_OF_INSTANCE, {"instance_id": instance.id}, limit=200, cursor=cursor
        )
        found += [(event.at, event.kind) for event in page if event.at >= since]
        if cursor is None or (page and page[-1].at < since):
            break
    return found[::-1]
