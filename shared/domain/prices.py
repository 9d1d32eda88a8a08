"""The market's memory: samples of what is offered, kept by the hour, and what can honestly be said of them. Pure.

A sample is what one search found for a GPU at a provider in a region. An hour keeps the mean of its samples' quantiles, the
smallest minimum and the mean count; so a day is one small document per GPU and kind, whatever the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.frozen import dataclass

KEPT = timedelta(days=400)
ENOUGH = 12
"""Hours that a trend needs at least."""


@dataclass(frozen=True)
class Hour:
    """USD per GPU and hour."""

    hour: int
    """0 to 23, UTC."""
    provider: str
    region: str
    samples: int
    offers: float
    """Mean number of GPUs seen."""
    low: float
    p10: float
    median: float
    p90: float


@dataclass(frozen=True)
class PriceDay:
    """`id` is GPU|kind|YYYYMMDD."""

    id: str
    gpu_name: str
    interruptible: bool
    day: datetime
    expires_at: datetime
    hours: tuple[Hour, ...] = ()


def day_id(gpu_name: str, interruptible: bool, at: datetime) -> str:
    kind = "spot" if interruptible else "demand"
    return f"{gpu_name.upper().replace('/', '_')}|{kind}|{at.astimezone(UTC):%Y%m%d}"


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the two nearest, as most people expect of a median of four."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def sampled(day: PriceDay, at: datetime, provider: str, region: str, prices: Iterable[float]) -> PriceDay:
    """The day with one more sample; no prices, no sample."""
    ordered = sorted(prices)
    if not ordered:
        return day
    new = Hour(
        hour=at.astimezone(UTC).hour,
        provider=provider,
        region=region,
        samples=1,
        offers=float(len(ordered)),
        low=ordered[0],
        p10=quantile(ordered, 0.1),
        median=quantile(ordered, 0.5),
        p90=quantile(ordered, 0.9),
    )
    same = next((h for h in day.hours if (h.hour, h.provider, h.region) == (new.hour, provider, region)), None)
    merged = merge([same, new]) if same else new
    others = tuple(h for h in day.hours if h is not same)
    return replace(day, hours=tuple(sorted((*others, merged), key=lambda h: (h.hour, h.provider, h.region))))


def _mean(rows: Sequence[Hour], weights: Sequence[float]) -> Callable[[str], float]:
    """A field's mean over rows, weighted."""
    total = sum(weights)
    return lambda name: sum(float(getattr(row, name)) * w for row, w in zip(rows, weights, strict=True)) / total


def merge(parts: Sequence[Hour]) -> Hour:
    """Several rows of one hour, provider and region as one: means weighted by their samples."""
    mean = _mean(parts, [p.samples for p in parts])
    return replace(
        parts[0],
        samples=sum(p.samples for p in parts),
        offers=mean("offers"),
        low=min(p.low for p in parts),
        p10=mean("p10"),
        median=mean("median"),
        p90=mean("p90"),
    )


@dataclass(frozen=True)
class Point:
    at: datetime
    samples: int
    offers: float
    low: float
    p10: float
    median: float
    p90: float


def points(days: Iterable[PriceDay], since: datetime, providers: frozenset[str], step_h: int) -> list[Point]:
    """One point each `step_h` hours that has data; regions and providers weigh by what they offer."""
    buckets: dict[datetime, list[Hour]] = {}
    for day in days:
        for row in day.hours:
            at = day.day + timedelta(hours=row.hour)
            if at + timedelta(hours=1) <= since or (providers and row.provider not in providers):
                continue
            key = at.replace(hour=at.hour - at.hour % step_h)
            buckets.setdefault(key, []).append(row)
    return [_point(at, rows) for at, rows in sorted(buckets.items())]


def _point(at: datetime, rows: list[Hour]) -> Point:
    mean = _mean(rows, [r.offers * r.samples for r in rows])
    hours = len({r.hour for r in rows})
    return Point(
        at=at,
        samples=sum(r.samples for r in rows),
        offers=sum(r.offers for r in rows) / hours,
        low=min(r.low for r in rows),
        p10=mean("p10"),
        median=mean("median"),
        p90=mean("p90"),
    )


@dataclass(frozen=True)
class Trend:
    """Per cent of the mean median per day, by least squares, with the standard error of that slope."""

    percent_a_day: float
    error: float
    points: int


def trend(of: Sequence[Point]) -> Trend | None:
    """None when there is too little to say anything."""
    if len(of) < ENOUGH:
        return None
    x = [(p.at - of[0].at).total_seconds() / 86400 for p in of]
    y = [p.median for p in of]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    if spread == 0 or mean_y == 0:
        return None
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    left = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    error = math.sqrt(left / (len(x) - 2) / spread)
    return Trend(slope / mean_y * 100, error / mean_y * 100, len(of))


def rounded(value: Any) -> float:
    return round(float(value), 5)
