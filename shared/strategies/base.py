"""What a strategy decides: how many machines to ask for now, in which order, and when to look again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.domain.offer import Offer
from shared.frozen import dataclass


@dataclass(frozen=True)
class Runner:
    """A machine that was asked for and has not registered."""

    age_s: float
    expected_s: float
    """When it should be ready, counted as `age_s`: from its history, else a prior."""
    provider: str = ""


@dataclass(frozen=True)
class Situation:
    width: int
    max_attempts: int
    opened: int
    runners: Sequence[Runner] = ()
    last_provider: str | None = None

    @property
    def left(self) -> int:
        """Machines that may still be asked for in all."""
        return max(0, self.max_attempts - self.opened)


class Strategy(Protocol):
    name: str
    words: str
    """What it means, for people."""

    def wanted(self, situation: Situation) -> int:
        """How many more machines to ask for now."""

    def order(self, ranked: Sequence[Offer], situation: Situation) -> Sequence[Offer]:
        """Offers in the order to try them; `ranked` is best first."""

    def look_again_s(self, situation: Situation) -> float | None:
        """Seconds until it may want more without anything else happening."""
