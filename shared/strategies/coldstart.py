"""Coldstart: the one best machine, and patience."""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.offer import Offer
from shared.strategies.base import Situation


class Coldstart:
    name = "coldstart"
    words = "one machine, the best; another only when it failed"

    def wanted(self, situation: Situation) -> int:
        return 1 if not situation.runners and situation.left else 0

    def order(self, ranked: Sequence[Offer], situation: Situation) -> Sequence[Offer]:
        return ranked

    def look_again_s(self, situation: Situation) -> float | None:
        return None
