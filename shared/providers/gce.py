"""Google Compute Engine behind the provider contract, by google-cloud-compute.

Facts: the vendor's REST documents and the client library, run. The machine's name is our token, so a second insert collides;
`requestId` follows from the token too. `maxRunDuration` is in every insert: a machine that nobody looks after ends itself. The
library's long-running operations poll an address of their own making, so operations are polled by our own client.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import compute_v1

from shared import errors
from shared.domain.attempt import LABEL_PREFIX
from shared.domain.offer import MachineSpec, Need, Offer
from shared.frozen import dataclass
from shared.logs import asking, traceparent
from shared.providers.base import Features, MachineStatus, RentedMachine, boot_script

CALL_S = 30.0
INSERT_PATIENCE_S = 12.0
"""How long a create waits to learn that the zone has no room; a machine that is being made is answered at once after it."""
MAX_RUN_S = 30 * 86_400
DISK_USD_PER_GB_MONTH = Decimal("0.10")
HOURS_A_MONTH = 730
IMAGES = {
    True: "projects/deeplearning-platform-release/global/images/family/common-cu124-debian-11",
    False: "projects/debian-cloud/global/images/family/debian-12",
}
"""With a GPU and without."""
STOCKOUT = re.compile(
    r"ZONE_RESOURCE_POOL_EXHAUSTED|RESOURCE_POOL|STOCKOUT|VM_MIN_COUNT_NOT_REACHED|UNSUPPORTED_OPERATION"
)


@dataclass(frozen=True)
class Kind:
    """A machine type with its GPU; USD per hour in us-central1, list prices of November 2026."""

    machine_type: str
    gpu_name: str
    gpu_count: int
    vram_gb: float
    usd: Decimal
    usd_spot: Decimal
    accelerator: str | None = None
    """Set where the GPU is attached rather than part of the type."""


KINDS = (
    Kind("g2-standard-4", "L4", 1, 24, Decimal("0.71"), Decimal("0.28")),
    Kind("g2-standard-24", "L4", 2, 24, Decimal("2.00"), Decimal("0.80")),
    Kind("n1-standard-4", "Tesla T4", 1, 16, Decimal("0.54"), Decimal("0.20"), "nvidia-tesla-t4"),
    Kind("a2-highgpu-1g", "A100 SXM4", 1, 40, Decimal("3.67"), Decimal("1.47")),
    Kind("a2-ultragpu-1g", "A100 SXM4", 1, 80, Decimal("5.07"), Decimal("2.03")),
    Kind("e2-micro", "", 0, 0, Decimal("0.0084"), Decimal("0.0034")),
    Kind("e2-small", "", 0, 0, Decimal("0.0168"), Decimal("0.0067")),
    Kind("e2-medium", "", 0, 0, Decimal("0.0335"), Decimal("0.0134")),
    Kind("e2-standard-2", "", 0, 0, Decimal("0.0670"), Decimal("0.0268")),
)
COUNTRIES = {"us": "US", "northamerica": "CA", "europe-west1": "BE", "europe-west3": "DE", "europe-west4": "NL",
             "europe-north1": "FI", "europe-west2": "GB", "europe-west9": "FR", "asia-east1": "TW"}  # fmt: skip


def connect(project: str, zones: Sequence[str], url: str | None = None) -> Gce:
    """`url`: another endpoint than Google's, without credentials; for the local cloud and tests."""
    credentials: Credentials | None = None
    options = None
    if url is not None:
        credentials, options = AnonymousCredentials(), ClientOptions(api_endpoint=url)  # type: ignore[no-untyped-call]
    make: Any = {"credentials": credentials, "client_options": options}
    return Gce(project, zones, compute_v1.InstancesClient(**make), compute_v1.ZoneOperationsClient(**make))


