"""What a machine did, minute by minute: one small document per instance and hour. Pure.

Heartbeats are many and documents cost money: samples gather in the pulse, which is written anyway, and a minute that is over
goes to its hour in one write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared.frozen import dataclass

KEPT = timedelta(days=30)
LONGEST = timedelta(days=7)
"""What may be asked for at once: a read for each hour."""
STEPS_MIN = (1, 5, 15, 60)
POINTS = 1500


@dataclass(frozen=True)
class Minute:
    """Means over `samples`; None where it was never measured."""

    at: datetime
    """Its beginning, UTC."""
    samples: int
    gpu: float | None
    """Percent, of the busiest GPU: that one decides about idleness."""
    gpu_peak: float | None
    vram_mb: float | None
    """Of all GPUs."""
    vram_total_mb: float | None
    network_mbit: float | None
    disk_mb_s: float | None


@dataclass(frozen=True)
class MetricHour:
    """`id` is INSTANCE|YYYYMMDDHH."""

    id: str
    instance_id: str
    hour: datetime
    expires_at: datetime
    minutes: tuple[Minute, ...] = ()


def minute_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def hour_id(instance_id: str, at: datetime) -> str:
    return f"{instance_id}|{at.astimezone(UTC):%Y%m%d%H}"


def new_hour(instance_id: str, at: datetime) -> MetricHour:
    hour = minute_of(at).replace(minute=0)
    return MetricHour(id=hour_id(instance_id, at), instance_id=instance_id, hour=hour, expires_at=hour + KEPT)


def with_minute(hour: MetricHour, minute: Minute) -> MetricHour:
    """The hour with this minute; the same minute again is the fuller of both, so a repeated write changes nothing."""
    known = next((one for one in hour.minutes if one.at == minute.at), None)
    if known is not None and known.samples >= minute.samples:
        return hour
    others = [one for one in hour.minutes if one.at != minute.at]
    return replace(hour, minutes=tuple(sorted([*others, minute], key=lambda one: one.at)))


def merged(parts: Sequence[Minute], at: datetime | None = None) -> Minute:
    """Several as one: means weighted by samples, the highest peak."""

    def mean(values: Iterable[tuple[float | None, int]]) -> float | None:
        known = [(value, weight) for value, weight in values if value is not None]
        total = sum(weight for _, weight in known)
        return sum(value * weight for value, weight in known) / total if total else None

    return Minute(
        at=at or parts[0].at,
        samples=sum(one.samples for one in parts),
        gpu=mean((one.gpu, one.samples) for one in parts),
        gpu_peak=max((one.gpu_peak for one in parts if one.gpu_peak is not None), default=None),
        vram_mb=mean((one.vram_mb, one.samples) for one in parts),
        vram_total_mb=max((one.vram_total_mb for one in parts if one.vram_total_mb is not None), default=None),
        network_mbit=mean((one.network_mbit, one.samples) for one in parts),
        disk_mb_s=mean((one.disk_mb_s, one.samples) for one in parts),
    )


def step_of(span: timedelta) -> int:
    """Minutes per point, so that a range has at most POINTS of them."""
    return next((step for step in STEPS_MIN if span <= timedelta(minutes=step * POINTS)), STEPS_MIN[-1])


def points(minutes: Iterable[Minute], since: datetime, until: datetime, step_min: int) -> list[Minute]:
    """The range's minutes, `step_min` of them as one; where nothing was measured there is no point."""
    buckets: dict[datetime, list[Minute]] = {}
    for one in minutes:
        if minute_of(since) <= one.at <= until:
            stamp = int(one.at.timestamp()) // (60 * step_min) * (60 * step_min)
            buckets.setdefault(datetime.fromtimestamp(stamp, UTC), []).append(one)
    return [merged(parts, at) for at, parts in sorted(buckets.items())]


SLEEPS = frozenset({"hibernated", "wake_failed", "machine_lost"})
AWAKES = frozenset({"waking", "running", "promoted", "destroying"})


def asleep(
    events: Iterable[tuple[datetime, str]], since: datetime, until: datetime, asleep_now: bool
) -> list[tuple[datetime, datetime]]:
    """When there was no machine, from events of the range, oldest first.

    The range's first word tells what was before it; with none, what is now was all along.
    """
    turns = [(at, kind) for at, kind in events if since <= at <= until and (kind in SLEEPS or kind in AWAKES)]
    start = since if (turns[0][1] == "waking" if turns else asleep_now) else None
    spans: list[tuple[datetime, datetime]] = []
    for at, kind in turns:
        if kind in SLEEPS:
            start = start or at
        elif start is not None:
            if at > start:
                spans.append((start, at))
            start = None
    if start is not None and until > start:
        spans.append((start, until))
    return spans
