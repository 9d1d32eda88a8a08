"""What interruptible machines taught: how long they ran at which bid, and how often another's bid took them. Pure.

`headroom` is how much more was bid than the lowest price that was taken, 0.1 for a tenth. One record per provider, GPU and
headroom holds decayed hours and interruptions; what is said of them always comes with those counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.frozen import dataclass

TAU = timedelta(days=30)
ENOUGH_H = 24.0
"""Hours that a bid must have run before anything is advised from it."""
REDONE_S = 300.0
"""Work that an interruption costs on average: half of the ten minutes between snapshots."""


@dataclass(frozen=True)
class BidMemory:
    """`id` is provider|GPU|headroom in per cent."""

    id: str
    provider: str
    gpu_name: str
    headroom: float
    updated_at: datetime
    hours: float = 0.0
    interruptions: float = 0.0
    """Both decayed to `updated_at`."""

    def decayed(self, now: datetime) -> tuple[float, float]:
        factor = math.exp(-max(0.0, (now - self.updated_at) / TAU))
        return self.hours * factor, self.interruptions * factor

    def noted(self, hours: float, interrupted: bool, now: datetime) -> BidMemory:
        """With one more machine that ran so long at this bid, and whether it was taken away."""
        known_h, known_i = self.decayed(now)
        return replace(self, hours=known_h + hours, interruptions=known_i + interrupted, updated_at=now)


def bid_id(provider: str, gpu_name: str, headroom: float) -> str:
    return f"{provider}|{gpu_name.upper().replace('/', '_')}|{round(headroom * 100)}"


@dataclass(frozen=True)
class BidFigure:
    """One bid as it went. USD per GPU and useful hour: what is redone after an interruption is paid twice."""

    headroom: float
    hours: float
    interruptions: float
    a_day: float
    usd_per_gpu_hour: float
    usd_per_useful_hour: float
    enough: bool


def figures(memories: Iterable[BidMemory], lowest: float, now: datetime) -> list[BidFigure]:
    """By headroom; `lowest` is the price per GPU and hour that is taken now. Providers of one headroom are one row."""
    seen: dict[int, tuple[float, float]] = {}
    for memory in memories:
        hours, taken = memory.decayed(now)
        key = round(memory.headroom * 100)
        before = seen.get(key, (0.0, 0.0))
        seen[key] = (before[0] + hours, before[1] + taken)
    return [
        _figure(percent / 100, hours, taken, lowest) for percent, (hours, taken) in sorted(seen.items()) if hours > 0
    ]


def _figure(headroom: float, hours: float, taken: float, lowest: float) -> BidFigure:
    # Half an interruption more than were seen: none in a day is no proof of never.
    rate = (taken + 0.5) / hours
    usd = lowest * (1 + headroom)
    return BidFigure(headroom, hours, taken, rate * 24, usd, usd * (1 + rate * REDONE_S / 3600), hours >= ENOUGH_H)


def advice(found: Sequence[BidFigure], on_demand: float | None) -> str:
    """In words what the figures allow to say."""
    known = [one for one in found if one.enough]
    if not known:
        hours, taken = sum(one.hours for one in found), sum(one.interruptions for one in found)
        return (
            f"Too little is known of bids: {hours:.0f} hours and {taken:.0f} interruptions were seen; "
            f"advice needs {ENOUGH_H:.0f} hours at one bid."
        )
    best = min(known, key=lambda one: (one.usd_per_useful_hour, one.headroom))
    words = (
        f"Bid {best.headroom:.0%} above the lowest: ${best.usd_per_useful_hour:.3f} per useful hour with about "
        f"{best.a_day:.1f} interruptions a day, from {best.hours:.0f} hours and {best.interruptions:.0f} interruptions seen."
    )
    if on_demand is not None and on_demand <= best.usd_per_useful_hour:
        return f"{words} On demand costs ${on_demand:.3f} and is never interrupted: take that."
    return words
