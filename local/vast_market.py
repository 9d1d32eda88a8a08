"""Vast.ai's market: offers, contracts, bids, and what happens to them. `local.vast_api` speaks its HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from local.machines import Machine, free_port
from local.scenario import Scenario, market
from local.vast_notices import Notices

THRESHOLD_S = {
    "create": 4.5,
    "list": 1.0,
    "get": 2.0,
    "label": 1.0,
    "bulk": 2.0,
    "reboot": 1.0,
    "bid": 5.5,
    "execute": 1.5,
    "ssh": 1.0,
    "destroy": 3.0,
    "search": 6.0,
}
"""Seconds between two calls of one kind, as the vendor documents them."""
RESUME = 0.2
"""Of a first boot's time, when the image is there already."""
OVERBID = 1.05
"""What beats a bid is a little more than it."""
PAGE_LIMIT = 25
SEARCH_LIMIT = 64
HOURS_A_MONTH = 720
CONTRACT_COLUMNS = {"actual_status", "gpu_name", "verification", "id", "label", "machine_id", "host_id"}
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "in": lambda a, b: a in b,
    "notin": lambda a, b: a not in b,
}


@dataclass
class Rented:
    """A contract: what the provider knows of a machine, and its bill."""

    id: int
    offer: dict[str, Any]
    label: str
    image: str
    onstart: str
    env: dict[str, str]
    disk: float
    created_at: float
    ports: dict[int, int]
    status: str | None = None
    intended: str = "running"
    message: str = ""
    destroyed_at: float | None = None
    running_since: float | None = None
    """Since when it is billed and its bill not closed."""
    ran_at: float | None = None
    """When its container started."""
    gpu_usd: float = 0.0
    """For the time up to `running_since`."""
    bid: float | None = None
    """USD per hour for the GPUs; None on demand."""
    ssh_keys: dict[int, str] = field(default_factory=dict)
    waiting: bool = False
    """It would run and has no GPU: outbid, or another rents what it left."""
    offline: bool = False
    machine: Machine | None = None
    boot: asyncio.Task[None] | None = field(default=None, repr=False)

    def usd(self, now: float) -> tuple[Decimal, Decimal]:
        """GPU and storage so far."""
        gpu = Decimal(str(self.gpu_usd)) + Decimal(str(self._unbilled(now)))
        alive = (self.destroyed_at or now) - self.created_at
        rate = Decimal(str(self.offer["storage_cost"])) * Decimal(str(self.disk)) / HOURS_A_MONTH
        return gpu, rate * Decimal(str(alive)) / 3600

    def rate(self) -> float:
        return self.bid if self.bid is not None else float(self.offer["dph_base"])

    def _unbilled(self, now: float) -> float:
        return self.rate() * (now - self.running_since) / 3600 if self.running_since else 0.0

    def bill(self, now: float) -> None:
        """Close the bill up to now; what follows may have another rate, or none."""
        self.gpu_usd += self._unbilled(now)
        self.running_since = now if self.running_since else None

    def holds_gpu(self) -> bool:
        return self.destroyed_at is None and self.intended == "running" and not self.waiting and not self.offline


class Refused(Exception):
    def __init__(self, status: int, error: str, msg: str, **more: Any) -> None:
        super().__init__(msg)
        self.status = status
        self.body = {"success": False, "error": error, "msg": msg, **more}


