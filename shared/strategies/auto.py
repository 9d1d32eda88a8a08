"""Auto: start with few, and add a machine each time the leader is later than its history predicts."""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.offer import Offer
from shared.strategies.base import Situation

START = 2


class Auto:
    name = "auto"
    words = "two machines, and one more each time the leader is later than expected"

    def wanted(self, situation: Situation) -> int:
        alive = len(situation.runners)
        target = min(situation.width, START + self._late(situation))
        return max(0, min(target - alive, situation.left))

    def order(self, ranked: Sequence[Offer], situation: Situation) -> Sequence[Offer]:
        return ranked

    def look_again_s(self, situation: Situation) -> float | None:
        if not situation.runners or len(situation.runners) >= situation.width or not situation.left:
            return None
        leader = max(situation.runners, key=lambda r: r.age_s / r.expected_s)
        passed = int(leader.age_s / leader.expected_s)
        return max(0.1, (passed + 1) * leader.expected_s - leader.age_s)

    @staticmethod
    def _late(situation: Situation) -> int:
        """How many times over the leader has passed its expected time."""
        return max((int(r.age_s / r.expected_s) for r in situation.runners), default=0)
