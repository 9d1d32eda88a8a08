"""Vast.ai's HTTP API over simulated machines, close enough that the vendor's own command line and library work against it."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shlex
import time
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from local.vast_market import CONTRACT_COLUMNS, PAGE_LIMIT, Refused, Rented, Vast, holds, instance_row
from local.vast_notices import SUBJECTS, shown


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
        ("POST", "/api/v0/asks/bulk", api.create_many),
        ("PUT", "/api/v0/asks/{id}", api.create),
        ("PUT", "/api/v0/launch_instance", api.launch),
        ("GET", "/api/v1/instances", api.list),
        ("GET", "/api/v0/instances", api.list_all),
        ("PUT", "/api/v0/instances", api.change_many),
        ("DELETE", "/api/v0/instances", api.destroy_many),
        ("GET", "/api/v0/instances/filters", api.filters),
        ("GET", "/api/v0/instances/{id}", api.show),
        ("PUT", "/api/v0/instances/{id}", api.change),
        ("DELETE", "/api/v0/instances/{id}", api.destroy),
        ("PUT", "/api/v0/instances/reboot/{id}", api.reboot),
        ("PUT", "/api/v0/instances/recycle/{id}", api.recycle),
        ("PUT", "/api/v0/instances/bid_price/{id}", api.bid),
        ("PUT", "/api/v0/instances/request_logs/{id}", api.logs),
        ("PUT", "/api/v0/instances/command/{id}", api.execute),
        ("GET", "/api/v0/instances/{id}/ssh", api.instance_ssh),
        ("POST", "/api/v0/instances/{id}/ssh", api.attach_ssh),
        ("DELETE", "/api/v0/instances/{id}/ssh/{key_id}", api.detach_ssh),
        ("GET", "/api/v0/users/current", api.user),
        ("GET", "/api/v0/gpu_names/unique", api.gpu_names),
        ("GET", "/api/v0/ssh", api.ssh_keys),
        ("POST", "/api/v0/ssh", api.add_ssh_key),
        ("PUT", "/api/v0/ssh/{key_id}", api.change_ssh_key),
        ("DELETE", "/api/v0/ssh/{key_id}", api.drop_ssh_key),
        ("GET", "/api/v0/notification-types", api.notice_types),
        ("GET", "/api/v0/webhooks", api.webhooks),
        ("POST", "/api/v0/webhooks", api.add_webhook),
        ("PUT", "/api/v0/webhooks/{hook_id}", api.change_webhook),
        ("DELETE", "/api/v0/webhooks/{hook_id}", api.drop_webhook),
        ("POST", "/api/v0/webhooks/{hook_id}/rotate-secret", api.rotate_webhook),
        ("POST", "/api/v0/webhooks/{hook_id}/test", api.test_webhook),
        ("GET", "/results/{name}", api.result),
    ):
        app.router.add_route(method, path, handler)
        app.router.add_route(method, path + "/", handler)
    return app


OPEN = ("/api/v0/gpu_names", "/results/")
"""Paths that ask for no key."""


def _endpoint(request: web.Request) -> str:
    """What the vendor limits together."""
    path, method = request.path.rstrip("/"), request.method
    if "bundles" in path or "/search/" in path:
        return "search"
    if "/asks/" in path or path.endswith("/launch_instance"):
        return "create"
    if "/ssh" in path:
        return "ssh"
    if path.endswith("/instances"):
        return {"GET": "list", "PUT": "bulk"}.get(method, "destroy")
    if "/instances/" not in path or path.endswith("filters"):
        return "other"
    if method == "DELETE":
        return "destroy"
    if method == "GET":
        return "get"
    kinds = {"bid_price": "bid", "reboot": "reboot", "recycle": "reboot", "command": "execute", "request_logs": "other"}
    return kinds.get(path.split("/")[4], "label")


def _gate(vast: Vast) -> Any:
    @web.middleware
    async def gate(request: web.Request, handler: Any) -> web.StreamResponse:
        endpoint = _endpoint(request)
        record = {"method": request.method, "path": request.path, "at": time.time(), "status": 0}
        if endpoint == "create":
            record["label"] = await _label(request)
        vast.requests.append(record)
        response = await _judged(request, handler, endpoint)
        record["status"] = response.status
        return response

    async def _judged(request: web.Request, handler: Any, endpoint: str) -> web.StreamResponse:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("api_key", "")
        own = key.startswith("machine-") and key == f"machine-{request.match_info.get('id')}"
        if not request.path.startswith(OPEN) and not own and key != vast.api_key:
            if not key:
                return answer({"success": False, "error": "auth_error", "msg": "This action requires login."}, 403)
            return answer({"success": False, "error": "auth_error", "msg": "Invalid user key"}, 401)
        if vast.too_soon(endpoint):
            return web.Response(text="API requests too frequent", status=429)
        if endpoint == "search" and (reset := vast.quota_resets_at()) is not None:
            return _out_of_searches(reset)
        fault = vast.fault(endpoint)
        kind = fault["kind"] if fault else None
        if kind == "429":
            return web.Response(text="API requests too frequent: endpoint threshold=4.5", status=429)
        if kind == "500":
            return web.Response(text="Internal Server Error", status=500)
        if kind == "quota":
            return _out_of_searches(time.time() + 60)
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


async def _label(request: web.Request) -> Any:
    try:
        body = await request.json() if request.can_read_body else None
    except ValueError:
        return None
    return body.get("label") if isinstance(body, dict) else None


def _out_of_searches(reset: float) -> web.Response:
    late = answer({"error": "search_quota_exceeded", "msg": "Daily search quota exceeded."}, 429)
    late.headers["X-RateLimit-Reset"] = str(int(reset))
    return late


class Handlers:
    def __init__(self, vast: Vast) -> None:
        self._vast = vast
        self._results: dict[str, bytes] = {}

    def _one(self, request: web.Request) -> Rented:
        return self._contract(request.match_info["id"])

    def _contract(self, id: Any) -> Rented:
        rented = self._vast.rented.get(int(id))
        if rented is None:
            raise Refused(404, "no_such_instance", f"Instance {id} not found.")
        return rented

    def _keep_result(self, request: web.Request, body: bytes) -> str:
        name = secrets.token_hex(16) + ".log"
        self._results[name] = body
        return f"{request.scheme}://{request.host}/results/{name}"

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

    async def create_many(self, request: web.Request) -> web.Response:
        """One contract per offer that is still there. The vendor documents no answer; each is told by its offer."""
        body = await request.json()
        made, gone = {}, {}
        for offer_id in body.pop("ids"):
            try:
                made[str(offer_id)] = (await self._vast.create(int(offer_id), body)).id
            except Refused as refused:
                gone[str(offer_id)] = refused.body["msg"]
        return answer({"success": not gone, "new_contracts": made, "errors": gone}, 200 if made else 404)

    async def launch(self, request: web.Request) -> web.Response:
        """Search and create in one."""
        body = await request.json()
        for offer in self._vast.listed(body.pop("q")):
            rented = await self._vast.create(offer["id"], body)
            return answer({"success": True, "new_contract": rented.id, "instance_api_key": f"machine-{rented.id}"})
        raise Refused(404, "no_such_ask", "error 404/3603: no_such_ask no offer fits the search.")

    async def list(self, request: web.Request) -> web.Response:
        wanted = json.loads(request.query.get("select_filters") or "{}")
        for column in wanted:
            if column not in CONTRACT_COLUMNS:
                text = f"Error in query parameters: {column} is not a valid search key"
                raise Refused(400, "invalid_request", text)
        rows = [instance_row(rented) for rented in sorted(self._vast.visible(), key=lambda r: r.id)]
        rows = [row for row in rows if all(holds(row, column, test) for column, test in wanted.items())]
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
        await self._state(rented, body.get("state"))
        return answer({"success": True})

    async def change_many(self, request: web.Request) -> web.Response:
        body = await request.json()
        for id in body["ids"]:
            await self._state(self._contract(id), body["state"])
        return answer({"success": True})

    async def _state(self, rented: Rented, state: Any) -> None:
        if state == "stopped":
            self._vast.stop(rented)
        elif state == "running":
            try:
                self._vast.start(rented)
            finally:
                self._vast.save()
        elif state is not None:
            raise Refused(400, "invalid_args", f"state {state} is neither running nor stopped")
        self._vast.save()

    async def destroy(self, request: web.Request) -> web.Response:
        rented = self._one(request)
        self._destroy(rented)
        return answer({"success": True, "msg": f"destroying instance {rented.id}."})

    async def destroy_many(self, request: web.Request) -> web.Response:
        for rented in [self._contract(id) for id in (await request.json())["instance_ids"]]:
            self._destroy(rented)
        return answer({"success": True})

    def _destroy(self, rented: Rented) -> None:
        if rented.destroyed_at is None:
            rented.destroyed_at = time.time()
            _keep(asyncio.create_task(self._vast.destroy(rented)))

    async def reboot(self, request: web.Request) -> web.Response:
        rented = self._one(request)
        if rented.machine and rented.status == "running":
            rented.bill(time.time())
            await asyncio.to_thread(rented.machine.stop)
            await self._vast._run(rented)
        return answer({"success": True})

    async def recycle(self, request: web.Request) -> web.Response:
        rented = self._one(request)
        if rented.status == "running":
            await self._vast.recycle(rented)
        return answer({"success": True})

    async def bid(self, request: web.Request) -> web.Response:
        rented, price = self._one(request), float((await request.json())["price"])
        if not 0.001 <= price <= 32 * rented.offer["num_gpus"]:
            raise Refused(400, "invalid_price", "Please set a bid price >= 0.001.")
        if rented.bid is None:
            raise Refused(400, "invalid_args", f"Instance {rented.id} is not interruptible.")
        self._vast.change_bid(rented, price)
        self._vast.save()
        return answer({"success": True})

    async def logs(self, request: web.Request) -> web.Response:
        """What the container, or its daemon, has said, at an address that asks for no key."""
        rented, body = self._one(request), await request.json()
        lines = [rented.message]
        if rented.machine and str(body.get("daemon_logs")) != "true":
            file = rented.machine.dir / "logs" / "onstart.log"
            lines = file.read_text(errors="replace").splitlines() if file.exists() else []
        if body.get("filter"):
            lines = [line for line in lines if str(body["filter"]) in line]
        text = "\n".join(lines[-int(body.get("tail") or 1000) :]) + "\n"
        return answer(
            {"success": True, "result_url": self._keep_result(request, text.encode()), "msg": "logs asked for"}
        )

    async def execute(self, request: web.Request) -> web.Response:
        """The few commands that the vendor allows, without a shell."""
        rented, words = self._one(request), shlex.split(str((await request.json())["command"]))
        if not words or words[0] not in ("ls", "rm", "du") or len(" ".join(words)) > 512:
            raise Refused(400, "invalid_args", "Only ls, rm and du can be executed.")
        if rented.machine is None:
            raise Refused(400, "invalid_args", f"Instance {rented.id} is not running.")
        done = await asyncio.create_subprocess_exec(
            *words,
            cwd=rented.machine.dir / "root" / "workspace",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await done.communicate()
        url = self._keep_result(request, said)
        return answer({"success": True, "result_url": url, "writeable_path": str(rented.machine.dir / "root")})

    async def result(self, request: web.Request) -> web.Response:
        body = self._results.get(request.match_info["name"])
        return web.Response(body=body) if body is not None else web.Response(status=404)

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

    # SSH keys -------------------------------------------------------------------------------------------------------

    async def ssh_keys(self, request: web.Request) -> web.Response:
        if not self._vast.ssh_keys:
            raise Refused(404, "not_found", "No SSH keys found.")
        return answer(list(self._vast.ssh_keys.values()))

    async def add_ssh_key(self, request: web.Request) -> web.Response:
        key = _public_key(await request.json())
        id = max(self._vast.ssh_keys, default=500) + 1
        at = datetime.now(UTC).isoformat()
        self._vast.ssh_keys[id] = {"id": id, "user_id": 1, "key": key, "created_at": at, "deleted_at": None}
        self._vast.save()
        shown = {"id": id, "user_id": 1, "public_key": key, "created_at": at, "deleted_at": None}
        return answer({"success": True, "key": shown})

    def _key(self, request: web.Request) -> dict[str, Any]:
        row = self._vast.ssh_keys.get(int(request.match_info["key_id"]))
        if row is None:
            raise Refused(404, "not_found", "No such SSH key.")
        return row

    async def change_ssh_key(self, request: web.Request) -> web.Response:
        self._key(request)["key"] = _public_key(await request.json())
        self._vast.save()
        return answer({"success": True})

    async def drop_ssh_key(self, request: web.Request) -> web.Response:
        del self._vast.ssh_keys[self._key(request)["id"]]
        self._vast.save()
        return answer({"success": True})

    async def instance_ssh(self, request: web.Request) -> web.Response:
        # A text that holds JSON, as the vendor answers.
        return answer({"success": True, "ssh_keys": json.dumps(self._vast.attached(self._one(request)))})

    async def attach_ssh(self, request: web.Request) -> web.Response:
        self._vast.attach(self._one(request), _public_key(await request.json()))
        return answer({"success": True})

    async def detach_ssh(self, request: web.Request) -> web.Response:
        self._vast.detach(self._one(request), int(request.match_info["key_id"]))
        return answer({"success": True})

    # Webhooks -------------------------------------------------------------------------------------------------------

    def _hook(self, request: web.Request) -> int:
        id = int(request.match_info["hook_id"])
        if id not in self._vast.notices.webhooks:
            raise Refused(404, "not_found", f"No webhook {id}.")
        return id

    async def notice_types(self, request: web.Request) -> web.Response:
        rows = [{"key": key, "display_name": name, "context": "client"} for key, name in SUBJECTS.items()]
        return answer({"success": True, "notification_types": rows})

    async def webhooks(self, request: web.Request) -> web.Response:
        return answer({"success": True, "webhooks": [shown(h) for h in self._vast.notices.webhooks.values()]})

    async def add_webhook(self, request: web.Request) -> web.Response:
        try:
            hook = self._vast.notices.add(await request.json())
        except ValueError as error:
            raise Refused(400, "invalid_args", str(error)) from error
        enabled = hook["event_types"]
        return answer({"success": True, "webhook": hook, "enabled_notification_preferences": enabled})

    async def change_webhook(self, request: web.Request) -> web.Response:
        try:
            hook = self._vast.notices.change(self._hook(request), await request.json())
        except ValueError as error:
            raise Refused(400, "invalid_args", str(error)) from error
        return answer({"success": True, "webhook": hook})

    async def drop_webhook(self, request: web.Request) -> web.Response:
        del self._vast.notices.webhooks[self._hook(request)]
        return answer({"success": True})

    async def rotate_webhook(self, request: web.Request) -> web.Response:
        return answer({"success": True, "webhook": self._vast.notices.rotate(self._hook(request))})

    async def test_webhook(self, request: web.Request) -> web.Response:
        return answer({"success": await self._vast.notices.test(self._hook(request))})


def _public_key(body: dict[str, Any]) -> str:
    key = str(body["ssh_key"]).strip()
    if len(key.split()) < 2 or not key.startswith(("ssh-", "ecdsa-")):
        raise Refused(400, "invalid_args", "Invalid SSH key.")
    return key


_TASKS: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    """The loop itself holds tasks only weakly."""
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)
