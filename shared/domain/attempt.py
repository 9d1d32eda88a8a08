"""One written-down try to get a machine: stored before any money is spent, closed with a receipt.

    open ──> created ──> adopted ──> ending ──> closed
      └─────────┴──────────────────────^
An attempt wants its machine until it is `ending`; from then on the machine is terminated, again and again,
until the provider no longer finds it. Only then is it `closed`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Stage(StrEnum):
    OPEN = "open"
    """Written down; the provider may or may not have been asked."""
    CREATED = "created"
    """The provider gave a machine; its agent has not registered."""
    ADOPTED = "adopted"
    ENDING = "ending"
    CLOSED = "closed"


class Outcome(StrEnum):
    READY = "ready"
    FAILED = "failed"
    LOST = "lost"
    CANCELLED = "cancelled"
    """A race loser; says nothing about the host."""


@dataclass(frozen=True)
class Receipt:
    """What became of a machine: when its end was asked for, when it was proven gone, what it cost."""

    requested_at: datetime
    confirmed_at: datetime | None = None
    tries: int = 0
    usd: Decimal = Decimal(0)
    alarmed: bool = False
    """Somebody was told that it takes long."""


@dataclass(frozen=True)
class Attempt:
    id: str
    instance_id: str
    user_id: str
    round: int
    provider: str
    offer_id: str
    offer_machine_id: str
    host_id: str
    gpu_name: str
    gpu_count: int
    usd_per_hour: Decimal
    region: str
    secret_hash: str
    """SHA-256 of the agent's secret."""
    opened_at: datetime
    stage: Stage = Stage.OPEN
    open: bool = True
    """False once closed; the sweep's query."""
    asked_at: datetime | None = None
    """Just before `create` was called."""
    machine_id: str | None = None
    created_at: datetime | None = None
    adopted_at: datetime | None = None
    outcome: Outcome | None = None
    why: str | None = None
    receipt: Receipt | None = None
    next_action_at: datetime | None = None
    ssh_host: str | None = None
    ssh_port: int | None = None
    address_at: datetime | None = None
    usd_disk_per_hour: Decimal = Decimal(0)
    role: str = "gpu"
    """`standby`: a CPU machine that follows the instance's snapshots and takes over when its machine is lost."""
    closed_at: datetime | None = None
    """When its machine was proven gone; what the ledger is ordered by."""
    bid_headroom: float | None = None
    """Of an interruptible machine: how much more was bid than the lowest price that was taken."""
    expected_ready_s: float = 120.0
    """From its machine's history when it was opened."""

    @property
    def is_standby(self) -> bool:
        return self.role == STANDBY

    @property
    def label(self) -> str:
        return LABEL_PREFIX + self.id

    @property
    def wants_machine(self) -> bool:
        return self.stage in (Stage.OPEN, Stage.CREATED, Stage.ADOPTED)

    @property
    def may_have_machine(self) -> bool:
        """False only when certainly nothing was rented or it is proven gone."""
        return self.stage is not Stage.CLOSED and self.asked_at is not None

    def ending(self, outcome: Outcome, why: str, now: datetime) -> Attempt:
        """Wants no machine any more; the receipt is opened. An outcome already known stays."""
        if self.stage in (Stage.ENDING, Stage.CLOSED):
            return self
        if self.outcome is Outcome.READY and outcome is Outcome.CANCELLED:
            outcome = Outcome.READY
        return replace(
            self,
            stage=Stage.ENDING,
            outcome=outcome,
            why=why,
            receipt=Receipt(requested_at=now),
            next_action_at=now,
        )

    def closed(self, now: datetime) -> Attempt:
        """Proven gone, or never there."""
        receipt = self.receipt or Receipt(requested_at=now)
        return replace(
            self,
            stage=Stage.CLOSED,
            open=False,
            closed_at=now,
            receipt=replace(receipt, confirmed_at=now, usd=self.usd_until(now)),
            next_action_at=None,
        )

    def usd_until(self, now: datetime) -> Decimal:
        """An upper bound of what the machine cost: the whole rate from creation on."""
        if self.created_at is None:
            return Decimal(0)
        hours = Decimal(str(max(0.0, (now - self.created_at).total_seconds()))) / 3600
        return (self.usd_per_hour * hours).quantize(Decimal("0.000001"))


LABEL_PREFIX = "dumont-"
STANDBY = "standby"
STANDBY_ROUND = 0
"""Standbys race with nobody: instances' rounds begin at 1."""


def attempt_of_label(label: str | None) -> str | None:
    """The attempt that a machine's label names, or None when the machine is not ours."""
    if not label or not label.startswith(LABEL_PREFIX):
        return None
    return label.removeprefix(LABEL_PREFIX) or None
