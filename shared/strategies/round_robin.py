"""RoundRobin: one machine at a time, the next from another provider."""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.offer import Offer
from shared.strategies.base import Situation


class RoundRobin:
    name = "round_robin"
    words = "one machine at a time, providers in turn"

    def wanted(self, situation: Situation) -> int:
        return 1 if not situation.runners and situation.left else 0

    def order(self, ranked: Sequence[Offer], situation: Situation) -> Sequence[Offer]:
        """The provider of the last try comes last."""
        return sorted(ranked, key=lambda offer: offer.provider == situation.last_provider)

    def look_again_s(self, situation: Situation) -> float | None:
        return None
