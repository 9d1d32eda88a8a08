"""Where a user wants to be told of what happens."""

from __future__ import annotations

from datetime import datetime

from shared.frozen import dataclass

TOLD = frozenset(
    {
        "budget_reached", "budget_warning", "destroyed", "drill_done", "drill_failed", "failed", "failing_over",
        "failover_held", "gpu_found", "handed_back", "handing_back", "handing_back_failed", "heard",
        "hibernate_failed", "hibernated", "idle_warning", "machine_lost", "orphan", "price_alert", "promoted",
        "receipt_late", "restore_failed", "restored", "running", "searching", "snapshot_damaged", "standby_lost",
        "suspect", "wake_failed", "woken",
    }
)  # fmt: skip
"""The kinds of events that are worth telling; the log has all."""
REMEMBERED, SHOWN = 300, 20
GIVE_UP_AFTER = 8
"""Tries of one event, over about two hours; then it is skipped and the next is told."""


@dataclass(frozen=True)
class Delivery:
    at: datetime
    event_id: str
    kind: str
    status: int | None
    """None: no answer."""
    problem: str | None


@dataclass(frozen=True)
class Webhook:
    id: str
    user_id: str
    url: str
    secret: str
    """Sealed."""
    form: str
    """`json`, signed, or `slack`: a text."""
    created_at: datetime
    told_until: datetime
    told: tuple[str, ...] = ()
    """Ids of the newest events that were told: two may share a moment, and one may be committed late."""
    tries: int = 0
    """Of the event that is due."""
    not_before: datetime | None = None
    deliveries: tuple[Delivery, ...] = ()
    """The newest first."""
