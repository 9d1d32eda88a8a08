"""Every function, and then every agent, is replaced by a newer version while instances run and clients keep calling.

make smoke NAME=upgrade

The newer version says another protocol, so that its agents count as newer too. Two clients read without a pause, a third
commands, hibernates and wakes. A call that fails, an instance that is lost or a machine that is left makes it fail.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from bench import ledger
from bench.report import finish
from bench.smoke import GPU, settled
from infra import manifest
from local.embedded import Embedded, running
from local.upgrade import lay_out, switch

NEXT = ("PROTOCOL = 2", "PROTOCOL = 3")
RUNNING = 3
AGENTS_S = 90.0
GOALS = {
    "failed_calls": 0,
    "instances_lost": 0,
    "agents_updated": f">= {RUNNING - 1}",
    "functions_replaced": "all",
    "machines_left": 0,
    **ledger.GOALS,
}


class Client:
    def __init__(self, cloud: Embedded) -> None:
        self._http = httpx.Client(
            base_url=cloud.state["api_url"] + "/api/v1",
            headers={"Authorization": f"Bearer {cloud.state['demo']['api_key']}"},
            timeout=90,
        )
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self.kinds: Counter[str] = Counter()

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's data; None when the call failed, which is noted and never repeated."""
        started = time.monotonic()
        try:
            answer = self._http.request(method, path, json=body)
            data = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            self.failed.append(f"{method} {path}: {type(error).__name__}: {error}")
            return None
        self.seconds.append(time.monotonic() - started)
        self.kinds[f"{method} {path.partition('?')[0].rpartition('/')[2] if method != 'GET' else 'read'}"] += 1
        if answer.status_code >= 400:
            self.failed.append(f"{method} {path}: {answer.status_code} {data.get('error', {}).get('message')}")
            return None
        return data["data"]


def later(stages: Path) -> None:
    """As the next version of everything would be laid out: functions and agents of a later protocol."""
    for file in stages.glob("*/shared/wire/agent.py"):
        text = file.read_text()
        assert NEXT[0] in text
        file.write_text(text.replace(*NEXT))
        for compiled in file.parent.glob("__pycache__/agent.*"):
            compiled.unlink()
    bundle = stages / "agent" / "agent.pyz"
    with zipfile.ZipFile(bundle) as whole:
        files = {one: whole.read(one) for one in whole.namelist()}
    code = files["agent/api.py"].decode()
    assert NEXT[0] in code
    files["agent/api.py"] = code.replace(*NEXT).encode()
    # Unpacked code is found by this digest: another version has another.
    start = files["__main__.py"].decode()
    files["__main__.py"] = re.sub(r'digest = "\w+"', 'digest = "ffffffffffffffff"', start).encode()
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as whole:
        for one, body in files.items():
            whole.writestr(one, body)


def read(call: Client, ids: list[str], stop: threading.Event) -> None:
    while not stop.is_set():
        call("GET", "/instances")
        for id in ids:
            call("GET", f"/instances/{id}")
        call("GET", "/usage")
        time.sleep(0.05)


def work(call: Client, ids: list[str], stop: threading.Event) -> None:
    """What a person does meanwhile; the first instance is put to sleep and woken, over and over."""
    while not stop.is_set():
        for id in ids[1:]:
            done = call("POST", f"/instances/{id}/exec?wait=20", {"command": ["echo", "here"], "timeout_s": 20})
            if done is not None and done["stdout"] != "here\n":
                call.failed.append(f"a command of {id} ended as {done}")
        for verb, state in (("hibernate", "hibernated"), ("wake", "running")):
            call("POST", f"/instances/{ids[0]}/{verb}?wait=0")
            arrive(call, ids[0], state)


def arrive(call: Client, id: str, state: str, patience_s: float = 120.0) -> bool:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        view = call("GET", f"/instances/{id}?wait=10")
        # A wake that still brings files back may not be put to sleep.
        if view is not None and view["state"] == state and not view.get("restoring"):
            return True
    call.failed.append(f"{id} is not {state} after {patience_s:.0f} s")
    return False


def updated(cloud: Embedded) -> int:
    """Machines whose agent was replaced by the newer one."""
    found = 0
    for log in cloud.folder.glob("market/**/logs/onstart.log"):
        # A machine that ends meanwhile takes its log along.
        with contextlib.suppress(FileNotFoundError):
            found += "a newer agent takes over: protocol 3" in log.read_text()
    return found


def drive(cloud: Embedded, stages: Path) -> dict[str, Any]:
    first = Client(cloud)
    body = {"gpu_name": GPU, "idle_policy": {"enabled": False}}
    ids = [first("POST", "/instances/provision?wait=50", body)["id"] for _ in range(RUNNING)]
    for id in ids:
        assert arrive(first, id, "running"), first.failed
    machines = {id: first("GET", f"/instances/{id}")["machine"]["machine_id"] for id in ids}
    before = dict(cloud.state["pids"])
    later(lay_out(stages))
    clients, stop = [Client(cloud) for _ in range(3)], threading.Event()
    threads = [
        threading.Thread(target=act, args=(call, ids, stop))
        for act, call in zip((read, read, work), clients, strict=True)
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    try:
        after = switch(cloud.folder, stages)["pids"]
        took = time.monotonic() - began
        until = time.monotonic() + AGENTS_S
        # The one that sleeps and wakes has the newer from its start.
        while updated(cloud) < RUNNING - 1 and time.monotonic() < until:
            time.sleep(0.5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    views = {id: first("GET", f"/instances/{id}") for id in ids}
    # The first one slept and woke: its machine is another.
    lost = [
        id
        for id in ids
        if views[id]["state"] != "running" or (id != ids[0] and views[id]["machine"]["machine_id"] != machines[id])
    ]
    agents = updated(cloud)
    for id in ids:
        first("DELETE", f"/instances/{id}/destroy?wait=50")
    everyone = [*clients, first]
    seconds = sorted(s for call in clients for s in call.seconds)
    return {
        "functions_replaced": sum(before[f"fn-{name}"] != after[f"fn-{name}"] for name in manifest.load()),
        "functions": len(manifest.load()),
        "replaced_in_s": round(took, 1),
        "calls": len(seconds),
        "calls_by_kind": dict(sum((call.kinds for call in clients), Counter())),
        "failed_calls": sum(len(call.failed) for call in everyone),
        "failures": [one for call in everyone for one in call.failed][:10],
        "slowest_read_s": round(max(clients[0].seconds + clients[1].seconds), 2),
        "median_read_s": round(sorted(clients[0].seconds)[len(clients[0].seconds) // 2], 3),
        "instances_lost": len(lost),
        "agents_updated": agents,
        "machines_left": settled(cloud),
        **ledger.of_cloud(cloud),
    }


def main() -> None:
    with running() as cloud, tempfile.TemporaryDirectory() as folder:
        figures = drive(cloud, Path(folder) / "next")
    ok = (
        figures["failed_calls"] == figures["instances_lost"] == figures["machines_left"] == 0
        and figures["functions_replaced"] == figures["functions"]
        and figures["agents_updated"] >= RUNNING - 1
        and ledger.agrees(figures)
    )
    finish("smoke_upgrade", figures, GOALS, ok)


if __name__ == "__main__":
    main()