class Gce:
    name = "gce"
    features = Features(can_stop=True, sells_spot=True, bills_while_loading=True, sells_cpu=True, runs_images=False)

    def __init__(
        self, project: str, zones: Sequence[str], instances: compute_v1.InstancesClient,
        operations: compute_v1.ZoneOperationsClient,
    ) -> None:  # fmt: skip
        self._project = project
        self._zones = list(zones)
        self._instances = instances
        self._operations = operations

    def offers(self, need: Need) -> Sequence[Offer]:
        """From list prices: Google has no market, only stock that a create finds out about."""
        self._reachable()
        disk = Decimal(str(need.disk_gib)) * DISK_USD_PER_GB_MONTH / HOURS_A_MONTH
        found = [
            Offer(
                provider=self.name,
                offer_id=f"{zone}/{kind.machine_type}{'/spot' if need.interruptible else ''}",
                machine_id=f"{zone}/{kind.machine_type}",
                host_id=f"{zone}/{kind.machine_type}",
                gpu_name=kind.gpu_name,
                gpu_count=kind.gpu_count,
                vram_gb=kind.vram_gb,
                usd_per_hour=(kind.usd_spot if need.interruptible else kind.usd) + disk,
                usd_disk_per_hour=disk,
                disk_gib=10_000,
                reliability=0.99 if need.interruptible else 0.999,
                region=_country(zone),
                down_mbit=10_000,
                up_mbit=2_000,
                open_ports=1000,
                interruptible=need.interruptible,
            )
            for zone in self._zones
            for kind in KINDS
            if kind.gpu_count == need.gpu_count
        ]
        return sorted(found, key=lambda offer: offer.usd_per_hour)

    def create(self, offer: Offer, spec: MachineSpec, token: str) -> RentedMachine:
        zone, machine_type, *spot = offer.offer_id.split("/")
        kind = next(k for k in KINDS if k.machine_type == machine_type)
        body = self._body(zone, kind, spec, token, bool(spot))
        request = {
            "project": self._project,
            "zone": zone,
            "instance_resource": body,
            # The same token is the same request: a repetition that got through twice is one machine.
            "request_id": str(uuid.uuid5(uuid.NAMESPACE_URL, token)),
        }
        operation = self._ask(self._instances.insert_unary, request, acts=True)
        until = time.monotonic() + INSERT_PATIENCE_S
        pause = 0.2
        while operation.status != compute_v1.Operation.Status.DONE and time.monotonic() < until:
            time.sleep(pause)
            pause = min(2.0, pause * 1.6)
            try:
                operation = self._operation(zone, operation.name)
            except errors.ProviderError:
                # The insert was taken: what became of it shows in the machine's state.
                break
        if operation.status == compute_v1.Operation.Status.DONE:
            _raise_for(operation)
        return RentedMachine(
            self.name, f"{zone}/{token}", token, MachineStatus.LOADING, usd_per_hour=offer.usd_per_hour
        )

    def get(self, machine_id: str) -> RentedMachine:
        zone, name = _place(machine_id)
        request = {"project": self._project, "zone": zone, "instance": name}
        found = self._ask(self._instances.get, request, acts=False)
        return _machine_from(found)

    def list(self) -> Sequence[RentedMachine]:
        request = {
            "project": self._project, "filter": f"name:{LABEL_PREFIX}*", "max_results": 500,
        }  # fmt: skip
        pages = self._ask(self._instances.aggregated_list, request, list, acts=False)
        return [
            _machine_from(one) for _, scoped in pages for one in scoped.instances if one.name.startswith(LABEL_PREFIX)
        ]

    def terminate(self, machine_id: str) -> None:
        zone, name = _place(machine_id)
        request = {"project": self._project, "zone": zone, "instance": name}
        self._ask(self._instances.delete_unary, request, acts=True)

    def _body(self, zone: str, kind: Kind, spec: MachineSpec, token: str, spot: bool) -> compute_v1.Instance:
        gpu = kind.gpu_count > 0
        scheduling = {
            "provisioning_model": "SPOT" if spot else "STANDARD",
            "on_host_maintenance": "TERMINATE" if gpu or spot else "MIGRATE",
            "automatic_restart": False,
            "instance_termination_action": "DELETE",
            "max_run_duration": {"seconds": MAX_RUN_S},
        }
        body: dict[str, Any] = {
            "name": token,
            "machine_type": f"zones/{zone}/machineTypes/{kind.machine_type}",
            "disks": [
                {
                    "boot": True,
                    "auto_delete": True,
                    "initialize_params": {
                        "source_image": IMAGES[gpu],
                        "disk_type": f"zones/{zone}/diskTypes/pd-balanced",
                        "disk_size_gb": max(10, round(spec.disk_gib)),
                    },
                }
            ],
            "network_interfaces": [
                {
                    "network": "global/networks/default",
                    "access_configs": [{"name": "External NAT", "type_": "ONE_TO_ONE_NAT"}],
                }
            ],
            "scheduling": scheduling,
            "metadata": {"items": [{"key": "startup-script", "value": boot_script(spec)}]},
            "labels": {"managed-by": "dumont"},
        }
        if kind.accelerator:
            place = f"projects/{self._project}/zones/{zone}/acceleratorTypes/{kind.accelerator}"
            body["guest_accelerators"] = [{"accelerator_type": place, "accelerator_count": kind.gpu_count}]
        return compute_v1.Instance(body)

    def _operation(self, zone: str, name: str) -> compute_v1.Operation:
        request = {"project": self._project, "zone": zone, "operation": name}
        found: compute_v1.Operation = self._ask(self._operations.get, request, acts=False)
        return found

    def _reachable(self) -> None:
        """Credentials and project are tried before anything is promised."""
        request = {"project": self._project, "zone": self._zones[0], "max_results": 1}
        self._ask(self._instances.list, request, lambda found: next(iter(found.pages)), acts=False)

    def _ask(
        self,
        call: Callable[..., Any],
        request: dict[str, Any],
        take: Callable[[Any], Any] = lambda found: found,
        *,
        acts: bool,
    ) -> Any:
        """`take`: what is wanted of the answer, where more of it is fetched on the way."""
        try:
            with asking(self.name, call.__name__) as asked:
                found = take(call(request=request, timeout=CALL_S, retry=None, metadata=tuple(traceparent().items())))
                asked.status = 200
                return found
        except exceptions.GoogleAPICallError as error:
            _translate(error, acts)
        except (exceptions.RetryError, OSError) as error:
            words = f"Google does not answer: {type(error).__name__}"
            refused = "Connection refused" in str(error) or "NameResolution" in str(error)
            raise (errors.OutcomeUnknown(words) if acts and not refused else errors.ProviderBusy(words, 5)) from error


