"""A user's rule for a price: to be told when a GPU is offered for less than so much."""

from __future__ import annotations

from dataclasses import field, replace
from datetime import datetime, timedelta

from shared.frozen import dataclass

QUIET = timedelta(hours=1)
"""A price that goes up and down around the limit is told of once an hour at most."""
MOST = 20
"""Alerts of one user: each is searched for in turn."""


@dataclass(frozen=True)
class PriceAlert:
    id: str
    user_id: str
    gpu_key: str
    """The GPU's name as samples are filed."""
    gpu_name: str
    interruptible: bool
    usd_per_gpu_hour: float
    created_at: datetime
    provider: str | None = None
    """None: any."""
    below: dict[str, float] = field(default_factory=dict)
    """Providers whose newest sample lies under the limit, with the lowest price."""
    seen_at: datetime | None = None
    """The newest sample that was compared."""
    told_at: datetime | None = None

    def judged(self, provider: str, lowest: float | None, now: datetime) -> tuple[PriceAlert, bool]:
        """The alert after one more sample, None when nothing was offered; and whether it is to be told of now."""
        below = {name: usd for name, usd in self.below.items() if name != provider}
        if lowest is not None and lowest < self.usd_per_gpu_hour:
            below[provider] = lowest
        rested = self.told_at is None or now - self.told_at >= QUIET
        tell = bool(below) and not self.below and rested
        return replace(self, below=below, seen_at=now, told_at=now if tell else self.told_at), tell
