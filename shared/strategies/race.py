"""Race: up to `width` machines at once, on distinct hosts; whoever is ready first wins."""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.offer import Offer
from shared.strategies.base import Situation


class Race:
    name = "race"
    words = "several machines at once, the first that is really ready is kept"

    def wanted(self, situation: Situation) -> int:
        return max(0, min(situation.width - len(situation.runners), situation.left))

    def order(self, ranked: Sequence[Offer], situation: Situation) -> Sequence[Offer]:
        return ranked

    def look_again_s(self, situation: Situation) -> float | None:
        return None