def _translate(error: exceptions.GoogleAPICallError, acts: bool) -> NoReturn:
    text = str(error.message)
    status = int(error.code or 0)
    if STOCKOUT.search(text):
        raise errors.NoCapacity(f"the zone has none: {text}") from error
    if status == 429 or "rateLimitExceeded" in text or "RATE" in text:
        raise errors.ProviderBusy(f"Google asks us to wait: {text}", 5) from error
    if status == 403 and re.search(r"quota", text, re.I):
        raise errors.NoCapacity(f"the project's quota is used up: {text}") from error
    if status == 404:
        raise errors.MachineNotFound(f"Google has no such machine: {text}") from error
    if status == 409:
        # Our token is its name: an earlier insert got through.
        raise errors.OutcomeUnknown(f"a machine of this name exists already: {text}") from error
    if status >= 500:
        if acts:
            raise errors.OutcomeUnknown(f"Google answered {status} to a call that may have acted") from error
        raise errors.ProviderBusy(f"Google answered {status}", 5) from error
    raise errors.ProviderRejected(f"Google refused: {text}") from error


def _raise_for(operation: compute_v1.Operation) -> None:
    """An operation that ended in an error made nothing."""
    problems = [f"{one.code}: {one.message}" for one in operation.error.errors]
    if not problems:
        return
    text = "; ".join(problems)
    if STOCKOUT.search(text) or "QUOTA" in text:
        raise errors.NoCapacity(f"the zone has none: {text}")
    raise errors.ProviderRejected(f"Google refused: {text}")


def _place(machine_id: str) -> tuple[str, str]:
    zone, _, name = machine_id.partition("/")
    if not name:
        raise errors.MachineNotFound(f"{machine_id!r} names no machine of Google's")
    return zone, name


def _country(zone: str) -> str:
    for prefix, country in COUNTRIES.items():
        if zone.startswith(prefix):
            return country
    return ""


STATES = {
    "RUNNING": MachineStatus.RUNNING,
    "STOPPING": MachineStatus.STOPPED,
    "TERMINATED": MachineStatus.STOPPED,
    "STOPPED": MachineStatus.STOPPED,
    "SUSPENDING": MachineStatus.STOPPED,
    "SUSPENDED": MachineStatus.STOPPED,
    "REPAIRING": MachineStatus.OFFLINE,
}


def _machine_from(one: compute_v1.Instance) -> RentedMachine:
    zone = one.zone.rpartition("/")[2]
    address = next((c.nat_i_p for nic in one.network_interfaces for c in nic.access_configs if c.nat_i_p), None)
    status = STATES.get(one.status, MachineStatus.LOADING)
    running = status is MachineStatus.RUNNING
    return RentedMachine(
        provider=Gce.name,
        machine_id=f"{zone}/{one.name}",
        token=one.name,
        status=status,
        message=one.status_message or one.status,
        ssh_host=address if running else None,
        ssh_port=_ssh_port(one) if running and address else None,
    )


def _ssh_port(one: compute_v1.Instance) -> int:
    """22; the local cloud's machines share one address and say theirs in a label."""
    return int(one.labels.get("ssh-port") or 22)
