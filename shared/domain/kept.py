"""Bytes that snapshots had in storage and that are no longer theirs: what they cost is known for as long as usage is. Pure.

A snapshot that goes leaves what other snapshots still name; those bytes are the heir's from its own beginning on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from shared.frozen import dataclass

DELETED = ""


@dataclass(frozen=True)
class Stretch:
    snapshot_id: str
    heir_id: str
    """The snapshot that answers for these bytes from `until` on, or DELETED."""
    bytes: int
    since: datetime
    until: datetime


@dataclass(frozen=True)
class KeptDay:
    """Of an instance's snapshots that were begun on one day; `id` is INSTANCE|YYYYMMDD."""

    id: str
    instance_id: str
    user_id: str
    until: datetime
    """The latest of its stretches."""
    expires_at: datetime
    stretches: tuple[Stretch, ...] = ()

    def noted(self, more: Iterable[Stretch], until: datetime, expires_at: datetime) -> KeptDay:
        """With more of them. What is noted again, after a crash half-way through deleting, has been more before."""
        known = {(one.snapshot_id, one.heir_id): one for one in self.stretches}
        for one in more:
            before = known.get((one.snapshot_id, one.heir_id))
            if before is None or one.bytes > before.bytes:
                known[one.snapshot_id, one.heir_id] = one
        return replace(self, stretches=tuple(known.values()), until=until, expires_at=expires_at)
