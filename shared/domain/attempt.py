"""One written-down try to get a machine: stored before any money is spent, closed with a receipt.

    open ──> created ──> adopted ──> ending ──> closed
      └─────────┴──────────────────────^
An attempt wants its machine until it is `ending`; from then on the machine is terminated, again and again,
until the provider no longer finds it. Only then is it `closed`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from shared.domain.instance import Machine
from shared.frozen import dataclass


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
    accepted_at: datetime | None = None
    """When the provider took the newest such wish; once the machine is proven gone, what it costs ended here."""
    confirmed_at: datetime | None = None
    tries: int = 0
    usd: Decimal = Decimal(0)
    alarmed: bool = False
    """Somebody was told that it takes long."""


@dataclass(frozen=True)
class Pause:
    """Time in which a machine did not run, by its provider's word: stopped, or its host lost. Its disk is billed alone."""

    since: datetime
    until: datetime | None = None


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
    bills_loading: bool = True
    """False where a provider bills the disk alone until the machine runs."""
    ran_at: datetime | None = None
    """Since when it runs, by its provider's word."""
    pauses: tuple[Pause, ...] = ()
    expected_ready_s: float = 120.0
    """From its machine's history when it was opened."""

    @property
    def is_standby(self) -> bool:
        return self.role == STANDBY

    @property
    def label(self) -> str:
        return LABEL_PREFIX + self.id

    def as_machine(self) -> Machine:
        """What an instance that adopts it knows of it."""
        return Machine(
            provider=self.provider,
            machine_id=self.machine_id or "",
            host_id=self.host_id,
            offer_id=self.offer_id,
            gpu_name=self.gpu_name,
            gpu_count=self.gpu_count,
            usd_per_hour=self.usd_per_hour,
            region=self.region,
            ssh_host=self.ssh_host,
            ssh_port=self.ssh_port,
        )

    @property
    def wants_machine(self) -> bool:
        return self.stage in (Stage.OPEN, Stage.CREATED, Stage.ADOPTED)

    @property
    def may_have_machine(self) -> bool:
        """False only when certainly nothing was rented or it is proven gone."""
        return self.stage is not Stage.CLOSED and self.asked_at is not None

    @property
    def whole_from(self) -> datetime | None:
        """From when on its whole rate is billed; None while it is not known to have run: then its disk is."""
        if self.bills_loading or self.created_at is None:
            return self.created_at
        # A provider may count from its newest start; that its agent was there before proves an earlier one.
        known = [at for at in (self.ran_at, self.adopted_at) if at is not None]
        return max(min(known), self.created_at) if known else None

    @property
    def paused(self) -> bool:
        return bool(self.pauses) and self.pauses[-1].until is None

    def seen(self, runs: bool, at: datetime) -> Attempt:
        """As its provider says it is since then; matters where a machine that does not run is not billed whole."""
        if self.bills_loading or runs != self.paused:
            return self
        if not runs:
            return replace(self, pauses=(*self.pauses, Pause(at)))
        last = self.pauses[-1]
        return replace(self, pauses=(*self.pauses[:-1], Pause(last.since, max(last.since, at))))

    @property
    def billed_until(self) -> datetime | None:
        """None until it is proven gone."""
        if self.receipt is None or self.receipt.confirmed_at is None:
            return None
        return self.receipt.accepted_at or self.receipt.confirmed_at

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
        receipt = replace(self.receipt or Receipt(requested_at=now), confirmed_at=now)
        gone = replace(self, stage=Stage.CLOSED, open=False, closed_at=now, receipt=receipt, next_action_at=None)
        return replace(gone, receipt=replace(receipt, usd=gone.usd_until(now)))

    def usd_until(self, now: datetime) -> Decimal:
        """What the machine cost until then."""
        return self.usd_between(self.created_at, now) if self.created_at is not None else Decimal(0)

    def usd_between(self, since: datetime, until: datetime) -> Decimal:
        """Its disk's rate from creation on, its whole rate from `whole_from` on, both until its end."""
        if self.created_at is None:
            return Decimal(0)
        whole = self.whole_seconds(since, until)
        lasted = seconds_within(self.created_at, self.billed_until or until, since, until)
        usd = self.usd_per_hour * whole + self.usd_disk_per_hour * (lasted - whole)
        return (usd / 3600).quantize(Decimal("0.000001"))

    def whole_seconds(self, since: datetime, until: datetime) -> Decimal:
        """For how long within a range its whole rate is billed."""
        begin, end = self.whole_from, min(until, self.billed_until or until)
        if begin is None:
            return Decimal(0)
        paused = (seconds_within(max(p.since, begin), min(p.until or end, end), since, until) for p in self.pauses)
        return seconds_within(begin, end, since, until) - sum(paused, Decimal(0))


def seconds(span: timedelta) -> Decimal:
    return Decimal(span.days * 86400 + span.seconds) + Decimal(span.microseconds) / 1_000_000


def seconds_within(start: datetime, end: datetime, since: datetime, until: datetime) -> Decimal:
    """Seconds that [start, end) and [since, until) share."""
    return max(Decimal(0), seconds(min(end, until) - max(start, since)))


LABEL_PREFIX = "dumont-"
STANDBY = "standby"
STANDBY_ROUND = 0
"""Standbys race with nobody: instances' rounds begin at 1."""


def attempt_of_label(label: str | None) -> str | None:
    """The attempt that a machine's label names, or None when the machine is not ours."""
    if not label or not label.startswith(LABEL_PREFIX):
        return None
    return label.removeprefix(LABEL_PREFIX) or None
