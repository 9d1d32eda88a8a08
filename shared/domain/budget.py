"""What a user is willing to spend in a calendar month (UTC), in all or on one instance."""

from __future__ import annotations

from decimal import Decimal

from shared.frozen import dataclass

WARN_AT = Decimal("0.8")
USED_UP = "budget"
"""Why an instance hibernates when its budget, or its owner's, is used up."""


@dataclass(frozen=True)
class Budget:
    id: str
    """The user's, or the instance's that it is for."""
    usd_per_month: Decimal
    told: str = ""
    """`2026-11 80` once the warning of that month is out, `2026-11 100` once its end is."""
    user_id: str = ""
    instance_id: str | None = None
    """None: all that the user spends."""

    @property
    def owner_id(self) -> str:
        return self.user_id or self.id


def share(spent: Decimal, usd_per_month: Decimal) -> Decimal:
    """Of the budget that is spent; a budget of nothing is spent at once."""
    return spent / usd_per_month if usd_per_month > 0 else Decimal(1)
