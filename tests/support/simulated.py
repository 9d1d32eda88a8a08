"""The simulated market as a process of its own, for tests of adapters."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from local.embedded import ROOT

VAST_KEY = "test-vast-key"
TENSORDOCK_TOKEN = "test-tensordock-token"
SCENARIO = {"hosts": 64, "boot_s": [0.2, 0.4], "destroy_s": 0.1, "dud_fraction": 0, "rate_limit_scale": 0}


@dataclass
class Simulated:
    vast_url: str
    control_url: str
    tensordock_url: str
    gce_url: str

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(method, self.control_url + path, json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()


def ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found


@contextmanager
def simulators(folder: Path, **changes: Any) -> Iterator[Simulated]:
    scenario = folder / "scenario.json"
    scenario.write_text(json.dumps({**SCENARIO, **changes}))
    vast, tensordock, gce, control = ports(4)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "local.simulators", "--state-dir", str(folder / "market"), "--vast-port", str(vast),
            "--tensordock-port", str(tensordock), "--gce-port", str(gce), "--tensordock-token", TENSORDOCK_TOKEN,
            "--control-port", str(control), "--scenario", str(scenario), "--api-key", VAST_KEY,
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    running = Simulated(
        f"http://127.0.0.1:{vast}",
        f"http://127.0.0.1:{control}",
        f"http://127.0.0.1:{tensordock}/api/v2",
        f"http://127.0.0.1:{gce}",
    )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                running.control("GET", "/hosts")
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the simulators did not start") from None
                time.sleep(0.05)
        yield running
    finally:
        process.terminate()
        process.wait(20)
