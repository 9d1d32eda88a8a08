"""Vast.ai behind the provider contract.

Facts: the vendor's OpenAPI documents and vastai 1.9.1. Its prices are for the whole offer; disk sizes are GB. It has no
idempotency key, so a create is never repeated: the label finds a machine whose answer was lost. It never reports that a
machine failed; the reason stands in `status_msg` while the machine stays `loading`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from shared import errors
from shared.domain.attempt import LABEL_PREFIX
from shared.domain.offer import MachineSpec, Need, Offer
from shared.logs import asking, traceparent
from shared.providers.base import Features, MachineStatus, RentedMachine

PAGE = 25
MAX_PAGES = 400
SEARCH_LIMIT = 64
ONSTART_LIMIT = 4096
GIB = Decimal("1.073741824")
"""GB in a GiB."""
DEAD = re.compile(
    r"OCI runtime create failed|Error response from daemon|error writing dockerfile|failed to inject CDI|"
    r"toomanyrequests|manifest .*unknown|pull access denied|no space left on device|no such host",
    re.I,
)
"""What a host says when its machine will never run."""


def connect(url: str, api_key: str) -> Vast:
    client = httpx.Client(base_url=url, timeout=httpx.Timeout(20.0, connect=5.0), headers={"User-Agent": "dumont/1"})
    return Vast(client, api_key)


class Vast:
    name = "vast"
    features = Features(can_stop=True, sells_spot=True, takes_bids=True, bills_while_loading=False)

    def __init__(self, client: httpx.Client, api_key: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {api_key}"}

    def offers(self, need: Need) -> Sequence[Offer]:
        answer = self._call("POST", "/api/v0/bundles/", _search(need), acts=False)
        rows = answer.get("offers")
        if not isinstance(rows, list):
            raise errors.ProviderBusy("Vast.ai answered a search with nonsense", 5)
        headroom = Decimal(str(need.bid_headroom)) if need.interruptible else Decimal(0)
        found = [offer for offer in (_offer_from(row, headroom) for row in rows) if offer is not None]
        return sorted(found, key=lambda offer: offer.usd_per_hour)

    def create(self, offer: Offer, spec: MachineSpec, token: str) -> RentedMachine:
        env = {**spec.env, **{f"-p {port}:{port}": "1" for port in spec.ports}}
        if len(spec.onstart) > ONSTART_LIMIT:
            raise errors.ProviderRejected(f"the start script has {len(spec.onstart)} characters; Vast.ai takes 4096")
        body = {
            "client_id": "me",
            "image": spec.image,
            "env": env,
            "disk": float(round(Decimal(str(spec.disk_gib)) * GIB, 1)),
            "label": token,
            "onstart": spec.onstart,
            "runtype": "ssh_direc ssh_proxy",
            "target_state": "running",
            "cancel_unavail": True,
        }
        if offer.interruptible:
            body["price"] = _bid(offer)
        answer = self._call("PUT", f"/api/v0/asks/{offer.offer_id}/", body, acts=True, timeout=60.0)
        machine_id = answer.get("new_contract")
        if not machine_id:
            raise errors.OutcomeUnknown("Vast.ai accepted a create without naming the machine")
        return RentedMachine(self.name, str(machine_id), token, MachineStatus.LOADING, usd_per_hour=offer.usd_per_hour)

    def get(self, machine_id: str) -> RentedMachine:
        answer = self._call("GET", f"/api/v0/instances/{machine_id}/", None, acts=False, params={"owner": "me"})
        row = answer.get("instances")
        if not row:
            raise errors.MachineNotFound(f"Vast.ai has no machine {machine_id}")
        return _machine_from(row)

    def list(self) -> Sequence[RentedMachine]:
        found: list[RentedMachine] = []
        after: str | None = None
        for _ in range(MAX_PAGES):
            params = {"limit": str(PAGE), "order_by": json.dumps([{"col": "id", "dir": "asc"}])}
            if after:
                params["after_token"] = after
            answer = self._call("GET", "/api/v1/instances/", None, acts=False, params=params)
            rows = answer.get("instances")
            if not isinstance(rows, list):
                raise errors.ProviderBusy("Vast.ai answered a list with nonsense", 2)
            found += [_machine_from(row) for row in rows if str(row.get("label") or "").startswith(LABEL_PREFIX)]
            after = answer.get("next_token")
            if not after:
                return found
        raise errors.ProviderError(f"Vast.ai's list did not end after {MAX_PAGES} pages")

    def terminate(self, machine_id: str) -> None:
        self._call("DELETE", f"/api/v0/instances/{machine_id}/", {}, acts=True)

    def _call(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        acts: bool,
        params: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """The only place that speaks HTTP. `acts`: a lost answer leaves the outcome unknown."""
        options: dict[str, Any] = {"timeout": httpx.Timeout(timeout, connect=5.0)} if timeout else {}
        headers = {**self._headers, **traceparent()}
        try:
            with asking(self.name, f"{method} {path}") as asked:
                response = self._client.request(method, path, json=body, params=params, headers=headers, **options)
                asked.status = response.status_code
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise errors.ProviderBusy("Vast.ai cannot be reached", 5) from error
        except httpx.HTTPError as error:
            if acts:
                raise errors.OutcomeUnknown(f"Vast.ai did not answer a {method}: {type(error).__name__}") from error
            raise errors.ProviderBusy(f"Vast.ai did not answer: {type(error).__name__}", 2) from error
        answer = _json(response)
        if response.status_code < 300 and isinstance(answer, dict) and answer.get("success", True):
            return answer
        raise _error(response, answer if isinstance(answer, dict) else {}, acts)


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _error(response: httpx.Response, answer: dict[str, Any], acts: bool) -> errors.Error:
    """Vast.ai's many ways to say no, as ours."""
    status, code = response.status_code, str(answer.get("error") or "")
    text = str(answer.get("msg") or answer.get("message") or answer.get("detail") or code or response.text[:200])
    if answer.get("new_contract"):
        # A bid that was too low leaves a stopped machine whose disk is billed.
        return errors.OutcomeUnknown(f"Vast.ai refused and yet made machine {answer['new_contract']}: {text}")
    if status == 429 or code == "rate_limit_exceeded":
        return errors.ProviderBusy(f"Vast.ai asks us to wait: {text}", _wait(response, answer, code))
    if status in (401, 403) or code == "auth_error":
        return errors.ProviderRejected(f"Vast.ai does not accept the API key: {text}")
    if "no_such_ask" in f"{code} {text}" and status in (200, 400, 404, 410):
        return errors.NoCapacity("the offer is gone")
    if code in ("no_such_instance", "not_found") or (status == 404 and not code):
        return errors.MachineNotFound("Vast.ai has no such machine")
    if status >= 500 or not answer:
        if acts:
            return errors.OutcomeUnknown(f"Vast.ai answered {status} to a call that may have acted")
        return errors.ProviderBusy(f"Vast.ai answered {status}", 5)
    return errors.ProviderRejected(f"Vast.ai refused: {text}")


