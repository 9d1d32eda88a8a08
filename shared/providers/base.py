"""The provider's contract: five verbs, and the errors that each may answer with.

A provider knows nothing of instances; it rents machines that bear a token. Whoever implements it passes
`tests/contracts/provider_contract.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from shlex import quote
from typing import Protocol

from shared.domain.offer import MachineSpec, Need, Offer
from shared.frozen import dataclass


class MachineStatus(StrEnum):
    LOADING = "loading"
    RUNNING = "running"
    STOPPED = "stopped"
    BROKEN = "broken"
    """It will never run: the reason is in `message`."""
    OFFLINE = "offline"
    """The provider has lost sight of it; it may return."""


@dataclass(frozen=True)
class RentedMachine:
    provider: str
    machine_id: str
    token: str
    """The label it bears."""
    status: MachineStatus
    message: str = ""
    usd_per_hour: Decimal = Decimal(0)
    ssh_host: str | None = None
    ssh_port: int | None = None
    ports: dict[str, int] = field(default_factory=dict)
    """Inside port -> outside port."""
    started_at: datetime | None = None
    ran_at: datetime | None = None
    """Of one that runs: since when, where the provider says so."""


@dataclass(frozen=True)
class Features:
    can_stop: bool = False
    sells_spot: bool = False
    takes_bids: bool = False
    """Interruptible machines go to the highest bid; elsewhere their price is the provider's."""
    bills_while_loading: bool = True
    sells_cpu: bool = False
    """Offers machines without a GPU to a need of none: standbys run there."""
    runs_images: bool = True
    """False: machines run the provider's own system, not the user's container image."""


def boot_script(spec: MachineSpec) -> str:
    """The start script with its environment, for virtual machines: they know no environment of a container."""
    lines = ["#!/bin/bash", "export HOME=${HOME:-/root}"]
    lines += [f"export {name}={quote(value)}" for name, value in spec.env.items()]
    # A simulated machine has its workspace below a root of its own.
    lines.append('[ -n "$DUMONT_ROOT" ] || mkdir -p /workspace')
    return "\n".join([*lines, spec.onstart])


BACKGROUND: ContextVar[bool] = ContextVar("background", default=False)
"""Set where a search is nobody's that waits."""


@contextmanager
def in_background() -> Iterator[None]:
    """Searches within are nobody's that waits: users' come first."""
    before = BACKGROUND.set(True)
    try:
        yield
    finally:
        BACKGROUND.reset(before)


class Provider(Protocol):
    name: str
    features: Features

    def offers(self, need: Need) -> Sequence[Offer]:
        """Offers for a need, cheapest first, not yet checked against it. Empty when there are none.

        Raises ProviderBusy (rate limit, daily quota), ProviderRejected (credentials), ProviderError.
        """

    def create(self, offer: Offer, spec: MachineSpec, token: str) -> RentedMachine:
        """Rent `offer`, labelled with `token`. Never repeats the call by itself.

        Raises NoCapacity when the offer is gone, ProviderRejected when asking again cannot help, ProviderBusy
        when certainly nothing happened, and OutcomeUnknown when we cannot tell.
        """

    def get(self, machine_id: str) -> RentedMachine:
        """Raises MachineNotFound when the machine is gone."""

    def list(self) -> Sequence[RentedMachine]:
        """Every machine that bears one of our tokens, whatever its state, over all pages."""

    def terminate(self, machine_id: str) -> None:
        """Ask for its end. Returns once asked; raises MachineNotFound once it is gone.

        Callers repeat it until it raises.
        """
