"""What the simulators of virtual-machine providers share: machines that boot, run, stop and are billed; faults; requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp import web

from local.machines import Machine
from local.scenario import Scenario

FAULTS = ("429", "500", "500_after", "timeout_after", "drop_after", "slow", "quota")


@dataclass
class Guest:
    """A rented virtual machine."""

    id: str
    label: str
    script: str
    gpu_name: str
    gpu_count: int
    memory_mib: int
    usd_per_hour: float
    created_at: float
    ports: dict[int, int]
    place: str
    """The host or zone it is on."""
    boot_s: float
    status: str = "creating"
    running_since: float | None = None
    billed_s: float = 0.0
    destroyed_at: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    machine: Machine | None = None
    boot: asyncio.Task[None] | None = field(default=None, repr=False)

    def usd(self, now: float) -> Decimal:
        """These providers bill from create to delete."""
        end = self.destroyed_at or now
        return Decimal(str(self.usd_per_hour)) * Decimal(str(max(0.0, end - self.created_at))) / 3600


KEPT = ("id", "label", "script", "gpu_name", "gpu_count", "memory_mib", "usd_per_hour", "created_at", "ports", "place",
        "boot_s", "status", "details")  # fmt: skip


class Guests:
    """The machines of one provider, and what tests do to its API."""

    name = ""

    def __init__(self, scenario: Scenario, state: Path) -> None:
        self.scenario = scenario
        self.state = state / self.name
        self.state.mkdir(parents=True, exist_ok=True)
        self.guests: dict[str, Guest] = {}
        self.bills: dict[str, Guest] = {}
        self.requests: deque[dict[str, Any]] = deque(maxlen=5000)
        self.faults: list[dict[str, Any]] = []
        self.sold_out: set[str] = set()

    async def restore(self) -> None:
        """After a restart the same machines are there, as after a reboot of their hosts."""
        file = self.state / "guests.json"
        for row in json.loads(file.read_text()) if file.exists() else []:
            row["ports"] = {int(k): v for k, v in row["ports"].items()}
            guest = Guest(**row)
            self.guests[guest.id] = self.bills[guest.id] = guest
            if guest.status == "running":
                await self.run(guest)
            elif guest.status == "creating":
                guest.boot = asyncio.create_task(self._boot(guest))

    def save(self) -> None:
        part = self.state / "guests.json.part"
        part.write_text(json.dumps([{name: getattr(g, name) for name in KEPT} for g in self.guests.values()]))
        part.replace(self.state / "guests.json")

    def add(self, guest: Guest) -> None:
        self.guests[guest.id] = self.bills[guest.id] = guest
        guest.boot = asyncio.create_task(self._boot(guest))
        self.save()

    async def _boot(self, guest: Guest) -> None:
        await asyncio.sleep(guest.boot_s)
        await self.run(guest)
        self.save()

    async def run(self, guest: Guest) -> None:
        guest.machine = Machine(
            dir=(self.state / "machines" / guest.id.replace("/", "_")).resolve(),
            gpu_name=guest.gpu_name,
            gpu_count=guest.gpu_count,
            memory_mib=guest.memory_mib,
            onstart=guest.script,
            env={},
            ports=guest.ports,
            hollow=not self.scenario.processes,
        )
        guest.machine.prepare()
        await guest.machine.listen()
        guest.machine.start()
        guest.status, guest.running_since = "running", time.time()

    def stop(self, guest: Guest, status: str = "stopped") -> None:
        if guest.boot:
            guest.boot.cancel()
        if guest.machine:
            guest.machine.stop()
        guest.status, guest.running_since = status, None

    async def start(self, guest: Guest) -> None:
        if guest.status != "running":
            await self.run(guest)
        self.save()

    async def destroy(self, guest: Guest) -> None:
        if guest.boot:
            guest.boot.cancel()
        if guest.machine:
            await asyncio.to_thread(guest.machine.remove)
        await asyncio.sleep(self.scenario.destroy_s)
        self.guests.pop(guest.id, None)
        self.save()

    def destroy_soon(self, guest: Guest) -> None:
        if guest.destroyed_at is None:
            guest.destroyed_at = time.time()
            self._ending = asyncio.create_task(self.destroy(guest))

    def shut_down(self) -> None:
        self.save()
        for guest in self.guests.values():
            if guest.boot:
                guest.boot.cancel()
            if guest.machine:
                guest.machine.stop()

    def visible(self) -> list[Guest]:
        limit = time.time() - self.scenario.list_lag_s
        return [guest for guest in self.guests.values() if guest.created_at <= limit]

    # Faults -----------------------------------------------------------------------------------------------------------

    def fault(self, endpoint: str) -> dict[str, Any] | None:
        for fault in self.faults:
            if fault["endpoint"] in (endpoint, "any") and fault["count"] > 0:
                fault["count"] -= 1
                return fault
        return None

    def gate(
        self,
        endpoint_of: Callable[[web.Request], str],
        refuse: Callable[[int, str], web.Response],
    ) -> Any:
        """A middleware that notes each request and makes the faults that were asked for happen."""

        @web.middleware
        async def gate(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            endpoint = endpoint_of(request)
            record = {"method": request.method, "path": request.path, "at": time.time(), "status": 0}
            self.requests.append(record)
            response = await self._judge(request, handler, endpoint, refuse)
            record["status"] = response.status
            return response

        return gate

    async def _judge(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        endpoint: str,
        refuse: Callable[[int, str], web.Response],
    ) -> web.StreamResponse:
        fault = self.fault(endpoint)
        kind = fault["kind"] if fault else None
        if kind in ("429", "quota"):
            return refuse(429, "rate limit exceeded")
        if kind == "500":
            return refuse(500, "internal error")
        if kind == "slow" and fault:
            await asyncio.sleep(float(fault.get("seconds", 5)))
        response = await handler(request)
        if kind == "500_after":
            return refuse(500, "internal error")
        if kind == "timeout_after" and fault:
            await asyncio.sleep(float(fault.get("seconds", 120)))
        if kind in ("drop_after", "timeout_after") and request.transport is not None:
            with contextlib.suppress(RuntimeError):
                request.transport.close()
        return response
