"""TensorDock (v2) behind the provider contract.

Facts: the vendor's API pages and three public clients. Its machines are virtual machines with a fixed choice of operating
systems, so a user's container image is not what runs there. Many failures are HTTP 200 with `{"error", "status"}` inside; a
list comes in three shapes; the status in several spellings; a create answers without an address. There is no idempotency key:
the name finds a machine whose answer was lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import httpx

from shared import errors
from shared.domain.attempt import LABEL_PREFIX
from shared.domain.offer import MachineSpec, Need, Offer
from shared.logs import asking, traceparent
from shared.providers.base import Features, MachineStatus, RentedMachine, boot_script

IMAGE = "ubuntu2404_ml_pytorch"
GIB = Decimal("1.073741824")
MIN_STORAGE_GB = 100
VCPUS, RAM_GB = 8, 32
"""For each GPU, where the host has them."""
RELIABILITY = {0: 0.90, 1: 0.95, 2: 0.98, 3: 0.99, 4: 0.995}
"""By the location's tier; hosts tell an uptime, but residential ones may reclaim a GPU."""
GPUS: dict[str, tuple[str, float]] = {
    "geforcertx3090-pcie-24gb": ("RTX 3090", 24.0),
    "geforcertx4090-pcie-24gb": ("RTX 4090", 24.0),
    "geforcertx5090-pcie-32gb": ("RTX 5090", 32.0),
    "rtxa4000-pcie-16gb": ("RTX A4000", 16.0),
    "rtxa5000-pcie-24gb": ("RTX A5000", 24.0),
    "rtxa6000-pcie-48gb": ("RTX A6000", 48.0),
    "rtx6000ada-pcie-48gb": ("RTX 6000Ada", 48.0),
    "l4-pcie-24gb": ("L4", 24.0),
    "l40-pcie-48gb": ("L40", 48.0),
    "l40s-pcie-48gb": ("L40S", 48.0),
    "teslav100-pcie-16gb": ("Tesla V100", 16.0),
    "v100-pcie-16gb": ("Tesla V100", 16.0),
    "a100-pcie-80gb": ("A100 PCIE", 80.0),
    "a100-sxm4-80gb": ("A100 SXM4", 80.0),
    "h100-pcie-80gb": ("H100 PCIE", 80.0),
    "h100-sxm5-80gb": ("H100 SXM", 80.0),
}
"""The vendor's v0 name -> our name and GB of memory."""
COUNTRIES = {"United States": "US", "Canada": "CA", "Germany": "DE", "France": "FR", "Sweden": "SE", "Norway": "NO",
             "United Kingdom": "GB", "Netherlands": "NL", "India": "IN", "Poland": "PL", "Finland": "FI"}  # fmt: skip
BOOT = "/opt/dumont-boot.sh"


def connect(url: str, token: str, ssh_key: str) -> TensorDock:
    """`ssh_key`: a public key, which the vendor demands; users' own keys are installed by the agent."""
    client = httpx.Client(base_url=url, timeout=httpx.Timeout(60.0, connect=5.0), headers={"User-Agent": "dumont/1"})
    return TensorDock(client, token, ssh_key)


