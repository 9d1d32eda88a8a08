"""The control API of the simulated market: what a test does to hosts, machines and the provider's answers."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

from aiohttp import web

from local.gce_api import Gce
from local.guests import Guest
from local.tensordock_api import TensorDock
from local.vast_market import OVERBID, Rented, Vast

KINDS = ("429", "500", "500_after", "timeout_after", "drop_after", "slow", "quota")


def application(vast: Vast, tensordock: TensorDock, gce: Gce) -> web.Application:
    """Paths take a machine's id as its provider gives it; `?provider=` chooses between markets, Vast.ai without it."""
    app = web.Application()
    control = Control(vast, tensordock, gce)
    app.router.add_get("/machines", control.machines)
    app.router.add_get("/hosts", control.hosts)
    app.router.add_get("/requests", control.requests)
    app.router.add_get("/bills", control.bills)
    app.router.add_put("/machines/{id:.+}/load", control.load)
    app.router.add_post("/machines/{id:.+}/{act:kill|freeze|thaw|agent-restart|outbid}", control.act)
    app.router.add_post("/hosts/{id:.+}/{act:sell-out|restock}", control.stock)
    app.router.add_put("/hosts/{id}/min-bid", control.min_bid)
    app.router.add_get("/faults", control.faults)
    app.router.add_post("/faults", control.add_fault)
    app.router.add_delete("/faults", control.clear_faults)
    app.router.add_post("/credit", control.credit)
    return app


def guest_view(provider: str, guest: Guest) -> dict[str, Any]:
    machine = guest.machine
    return {
        "provider": provider,
        "id": guest.id,
        "label": guest.label,
        "host_id": guest.place,
        "machine_id": guest.place,
        "state": "destroying" if guest.destroyed_at else guest.status,
        "pid": machine.process.pid if machine and machine.process else None,
        "dir": str(machine.dir) if machine else None,
        "root": str(machine.dir / "root") if machine else None,
        "home": str(machine.dir / "home") if machine else None,
        "ports": guest.ports,
        "load": machine.load if machine else None,
    }


def view(rented: Rented) -> dict[str, Any]:
    machine = rented.machine
    return {
        "provider": "vast",
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
    def __init__(self, vast: Vast, tensordock: TensorDock, gce: Gce) -> None:
        self._vast = vast
        self._guests = {"tensordock": tensordock, "gce": gce}

    def _one(self, request: web.Request) -> Rented | Guest:
        id = request.match_info["id"]
        found: Rented | Guest | None = self._vast.rented.get(int(id)) if id.isdigit() else None
        for market in self._guests.values():
            found = found or market.guests.get(id)
        if found is None or found.machine is None:
            raise web.HTTPNotFound(text="no such running machine")
        return found

    def _show(self, one: Rented | Guest) -> dict[str, Any]:
        if isinstance(one, Rented):
            return view(one)
        provider = next(name for name, market in self._guests.items() if one.id in market.bills)
        return guest_view(provider, one)

    def _market(self, request: web.Request) -> Any:
        return self._guests.get(request.query.get("provider", "vast"), self._vast)

    async def machines(self, request: web.Request) -> web.Response:
        rows = [view(rented) for rented in self._vast.rented.values()]
        rows += [guest_view(name, g) for name, market in self._guests.items() for g in market.guests.values()]
        return web.json_response(rows)

    async def hosts(self, request: web.Request) -> web.Response:
        taken = {rented.offer["id"] for rented in self._vast.rented.values() if rented.holds_gpu()}
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
        return web.json_response([record for record in self._market(request).requests if part in record["path"]])

    async def bills(self, request: web.Request) -> web.Response:
        now, bills = time.time(), []
        for rented in self._vast.bills.values():
            gpu, storage = rented.usd(now)
            bills.append(
                {
                    "provider": "vast",
                    "id": rented.id,
                    "label": rented.label,
                    "usd_gpu": str(gpu),
                    "usd_storage": str(storage),
                    "created_at": rented.created_at,
                    "destroyed_at": rented.destroyed_at,
                }
            )
        for name, market in self._guests.items():
            for guest in market.bills.values():
                bills.append(
                    {
                        "provider": name,
                        "id": guest.id,
                        "label": guest.label,
                        "usd_gpu": str(guest.usd(now)),
                        "usd_storage": "0",
                        "created_at": guest.created_at,
                        "destroyed_at": guest.destroyed_at,
                    }
                )
        return web.json_response(bills)

    async def load(self, request: web.Request) -> web.Response:
        one, body = self._one(request), await request.json()
        assert one.machine is not None
        one.machine.load.update({k: float(body[k]) for k in ("gpu", "memory_mib") if k in body})
        one.machine.write_gpu()
        return web.json_response(self._show(one))

    async def act(self, request: web.Request) -> web.Response:
        one, act = self._one(request), request.match_info["act"]
        machine = one.machine
        assert machine is not None
        if act == "kill":
            if isinstance(one, Rented):
                # On the loop: subscribers are told from there.
                self._vast.kill_host(one)
            else:
                await asyncio.to_thread(machine.stop)
                one.status = "error"
        elif act == "outbid":
            # Another's bid was higher: the provider stops the machine, its disk stays and is billed.
            if not isinstance(one, Rented) or one.bid is None:
                raise web.HTTPBadRequest(text="only interruptible machines of Vast.ai are outbid")
            one.offer["min_bid"] = round(one.bid * OVERBID, 4)
            self._vast.settle()
        elif act == "freeze":
            machine.signal(signal.SIGSTOP)
        elif act == "thaw":
            machine.signal(signal.SIGCONT)
        else:
            await asyncio.to_thread(machine.stop)
            await machine.listen()
            machine.start()
        return web.json_response(self._show(one))

    async def stock(self, request: web.Request) -> web.Response:
        market, id = self._market(request), request.match_info["id"]
        host: Any = int(id) if market is self._vast else id
        if request.match_info["act"] == "sell-out":
            market.sold_out.add(host)
        else:
            market.sold_out.discard(host)
        if market is self._vast:
            self._vast.settle()
        return web.json_response({"sold_out": sorted(market.sold_out)})

    async def min_bid(self, request: web.Request) -> web.Response:
        """What a bid on a host's GPUs must at least be from now on; lower ones lose their machines."""
        offers = [o for o in self._vast.offers.values() if str(o["machine_id"]) == request.match_info["id"]]
        if not offers:
            raise web.HTTPNotFound(text="no such host")
        for offer in offers:
            offer["min_bid"] = float((await request.json())["usd"])
        self._vast.settle()
        return web.json_response({"min_bid": offers[0]["min_bid"]})

    async def faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._market(request).faults)

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
        self._market(request).faults.append(fault)
        return web.json_response(fault)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._vast.faults.clear()
        for market in self._guests.values():
            market.faults.clear()
        return web.json_response([])

    async def credit(self, request: web.Request) -> web.Response:
        self._vast.credit = float((await request.json())["usd"])
        return web.json_response({"usd": self._vast.credit})
