"""TensorDock's v2 API over simulated machines, with the vendor's quirks: refusals inside HTTP 200, shapes and spellings that
vary, no address in a create's answer, an association that is lost on stop."""

from __future__ import annotations

import itertools
import random
import time
import uuid
from pathlib import Path
from typing import Any

from aiohttp import web

from local.guests import Guest, Guests
from local.machines import free_port
from local.scenario import Scenario

HOSTS = (
    ("geforcertx4090-pcie-24gb", 0.35, 4, 24564, "RTX 4090"),
    ("geforcertx3090-pcie-24gb", 0.18, 2, 24576, "RTX 3090"),
    ("a100-pcie-80gb", 1.27, 2, 81920, "A100 PCIE"),
    ("h100-sxm5-80gb", 2.25, 8, 81559, "H100 SXM"),
    ("rtxa4000-pcie-16gb", 0.11, 4, 16376, "RTX A4000"),
    ("l40s-pcie-48gb", 0.52, 2, 46068, "L40S"),
)
PLACES = (("Joplin", "Missouri", "United States", 3), ("Winnipeg", "Manitoba", "Canada", 1),
          ("Frankfurt", "Hesse", "Germany", 4), ("Chubbuck", "Idaho", "United States", 0))  # fmt: skip


class TensorDock(Guests):
    name = "tensordock"

    def __init__(self, scenario: Scenario, state: Path, token: str) -> None:
        super().__init__(scenario, state)
        self.token = token
        dice = random.Random(scenario.seed + 1)
        self.shapes = itertools.cycle(("instances", "attributes", "flat"))
        self.nodes: dict[str, dict[str, Any]] = {}
        for number in range(24):
            v0, price, count, memory, name = HOSTS[number % len(HOSTS)]
            city, state_name, country, tier = PLACES[number % len(PLACES)]
            id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
            self.nodes[id] = {
                "id": id, "v0": v0, "price": round(price * dice.uniform(0.9, 1.2), 4), "count": count, "memory": memory,
                "gpu": name, "city": city, "state": state_name, "country": country, "tier": tier,
                "boot_s": round(dice.uniform(*scenario.boot_s), 2), "uptime": round(dice.uniform(98.5, 99.99), 2),
            }  # fmt: skip

    def free(self, node: dict[str, Any]) -> int:
        used = sum(
            g.gpu_count for g in self.guests.values()
            if g.place == node["id"] and g.status not in ("StoppedDisassociated",)
        )  # fmt: skip
        return 0 if node["id"] in self.sold_out else int(node["count"]) - used

    def row(self, node: dict[str, Any]) -> dict[str, Any]:
        gpus = [{"v0Name": node["v0"], "availableCount": self.free(node), "price_per_hr": node["price"]}]
        return {
            "id": node["id"], "location_id": str(uuid.uuid5(uuid.NAMESPACE_URL, node["city"])), "engine": "kvm",
            "uptime_percentage": node["uptime"],
            "available_resources": {
                "gpus": gpus if self.free(node) > 0 else [], "vcpu_count": 64, "ram_gb": 256, "storage_gb": 3000,
                "max_vcpus_per_gpu": 16, "max_ram_per_gpu": 64, "max_vcpus": 64, "max_ram_gb": 256,
                "max_storage_gb": 3000, "available_ports": [free_port() for _ in range(6)],
                "has_public_ip_available": False,
            },
            "pricing": {"per_vcpu_hr": 0.003, "per_gb_ram_hr": 0.002, "per_gb_storage_hr": 0.00005},
            "location": {
                "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, node["city"])), "city": node["city"],
                "stateprovince": node["state"], "country": node["country"], "has_network_storage": False,
                "network_speed_gbps": 1.0, "network_speed_upload_gbps": 1.0, "organization": "org",
                "organizationName": "Org", "tier": node["tier"],
            },
        }  # fmt: skip


def refused(message: str, status: int = 400) -> web.Response:
    """The vendor's habit: HTTP 200 with the refusal inside."""
    return web.json_response({"error": message, "status": status})


def endpoint_of(request: web.Request) -> str:
    if "hostnodes" in request.path or "locations" in request.path:
        return "search"
    if request.method == "DELETE":
        return "destroy"
    if request.method == "POST" and request.path.endswith("/instances"):
        return "create"
    return "list" if request.path.endswith("/instances") else "get"