class Vast:
    """The market, the contracts and the faults that tests ask for."""

    def __init__(self, scenario: Scenario, state: Path, api_key: str) -> None:
        self.scenario = scenario
        self.state = state
        self.api_key = api_key
        self.offers = {row["id"]: row for row in market(scenario)}
        self.sold_out: set[int] = set()
        self.rented: dict[int, Rented] = {}
        self.bills: dict[int, Rented] = {}
        self.requests: deque[dict[str, Any]] = deque(maxlen=5000)
        self.faults: list[dict[str, Any]] = []
        self.credit = 1000.0
        self.ssh_keys: dict[int, dict[str, Any]] = {}
        self.notices = Notices()
        self.next_id = 29_000_001
        self._last: dict[str, float] = {}
        self._searched = (0, 0)
        """The day, and how many searches it has had."""

    # Life of machines -------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """After a restart the same machines are there, as after a reboot of their hosts."""
        file = self.state / "simulators.json"
        if not file.exists():
            return
        kept = json.loads(file.read_text())
        self.next_id = kept["next_id"]
        self.ssh_keys = {int(id): row for id, row in kept.get("ssh_keys", {}).items()}
        for row in kept["rented"]:
            offer = self.offers.get(row.pop("offer_id"))
            if offer is None:
                continue
            for name in ("ports", "ssh_keys"):
                row[name] = {int(k): v for k, v in row.get(name, {}).items()}
            rented = Rented(offer=offer, **row)
            self.rented[rented.id] = self.bills[rented.id] = rented
            if rented.status == "running" and not rented.offline:
                await self._run(rented)
            elif rented.intended == "running" and rented.status != "offline" and not rented.waiting:
                rented.boot = asyncio.create_task(self._boot(rented))

    def save(self) -> None:
        rows = []
        for rented in self.rented.values():
            rented.bill(time.time())
            rows.append(
                {
                    "id": rented.id,
                    "offer_id": rented.offer["id"],
                    "label": rented.label,
                    "image": rented.image,
                    "onstart": rented.onstart,
                    "env": rented.env,
                    "disk": rented.disk,
                    "created_at": rented.created_at,
                    "ports": rented.ports,
                    "status": rented.status,
                    "intended": rented.intended,
                    "message": rented.message,
                    "gpu_usd": rented.gpu_usd,
                    "bid": rented.bid,
                    "ssh_keys": rented.ssh_keys,
                    "waiting": rented.waiting,
                    "offline": rented.offline,
                }
            )
        part = self.state / "simulators.json.part"
        part.write_text(json.dumps({"next_id": self.next_id, "rented": rows, "ssh_keys": self.ssh_keys}))
        part.replace(self.state / "simulators.json")

    async def _boot(self, rented: Rented, share: float = 1.0) -> None:
        boot_s = float(rented.offer["_boot_s"]) * share
        await asyncio.sleep(boot_s * 0.1)
        rented.status = "created"
        await asyncio.sleep(boot_s * 0.1)
        rented.status = "loading"
        rented.message = "4c7d45f7c63c: Download complete"
        if rented.offer["_dud"]:
            rented.message = rented.offer["_dud"]
            self.notices.tell("client:instance_error", rented.id, rented.message)
            return
        await asyncio.sleep(boot_s * 0.8)
        await self._run(rented)
        self.notices.tell("client:instance_started" if share == 1.0 else "client:instance_resumed", rented.id)
        self.save()

    async def _run(self, rented: Rented) -> None:
        offer = rented.offer
        rented.machine = Machine(
            dir=(self.state / "machines" / str(rented.id)).resolve(),
            gpu_name=offer["gpu_name"],
            gpu_count=offer["num_gpus"],
            memory_mib=offer["gpu_ram"],
            onstart=rented.onstart,
            env={**rented.env, "CONTAINER_ID": str(rented.id), "CONTAINER_API_KEY": f"machine-{rented.id}"},
            ports=rented.ports,
            hollow=not self.scenario.processes,
        )
        rented.machine.prepare()
        self._authorize(rented)
        await rented.machine.listen()
        rented.machine.start()
        rented.status, rented.running_since = "running", time.time()
        rented.ran_at = rented.running_since
        rented.message = f"success, running {rented.image.replace('/', '_')}/ssh"

    def _halt(self, rented: Rented, status: str) -> None:
        """Its processes end and its GPU is no longer billed; its disk is."""
        self._unbill(rented)
        if rented.machine:
            rented.machine.stop()
        rented.status = status

    def _unbill(self, rented: Rented) -> None:
        rented.bill(time.time())
        rented.running_since = None
        if rented.boot:
            rented.boot.cancel()

    def stop(self, rented: Rented) -> None:
        self._halt(rented, "exited")
        rented.intended, rented.waiting = "stopped", False
        self.notices.tell("client:instance_stopped", rented.id)
        self.settle()

    def start(self, rented: Rented) -> None:
        """Raises Refused when the GPU is taken: then it starts, and is billed, by itself once the GPU is free."""
        if rented.holds_gpu():
            return
        rented.intended, rented.waiting = "running", True
        self.settle()
        if rented.waiting:
            text = "Required resources are currently unavailable, state change queued."
            raise Refused(200, "resources_unavailable", text)

    def outbid(self, rented: Rented) -> None:
        self._halt(rented, "exited")
        rented.waiting = True
        self.notices.tell("client:outbid", rented.id)

    def change_bid(self, rented: Rented, usd: float) -> None:
        rented.bill(time.time())
        rented.bid = usd
        self.settle()

    def settle(self) -> None:
        """Machines below their market's lowest bid stop; those that wait for a GPU that is free again start."""
        for rented in list(self.rented.values()):
            if rented.holds_gpu() and rented.bid is not None and rented.bid < rented.offer["min_bid"]:
                self.outbid(rented)
        for rented in list(self.rented.values()):
            if not rented.waiting or rented.intended != "running" or rented.offline or rented.destroyed_at:
                continue
            if rented.bid is not None and rented.bid < rented.offer["min_bid"]:
                continue
            if self.holder(rented.offer) is None and rented.offer["machine_id"] not in self.sold_out:
                rented.waiting = False
                rented.boot = asyncio.create_task(self._boot(rented, RESUME))

    def kill_host(self, rented: Rented) -> None:
        self._halt(rented, "offline")
        rented.offline = True
        self.notices.tell("client:instance_offline", rented.id)

    async def recycle(self, rented: Rented) -> None:
        """A new container from the image: what was in the old one is gone."""
        self._halt(rented, "recycling")
        if rented.machine:
            await asyncio.to_thread(rented.machine.remove)
        rented.boot = asyncio.create_task(self._boot(rented, RESUME))

    async def destroy(self, rented: Rented) -> None:
        self._unbill(rented)
        if rented.machine:
            await asyncio.to_thread(rented.machine.remove)
        await asyncio.sleep(self.scenario.destroy_s)
        self.rented.pop(rented.id, None)
        self.notices.tell("client:instance_deleted", rented.id)
        self.settle()
        self.save()

    def shut_down(self) -> None:
        self.save()
        for rented in self.rented.values():
            if rented.boot:
                rented.boot.cancel()
            if rented.machine:
                rented.machine.stop()

    # SSH keys ---------------------------------------------------------------------------------------------------------

    def attached(self, rented: Rented) -> list[dict[str, Any]]:
        return [{"id": id, "public_key": key} for id, key in rented.ssh_keys.items()]

    def attach(self, rented: Rented, key: str) -> None:
        known = (id for id, row in self.ssh_keys.items() if row["key"] == key)
        rented.ssh_keys[next(known, max(rented.ssh_keys, default=900) + 1)] = key
        self._authorize(rented)

    def detach(self, rented: Rented, id: int) -> None:
        key = rented.ssh_keys.pop(id, None)
        if key is None:
            raise Refused(404, "not_found", f"Instance {rented.id} has no SSH key {id}.")
        self._authorize(rented, without=key)

    def _authorize(self, rented: Rented, without: str | None = None) -> None:
        """The account's keys beside whatever else the machine has in its file."""
        if rented.machine is None or rented.machine.hollow:
            return
        file = rented.machine.dir / "home" / ".ssh" / "authorized_keys"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = file.read_text().splitlines() if file.exists() else []
        lines = [line for line in there if line != without]
        file.write_text("".join(f"{line}\n" for line in dict.fromkeys([*lines, *rented.ssh_keys.values()])))

    # Offers -----------------------------------------------------------------------------------------------------------

    def holder(self, offer: dict[str, Any]) -> Rented | None:
        """Who has the offer's GPUs now."""
        found = (rented for rented in self.rented.values() if rented.offer["id"] == offer["id"] and rented.holds_gpu())
        return next(found, None)

    def _price_of(self, offer: dict[str, Any], bid: bool) -> float | None:
        """The lowest price per hour at which its GPUs can be had, None when they cannot."""
        if offer["machine_id"] in self.sold_out:
            return None
        holder = self.holder(offer)
        if holder is not None and holder.bid is None:
            return None
        if not bid:
            return float(offer["dph_base"])
        beaten = holder.bid * OVERBID if holder is not None and holder.bid is not None else 0.0
        return round(max(float(offer["min_bid"]), beaten), 4)

    def listed(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        storage = float(query.get("allocated_storage", 5.0))
        bid = query.get("type") == "bid"
        rows = []
        for offer in self.offers.values():
            price = self._price_of(offer, bid)
            if price is None:
                continue
            row = _priced(offer, storage, price, bid)
            if all(holds(row, column, test) for column, test in query.items() if isinstance(test, dict)):
                rows.append(row)
        for column, direction in reversed(query.get("order") or []):
            rows.sort(key=lambda row, column=column: row.get(column) or 0, reverse=direction == "desc")  # type: ignore[misc]
        return rows[: min(SEARCH_LIMIT, int(query.get("limit") or SEARCH_LIMIT))]

    async def create(self, offer_id: int, body: dict[str, Any]) -> Rented:
        await asyncio.sleep(self.scenario.create_delay_s)
        offer = self.offers.get(offer_id)
        bid = float(body["price"]) if body.get("price") is not None else None
        price = self._price_of(offer, bid is not None) if offer else None
        if offer is None or price is None:
            text = f"error 404/3603: no_such_ask Instance type by id {offer_id} is not available."
            raise Refused(404, "invalid_args", text, ask_id=offer_id)
        if not body.get("image") and not body.get("template_hash_id"):
            raise Refused(400, "invalid_args", "error 400/3406: image is required")
        if bid is not None and not 0.001 <= bid <= 128:
            raise Refused(400, "invalid_price", "Please set a bid price >= 0.001.")
        if self.credit <= 0:
            raise Refused(400, "insufficient_credit", "Your account lacks credit; see the billing page.")
        env = body.get("env") or {}
        flags = env if isinstance(env, dict) else {}
        inside = [int(k.split(":")[-1]) for k in flags if k.startswith("-p ")]
        ports = {port: free_port() for port in (22, *inside)}
        stopped = body.get("target_state") == "stopped"
        low = bid is not None and bid < price
        rented = Rented(
            id=self.next_id,
            offer=offer,
            label=body.get("label") or "",
            image=str(body.get("image")),
            onstart=body.get("onstart") or "true",
            env={k: str(v) for k, v in flags.items() if not k.startswith("-")},
            disk=float(body.get("disk") or 10),
            created_at=time.time(),
            ports=ports,
            ssh_keys={id: str(row["key"]) for id, row in self.ssh_keys.items()},
            bid=bid,
            status="stopped" if stopped or low else None,
            intended="stopped" if stopped or low else "running",
        )
        self.next_id += 1
        previous = self.holder(offer)
        self.rented[rented.id] = self.bills[rented.id] = rented
        if low:
            # The vendor answers an error and keeps a stopped machine, whose disk is billed.
            self.save()
            text = f"error 400/3509: the bid {bid} is below {price}"
            raise Refused(400, "invalid_price", text, new_contract=rented.id)
        if not stopped:
            if previous is not None:
                self.outbid(previous)
            rented.boot = asyncio.create_task(self._boot(rented))
        self.notices.tell("client:instance_created", rented.id)
        self.save()
        return rented

    def visible(self) -> list[Rented]:
        limit = time.time() - self.scenario.list_lag_s
        return [rented for rented in self.rented.values() if rented.created_at <= limit]

    # Limits and faults ------------------------------------------------------------------------------------------------

    def quota_resets_at(self) -> float | None:
        """When a search may be made again, None while the day's quota lasts."""
        day = int(time.time() // 86400)
        if day != self._searched[0]:
            self._searched = (day, 0)
        self._searched = (day, self._searched[1] + 1)
        limit = self.scenario.searches_a_day
        return (day + 1) * 86400.0 if limit and self._searched[1] > limit else None

    def too_soon(self, endpoint: str) -> bool:
        threshold = THRESHOLD_S.get(endpoint, 0.0) * self.scenario.rate_limit_scale
        now = time.monotonic()
        if now - self._last.get(endpoint, -1e9) < threshold:
            return True
        self._last[endpoint] = now
        return False

    def fault(self, endpoint: str) -> dict[str, Any] | None:
        for fault in self.faults:
            if fault["endpoint"] in (endpoint, "any") and fault["count"] > 0:
                fault["count"] -= 1
                return fault
        return None


def _priced(offer: dict[str, Any], storage: float, base: float, bid: bool) -> dict[str, Any]:
    row = {k: v for k, v in offer.items() if not k.startswith("_")}
    disk = row["storage_cost"] * storage / HOURS_A_MONTH
    total = base + disk
    parts = {
        "gpuCostPerHour": base,
        "diskHour": disk,
        "totalHour": total,
        "discountTotalHour": 0,
        "discountedTotalPerHour": total,
    }
    row.update(
        dph_base=base,
        storage_total_cost=disk,
        dph_total=total,
        dph_total_adj=total,
        is_bid=bid,
        min_bid=base if bid else row["min_bid"],
        discounted_dph_total=total,
        search=parts,
        instance={**parts, "gpuCostPerHour": 0, "totalHour": disk},
    )
    return row


def holds(row: dict[str, Any], column: str, test: dict[str, Any]) -> bool:
    value = row.get(column)
    if column == "geolocation":
        value = str(value).rpartition(",")[2].strip()
    for operator, wanted in test.items():
        compare = OPERATORS.get(operator)
        if compare is None:
            raise Refused(400, "invalid_request", f"Invalid operator {operator}")
        try:
            if not compare(
                value, [_like(value, w) for w in wanted] if isinstance(wanted, list) else _like(value, wanted)
            ):
                return False
        except TypeError:
            return False
    return True


def _like(value: Any, wanted: Any) -> Any:
    """The command line sends numbers as text: they are compared as the column's kind."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return wanted if isinstance(wanted, bool) else str(wanted).lower() == "true"
    if isinstance(value, int | float) and isinstance(wanted, str):
        return float(wanted)
    return wanted


def instance_row(rented: Rented) -> dict[str, Any]:
    """A contract as the instance endpoints show it."""
    offer = _priced(rented.offer, rented.disk, rented.rate(), rented.bid is not None)
    running = rented.status == "running"
    keep = (
        "machine_id",
        "host_id",
        "bundle_id",
        "num_gpus",
        "gpu_name",
        "gpu_arch",
        "gpu_ram",
        "gpu_frac",
        "gpu_lanes",
        "gpu_mem_bw",
        "bw_nvlink",
        "compute_cap",
        "cuda_max_good",
        "driver_version",
        "cpu_name",
        "cpu_arch",
        "cpu_cores",
        "cpu_cores_effective",
        "cpu_ram",
        "disk_name",
        "disk_bw",
        "inet_up",
        "inet_down",
        "inet_up_cost",
        "inet_down_cost",
        "pci_gen",
        "pcie_bw",
        "mobo_name",
        "os_version",
        "geolocation",
        "verification",
        "reliability2",
        "hosting_type",
        "rentable",
        "external",
        "webpage",
        "logo",
        "is_bid",
        "min_bid",
        "dph_base",
        "dph_total",
        "storage_cost",
        "storage_total_cost",
        "vram_costperhour",
        "dlperf",
        "dlperf_per_dphtotal",
        "flops_per_dphtotal",
        "total_flops",
        "score",
        "search",
        "instance",
        "end_date",
        "static_ip",
        "direct_port_count",
        "public_ipaddr",
        "time_remaining",
        "time_remaining_isbid",
        "credit_discount_max",
    )
    row = {name: offer[name] for name in keep}
    machine = rented.machine
    row.update(
        {
            "id": rented.id,
            "label": rented.label or None,
            "actual_status": rented.status,
            "intended_status": rented.intended,
            "cur_state": "stopped" if rented.waiting else rented.intended,
            "next_state": "stopped" if rented.waiting else rented.intended,
            "status_msg": rented.message,
            "template_id": None,
            "template_hash_id": None,
            "template_name": None,
            "image_uuid": rented.image,
            "image_args": [],
            "image_runtype": "ssh_direc ssh_proxy",
            "extra_env": [[k, v] for k, v in rented.env.items()],
            "onstart": rented.onstart,
            "jupyter_token": "0" * 64,
            "ssh_host": "127.0.0.1",
            "ssh_idx": "5",
            "ssh_port": rented.ports[22],
            "machine_dir_ssh_port": 21000,
            "local_ipaddrs": "127.0.0.1 \n",
            "direct_port_start": min(rented.ports.values()) if running else -1,
            "direct_port_end": max(rented.ports.values()) if running else -1,
            "start_date": rented.created_at,
            "duration": rented.offer["duration"],
            "uptime_mins": (time.time() - rented.ran_at) / 60 if running and rented.ran_at else None,
            "client_run_time": 1.1,
            "host_run_time": 2_592_000.0,
            "gpu_totalram": offer["gpu_total_ram"],
            "gpu_util": machine.load["gpu"] if running and machine else None,
            "gpu_temp": 39.0 if running else None,
            "cpu_util": 0.03,
            "mem_limit": 62.2,
            "mem_usage": 0.01,
            "vmem_usage": 0.5,
            "disk_space": rented.disk,
            "disk_usage": 1.2 if running else -1,
            "disk_util": 0.04 if running else -1,
            "inet_up_billed": None,
            "inet_down_billed": None,
            "country_code": None,
            "credit_balance": None,
            "credit_discount": None,
            "volume_info": [],
        }
    )
    if running:
        row["ports"] = {
            f"{inside}/tcp": [{"HostIp": ip, "HostPort": str(outside)} for ip in ("0.0.0.0", "::")]
            for inside, outside in rented.ports.items()
        }
    return row
