"""The control API of the simulated market: what a test does to hosts, machines and the provider's answers."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

from aiohttp import web

from local.vast_api import Rented, Vast

KINDS = ("429", "500", "500_after", "timeout_after", "drop_after", "slow", "quota")


def application(vast: Vast) -> web.Application:
    app = web.Application()
    control = Control(vast)
    app.router.add_get("/machines", control.machines)
    app.router.add_get("/hosts", control.hosts)
    app.router.add_get("/requests", control.requests)
    app.router.add_get("/bills", control.bills)
    app.router.add_put("/machines/{id}/load", control.load)
    app.router.add_post("/machines/{id}/{act:kill|freeze|thaw|agent-restart}", control.act)
    app.router.add_post("/hosts/{id}/{act:sell-out|restock}", control.stock)
    app.router.add_get("/faults", control.faults)
    app.router.add_post("/faults", control.add_fault)
    app.router.add_delete("/faults", control.clear_faults)
    app.router.add_post("/credit", control.credit)
    return app


def view(rented: Rented) -> dict[str, Any]:
    machine = rented.machine
    return {
        "id": rented.id,
        "label": rented.label,
        "host_id": rented.offer["host_id"],
        "machine_id": rented.offer["machine_id"],
        "state": "destroying" if rented.destroyed_at else rented.status,
        "pid": machine.process.pid if machine and machine.process else None,
        "dir": str(machine.dir) if machine else None,
        "root": str(machine.dir / "root") if machine else None,
        "home": str(machine.dir / "home") if machine else None,
        "ports": rented.ports,
        "load": machine.load if machine else None,
    }


class Control:
    def __init__(self, vast: Vast) -> None:
        self._vast = vast

    def _one(self, request: web.Request) -> Rented:
        rented = self._vast.rented.get(int(request.match_info["id"]))
        if rented is None or rented.machine is None:
            raise web.HTTPNotFound(text="no such running machine")
        return rented

    async def machines(self, request: web.Request) -> web.Response:
        return web.json_response([view(rented) for rented in self._vast.rented.values()])

    async def hosts(self, request: web.Request) -> web.Response:
        taken = {rented.offer["id"] for rented in self._vast.rented.values()}
        return web.json_response(
            [
                {
                    "machine_id": o["machine_id"],
                    "host_id": o["host_id"],
                    "gpu_name": o["gpu_name"],
                    "num_gpus": o["num_gpus"],
                    "rented": o["id"] in taken,
                    "dud": bool(o["_dud"]),
                    "sold_out": o["machine_id"] in self._vast.sold_out,
                }
                for o in self._vast.offers.values()
            ]
        )

    async def requests(self, request: web.Request) -> web.Response:
        part = request.query.get("path", "")
        return web.json_response([record for record in self._vast.requests if part in record["path"]])

    async def bills(self, request: web.Request) -> web.Response:
        now, bills = time.time(), []
        for rented in self._vast.bills.values():
            gpu, storage = rented.usd(now)
            bills.append(
                {
                    "id": rented.id,
                    "label": rented.label,
                    "usd_gpu": str(gpu),
                    "usd_storage": str(storage),
                    "created_at": rented.created_at,
                    "destroyed_at": rented.destroyed_at,
                }
            )
        return web.json_response(bills)

    async def load(self, request: web.Request) -> web.Response:
        rented, body = self._one(request), await request.json()
        assert rented.machine is not None
        rented.machine.load.update({k: float(body[k]) for k in ("gpu", "memory_mib") if k in body})
        rented.machine.write_gpu()
        return web.json_response(view(rented))

    async def act(self, request: web.Request) -> web.Response:
        rented, act = self._one(request), request.match_info["act"]
        machine = rented.machine
        assert machine is not None
        if act == "kill":
            await asyncio.to_thread(self._vast.kill_host, rented)
        elif act == "freeze":
            machine.signal(signal.SIGSTOP)
        elif act == "thaw":
            machine.signal(signal.SIGCONT)
        else:
            await asyncio.to_thread(machine.stop)
            await machine.listen()
            machine.start()
        return web.json_response(view(rented))

    async def stock(self, request: web.Request) -> web.Response:
        machine_id = int(request.match_info["id"])
        if request.match_info["act"] == "sell-out":
            self._vast.sold_out.add(machine_id)
        else:
            self._vast.sold_out.discard(machine_id)
        return web.json_response({"sold_out": sorted(self._vast.sold_out)})

    async def faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._vast.faults)

    async def add_fault(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("kind") not in KINDS:
            raise web.HTTPBadRequest(text=f"kind is one of {', '.join(KINDS)}")
        fault = {
            "endpoint": body.get("endpoint", "any"),
            "kind": body["kind"],
            "count": int(body.get("count", 1)),
            "seconds": float(body.get("seconds", 120)),
        }
        self._vast.faults.append(fault)
        return web.json_response(fault)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._vast.faults.clear()
        return web.json_response([])

    async def credit(self, request: web.Request) -> web.Response:
        self._vast.credit = float((await request.json())["usd"])
        return web.json_response({"usd": self._vast.credit})
