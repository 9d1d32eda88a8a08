"""Every provider keeps the provider's contract: the fake one of unit tests, and the others on their simulators."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from shared import errors
from shared.clock import FakeClock
from shared.domain.offer import MachineSpec, Need, Offer
from shared.providers import gce, tensordock
from shared.providers.base import Provider
from shared.providers.fake import FakeProvider
from shared.providers.vast import Vast, connect
from tests.contracts.provider_contract import ProviderContract, by_token, gone, token
from tests.support.simulated import TENSORDOCK_TOKEN, VAST_KEY, Simulated, simulators
from tests.support.world import an_offer


@dataclass
class FakeMarket:
    provider: FakeProvider

    def sell_out(self, offer: Offer) -> None:
        self.provider.stock = [o for o in self.provider.stock if o.offer_id != offer.offer_id]

    def lose_next_create(self) -> None:
        self.provider.lose_creates = 1

    def rate_limit_next(self, verb: str) -> None:
        self.provider.fail_next[verb].append(errors.ProviderBusy("slow down", 2.0))

    def break_next(self, verb: str) -> None:
        self.provider.fail_next[verb].append(errors.ProviderBusy("500", 2.0))

    def with_bad_credentials(self) -> Provider:
        stranger = FakeProvider(self.provider.clock)
        for verb in ("offers", "list"):
            stranger.fail_next[verb].append(errors.ProviderRejected("bad key"))
        return stranger

    def add_foreign(self, label: str) -> str:
        return self.provider.add_foreign(label)

    def sells(self) -> Need:
        return Need(gpu_name="RTX 4090")


class TestFake(ProviderContract):
    @pytest.fixture
    def provider(self) -> FakeProvider:
        return FakeProvider(FakeClock(), [an_offer(n) for n in range(1, 41)])

    @pytest.fixture
    def market(self, provider: FakeProvider) -> FakeMarket:
        return FakeMarket(provider)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulators(tmp_path_factory.mktemp("simulated")) as running:
        yield running


ENDPOINTS = {"offers": "search", "create": "create", "list": "list", "terminate": "destroy", "get": "get"}


@dataclass
class VastMarket:
    simulated: Simulated

    def sell_out(self, offer: Offer) -> None:
        self.simulated.control("POST", f"/hosts/{offer.machine_id}/sell-out")

    def lose_next_create(self) -> None:
        self.simulated.control("POST", "/faults", {"endpoint": "create", "kind": "drop_after"})

    def rate_limit_next(self, verb: str) -> None:
        self.simulated.control("POST", "/faults", {"endpoint": ENDPOINTS[verb], "kind": "429"})

    def break_next(self, verb: str) -> None:
        self.simulated.control("POST", "/faults", {"endpoint": ENDPOINTS[verb], "kind": "500"})

    def with_bad_credentials(self) -> Provider:
        return connect(self.simulated.vast_url, "somebody-else")

    def add_foreign(self, label: str) -> str:
        provider = connect(self.simulated.vast_url, VAST_KEY)
        offer = provider.offers(self.sells())[0]
        spec = MachineSpec(image="x", disk_gib=10, onstart="true")
        return provider.create(offer, spec, label).machine_id

    def sells(self) -> Need:
        return Need(disk_gib=20, min_reliability=0.0)


class TestVast(ProviderContract):
    @pytest.fixture
    def provider(self, simulated: Simulated) -> Iterator[Vast]:
        simulated.control("DELETE", "/faults")
        yield connect(simulated.vast_url, VAST_KEY)

    @pytest.fixture
    def market(self, simulated: Simulated) -> Iterator[VastMarket]:
        yield VastMarket(simulated)
        for host in simulated.control("GET", "/hosts"):
            if host["sold_out"]:
                simulated.control("POST", f"/hosts/{host['machine_id']}/restock")


# TensorDock and Google ------------------------------------------------------------------------------------------------


@dataclass
class GuestMarket:
    """A simulated market of virtual machines, from the other side."""

    simulated: Simulated
    provider: str
    need: Need
    stranger: Provider
    own: Provider

    def sell_out(self, offer: Offer) -> None:
        self.simulated.control("POST", f"/hosts/{offer.machine_id}/sell-out?provider={self.provider}")
        self.sold = offer

    def fault(self, verb: str, kind: str) -> None:
        body = {"endpoint": ENDPOINTS[verb], "kind": kind}
        self.simulated.control("POST", f"/faults?provider={self.provider}", body)

    def lose_next_create(self) -> None:
        self.fault("create", "drop_after")

    def rate_limit_next(self, verb: str) -> None:
        self.fault(verb, "429")

    def break_next(self, verb: str) -> None:
        self.fault(verb, "500")

    def with_bad_credentials(self) -> Provider:
        return self.stranger

    def add_foreign(self, label: str) -> str:
        offer = self.own.offers(self.need)[-1]
        # Google wants a name; an empty label is a name of somebody's own there.
        spec = MachineSpec(image="x", disk_gib=10, onstart="true")
        return self.own.create(offer, spec, label or "somebodys-own").machine_id

    def sells(self) -> Need:
        return self.need

    def restock(self) -> None:
        sold = getattr(self, "sold", None)
        if sold is not None:
            self.simulated.control("POST", f"/hosts/{sold.machine_id}/restock?provider={self.provider}")


class TestTensorDock(ProviderContract):
    @pytest.fixture
    def provider(self, simulated: Simulated) -> Provider:
        simulated.control("DELETE", "/faults")
        return tensordock.connect(simulated.tensordock_url, TENSORDOCK_TOKEN, "ssh-ed25519 AAAA")

    @pytest.fixture
    def market(self, simulated: Simulated, provider: Provider) -> Iterator[GuestMarket]:
        stranger = tensordock.connect(simulated.tensordock_url, "wrong", "ssh-ed25519 AAAA")
        need = Need(disk_gib=20, min_reliability=0)
        market = GuestMarket(simulated, "tensordock", need, stranger, provider)
        yield market
        market.restock()


class TestGce(ProviderContract):
    @pytest.fixture
    def provider(self, simulated: Simulated) -> Provider:
        simulated.control("DELETE", "/faults")
        return gce.connect("dumont-test", gce_zones(), simulated.gce_url)

    @pytest.fixture
    def market(self, simulated: Simulated, provider: Provider) -> Iterator[GuestMarket]:
        stranger = gce.connect("forbidden-project", gce_zones(), simulated.gce_url)
        market = GuestMarket(simulated, "gce", Need(disk_gib=20, min_reliability=0), stranger, provider)
        yield market
        market.restock()

    def test_the_same_token_twice_is_one_machine(self, provider: Provider, market: GuestMarket) -> None:
        offer, label = provider.offers(market.sells())[0], token()

        first = provider.create(offer, SPEC, label)
        second = provider.create(offer, SPEC, label)

        assert first.machine_id == second.machine_id
        assert len(by_token(provider, label)) == 1
        gone(provider, first.machine_id)

    def test_every_machine_ends_itself_one_day(self, provider: Provider, market: GuestMarket) -> None:
        offer, label = provider.offers(market.sells())[0], token()
        machine = provider.create(offer, SPEC, label)
        zone, name = machine.machine_id.split("/")

        row = httpx.get(f"{market.simulated.gce_url}/compute/v1/projects/p/zones/{zone}/instances/{name}").json()

        assert int(row["scheduling"]["maxRunDuration"]["seconds"]) > 0
        assert row["scheduling"]["instanceTerminationAction"] == "DELETE"
        gone(provider, machine.machine_id)


def gce_zones() -> list[str]:
    return ["us-central1-a", "us-central1-b", "us-east1-b", "europe-west3-a"]


def tensordock_answering(status: int, body: str) -> tensordock.TensorDock:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, text=body)

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="https://td")
    return tensordock.TensorDock(client, "t", "ssh-ed25519 A")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, '{"error": "Hostnode unavailable", "status": 400}', errors.NoCapacity),
        (200, '{"error": "Unauthorized", "status": 401}', errors.ProviderRejected),
        (200, '{"error": "Too many requests", "status": 429}', errors.ProviderBusy),
        (200, '{"error": "Instance not found", "status": 404}', errors.MachineNotFound),
        (200, '{"error": "need at least $1", "status": 400}', errors.ProviderRejected),
        (200, '{"error": "database is down", "status": 500}', errors.OutcomeUnknown),
        (200, "<html>oops</html>", errors.OutcomeUnknown),
        (502, "<html>oops</html>", errors.OutcomeUnknown),
    ],
)
def test_a_refusal_inside_a_200_is_the_right_error(status: int, body: str, expected: type[errors.Error]) -> None:
    with pytest.raises(expected) as caught:
        tensordock_answering(status, body).terminate("x")

    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Running", "running"),
        ("StoppedDisassociated", "stopped"),
        ("stopped_disassociated", "stopped"),
        ("Stopped", "stopped"),
        ("QUEUED", "loading"),
        ("error", "broken"),
    ],
)
def test_every_spelling_of_a_status_is_understood(word: str, status: str) -> None:
    body = f'{{"id": "i", "name": "dumont-x", "status": "{word}"}}'

    assert tensordock_answering(200, body).get("i").status == status


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gcloud_completes_a_lifecycle_against_the_simulator(simulated: Simulated, tmp_path: Path) -> None:
    env = {
        **os.environ,
        "CLOUDSDK_CONFIG": str(tmp_path),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{simulated.gce_url}/compute/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": "p",
        "CLOUDSDK_COMPUTE_ZONE": "us-central1-a",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
    }

    def gcloud(*words: str) -> str:
        done = subprocess.run(
            ["gcloud", "compute", "instances", *words, "--format=json"],
            capture_output=True, text=True, env=env, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def status() -> str:
        found: str = json.loads(gcloud("describe", "vm1"))["status"]
        return found

    gcloud("create", "vm1", "--machine-type=e2-small", "--image-family=debian-12", "--image-project=debian-cloud",
           "--provisioning-model=SPOT", "--labels=a=b")  # fmt: skip
    assert [row["name"] for row in json.loads(gcloud("list")) if row["name"] == "vm1"] == ["vm1"]
    gcloud("stop", "vm1")
    assert status() == "TERMINATED"
    gcloud("start", "vm1")
    assert status() == "RUNNING"
    gcloud("add-labels", "vm1", "--labels=c=d")
    gcloud("delete", "vm1")
    assert "vm1" not in gcloud("list")


def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Vast:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body, headers=headers)

    return Vast(httpx.Client(transport=httpx.MockTransport(answer), base_url="https://vast"), "key")


SPEC = MachineSpec(image="x", disk_gib=10, onstart="true")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"success":false,"error":"invalid_args","msg":"error 404/3603: no_such_ask ..."}', errors.NoCapacity),
        (404, b'{"success":false,"error":"no_such_ask","msg":"gone"}', errors.NoCapacity),
        (410, b'{"success":false,"error":"no_such_ask","msg":"gone"}', errors.NoCapacity),
        (200, b'{"success":false,"error":"no_such_ask","msg":"gone"}', errors.NoCapacity),
        (200, b'{"success":false,"error":"invalid_args","msg":"image is wrong"}', errors.ProviderRejected),
        (400, b'{"success":false,"error":"insufficient_credit","msg":"no credit"}', errors.ProviderRejected),
        (401, b'{"success":false,"error":"auth_error","msg":"bad key"}', errors.ProviderRejected),
        (429, b"API requests too frequent endpoint threshold=4.5", errors.ProviderBusy),
        (500, b"<html>oops</html>", errors.OutcomeUnknown),
        (502, b"", errors.OutcomeUnknown),
        (200, b"not json", errors.OutcomeUnknown),
        (200, b'{"success":true}', errors.OutcomeUnknown),
        (200, b'{"success":false,"new_contract":5,"msg":"bid too low"}', errors.OutcomeUnknown),
    ],
)  # fmt: skip
def test_each_form_of_refusing_a_create_is_the_right_error(
    status: int, body: bytes, expected: type[errors.Error]
) -> None:
    with pytest.raises(expected) as caught:
        answering(status, body).create(an_offer(), SPEC, "dumont-x")

    assert type(caught.value) is expected


def test_a_connection_that_never_was_is_busy_and_one_that_broke_is_unknown() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    def break_off(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("silence")

    refusing, breaking = (
        Vast(httpx.Client(transport=httpx.MockTransport(f), base_url="https://vast"), "k") for f in (refuse, break_off)
    )
    with pytest.raises(errors.ProviderBusy):
        refusing.create(an_offer(), SPEC, "dumont-x")
    with pytest.raises(errors.OutcomeUnknown):
        breaking.create(an_offer(), SPEC, "dumont-x")
    with pytest.raises(errors.ProviderBusy):
        breaking.list()


def test_a_used_up_search_quota_waits_until_it_is_reset() -> None:
    import time

    reset = str(time.time() + 500)
    body = b'{"success":false,"error":"search_quota_exceeded","msg":"daily search quota"}'
    with pytest.raises(errors.ProviderBusy) as caught:
        answering(429, body, {"X-RateLimit-Reset": reset}).offers(Need())

    assert 400 < caught.value.retry_after_s <= 500


def test_rows_that_cannot_be_understood_are_left_out() -> None:
    body = b'{"offers":[{"id":1},null,7,{"id":"x","machine_id":2}]}'

    assert list(answering(200, body).offers(Need())) == []


def test_the_disk_of_an_offer_is_counted_in_gib() -> None:
    from shared.providers.vast import _offer_from

    row = {"id": 1, "machine_id": 2, "host_id": 3, "gpu_name": "A", "num_gpus": 1, "gpu_ram": 24000, "dph_total": 0.3,
           "disk_space": 107.3741824}  # fmt: skip
    offer = _offer_from(row, Decimal(0))
    assert offer is not None and offer.disk_gib == pytest.approx(100) and offer == replace(offer)
