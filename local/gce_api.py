"""Compute Engine's REST API over simulated machines, close enough that google-cloud-compute and gcloud work against it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from local.guests import Guest, Guests
from local.machines import free_port
from local.scenario import Scenario

ROOT = "https://www.googleapis.com/compute/v1"
ZONES = (
    "us-central1-a",
    "us-central1-b",
    "us-east1-b",
    "europe-west3-a",
    "europe-north1-a",
    "northamerica-northeast1-a",
)
TYPES: dict[str, tuple[int, int, str, int, int]] = {
    # name: CPUs, memory in MB, GPU, how many, MiB of one
    "g2-standard-4": (4, 16384, "L4", 1, 23034),
    "g2-standard-24": (24, 98304, "L4", 2, 23034),
    "n1-standard-4": (4, 15360, "Tesla T4", 0, 15360),
    "a2-highgpu-1g": (12, 87040, "A100 SXM4", 1, 40960),
    "a2-ultragpu-1g": (12, 174080, "A100 SXM4", 1, 81920),
    "e2-micro": (2, 1024, "", 0, 0),
    "e2-small": (2, 2048, "", 0, 0),
    "e2-medium": (2, 4096, "", 0, 0),
    "e2-standard-2": (2, 8192, "", 0, 0),
}
USD = {"g2-standard-4": 0.71, "g2-standard-24": 2.0, "n1-standard-4": 0.54, "a2-highgpu-1g": 3.67,
       "a2-ultragpu-1g": 5.07, "e2-micro": 0.0084, "e2-small": 0.0168, "e2-medium": 0.0335,
       "e2-standard-2": 0.067}  # fmt: skip
USD_SPOT = {"g2-standard-4": 0.28, "g2-standard-24": 0.80, "n1-standard-4": 0.20, "a2-highgpu-1g": 1.47,
            "a2-ultragpu-1g": 2.03, "e2-micro": 0.0034, "e2-small": 0.0067, "e2-medium": 0.0134,
            "e2-standard-2": 0.0268}  # fmt: skip
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
REASONS = {400: "invalid", 403: "forbidden", 404: "notFound", 409: "alreadyExists", 412: "conditionNotMet",
           429: "rateLimitExceeded", 500: "backendError", 503: "backendError"}  # fmt: skip
STATUS = {"creating": "STAGING", "running": "RUNNING", "stopped": "TERMINATED", "error": "TERMINATED"}


@dataclass
class Operation:
    name: str
    id: str
    zone: str
    kind: str
    target: str
    done_at: float
    started_at: float
    error: tuple[str, str] | None = None


class Gce(Guests):
    name = "gce"

    def __init__(self, scenario: Scenario, state: Path) -> None:
        super().__init__(scenario, state)
        self.operations: dict[str, Operation] = {}
        self.by_request: dict[str, str] = {}
        self._dice = random.Random(scenario.seed + 2)

    def operation(
        self, zone: str, kind: str, target: str, seconds: float, error: tuple[str, str] | None = None
    ) -> Operation:
        id = str(self._dice.getrandbits(62))
        name = f"operation-{time.time_ns() // 1_000_000}-{id[:13]}"
        made = Operation(name, id, zone, kind, target, time.time() + seconds, time.time(), error)
        self.operations[name] = made
        return made


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def fingerprint(value: Any) -> str:
    return base64.b64encode(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:8]).decode()


def problem(status: int, message: str, reason: str | None = None) -> web.Response:
    why = reason or REASONS.get(status, "backendError")
    body = {
        "error": {
            "code": status,
            "message": message,
            "errors": [{"message": message, "domain": "global", "reason": why}],
            "status": why.upper(),
        }
    }
    return web.json_response(body, status=status)


def endpoint_of(request: web.Request) -> str:
    path = request.path
    if request.method == "DELETE":
        return "destroy"
    if "/operations" in path:
        return "operation"
    if path.endswith("/aggregated/instances"):
        return "list"
    if path.endswith("/instances"):
        return "create" if request.method == "POST" else "search"
    return "get" if "/instances/" in path else "other"


def application(market: Gce) -> web.Application:
    app = web.Application(
        middlewares=[
            market.gate(endpoint_of, lambda status, message: problem(503 if status == 500 else status, message))
        ],
        client_max_size=4 << 20,
    )
    api = Handlers(market)
    app.middlewares.append(_may)
    base = "/compute/v1/projects/{project}"
    zone = base + "/zones/{zone}"
    for method, path, handler in (
        ("GET", base, api.project),
        ("GET", base + "/zones", api.zones),
        ("GET", zone, api.zone),
        ("GET", base + "/regions/{region}", api.region),
        ("GET", base + "/aggregated/instances", api.aggregated),
        ("GET", base + "/aggregated/operations", api.empty_aggregate),
        ("GET", base + "/aggregated/acceleratorTypes", api.empty_aggregate),
        ("POST", zone + "/instances", api.insert),
        ("GET", zone + "/instances", api.list),
        ("GET", zone + "/instances/{name}", api.show),
        ("DELETE", zone + "/instances/{name}", api.delete),
        ("POST", zone + "/instances/{name}/{verb:stop|start|reset|suspend|resume}", api.power),
        ("POST", zone + "/instances/{name}/setMetadata", api.set_metadata),
        ("POST", zone + "/instances/{name}/setLabels", api.set_labels),
        ("POST", zone + "/instances/{name}/setScheduling", api.set_scheduling),
        ("GET", zone + "/instances/{name}/serialPort", api.serial),
        ("GET", zone + "/operations", api.operations),
        ("GET", zone + "/operations/{name}", api.operation),
        ("POST", zone + "/operations/{name}/wait", api.operation),
        ("GET", zone + "/machineTypes", api.machine_types),
        ("GET", zone + "/machineTypes/{name}", api.machine_type),
        ("GET", zone + "/acceleratorTypes", api.accelerator_types),
        ("GET", "/compute/v1/projects/{project}/global/images/family/{family}", api.image),
    ):
        app.router.add_route(method, path, handler)
    return app


@web.middleware
async def _may(request: web.Request, handler: Any) -> web.StreamResponse:
    """A project whose name says so is one that the caller has no rights in."""
    if str(request.match_info.get("project", "")).startswith("forbidden"):
        return problem(403, "Required 'compute.instances.list' permission for 'projects/forbidden'")
    response: web.StreamResponse = await handler(request)
    return response


class Handlers:
    def __init__(self, market: Gce) -> None:
        self._market = market

    def _operation_row(self, request: web.Request, one: Operation) -> dict[str, Any]:
        project = request.match_info["project"]
        where = f"{ROOT}/projects/{project}/zones/{one.zone}"
        done = time.time() >= one.done_at
        body: dict[str, Any] = {
            "kind": "compute#operation", "id": one.id, "name": one.name, "zone": where, "operationType": one.kind,
            "targetLink": f"{where}/instances/{one.target}", "targetId": one.id, "progress": 100 if done else 0,
            "status": "DONE" if done else "RUNNING", "user": "local@dumont", "insertTime": stamp(one.started_at),
            "startTime": stamp(one.started_at), "selfLink": f"{where}/operations/{one.name}",
        }  # fmt: skip
        if done:
            body["endTime"] = stamp(one.done_at)
            if one.error:
                body["httpErrorStatusCode"], body["httpErrorMessage"] = 503, "SERVICE UNAVAILABLE"
                body["error"] = {"errors": [{"code": one.error[0], "message": one.error[1]}]}
        return body

    def _operation(self, request: web.Request, one: Operation) -> web.Response:
        return web.json_response(self._operation_row(request, one))

    def _key(self, request: web.Request) -> str:
        return f"{request.match_info['zone']}/{request.match_info['name']}"

    def _one(self, request: web.Request) -> Guest | None:
        guest = self._market.guests.get(self._key(request))
        return guest if guest is not None and guest.destroyed_at is None else None

    def _missing(self, request: web.Request) -> web.Response:
        info = request.match_info
        what = f"projects/{info['project']}/zones/{info['zone']}/instances/{info['name']}"
        return problem(404, f"The resource '{what}' was not found")

    def _row(self, project: str, guest: Guest) -> dict[str, Any]:
        zone, name = guest.id.split("/")
        where = f"{ROOT}/projects/{project}/zones/{zone}"
        body = guest.details["body"]
        status = "STOPPING" if guest.destroyed_at else STATUS.get(guest.status, guest.status)
        nat = {"natIP": "127.0.0.1"} if status == "RUNNING" else {}
        access = {"kind": "compute#accessConfig", "type": "ONE_TO_ONE_NAT", "name": "External NAT",
                  "networkTier": "PREMIUM", **nat}  # fmt: skip
        items = (body.get("metadata") or {}).get("items", [])
        own = body.get("labels") or {}
        # Where its SSH server listens is the simulator's word: it may change at a start, the fingerprint does not.
        labels = {**own, "ssh-port": str(guest.ports[22])}
        return {
            "kind": "compute#instance", "id": guest.details["id"], "creationTimestamp": stamp(guest.created_at),
            "name": name, "description": body.get("description", ""), "status": status, "zone": where,
            "machineType": f"{where}/machineTypes/{guest.details['type']}", "cpuPlatform": "Intel Cascade Lake",
            "tags": {"items": (body.get("tags") or {}).get("items", []), "fingerprint": fingerprint("tags")},
            "networkInterfaces": [
                {"kind": "compute#networkInterface", "name": "nic0", "networkIP": "10.128.0.5",
                 "network": f"{ROOT}/projects/{project}/global/networks/default", "fingerprint": fingerprint("nic"),
                 "stackType": "IPV4_ONLY", "accessConfigs": [access]}
            ],
            "disks": [
                {"kind": "compute#attachedDisk", "type": "PERSISTENT", "mode": "READ_WRITE", "index": 0, "boot": True,
                 "source": f"{where}/disks/{name}", "deviceName": "persistent-disk-0", "autoDelete": True,
                 "interface": "SCSI", "diskSizeGb": str(guest.details.get("disk_gb", 10)), "architecture": "X86_64"}
            ],
            "metadata": {"kind": "compute#metadata", "fingerprint": fingerprint(items), "items": items},
            "scheduling": body.get("scheduling") or {}, "labels": labels, "labelFingerprint": fingerprint(own),
            "guestAccelerators": body.get("guestAccelerators") or [], "fingerprint": fingerprint(name),
            "selfLink": f"{where}/instances/{name}", "startRestricted": False, "deletionProtection": False,
            "canIpForward": False,
            **({"lastStartTimestamp": stamp(guest.running_since)} if guest.running_since else {}),
        }  # fmt: skip

    async def project(self, request: web.Request) -> web.Response:
        name = request.match_info["project"]
        return web.json_response(
            {"kind": "compute#project", "id": "1", "name": name, "selfLink": f"{ROOT}/projects/{name}",
             "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": fingerprint("p")}}
        )  # fmt: skip

    def _zone_row(self, project: str, zone: str) -> dict[str, Any]:
        region = zone.rpartition("-")[0]
        return {"kind": "compute#zone", "id": "1", "name": zone, "status": "UP",
                "region": f"{ROOT}/projects/{project}/regions/{region}",
                "selfLink": f"{ROOT}/projects/{project}/zones/{zone}"}  # fmt: skip

    async def zones(self, request: web.Request) -> web.Response:
        project = request.match_info["project"]
        return web.json_response({"kind": "compute#zoneList", "items": [self._zone_row(project, z) for z in ZONES]})

    async def zone(self, request: web.Request) -> web.Response:
        zone = request.match_info["zone"]
        if zone not in ZONES:
            return problem(404, f"The resource 'projects/p/zones/{zone}' was not found")
        return web.json_response(self._zone_row(request.match_info["project"], zone))

    async def region(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"kind": "compute#region", "id": "1", "name": request.match_info["region"], "quotas": []}
        )

    async def insert(self, request: web.Request) -> web.Response:
        market, info = self._market, request.match_info
        zone = info["zone"]
        if zone not in ZONES:
            return problem(404, f"The resource 'projects/{info['project']}/zones/{zone}' was not found")
        body = await request.json()
        name = str(body.get("name") or "")
        machine_type = str(body.get("machineType") or "").rpartition("/")[2]
        asked = request.query.get("requestId")
        if asked and asked in market.by_request:
            return self._operation(request, market.operations[market.by_request[asked]])
        if not NAME.fullmatch(name):
            return problem(400, f"Invalid value for field 'resource.name': '{name}'.")
        if machine_type not in TYPES:
            return problem(400, f"Invalid value for field 'resource.machineType': '{machine_type}'. Not found.")
        key = f"{zone}/{name}"
        if key in market.guests:
            return problem(
                409, f"The resource 'projects/{info['project']}/zones/{zone}/instances/{name}' already exists"
            )
        await asyncio.sleep(market.scenario.create_delay_s)
        if f"{zone}/{machine_type}" in market.sold_out:
            text = f"The zone '{zone}' does not have enough resources available to fulfill the request."
            made = market.operation(zone, "insert", name, 0.2, ("ZONE_RESOURCE_POOL_EXHAUSTED", text))
            return self._operation(request, made)
        _, _, gpu, count, memory = TYPES[machine_type]
        for attached in body.get("guestAccelerators") or []:
            count = int(attached.get("acceleratorCount") or 0)
        items = {i["key"]: i["value"] for i in (body.get("metadata") or {}).get("items", [])}
        disk = ((body.get("disks") or [{}])[0].get("initializeParams") or {}).get("diskSizeGb") or 10
        spot = (body.get("scheduling") or {}).get("provisioningModel") == "SPOT"
        rate = (USD_SPOT if spot else USD)[machine_type] + int(disk) * 0.10 / 730
        low, high = market.scenario.boot_s
        boot_s = round(low + (high - low) * market._dice.random(), 2)
        guest = Guest(
            id=key, label=name, script=items.get("startup-script", "true"), gpu_name=gpu, gpu_count=count,
            memory_mib=memory, usd_per_hour=rate, created_at=time.time(), ports={22: free_port()}, place=zone,
            boot_s=boot_s,
            details={"body": body, "type": machine_type, "id": str(market._dice.getrandbits(62)), "disk_gb": int(disk)},
        )  # fmt: skip
        market.add(guest)
        made = market.operation(zone, "insert", name, min(1.0, boot_s))
        if asked:
            market.by_request[asked] = made.name
        return self._operation(request, made)

    async def list(self, request: web.Request) -> web.Response:
        project, zone = request.match_info["project"], request.match_info["zone"]
        rows = [self._row(project, g) for g in self._market.visible() if g.place == zone and not g.destroyed_at]
        return web.json_response({"kind": "compute#instanceList", "id": "1", "items": rows})

    async def aggregated(self, request: web.Request) -> web.Response:
        project = request.match_info["project"]
        items: dict[str, Any] = {}
        for zone in ZONES:
            rows = [self._row(project, g) for g in self._market.visible() if g.place == zone and not g.destroyed_at]
            warning = {"code": "NO_RESULTS_ON_PAGE", "message": "There are no results for scope on this page.",
                       "data": [{"key": "scope", "value": f"zones/{zone}"}]}  # fmt: skip
            items[f"zones/{zone}"] = {"instances": rows} if rows else {"warning": warning}
        return web.json_response({"kind": "compute#instanceAggregatedList", "id": "1", "items": items})

    async def empty_aggregate(self, request: web.Request) -> web.Response:
        return web.json_response({"items": {}})

    async def show(self, request: web.Request) -> web.Response:
        guest = self._one(request)
        if guest is None:
            return self._missing(request)
        return web.json_response(self._row(request.match_info["project"], guest))

    async def delete(self, request: web.Request) -> web.Response:
        guest = self._one(request)
        if guest is None:
            return self._missing(request)
        self._market.destroy_soon(guest)
        made = self._market.operation(guest.place, "delete", guest.label, self._market.scenario.destroy_s)
        return self._operation(request, made)

    async def power(self, request: web.Request) -> web.Response:
        guest, verb = self._one(request), request.match_info["verb"]
        if guest is None:
            return self._missing(request)
        if verb in ("stop", "suspend"):
            self._market.stop(guest)
        elif verb in ("start", "resume"):
            await self._market.start(guest)
        else:
            self._market.stop(guest)
            await self._market.start(guest)
        self._market.save()
        return self._operation(request, self._market.operation(guest.place, verb, guest.label, 0.2))

    async def _set(self, request: web.Request, field: str, mark: str, current: Any) -> web.Response:
        guest = self._one(request)
        if guest is None:
            return self._missing(request)
        given = await request.json()
        if mark and given.get(mark) not in (None, fingerprint(current(guest))):
            return problem(412, f"{mark} does not match")
        body = guest.details["body"]
        body[field] = given
        if field == "labels":
            body[field] = {name: value for name, value in given.get("labels", {}).items() if name != "ssh-port"}
        return self._operation(request, self._market.operation(guest.place, "set" + field, guest.label, 0.1))

    async def set_metadata(self, request: web.Request) -> web.Response:
        return await self._set(
            request, "metadata", "fingerprint", lambda g: (g.details["body"].get("metadata") or {}).get("items", [])
        )

    async def set_labels(self, request: web.Request) -> web.Response:
        return await self._set(request, "labels", "labelFingerprint", lambda g: g.details["body"].get("labels") or {})

    async def set_scheduling(self, request: web.Request) -> web.Response:
        return await self._set(request, "scheduling", "", lambda g: None)

    async def serial(self, request: web.Request) -> web.Response:
        guest = self._one(request)
        if guest is None:
            return self._missing(request)
        log = guest.machine.dir / "logs" / "onstart.log" if guest.machine else None
        text = log.read_text(errors="replace")[-65536:] if log and log.exists() else ""
        return web.json_response(
            {"kind": "compute#serialPortOutput", "contents": text, "start": "0", "next": str(len(text))}
        )

    async def operation(self, request: web.Request) -> web.Response:
        one = self._market.operations.get(request.match_info["name"])
        if one is None:
            return problem(404, f"The resource 'operations/{request.match_info['name']}' was not found")
        if request.path.endswith("/wait"):
            await asyncio.sleep(max(0.0, min(120.0, one.done_at - time.time())))
        return self._operation(request, one)

    async def operations(self, request: web.Request) -> web.Response:
        zone = request.match_info["zone"]
        rows = [self._operation_row(request, one) for one in self._market.operations.values() if one.zone == zone]
        return web.json_response({"kind": "compute#operationList", "id": "1", "items": rows})

    def _type_row(self, request: web.Request, name: str) -> dict[str, Any]:
        cpus, memory, gpu, count, _ = TYPES[name]
        zone = request.match_info["zone"]
        row: dict[str, Any] = {
            "kind": "compute#machineType", "id": str(abs(hash(name)) % 10**9), "name": name, "guestCpus": cpus,
            "memoryMb": memory, "zone": zone, "isSharedCpu": name.startswith("e2-m"), "maximumPersistentDisks": 128,
            "maximumPersistentDisksSizeGb": "263168", "architecture": "X86_64", "creationTimestamp": stamp(0),
            "selfLink": f"{ROOT}/projects/{request.match_info['project']}/zones/{zone}/machineTypes/{name}",
        }  # fmt: skip
        if count:
            row["accelerators"] = [{"guestAcceleratorType": f"nvidia-{gpu.lower()}", "guestAcceleratorCount": count}]
        return row

    async def machine_types(self, request: web.Request) -> web.Response:
        rows = [self._type_row(request, name) for name in TYPES]
        return web.json_response({"kind": "compute#machineTypeList", "id": "1", "items": rows})

    async def machine_type(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in TYPES:
            return problem(404, f"The resource 'machineTypes/{name}' was not found")
        return web.json_response(self._type_row(request, name))

    async def accelerator_types(self, request: web.Request) -> web.Response:
        return web.json_response({"kind": "compute#acceleratorTypeList", "id": "1", "items": []})

    async def image(self, request: web.Request) -> web.Response:
        info = request.match_info
        return web.json_response(
            {"kind": "compute#image", "id": "1", "name": info["family"] + "-v1", "family": info["family"],
             "status": "READY", "diskSizeGb": "10",
             "selfLink": f"{ROOT}/projects/{info['project']}/global/images/{info['family']}-v1"}
        )  # fmt: skip
