"""The circuit breaker of automatic failovers: many at once are rather our mistake, or a provider's, than so many dead hosts."""

from __future__ import annotations

from dataclasses import field, replace
from datetime import datetime, timedelta

from shared.frozen import dataclass

WINDOW = timedelta(minutes=10)


@dataclass(frozen=True)
class Breaker:
    id: str = "failover"
    recent: dict[str, datetime] = field(default_factory=dict)
    """Failovers of the last minutes, by instance and round: one that is begun again after a crash counts once."""
    opened_at: datetime | None = None
    """Since when none begins by itself; only a person closes it."""

    def admit(self, what: str, now: datetime, limit: int) -> Breaker:
        """With one more failover; open when that is one too many."""
        if self.opened_at is not None or what in self.recent:
            return self
        recent = {known: at for known, at in self.recent.items() if now - at < WINDOW}
        if len(recent) >= limit:
            return replace(self, recent=recent, opened_at=now)
        return replace(self, recent={**recent, what: now})