def application(market: TensorDock) -> web.Application:
    api = Handlers(market)

    @web.middleware
    async def known(request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if given != market.token and not request.path.endswith("/locations"):
            return web.json_response({"error": "Unauthorized", "status": 401}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    def refuse(status: int, message: str) -> web.Response:
        if status == 500:
            return web.Response(text="<html><body>502 Bad Gateway</body></html>", status=502, content_type="text/html")
        return web.json_response({"error": message, "status": status}, status=status)

    app = web.Application(middlewares=[known, market.gate(endpoint_of, refuse)], client_max_size=4 << 20)
    base = "/api/v2"
    app.router.add_get(base + "/locations", api.locations)
    app.router.add_get(base + "/hostnodes", api.hostnodes)
    app.router.add_get(base + "/hostnodes/{id}", api.hostnode)
    app.router.add_post(base + "/instances", api.create)
    app.router.add_get(base + "/instances", api.list)
    app.router.add_get(base + "/instances/{id}", api.show)
    app.router.add_delete(base + "/instances/{id}", api.delete)
    app.router.add_post(base + "/instances/{id}/{verb:start|stop}", api.power)
    return app


class Handlers:
    def __init__(self, market: TensorDock) -> None:
        self._market = market

    def _one(self, request: web.Request) -> Guest | None:
        guest = self._market.guests.get(request.match_info["id"])
        return guest if guest is not None and guest.destroyed_at is None else None

    async def locations(self, request: web.Request) -> web.Response:
        rows: dict[str, dict[str, Any]] = {}
        for node in self._market.nodes.values():
            row = rows.setdefault(
                node["city"],
                {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, node["city"])), "city": node["city"],
                 "stateprovince": node["state"], "country": node["country"], "tier": node["tier"], "gpus": []},
            )  # fmt: skip
            if self._market.free(node) > 0:
                row["gpus"].append(
                    {"v0Name": node["v0"], "displayName": f"NVIDIA {node['gpu']}",
                     "max_count": self._market.free(node), "price_per_hr": node["price"]}
                )  # fmt: skip
        return web.json_response({"data": {"locations": list(rows.values())}})

    async def hostnodes(self, request: web.Request) -> web.Response:
        return web.json_response({"data": {"hostnodes": [self._market.row(n) for n in self._market.nodes.values()]}})

    async def hostnode(self, request: web.Request) -> web.Response:
        node = self._market.nodes.get(request.match_info["id"])
        if node is None:
            return web.json_response({"error": "Hostnode not found", "status": 404}, status=404)
        return web.json_response({"data": self._market.row(node)})

    async def create(self, request: web.Request) -> web.Response:
        try:
            wanted = (await request.json())["data"]["attributes"]
            resources = wanted["resources"]
            ((v0, gpu),) = resources["gpus"].items()
            count = int(gpu["count"])
        except (ValueError, KeyError, TypeError):
            return refused("Invalid request body")
        if not wanted.get("ssh_key") and not wanted.get("ssh_key_id"):
            return refused("ssh_key is required for this image")
        if int(resources.get("storage_gb") or 0) < 100:
            return refused("storage_gb must be at least 100")
        node = self._market.nodes.get(wanted.get("hostnode_id", ""))
        if node is None or node["v0"] != v0 or self._market.free(node) < count:
            return refused("Hostnode unavailable")
        script = "\n".join(
            file["content"] for file in (wanted.get("cloud_init") or {}).get("write_files", []) if file.get("content")
        )
        rate = (
            node["price"] * count + 0.003 * resources["vcpu_count"] + 0.002 * resources["ram_gb"]
            + 0.00005 * resources["storage_gb"]
        )  # fmt: skip
        guest = Guest(
            id=str(uuid.uuid4()), label=str(wanted["name"]), script=script or "true", gpu_name=node["gpu"],
            gpu_count=count, memory_mib=node["memory"], usd_per_hour=rate, created_at=time.time(),
            ports={int(f["internal_port"]): int(f["external_port"]) or free_port()
                   for f in wanted.get("port_forwards") or [{"internal_port": 22, "external_port": 0}]},
            place=node["id"], boot_s=node["boot_s"], details={"v0": v0, "resources": resources},
        )  # fmt: skip
        self._market.add(guest)
        # No address yet, whatever the status says.
        return web.json_response(
            {"data": {"type": "virtualmachine", "id": guest.id, "name": guest.label, "status": "queued"}}
        )

    async def list(self, request: web.Request) -> web.Response:
        rows = [
            {"id": g.id, "name": g.label, "status": g.status.capitalize()}
            for g in self._market.visible()
            if g.destroyed_at is None
        ]
        shape = next(self._market.shapes)
        if shape == "flat":
            return web.json_response({"data": rows})
        instances = [
            {"type": "VM", "id": r["id"], "attributes": {"name": r["name"], "status": r["status"]}} for r in rows
        ]
        if shape == "attributes":
            return web.json_response({"data": {"type": "list", "attributes": {"instances": instances}}})
        return web.json_response({"data": {"instances": instances}})

    async def show(self, request: web.Request) -> web.Response:
        guest = self._one(request)
        if guest is None:
            return web.json_response({"error": "Instance not found", "status": 404}, status=404)
        forwards = [{"internal_port": i, "external_port": o} for i, o in guest.ports.items()]
        return web.json_response(
            {
                "type": "virtualmachine", "id": guest.id, "name": guest.label, "status": guest.status,
                "ipAddress": "127.0.0.1" if guest.status == "running" else "",
                "portForwards": forwards if guest.status == "running" else [],
                "resources": guest.details.get("resources", {}), "rateHourly": guest.usd_per_hour,
            }
        )  # fmt: skip

    async def delete(self, request: web.Request) -> web.Response:
        guest = self._one(request)
        if guest is None:
            return web.json_response({"error": "Instance not found", "status": 404}, status=404)
        self._market.destroy_soon(guest)
        message = "Instance deleted successfully"
        return web.json_response({"data": {"type": "success", "attributes": {"message": message}}})

    async def power(self, request: web.Request) -> web.Response:
        guest = self._one(request)
        if guest is None:
            return web.json_response({"error": "Instance not found", "status": 404}, status=404)
        verb = request.match_info["verb"]
        if verb == "stop":
            if guest.status != "running":
                return refused("Instance is not running")
            # The GPU goes back to the host; only the disk stays.
            self._market.stop(guest, "StoppedDisassociated")
        else:
            if guest.status == "running":
                return refused("Instance is already running", 409)
            node = self._market.nodes[guest.place]
            if self._market.free(node) < guest.gpu_count:
                return refused("GPU is no longer available on this hostnode")
            await self._market.start(guest)
        return web.json_response(
            {"data": {"type": "virtualmachine", "id": guest.id,
                      "attributes": {"status": "starting" if verb == "start" else "stopping"}}}
        )  # fmt: skip