class TensorDock:
    name = "tensordock"
    features = Features(can_stop=True, bills_while_loading=True, runs_images=False)

    def __init__(self, client: httpx.Client, token: str, ssh_key: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._ssh_key = ssh_key

    def offers(self, need: Need) -> Sequence[Offer]:
        answer = self._call("GET", "/hostnodes", None, acts=False)
        nodes = (answer.get("data") or {}).get("hostnodes") if isinstance(answer.get("data"), dict) else None
        if not isinstance(nodes, list):
            raise errors.ProviderBusy("TensorDock answered a search with nonsense", 5)
        found = [offer for node in nodes for offer in _offers_of(node, need)]
        return sorted(found, key=lambda offer: offer.usd_per_hour)

    def create(self, offer: Offer, spec: MachineSpec, token: str) -> RentedMachine:
        node_id, _, gpu = offer.offer_id.partition(":")
        node = self._node(node_id)
        ports = [22, *spec.ports]
        outside = (node.get("available_resources") or {}).get("available_ports") or []
        if len(outside) < len(ports):
            raise errors.NoCapacity("the host has too few free ports")
        room = _room(node, gpu, offer.gpu_count)
        if room is None:
            raise errors.NoCapacity("the host's GPU is gone")
        attributes = {
            "name": token,
            "type": "virtualmachine",
            "image": IMAGE,
            "resources": {
                "vcpu_count": room[0],
                "ram_gb": room[1],
                "storage_gb": _storage_gb(spec.disk_gib),
                "gpus": {gpu: {"count": offer.gpu_count}},
            },
            "hostnode_id": node_id,
            "useDedicatedIp": False,
            "port_forwards": [
                {"internal_port": inside, "external_port": out} for inside, out in zip(ports, outside, strict=False)
            ],
            "ssh_key": self._ssh_key,
            "cloud_init": {
                "write_files": [
                    {"path": BOOT, "content": boot_script(spec), "owner": "root:root", "permissions": "0700"}
                ],
                "runcmd": [f"setsid {BOOT} >/var/log/dumont.log 2>&1 </dev/null &"],
            },
        }  # fmt: skip
        body = {"data": {"type": "virtualmachine", "attributes": attributes}}
        answer = self._call("POST", "/instances", body, acts=True, timeout=120.0)
        row = answer.get("data") if isinstance(answer.get("data"), dict) else answer
        machine_id = row.get("id") if isinstance(row, dict) else None
        if not machine_id:
            raise errors.OutcomeUnknown("TensorDock accepted a create without naming the machine")
        return RentedMachine(self.name, str(machine_id), token, MachineStatus.LOADING, usd_per_hour=offer.usd_per_hour)

    def get(self, machine_id: str) -> RentedMachine:
        answer = self._call("GET", f"/instances/{machine_id}", None, acts=False)
        row = answer.get("data") if isinstance(answer.get("data"), dict) else answer
        if not isinstance(row, dict) or not row.get("id"):
            raise errors.ProviderBusy("TensorDock described a machine with nonsense", 2)
        return _machine_from(row)

    def list(self) -> Sequence[RentedMachine]:
        rows = _rows(self._call("GET", "/instances", None, acts=False))
        return [machine for machine in map(_machine_from, rows) if machine.token.startswith(LABEL_PREFIX)]

    def terminate(self, machine_id: str) -> None:
        self._call("DELETE", f"/instances/{machine_id}", None, acts=True)

    def _node(self, node_id: str) -> dict[str, Any]:
        try:
            answer = self._call("GET", f"/hostnodes/{node_id}", None, acts=False)
        except errors.MachineNotFound as error:
            raise errors.NoCapacity("the host is not listed any more") from error
        node = answer.get("data")
        return node if isinstance(node, dict) else {}

    def _call(self, method: str, path: str, body: Any, *, acts: bool, timeout: float | None = None) -> dict[str, Any]:
        """The only place that speaks HTTP. `acts`: a lost answer leaves the outcome unknown."""
        options: dict[str, Any] = {"timeout": httpx.Timeout(timeout, connect=5.0)} if timeout else {}
        if body is not None:
            options["json"] = body
        headers = {**self._headers, **traceparent()}
        try:
            with asking(self.name, f"{method} {path}") as asked:
                response = self._client.request(method, path, headers=headers, **options)
                asked.status = response.status_code
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise errors.ProviderBusy("TensorDock cannot be reached", 5) from error
        except httpx.HTTPError as error:
            words = f"TensorDock did not answer a {method}: {type(error).__name__}"
            raise (errors.OutcomeUnknown(words) if acts else errors.ProviderBusy(words, 2)) from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        status, text = response.status_code, response.text[:200]
        if isinstance(answer, dict):
            inside = answer.get("error") or (answer.get("message") if answer.get("status") else None)
            if inside is not None:
                # HTTP 200 with a refusal inside is the vendor's habit.
                given = answer.get("status")
                status = int(str(given)) if str(given).isdigit() else max(status, 400)
                text = str(inside)
            elif status < 300:
                return answer
        raise _error(status, text, response, acts, understood=isinstance(answer, dict))


def _error(status: int, text: str, response: httpx.Response, acts: bool, *, understood: bool) -> errors.Error:
    if status == 429:
        return errors.ProviderBusy(f"TensorDock asks us to wait: {text}", _wait(response))
    if status in (401, 403):
        return errors.ProviderRejected(f"TensorDock does not accept the token: {text}")
    if re.search(r"unavailable|no available|not available|out of stock|insufficient capacity|no longer", text, re.I):
        return errors.NoCapacity(f"the offer is gone: {text}")
    if status == 404:
        return errors.MachineNotFound("TensorDock has no such machine")
    if status >= 500 or not understood:
        if acts:
            return errors.OutcomeUnknown(f"TensorDock answered {status} to a call that may have acted")
        return errors.ProviderBusy(f"TensorDock answered {status}", 5)
    return errors.ProviderRejected(f"TensorDock refused: {text}")


def _wait(response: httpx.Response) -> float:
    try:
        return max(0.5, float(response.headers.get("Retry-After") or 5.0))
    except ValueError:
        return 5.0


def _storage_gb(disk_gib: float) -> int:
    return max(MIN_STORAGE_GB, int(Decimal(str(disk_gib)) * GIB) + 1)


def _room(node: dict[str, Any], gpu: str, count: int) -> tuple[int, int] | None:
    """CPUs and GB of memory to ask for with so many GPUs; None when the host cannot."""
    resources = node.get("available_resources") or {}
    free = {str(g.get("v0Name")): int(g.get("availableCount") or 0) for g in resources.get("gpus") or []}
    vcpus = min(VCPUS * count, int(resources.get("vcpu_count") or 0),
                int(resources.get("max_vcpus_per_gpu") or VCPUS) * count)  # fmt: skip
    ram = min(RAM_GB * count, int(resources.get("ram_gb") or 0),
              int(resources.get("max_ram_per_gpu") or RAM_GB) * count)  # fmt: skip
    if free.get(gpu, 0) < count or vcpus < 2 or ram < 4:
        return None
    return vcpus // 2 * 2, ram


def _offers_of(node: Any, need: Need) -> Iterator[Offer]:
    """A host's GPUs as offers for a need; what is not to be understood is left out."""
    try:
        resources, prices, place = node["available_resources"], node["pricing"], node["location"]
        disk_gb = _storage_gb(need.disk_gib)
        for gpu in resources["gpus"]:
            room = _room(node, str(gpu["v0Name"]), need.gpu_count)
            known = GPUS.get(str(gpu["v0Name"]))
            if room is None or known is None or need.gpu_count < 1:
                continue
            disk = Decimal(str(prices["per_gb_storage_hr"])) * disk_gb
            total = (
                Decimal(str(gpu["price_per_hr"])) * need.gpu_count
                + Decimal(str(prices["per_vcpu_hr"])) * room[0]
                + Decimal(str(prices["per_gb_ram_hr"])) * room[1]
                + disk
            )
            yield Offer(
                provider=TensorDock.name,
                offer_id=f"{node['id']}:{gpu['v0Name']}",
                machine_id=str(node["id"]),
                host_id=str(node["id"]),
                gpu_name=known[0],
                gpu_count=need.gpu_count,
                vram_gb=known[1],
                usd_per_hour=total,
                usd_disk_per_hour=disk,
                disk_gib=float(Decimal(str(resources["max_storage_gb"])) / GIB),
                reliability=min(
                    float(node.get("uptime_percentage") or 0) / 100, RELIABILITY.get(place.get("tier"), 0.9)
                ),
                region=COUNTRIES.get(str(place.get("country")), ""),
                down_mbit=float(place.get("network_speed_gbps") or 0) * 1000,
                up_mbit=float(place.get("network_speed_upload_gbps") or 0) * 1000,
                open_ports=max(0, len(resources.get("available_ports") or []) - 1),
            )
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The three shapes of a list, as flat rows."""
    data: Any = answer.get("data")
    if isinstance(data, dict):
        data = data.get("instances", (data.get("attributes") or {}).get("instances"))
    if not isinstance(data, list):
        raise errors.ProviderBusy("TensorDock answered a list with nonsense", 2)
    return [{**row, **(row.get("attributes") or {})} for row in data if isinstance(row, dict)]


def _machine_from(row: dict[str, Any]) -> RentedMachine:
    ports = {
        str(forward["internal_port"]): int(forward["external_port"])
        for forward in row.get("portForwards") or []
        if isinstance(forward, dict) and forward.get("external_port")
    }
    status = _status(str(row.get("status") or ""))
    running = status is MachineStatus.RUNNING
    address = row.get("ipAddress") or None
    return RentedMachine(
        provider=TensorDock.name,
        machine_id=str(row.get("id")),
        token=str(row.get("name") or ""),
        status=status,
        message=str(row.get("status") or ""),
        usd_per_hour=Decimal(str(row.get("rateHourly") or 0)),
        ssh_host=address if running else None,
        ssh_port=ports.get("22") if running and address else None,
        ports=ports,
    )


def _status(word: str) -> MachineStatus:
    word = re.sub(r"[\s_-]", "", word.lower())
    if word == "running":
        return MachineStatus.RUNNING
    if word in ("stopped", "stoppeddisassociated", "stopping"):
        return MachineStatus.STOPPED
    if word in ("error", "failed"):
        return MachineStatus.BROKEN
    return MachineStatus.LOADING
