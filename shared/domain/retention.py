"""Which snapshots are kept, and why. Pure.

The newest of each hour, day and week stay for as many hours, days and weeks as the rules say, the last few in any case.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from shared.domain.snapshot import Snapshot
from shared.frozen import dataclass

DEAD_AFTER = timedelta(hours=24)
"""A snapshot that was begun so long ago and never committed never will be."""


@dataclass(frozen=True)
class Rules:
    last: int = 3
    hourly: int = 24
    daily: int = 7
    weekly: int = 4


@dataclass(frozen=True)
class Candidate:
    id: str
    created_at: datetime
    pinned: bool = False


def kept(snapshots: Sequence[Candidate], rules: Rules) -> dict[str, str]:
    """Id of each one that stays, with the reason in words."""
    ordered = sorted(snapshots, key=lambda one: one.created_at, reverse=True)
    reasons: dict[str, str] = {one.id: "pinned" for one in ordered if one.pinned}
    for place, one in enumerate(ordered[: max(1, rules.last)]):
        reasons.setdefault(one.id, "the newest" if place == 0 else f"one of the last {rules.last}")
    for count, name, form in (
        (rules.hourly, "hour", "%Y-%m-%d %H"),
        (rules.daily, "day", "%Y-%m-%d"),
        (rules.weekly, "week", "%G-%V"),
    ):
        periods: set[str] = set()
        for one in ordered:
            period = one.created_at.strftime(form)
            if period in periods:
                continue
            if len(periods) == count:
                break
            periods.add(period)
            reasons.setdefault(one.id, f"the newest of its {name}")
    return reasons


def reasons(
    rules: Rules, held: Mapping[str, str], snapshots: Sequence[Snapshot], busy: Collection[str] = ()
) -> dict[str, str]:
    """Why each verified snapshot that stays does. `held`: those the instance names; `busy`: those that are being read."""
    whole = [one for one in snapshots if one.state == "verified"]
    found = kept([Candidate(one.id, one.created_at, one.pinned) for one in whole], rules)
    parents = {one.parent_id for one in snapshots if one.state == "pending"}
    for one in whole:
        if one.id in held:
            found[one.id] = held[one.id]
        elif one.id in busy:
            found[one.id] = "it is being restored"
        elif one.id in parents:
            found[one.id] = "a snapshot is being built upon it"
    return found
