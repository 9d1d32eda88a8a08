"""Stories against a running cloud: a local one of the tests' own, or a real deployment when DUMONT_API_URL is set.

DUMONT_API_URL=https://… DUMONT_API_KEY=dk_… make test ARGS="tests/e2e/test_gpu.py"

The latter rents real machines and costs money.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench import ledger
from local.embedded import ROOT, Embedded, running
from shared.flows.keys import agent_secret
from shared.settings import Settings
from tests.support.leaks import Secrets

PATIENCE_S = float(os.environ.get("DUMONT_TEST_PATIENCE_S", "120" if "DUMONT_API_URL" not in os.environ else "1200"))

SECRETS = Secrets()
"""Whatever the stories used so far."""
ATTEMPTS: set[str] = set()
CONSOLES: list[str] = []
"""What commands showed."""


class ApiError(AssertionError):
    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"{status} {error['code']}: {error['message']}")
        self.status, self.code = status, error["code"]


@dataclass
class ApiClient:
    """The public API, as any client sees it."""

    url: str
    key: str
    gpu: str

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        response = httpx.request(
            method,
            f"{self.url}/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.key}", **headers},
            timeout=90,
        )
        answer = response.json()
        if not answer["success"]:
            raise ApiError(response.status_code, answer["error"])
        SECRETS.add("API key", self.key)
        for told in (body, answer["data"]):
            SECRETS.add_from(told)
        ATTEMPTS.update(re.findall(r'"id": ?"([0-9a-f]{28})"', response.text))
        return answer["data"]

    def until(self, instance: str, state: str) -> dict[str, Any]:
        limit = time.monotonic() + PATIENCE_S
        while True:
            found: dict[str, Any] = self.call("GET", f"/instances/{instance}?wait=20")
            if found["state"] == state:
                return found
            assert time.monotonic() < limit and found["state"] != "failed", (found["state"], found["failure"])
            time.sleep(0.1)


@dataclass
class Result:
    stdout: str
    stderr: str
    exit_code: int | None

    def __contains__(self, text: str) -> bool:
        return text in self.stdout


class GpuInstance:
    """One instance that a test rents for itself."""

    def __init__(self, api: ApiClient, view: dict[str, Any]) -> None:
        self.api, self.id, self.view = api, view["id"], view

    def run_command(self, command: str, timeout_s: float = 60) -> Result:
        order = self.api.call(
            "POST", f"/instances/{self.id}/exec", {"command": ["bash", "-c", command], "timeout_s": timeout_s}
        )
        limit = time.monotonic() + timeout_s + 30
        while order["state"] not in ("done", "failed"):
            assert time.monotonic() < limit, order
            order = self.api.call("GET", f"/instances/{self.id}/exec/{order['id']}")
        return Result(order["stdout"], order["stderr"], order["exit_code"])


@pytest.fixture(scope="session")
def cloud() -> Iterator[Embedded | None]:
    """None when the tests run against a real deployment."""
    if "DUMONT_API_URL" in os.environ:
        yield None
        return
    with running() as embedded:
        yield embedded
        check_ledger(embedded)
        check_secrets(embedded)


def check_ledger(embedded: Embedded) -> None:
    """After every story: the ledger has each machine that the providers billed, to the cent."""
    found = ledger.of_cloud(embedded)
    assert found["machines_billed"] > 0 and ledger.agrees(found), found


def check_secrets(embedded: Embedded) -> dict[str, int]:
    """No log, and no console but the one that tells the login, holds a secret of the run. Counts of secrets by kind."""
    kept = json.loads((embedded.folder / "secrets.json").read_text())["secrets"]
    # A bucket's access key is its user's name, and shown.
    SECRETS.add("deployment's own secret", *(text for name, text in kept.items() if name != "s3_access_key"))
    settings = Settings(env="local", master_key=kept["master_key"])
    SECRETS.add("machine's token", *(agent_secret(settings, id) for id in ATTEMPTS))
    logs = sorted(embedded.folder.rglob("*.log"))
    # What is told to whoever starts it is the login: in one line for the console, in one for the command line.
    lines = embedded.console.read_text().splitlines()
    told = [line for line in lines if not line.lstrip().startswith(("login ", "bin/dumont login "))]
    assert len(told) == len(lines) - 2
    consoles = embedded.folder.parent / "consoles.log"
    consoles.write_text("\n".join([*told, *CONSOLES]))
    found = SECRETS.found_in([*logs, consoles])
    assert not found, found
    counts = SECRETS.counts()
    print(f"secrets: {sum(counts.values())} in none of {len(logs)} logs and {len(CONSOLES) + 1} consoles: {counts}")
    return counts


@pytest.fixture(scope="session")
def api_client(cloud: Embedded | None) -> ApiClient:
    gpu = os.environ.get("DUMONT_TEST_GPU", "RTX 4090")
    if cloud is None:
        return ApiClient(os.environ["DUMONT_API_URL"], os.environ["DUMONT_API_KEY"], gpu)
    return ApiClient(cloud.state["api_url"], cloud.state["demo"]["api_key"], gpu)


@pytest.fixture
def local(cloud: Embedded | None) -> Embedded:
    """For stories that only a simulated market can tell."""
    if cloud is None:
        pytest.skip("needs the local cloud")
    return cloud


@pytest.fixture
def gpu_instance(api_client: ApiClient) -> Iterator[GpuInstance]:
    """Provisioned for this test, ready, and destroyed after it."""
    key = uuid.uuid4().hex
    view = api_client.call("POST", "/instances/provision", {"gpu_name": api_client.gpu}, **{"Idempotency-Key": key})
    try:
        yield GpuInstance(api_client, api_client.until(view["id"], "running"))
    finally:
        api_client.call("DELETE", f"/instances/{view['id']}/destroy?wait=50")
        api_client.until(view["id"], "destroyed")


class Terminal:
    def __init__(self, local: Embedded, home: Path) -> None:
        self.env = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT), "DUMONT_API_URL": local.state["api_url"]}
        for name in ("DUMONT_API_KEY", "XDG_CONFIG_HOME"):
            self.env.pop(name, None)

    def __call__(self, *words: str, expect: int = 0, stdin: str | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words], env=self.env, cwd=ROOT, capture_output=True, text=True, input=stdin,
            timeout=150,
        )  # fmt: skip
        SECRETS.add("typed at a terminal", (stdin or "").strip())
        CONSOLES.append(done.stdout + done.stderr)
        assert done.returncode == expect, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout + done.stderr


@pytest.fixture
def dumont(local: Embedded, tmp_path: Path) -> Terminal:
    terminal = Terminal(local, tmp_path)
    demo = local.state["demo"]
    terminal("login", "--email", demo["email"], "--password", demo["password"])
    return terminal
