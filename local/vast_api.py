"""Vast.ai's HTTP API over simulated machines, close enough that the vendor's own command line works against it."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp import web

from local.machines import Machine, free_port
from local.scenario import Scenario, market

THRESHOLD_S = {"create": 4.5, "list": 1.0, "get": 2.0, "label": 1.0, "destroy": 3.0, "search": 6.0}
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
    gpu_seconds: float = 0.0
    offline: bool = False
    machine: Machine | None = None
    boot: asyncio.Task[None] | None = field(default=None, repr=False)

    def usd(self, now: float) -> tuple[Decimal, Decimal]:
        """GPU and storage so far."""
        gpu_s = self.gpu_seconds + (now - self.running_since if self.running_since else 0.0)
        gpu = Decimal(str(self.offer["dph_base"])) * Decimal(str(gpu_s)) / 3600
        alive = (self.destroyed_at or now) - self.created_at
        rate = Decimal(str(self.offer["storage_cost"])) * Decimal(str(self.disk)) / HOURS_A_MONTH
        return gpu, rate * Decimal(str(alive)) / 3600


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
        self.next_id = 29_000_001
        self._last: dict[str, float] = {}

    # Life of machines -------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """After a restart the same machines are there, as after a reboot of their hosts."""
        file = self.state / "simulators.json"
        if not file.exists():
            return
        kept = json.loads(file.read_text())
        self.next_id = kept["next_id"]
        for row in kept["rented"]:
            offer = self.offers.get(row.pop("offer_id"))
            if offer is None:
                continue
            row["ports"] = {int(k): v for k, v in row["ports"].items()}
            rented = Rented(offer=offer, **row)
            self.rented[rented.id] = self.bills[rented.id] = rented
            if rented.status == "running" and not rented.offline:
                await self._run(rented)
            elif rented.intended == "running" and rented.status != "offline":
                rented.boot = asyncio.create_task(self._boot(rented))

    def save(self) -> None:
        rows = []
        for rented in self.rented.values():
            gpu_s = rented.gpu_seconds + (time.time() - rented.running_since if rented.running_since else 0.0)
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
                    "gpu_seconds": gpu_s,
                    "offline": rented.offline,
                }
            )
        part = self.state / "simulators.json.part"
        part.write_text(json.dumps({"next_id": self.next_id, "rented": rows}))
        part.replace(self.state / "simulators.json")

    async def _boot(self, rented: Rented) -> None:
        boot_s = float(rented.offer["_boot_s"])
        await asyncio.sleep(boot_s * 0.2)
        rented.status = "loading"
        rented.message = "4c7d45f7c63c: Download complete"
        if rented.offer["_dud"]:
            rented.message = rented.offer["_dud"]
            return
        await asyncio.sleep(boot_s * 0.8)
        await self._run(rented)
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
        )
        rented.machine.prepare()
        await rented.machine.listen()
        rented.machine.start()
        rented.status, rented.running_since = "running", time.time()
        rented.message = f"success, running {rented.image.replace('/', '_')}/ssh"

    def _pause_bill(self, rented: Rented) -> None:
        if rented.running_since is not None:
            rented.gpu_seconds += time.time() - rented.running_since
            rented.running_since = None

    def stop(self, rented: Rented) -> None:
        self._pause_bill(rented)
        if rented.boot:
            rented.boot.cancel()
        if rented.machine:
            rented.machine.stop()
        rented.status, rented.intended = "exited", "stopped"

    def kill_host(self, rented: Rented) -> None:
        self._pause_bill(rented)
        if rented.machine:
            rented.machine.stop()
        rented.status, rented.offline = "offline", True

    async def destroy(self, rented: Rented) -> None:
        if rented.boot:
            rented.boot.cancel()
        self._pause_bill(rented)
        if rented.machine:
            await asyncio.to_thread(rented.machine.remove)
        await asyncio.sleep(self.scenario.destroy_s)
        self.rented.pop(rented.id, None)
        self.save()

    def shut_down(self) -> None:
        self.save()
        for rented in self.rented.values():
            if rented.boot:
                rented.boot.cancel()
            if rented.machine:
                rented.machine.stop()

    # Offers -----------------------------------------------------------------------------------------------------------

    def listed(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        storage = float(query.get("allocated_storage", 5.0))
        bid = query.get("type") == "bid"
        taken = {rented.offer["id"] for rented in self.rented.values()}
        rows = []
        for offer in self.offers.values():
            if offer["id"] in taken or offer["machine_id"] in self.sold_out:
                continue
            row = _priced(offer, storage, bid)
            if all(_holds(row, column, test) for column, test in query.items() if isinstance(test, dict)):
                rows.append(row)
        for column, direction in reversed(query.get("order") or []):
            rows.sort(key=lambda row, column=column: row.get(column) or 0, reverse=direction == "desc")  # type: ignore[misc]
        return rows[: min(SEARCH_LIMIT, int(query.get("limit") or SEARCH_LIMIT))]

    async def create(self, offer_id: int, body: dict[str, Any]) -> Rented:
        await asyncio.sleep(self.scenario.create_delay_s)
        taken = {rented.offer["id"] for rented in self.rented.values()}
        offer = self.offers.get(offer_id)
        if offer is None or offer_id in taken or offer["machine_id"] in self.sold_out:
            text = f"error 404/3603: no_such_ask Instance type by id {offer_id} is not available."
            raise Refused(404, "invalid_args", text, ask_id=offer_id)
        if not body.get("image") and not body.get("template_hash_id"):
            raise Refused(400, "invalid_args", "error 400/3406: image is required")
        if self.credit <= 0:
            raise Refused(400, "insufficient_credit", "Your account lacks credit; see the billing page.")
        env = body.get("env") or {}
        flags = env if isinstance(env, dict) else {}
        inside = [int(k.split(":")[-1]) for k in flags if k.startswith("-p ")]
        ports = {port: free_port() for port in (22, *inside)}
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
        )
        self.next_id += 1
        self.rented[rented.id] = self.bills[rented.id] = rented
        rented.boot = asyncio.create_task(self._boot(rented))
        self.save()
        return rented

    def visible(self) -> list[Rented]:
        limit = time.time() - self.scenario.list_lag_s
        return [rented for rented in self.rented.values() if rented.created_at <= limit]

    # Limits and faults ------------------------------------------------------------------------------------------------

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


def _priced(offer: dict[str, Any], storage: float, bid: bool) -> dict[str, Any]:
    row = {k: v for k, v in offer.items() if not k.startswith("_")}
    base = row["min_bid"] if bid else row["dph_base"]
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
        discounted_dph_total=total,
        search=parts,
        instance={**parts, "gpuCostPerHour": 0, "totalHour": disk},
    )
    return row


def _holds(row: dict[str, Any], column: str, test: dict[str, Any]) -> bool:
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
    offer = _priced(rented.offer, rented.disk, False)
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
            "cur_state": rented.intended,
            "next_state": rented.intended,
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
            "uptime_mins": (time.time() - rented.created_at) / 60 if running else None,
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


# HTTP ----------------------------------------------------------------------------------------------------------------


def answer(body: Any, status: int = 200) -> web.Response:
    # Without a charset: the vendor's command line compares the header to the letter.
    return web.Response(body=json.dumps(body).encode(), status=status, headers={"Content-Type": "application/json"})


def application(vast: Vast) -> web.Application:
    app = web.Application(middlewares=[_gate(vast)], client_max_size=4 << 20)
    api = Handlers(vast)
    for method, path, handler in (
        ("POST", "/api/v0/bundles", api.search),
        ("GET", "/api/v0/bundles", api.search),
        ("PUT", "/api/v0/search/asks", api.search),
        ("PUT", "/api/v0/asks/{id}", api.create),
        ("GET", "/api/v1/instances", api.list),
        ("GET", "/api/v0/instances", api.list_all),
        ("GET", "/api/v0/instances/filters", api.filters),
        ("GET", "/api/v0/instances/{id}", api.show),
        ("PUT", "/api/v0/instances/{id}", api.change),
        ("DELETE", "/api/v0/instances/{id}", api.destroy),
        ("PUT", "/api/v0/instances/reboot/{id}", api.reboot),
        ("GET", "/api/v0/users/current", api.user),
        ("GET", "/api/v0/gpu_names/unique", api.gpu_names),
        ("GET", "/api/v0/ssh", api.ssh_keys),
    ):
        app.router.add_route(method, path, handler)
        app.router.add_route(method, path + "/", handler)
    return app


def _endpoint(request: web.Request) -> str:
    path = request.path.rstrip("/")
    if "bundles" in path or "search" in path:
        return "search"
    if "/asks/" in path:
        return "create"
    if request.method == "DELETE":
        return "destroy"
    if path.endswith("/instances"):
        return "list"
    if "/instances/" in path and request.method == "GET" and not path.endswith("filters"):
        return "get"
    return "label" if "/instances/" in path and request.method == "PUT" else "other"


def _gate(vast: Vast) -> Any:
    @web.middleware
    async def gate(request: web.Request, handler: Any) -> web.StreamResponse:
        endpoint = _endpoint(request)
        record = {"method": request.method, "path": request.path, "at": time.time(), "status": 0}
        if endpoint == "create":
            record["label"] = (await request.json()).get("label") if request.can_read_body else None
        vast.requests.append(record)
        response = await _judged(request, handler, endpoint)
        record["status"] = response.status
        return response

    async def _judged(request: web.Request, handler: Any, endpoint: str) -> web.StreamResponse:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("api_key", "")
        own = key.startswith("machine-") and key == f"machine-{request.match_info.get('id')}"
        if "gpu_names" not in request.path and not own and key != vast.api_key:
            if not key:
                return answer({"success": False, "error": "auth_error", "msg": "This action requires login."}, 403)
            return answer({"success": False, "error": "auth_error", "msg": "Invalid user key"}, 401)
        if vast.too_soon(endpoint):
            return web.Response(text="API requests too frequent", status=429)
        fault = vast.fault(endpoint)
        kind = fault["kind"] if fault else None
        if kind == "429":
            return web.Response(text="API requests too frequent: endpoint threshold=4.5", status=429)
        if kind == "500":
            return web.Response(text="Internal Server Error", status=500)
        if kind == "quota":
            body = {"error": "search_quota_exceeded", "msg": "Daily search quota exceeded."}
            late = answer(body, 429)
            late.headers["X-RateLimit-Reset"] = str(int(time.time() + 60))
            return late
        if kind == "slow" and fault:
            await asyncio.sleep(float(fault.get("seconds", 5)))
        try:
            response: web.StreamResponse = await handler(request)
        except Refused as refused:
            return answer(refused.body, refused.status)
        except (ValueError, KeyError, TypeError):
            return answer({"error": "invalid_request", "msg": "Invalid json body"}, 400)
        if kind == "500_after":
            return web.Response(text="Internal Server Error", status=500)
        if kind == "timeout_after" and fault:
            await asyncio.sleep(float(fault.get("seconds", 120)))
        if kind in ("drop_after", "timeout_after") and request.transport is not None:
            request.transport.close()
        return response

    return gate


class Handlers:
    def __init__(self, vast: Vast) -> None:
        self._vast = vast

    def _one(self, request: web.Request) -> Rented:
        rented = self._vast.rented.get(int(request.match_info["id"]))
        if rented is None:
            raise Refused(404, "no_such_instance", f"Instance {request.match_info['id']} not found.")
        return rented

    async def search(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            query = json.loads(request.query.get("q", "{}"))
        else:
            body = await request.json()
            query = body.get("q", body)
        return answer({"offers": self._vast.listed(query)})

    async def create(self, request: web.Request) -> web.Response:
        rented = await self._vast.create(int(request.match_info["id"]), await request.json())
        return answer({"success": True, "new_contract": rented.id, "instance_api_key": f"machine-{rented.id}"})

    async def list(self, request: web.Request) -> web.Response:
        wanted = json.loads(request.query.get("select_filters") or "{}")
        for column in wanted:
            if column not in CONTRACT_COLUMNS:
                text = f"Error in query parameters: {column} is not a valid search key"
                raise Refused(400, "invalid_request", text)
        rows = [instance_row(rented) for rented in sorted(self._vast.visible(), key=lambda r: r.id)]
        rows = [row for row in rows if all(_holds(row, column, test) for column, test in wanted.items())]
        labels: dict[str, int] = {}
        for row in rows:
            labels[row["label"] or ""] = labels.get(row["label"] or "", 0) + 1
        total, token = len(rows), request.query.get("after_token")
        if token:
            try:
                after = json.loads(base64.b64decode(token))["values"]["id"]
            except (ValueError, KeyError) as error:
                raise Refused(400, "invalid_token", "Invalid after_token") from error
            rows = [row for row in rows if row["id"] > after]
        limit = int(request.query.get("limit") or PAGE_LIMIT)
        limit = min(PAGE_LIMIT, limit if limit > 0 else 5)
        page, following = rows[:limit], None
        if len(rows) > limit:
            following = base64.b64encode(json.dumps({"values": {"id": page[-1]["id"]}}).encode()).decode()
        columns = json.loads(request.query.get("select_cols") or "null")
        if columns and columns != ["*"]:
            page = [{column: row.get(column) for column in columns} for row in page]
        return answer(
            {
                "success": True,
                "instances_found": len(page),
                "total_instances": total,
                "label_counts": labels,
                "next_token": following,
                "instances": page,
            }
        )

    async def list_all(self, request: web.Request) -> web.Response:
        rows = [instance_row(rented) for rented in self._vast.visible()]
        return answer({"instances_found": len(rows), "instances": rows})

    async def filters(self, request: web.Request) -> web.Response:
        rows = [
            {"actual_status": r.status, "verification": "verified", "gpu_name": r.offer["gpu_name"]}
            for r in self._vast.visible()
        ]
        return answer({"success": True, "filters": rows})

    async def show(self, request: web.Request) -> web.Response:
        rented = self._vast.rented.get(int(request.match_info["id"]))
        row = instance_row(rented) if rented else None
        if row is not None:
            row.pop("volume_info")
        return answer({"instances": row})

    async def change(self, request: web.Request) -> web.Response:
        rented, body = self._one(request), await request.json()
        if "label" in body:
            rented.label = str(body["label"])
        if body.get("state") == "stopped":
            await asyncio.to_thread(self._vast.stop, rented)
        elif body.get("state") == "running" and rented.status != "running":
            rented.intended = "running"
            rented.boot = asyncio.create_task(self._vast._boot(rented))
        self._vast.save()
        return answer({"success": True})

    async def destroy(self, request: web.Request) -> web.Response:
        rented = self._one(request)
        if rented.destroyed_at is None:
            rented.destroyed_at = time.time()
            _keep(asyncio.create_task(self._vast.destroy(rented)))
        return answer({"success": True, "msg": f"destroying instance {rented.id}."})

    async def reboot(self, request: web.Request) -> web.Response:
        rented = self._one(request)
        if rented.machine:
            await asyncio.to_thread(rented.machine.stop)
            await self._vast._run(rented)
        return answer({"success": True})

    async def user(self, request: web.Request) -> web.Response:
        return answer(
            {
                "id": 1,
                "email": "demo@dumont.local",
                "username": "demo",
                "credit": self._vast.credit,
                "balance": 0.0,
                "balance_threshold": 0.0,
                "ssh_key": "",
                "can_pay": True,
                "has_billing": True,
                "api_key": "",
                "sid": secrets.token_hex(4),
            }
        )

    async def gpu_names(self, request: web.Request) -> web.Response:
        return answer({"gpu_names": sorted({row["gpu_name"] for row in self._vast.offers.values()})})

    async def ssh_keys(self, request: web.Request) -> web.Response:
        return answer([])


_TASKS: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    """The loop itself holds tasks only weakly."""
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)