def _wait(response: httpx.Response, answer: dict[str, Any], code: str) -> float:
    reset = response.headers.get("X-RateLimit-Reset")
    try:
        if code == "search_quota_exceeded" and reset:
            return max(1.0, float(reset) - time.time())
        return float(response.headers.get("Retry-After") or answer.get("retry_after") or 5.0)
    except ValueError:
        return 5.0


def _bid(offer: Offer) -> float:
    """USD per hour for the GPUs; the disk is billed beside it."""
    return float(round(offer.usd_per_hour - offer.usd_disk_per_hour, 4))


def _search(need: Need) -> dict[str, Any]:
    disk_gb = float(round(Decimal(str(need.disk_gib)) * GIB, 1))
    query: dict[str, Any] = {
        "verified": {"eq": True},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "num_gpus": {"eq": need.gpu_count},
        "disk_space": {"gte": disk_gb},
        "reliability": {"gte": need.min_reliability},
        "type": "bid" if need.interruptible else "on-demand",
        "order": [["dph_total", "asc"]],
        "limit": SEARCH_LIMIT,
        "allocated_storage": disk_gb,
    }
    if need.gpu_name:
        query["gpu_name"] = {"eq": need.gpu_name.replace("_", " ")}
    if need.min_vram_gb:
        query["gpu_ram"] = {"gte": need.min_vram_gb * 1000}
    if need.max_usd_per_hour is not None:
        query["dph_total"] = {"lte": float(need.max_usd_per_hour)}
    if need.regions:
        query["geolocation"] = {"in": sorted(need.regions)}
    if need.ports:
        query["direct_port_count"] = {"gte": need.ports}
    return query


