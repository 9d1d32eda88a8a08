"""An old agent with a new control plane, and the reverse: neither is upgraded in the other's moment."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from agent import main as agent_main
from agent.api import PROTOCOL, Api
from agent.main import CHECK, Updated, update
from agent.orders import KINDS
from shared.flows import keys
from shared.wire import agent as wire
from tests.support.http import client
from tests.support.world import World
from tests.unit.test_agent import Told, an_agent, wait_for

GPU = {"index": 0, "name": "NVIDIA GeForce RTX 4090", "memory_total_mb": 24564.0}
REGISTER_1 = {
    "gpus": [GPU], "cuda": "12.4", "disk_free_bytes": 10**11, "disk_write_mb_s": 900.0, "download_mb_s": 80.0,
    "agent_version": "1", "python": "3.10.12", "problems": [],
}  # fmt: skip
"""What agents of protocol 1 said, word for word."""
BEAT_1 = {
    "gpus": [GPU], "idle_since": None, "why": "active: GPU 0 at 80 %", "vetoes": [], "network_mbit": 1.0, "disk_mb_s": 0.0,
    "running_orders": [],
}  # fmt: skip
UNHEARD_OF = {"of_a_later_version": {"x": [1]}}


@pytest.fixture
def world() -> World:
    return World()


def raced(world: World) -> tuple[dict[str, Any], Any, Any]:
    """An adopted machine's credential, the function it talks to, and its attempt; it registered as protocol 1 did."""
    instance = world.provision(width=1)
    world.settle(instance.id, lambda _: bool(world.created(instance.id)))
    (attempt,) = world.created(instance.id)
    secret = keys.agent_secret(world.deps.settings, attempt.id)
    headers = {"Authorization": f"Bearer {attempt.id}.{secret}"}
    http = client("agent", world.deps)
    body = {**REGISTER_1, "ready_at": world.clock.now().isoformat()}
    answer = http.post("/api/v1/agent/register", json=body, headers=headers)
    assert answer.status_code == 200 and answer.get_json()["data"]["adopted"], answer.get_json()
    world.settle(instance.id)
    return headers, http, attempt


def beat(world: World, headers: dict[str, Any], http: Any, **more: Any) -> Any:
    body = {**BEAT_1, "at": world.clock.now().isoformat(), **more}
    answer = http.post("/api/v1/agent/heartbeat", json=body, headers=headers)
    assert answer.status_code == 200, answer.get_json()
    return answer.get_json()["data"]


def test_the_two_name_the_same_newest_protocol_and_kinds_of_orders() -> None:
    assert wire.PROTOCOL == PROTOCOL
    assert set(KINDS) == set(wire.OrderKind.__args__)


def test_an_old_agent_works_on_and_is_told_of_the_newer(world: World) -> None:
    headers, http, _ = raced(world)

    assert beat(world, headers, http)["update"] is True
    assert beat(world, headers, http, protocol=PROTOCOL)["update"] is False


def test_a_newer_agent_than_the_control_plane_knows_is_understood(world: World) -> None:
    headers, http, _ = raced(world)

    answer = beat(world, headers, http, protocol=PROTOCOL + 1, gpus=[{**GPU, **UNHEARD_OF}], **UNHEARD_OF)
    assert answer["update"] is False
    body = {"order_id": "o-unknown", "state": "running", **UNHEARD_OF}
    assert http.post("/api/v1/agent/results", json=body, headers=headers).status_code in (200, 404)


def test_what_users_send_is_still_checked_to_the_letter(world: World) -> None:
    answer = client("auth", world.deps).post(
        "/api/v1/auth/login", json={"email": "a@b.c", "password": "x" * 12, **UNHEARD_OF}
    )

    assert answer.status_code == 400 and "of_a_later_version" in answer.get_data(as_text=True)


@pytest.mark.parametrize("kind", ["levitate", "end", "follow", "report", "tell_again", "ask", "read", "__init__", ""])
def test_orders_of_a_later_version_are_refused_and_nothing_of_the_agents_own_is_called(
    kind: str, tmp_path: Path
) -> None:
    told = Told()
    agent = an_agent(tmp_path, told)
    agent.give([{"id": "o-9", "kind": kind, "payload": {}, **UNHEARD_OF}])
    wait_for(told, 1)

    assert told.results[0]["state"] == "failed" and "knows no orders" in told.results[0]["error"]
    until = time.monotonic() + 5
    while agent.running() and time.monotonic() < until:
        time.sleep(0.01)
    assert agent.running() == {}


def test_an_order_is_reported_in_its_own_trace(tmp_path: Path) -> None:
    told = Told()
    order = {"id": "o-1", "kind": "exec", "payload": {"command": ["true"], "timeout_s": 5}, "trace": "a" * 32}
    an_agent(tmp_path, told).give([order])
    wait_for(told, 1)

    assert told.traces == ["a" * 32]
    assert Api("http://x", "t").traced("b" * 32)._trace == "b" * 32


# Updates --------------------------------------------------------------------------------------------------------------


class Hands(Api):
    """Our API, handing out one bundle."""

    def __init__(self, bundle: bytes) -> None:
        super().__init__("http://x", "t")
        self.bundle = bundle

    def get_bytes(self, path: str, tries: int = 4) -> bytes:
        assert path == "/agent/bundle"
        return self.bundle


def a_bundle(path: Path, code: str) -> bytes:
    with zipfile.ZipFile(path, "w") as whole:
        whole.writestr("__main__.py", code)
    return path.read_bytes()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the agent that runs was started from."""
    file = tmp_path / "agent.pyz"
    file.write_bytes(b"the one that runs")
    monkeypatch.setattr(agent_main.sys, "argv", [str(file)])
    return file


def test_a_newer_agent_takes_the_place_of_the_old_once_it_was_seen_to_start(place: Path, tmp_path: Path) -> None:
    newer = a_bundle(tmp_path / "new", f"import sys; assert sys.argv[1:] == ['{CHECK}']; print('protocol 3')")

    with pytest.raises(Updated, match="protocol 3"):
        update(Hands(newer))
    assert place.read_bytes() == newer


@pytest.mark.parametrize("code", ["import nothing_like_this", "raise SystemExit(3)"])
def test_one_that_cannot_start_here_leaves_the_old_as_it_is(place: Path, tmp_path: Path, code: str) -> None:
    update(Hands(a_bundle(tmp_path / "new", code)))
    update(Hands(b"no archive at all"))

    assert place.read_bytes() == b"the one that runs"


def test_the_agent_says_whether_it_can_start() -> None:
    done = subprocess.run([sys.executable, "-m", "agent.main", CHECK], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, f"protocol {PROTOCOL}\n")
