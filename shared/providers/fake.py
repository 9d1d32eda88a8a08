"""A provider in memory, for tests of flows. It passes the same contract as the real ones."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared import errors
from shared.clock import Clock
from shared.domain.attempt import LABEL_PREFIX
from shared.domain.offer import MachineSpec, Need, Offer
from shared.providers.base import Features, MachineStatus, RentedMachine


@dataclass
class _Made:
    machine: RentedMachine
    offer: Offer
    spec: MachineSpec
    made_at: datetime
    deletes_left: int


@dataclass
class FakeProvider:
    clock: Clock
    stock: list[Offer] = field(default_factory=list)
    name: str = "fake"
    features: Features = field(default_factory=Features)
    fail_next: dict[str, list[errors.Error]] = field(default_factory=lambda: defaultdict(list))
    """Per verb: raised instead of acting, one a call."""
    lose_creates: int = 0
    """So many creates act and then lose their answer."""
    list_lag: timedelta = timedelta(0)
    stubborn: int = 0
    """Machines created from now on survive so many terminates."""
    made: dict[str, _Made] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    creates: list[str] = field(default_factory=list)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def offers(self, need: Need) -> Sequence[Offer]:
        self._fail("offers")
        taken = {m.offer.machine_id for m in self.made.values()}
        return sorted((o for o in self.stock if o.machine_id not in taken), key=lambda o: o.usd_per_hour)

    def create(self, offer: Offer, spec: MachineSpec, token: str) -> RentedMachine:
        self._fail("create")
        if offer.offer_id not in {o.offer_id for o in self.offers(Need())}:
            raise errors.NoCapacity(f"offer {offer.offer_id} is gone")
        machine = RentedMachine(
            self.name,
            f"m{next(self._ids)}",
            token,
            MachineStatus.LOADING,
            usd_per_hour=offer.usd_per_hour,
            started_at=self.clock.now(),
        )
        self.made[machine.machine_id] = _Made(machine, offer, spec, self.clock.now(), self.stubborn)
        self.creates.append(token)
        if self.lose_creates:
            self.lose_creates -= 1
            raise errors.OutcomeUnknown("the answer was lost")
        return machine

    def get(self, machine_id: str) -> RentedMachine:
        self._fail("get")
        return self._one(machine_id).machine

    def list(self) -> Sequence[RentedMachine]:
        self._fail("list")
        now = self.clock.now()
        return [
            m.machine
            for m in self.made.values()
            if m.machine.token.startswith(LABEL_PREFIX) and now - m.made_at >= self.list_lag
        ]

    def terminate(self, machine_id: str) -> None:
        self._fail("terminate")
        made = self._one(machine_id)
        if made.deletes_left > 0:
            made.deletes_left -= 1
            return
        del self.made[machine_id]
        self.gone.append(machine_id)

    def set_status(self, machine_id: str, status: MachineStatus, message: str = "") -> None:
        made = self._one(machine_id)
        ssh = ("127.0.0.1", 2200) if status is MachineStatus.RUNNING else (None, None)
        ran_at = (made.machine.ran_at or self.clock.now()) if status is MachineStatus.RUNNING else made.machine.ran_at
        made.machine = replace(
            made.machine, status=status, message=message, ssh_host=ssh[0], ssh_port=ssh[1], ran_at=ran_at
        )

    def add_foreign(self, label: str) -> str:
        """A machine in the account that is not ours."""
        machine_id = f"foreign-{next(self._ids)}"
        machine = RentedMachine(self.name, machine_id, label, MachineStatus.RUNNING)
        offer = Offer(self.name, machine_id, machine_id, machine_id, "X", 1, 1, machine.usd_per_hour, 1, 1, "")
        self.made[machine_id] = _Made(machine, offer, MachineSpec("", 1, ""), self.clock.now(), 0)
        return machine_id

    def _one(self, machine_id: str) -> _Made:
        if machine_id not in self.made:
            raise errors.MachineNotFound(f"there is no machine {machine_id}")
        return self.made[machine_id]

    def _fail(self, verb: str) -> None:
        if self.fail_next[verb]:
            raise self.fail_next[verb].pop(0)
