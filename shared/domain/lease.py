"""One worker's right to change an instance, until a time. Pure; the store's compare-and-set makes it hold."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.errors import LeaseHeld
from shared.frozen import dataclass


@dataclass(frozen=True)
class Lease:
    owner: str
    generation: int
    expires_at: datetime


def take(held: Lease | None, owner: str, now: datetime, ttl: timedelta) -> Lease:
    """The lease that follows `held`. Its generation always grows, so a late writer can be told."""
    if held and held.expires_at > now and held.owner != owner:
        raise LeaseHeld(f"held by {held.owner} until {held.expires_at.isoformat()}")
    return Lease(owner, (held.generation if held else 0) + 1, now + ttl)


def release(held: Lease, now: datetime) -> Lease:
    """Expired but kept: deleting it would start the generations again at 1."""
    return Lease(held.owner, held.generation, now)