def _offer_from(row: Any, headroom: Decimal) -> Offer | None:
    """One row of a search, or None when it is not to be understood. A bid is billed as it stands, headroom and all."""
    try:
        total, disk = Decimal(str(row["dph_total"])), Decimal(str(row.get("storage_total_cost") or 0))
        return Offer(
            provider=Vast.name,
            offer_id=str(int(row["id"])),
            machine_id=str(row["machine_id"]),
            host_id=str(row["host_id"]),
            gpu_name=str(row["gpu_name"]),
            gpu_count=int(row["num_gpus"]),
            vram_gb=float(row["gpu_ram"]) / 1000,
            usd_per_hour=total + (total - disk) * headroom,
            disk_gib=float(Decimal(str(row["disk_space"])) / GIB),
            reliability=float(row.get("reliability2") or row.get("reliability") or 0.0),
            region=str(row.get("geolocation") or "").rpartition(",")[2].strip(),
            down_mbit=float(row.get("inet_down") or 0.0),
            up_mbit=float(row.get("inet_up") or 0.0),
            usd_per_gb_down=Decimal(str(row.get("inet_down_cost") or 0)),
            open_ports=int(row.get("direct_port_count") or 0),
            cuda=float(row.get("cuda_max_good") or 0.0),
            usd_disk_per_hour=disk,
            interruptible=bool(row.get("is_bid")),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None


def _machine_from(row: dict[str, Any]) -> RentedMachine:
    message = str(row.get("status_msg") or "")
    ports: dict[str, int] = {}
    for inside, outside in (row.get("ports") or {}).items():
        if outside:
            ports[str(inside).partition("/")[0]] = int(outside[0]["HostPort"])
    direct = ports.get("22")
    host = row.get("public_ipaddr") if direct else row.get("ssh_host")
    port = direct or row.get("ssh_port")
    status = _status(row, message)
    running = status is MachineStatus.RUNNING
    started, uptime = row.get("start_date"), row.get("uptime_mins")
    ran_at = datetime.now(UTC) - timedelta(minutes=uptime) if running and isinstance(uptime, int | float) else None
    return RentedMachine(
        provider=Vast.name,
        machine_id=str(row["id"]),
        token=str(row.get("label") or ""),
        status=status,
        message=message,
        usd_per_hour=Decimal(str(row.get("dph_total") or 0)),
        ssh_host=str(host).strip() if running and host else None,
        ssh_port=int(port) if running and host and port else None,
        ports=ports,
        started_at=datetime.fromtimestamp(float(started), UTC) if started else None,
        ran_at=ran_at,
    )


def _status(row: dict[str, Any], message: str) -> MachineStatus:
    actual = row.get("actual_status")
    if actual == "running":
        return MachineStatus.RUNNING
    if actual in ("stopped", "exited", "frozen"):
        return MachineStatus.STOPPED
    if actual in ("offline", "unknown"):
        return MachineStatus.OFFLINE
    return MachineStatus.BROKEN if DEAD.search(message) else MachineStatus.LOADING
