"""SIGKILL of the functions that change instances, at random moments: everything still comes to rest, nothing leaks.

    make bench NAME=crash

Several instances go through provision, hibernate, wake and destroy; while each request is served, the process group of
its function is killed. Afterwards: every instance rests within a minute, no machine is left that no attempt wants, and
every file is as it was.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import ledger
from bench.report import finish
from cli.client import ApiError, Client
from local.embedded import Embedded, running

ROUNDS, WORKERS = 20, 4
LATEST_S = 1.2
"""A kill comes at most this long after its request began."""
REST_S = 60.0
KINDS = ("provision", "hibernate", "wake", "destroy")
GOALS = {
    **{f"kills_{kind}": f">= {ROUNDS}" for kind in KINDS},
    "rest_s_max": f"<= {REST_S:g}",
    "not_resting": 0,
    "machines_left": 0,
    "objects_left": 0,
    "files_lost": 0,
    **ledger.GOALS,
}
WRITE = (
    'mkdir -p "$WORKSPACE" && echo %s > "$WORKSPACE/mark" && head -c 2000000 /dev/urandom > "$WORKSPACE/blob" && sync'
)
READ = 'cat "$WORKSPACE/mark"; sha256sum < "$WORKSPACE/blob"'


@dataclass
class Tally:
    kills: Counter[str] = field(default_factory=Counter)
    rests: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)


def kill(cloud: Embedded, kind: str) -> bool:
    """SIGKILL the process group that serves a function now; whether there was one."""
    mark = f"functions/{kind}/main.py".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if mark in words and parent == cloud.state["pids"]["up"]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(entry.name), signal.SIGKILL)
                return True
    return False


class Rider:
    """One instance after another, through its whole life."""

    def __init__(self, cloud: Embedded, tally: Tally, seed: int) -> None:
        self._cloud, self._tally = cloud, tally
        self._dice = random.Random(seed)
        self._api = Client(cloud.state["api_url"], cloud.state["demo"]["api_key"])

    def show(self, id: str) -> dict[str, Any]:
        while True:
            try:
                return self._api.get(f"/instances/{id}")
            except ApiError as error:
                if error.status not in (0, 502, 503):
                    raise
                time.sleep(0.1)

    def ask(self, kind: str, act: Any) -> None:
        """Ask, and kill whoever answers; the request's own end does not matter."""
        done = threading.Event()

        def killer() -> None:
            done.wait(self._dice.uniform(0, LATEST_S))
            if kill(self._cloud, kind):
                with self._tally.guard:
                    self._tally.kills[kind] += 1

        thread = threading.Thread(target=killer)
        thread.start()
        with contextlib.suppress(ApiError):
            act()
        thread.join()

    def rest(self, id: str, wanted: str, again: Any) -> bool:
        """Until the instance rests as wanted; asks again when the request was lost before anything was stored."""
        started = asked = time.monotonic()
        while True:
            view = self.show(id)
            if view["state"] == wanted:
                with self._tally.guard:
                    self._tally.rests.append(time.monotonic() - started)
                return True
            if view["resting"] and time.monotonic() - asked > 1:
                asked = time.monotonic()
                with contextlib.suppress(ApiError):
                    again()
            if time.monotonic() - started > REST_S:
                with self._tally.guard:
                    self._tally.stuck.append(f"{id} is {view['state']}, not {wanted}: {view['failure']}")
                return False
            time.sleep(0.2)

    def run(self, id: str, script: str) -> str:
        body = {"command": ["bash", "-c", script], "timeout_s": 30}
        order = self._api.post(f"/instances/{id}/exec", body, key=True)
        while order["state"] not in ("done", "failed"):
            order = self._api.get(f"/instances/{id}/exec/{order['id']}", wait=20)
        return str(order["stdout"])

    def ride(self) -> None:
        key, mark = uuid.uuid4().hex, uuid.uuid4().hex
        body = {"min_vram_gb": 12, "width": 3, "idle_policy": {"enabled": False}}
        made: list[str] = []

        def provision() -> None:
            made.append(self._api.call("POST", "/instances/provision", body, {"wait": 20}, key=key)["id"])

        self.ask("provision", provision)
        while not made:
            with contextlib.suppress(ApiError):
                provision()
        id = made[0]
        if not self.rest(id, "running", lambda: None):
            return
        self.run(id, WRITE % mark)
        before = self.run(id, READ)
        for kind, wanted in (("hibernate", "hibernated"), ("wake", "running")):
            act = self._lifecycle(kind, id)
            self.ask(kind, act)
            if not self.rest(id, wanted, act):
                return
        self._restored(id)
        if self.run(id, READ) != before or mark not in before:
            with self._tally.guard:
                self._tally.lost.append(id)
        end = self._lifecycle("destroy", id)
        self.ask("destroy", end)
        self.rest(id, "destroyed", end)

    def _lifecycle(self, kind: str, id: str) -> Any:
        method = "DELETE" if kind == "destroy" else "POST"
        return lambda: self._api.call(method, f"/instances/{id}/{kind}", query={"wait": 20})

    def _restored(self, id: str) -> None:
        until = time.monotonic() + REST_S
        while self.show(id)["restoring"] and time.monotonic() < until:
            time.sleep(0.1)


def left(cloud: Embedded) -> tuple[int, int]:
    """Machines and objects once there has been time to end them."""
    until = time.monotonic() + REST_S
    while time.monotonic() < until and (cloud.control("GET", "/machines") or cloud.objects()):
        time.sleep(0.5)
    return len(cloud.control("GET", "/machines")), len(cloud.objects())


def main() -> None:
    tally = Tally()
    with running() as cloud:

        def work(worker: int) -> None:
            rider = Rider(cloud, tally, worker)
            while min(tally.kills[kind] for kind in KINDS) < ROUNDS and len(tally.stuck) < WORKERS:
                rider.ride()
                sys.stdout.write(f"{dict(tally.kills)} kills, {len(tally.stuck)} stuck, {len(tally.lost)} lost\n")
                sys.stdout.flush()

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(work, range(WORKERS)))
        machines, objects = left(cloud)
        money = ledger.of_cloud(cloud)
    figures = {
        **{f"kills_{kind}": tally.kills[kind] for kind in KINDS},
        "rest_s_median": round(sorted(tally.rests)[len(tally.rests) // 2], 2),
        "rest_s_max": round(max(tally.rests), 2),
        "not_resting": len(tally.stuck),
        "machines_left": machines,
        "objects_left": objects,
        "files_lost": len(tally.lost),
        **money,
        "notes": [*tally.stuck, *tally.lost][:5],
    }
    ok = (
        all(tally.kills[kind] >= ROUNDS for kind in KINDS)
        and not tally.stuck
        and not tally.lost
        and machines == objects == 0
        and max(tally.rests) <= REST_S
        and ledger.agrees(money)
    )
    finish("crash", figures, GOALS, ok)


if __name__ == "__main__":
    main()
