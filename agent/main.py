"""The agent: probes its machine, registers, then lives by heartbeats until it is told to stop.

A machine that nobody adopts ends itself; an adopted one never does, since it may hold the only copy of somebody's work.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from agent.api import PROTOCOL, VERSION, Api, Refused, Stopped, Unreachable
from agent.gpu import Monitor, cuda_version
from agent.idle import Counters, Judgement, Sample, Watch, file_time
from agent.orders import Orders, disk_free, disk_used
from agent.settings import Settings, load, log

ADOPTED_WITHIN_S = 600.0
PROBE_WRITE = 64 << 20
TOLD_AGAIN_S = 300.0
"""So often a heartbeat asks for everything it was told before."""
CHECK = "--check"
"""Asks an agent whether it can start on this machine."""
MEASURED_EVERY_S, MEASURED_SHARE = 30.0, 100
WORK = ("exec", "setup", "snapshot", "restore")


def now() -> datetime:
    return datetime.now(timezone.utc)


def when(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def probe(settings: Settings, api: Api, monitor: Monitor) -> dict[str, Any]:
    """What the machine is and can: GPUs, disk, download. What is wrong with it goes into `problems`."""
    problems: list[str] = []
    gpus = [] if settings.standby else monitor.now()
    until = time.monotonic() + 20
    while gpus is None and time.monotonic() < until:
        time.sleep(0.05)
        gpus = monitor.now()
    if gpus is None:
        problems.append("nvidia-smi reports no GPU")
    written = 0.0
    try:
        written = _disk_speed(settings.state / "probe")
    except OSError as error:
        problems.append(f"the disk cannot be written: {error.strerror}")
    down = None
    try:
        started = time.monotonic()
        size = len(api.get_bytes("/agent/probe"))
        down = size / 1e6 / max(1e-6, time.monotonic() - started)
    except (Unreachable, Refused) as error:
        log(f"the download probe failed: {error}")
    return {
        "gpus": [gpu.wire() for gpu in gpus or []],
        "cuda": cuda_version(),
        "disk_free_bytes": disk_free(settings.state),
        "disk_write_mb_s": written,
        "download_mb_s": down,
        "agent_version": VERSION,
        "protocol": PROTOCOL,
        "python": platform.python_version(),
        "problems": problems,
    }


def _disk_speed(path: Path) -> float:
    """MB/s of writing 64 MB and seeing it on the disk."""
    block = os.urandom(1 << 20)
    started = time.monotonic()
    with open(path, "wb") as file:
        for _ in range(PROBE_WRITE >> 20):
            file.write(block)
        file.flush()
        os.fdatasync(file.fileno())
    spent = time.monotonic() - started
    path.unlink()
    return PROBE_WRITE / 1e6 / max(1e-6, spent)


def register(settings: Settings, api: Api, monitor: Monitor) -> dict[str, Any]:
    """Adopted, with settings and first orders. Raises Stopped otherwise."""
    api = api.traced(settings.trace)
    body = probe(settings, api, monitor)
    body["ready_at"] = now().isoformat()
    until = time.monotonic() + ADOPTED_WITHIN_S
    while True:
        try:
            answer = api.post("/agent/register", body, tries=4)
        except Unreachable as error:
            log(f"not registered yet: {error}")
            if time.monotonic() > until:
                end_machine()
                raise Stopped("nobody adopted this machine in time") from error
            continue
        if not answer["adopted"]:
            raise Stopped(str(answer["reason"]))
        return answer


def end_machine() -> None:
    """The dead-man switch: Vast.ai gives each machine a key that can end that machine and nothing else."""
    key, machine_id = os.environ.get("CONTAINER_API_KEY"), os.environ.get("CONTAINER_ID")
    if not key or not machine_id:
        return
    base = os.environ.get("DUMONT_VAST_URL", "https://console.vast.ai")
    request = urllib.request.Request(
        f"{base}/api/v0/instances/{machine_id}/", method="DELETE", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            log(f"asked for this machine's end: {response.status}")
    except OSError as error:
        log(f"this machine could not end itself: {error}")


class Life:
    """Between adoption and the end: a sample each second, a heartbeat when it is time."""

    def __init__(self, settings: Settings, api: Api, monitor: Monitor, registered: dict[str, Any]) -> None:
        self._api = api
        self._monitor = monitor
        self._alarm = threading.Event()
        self._orders = Orders(settings, api, self._alarm.set)
        self._place = settings.place
        self._watch = Watch()
        self._counters = Counters(shared_host=settings.root is not None)
        self._carry: Any = None
        self._read_at = self._update_at = 0.0
        self._used: int | None = None
        self._told = now(), time.monotonic()
        """What the control plane's clock said, and when. It judges by that one: a rented machine's may be wrong, or be set."""
        self._take(registered)
        self._orders.give(registered["orders"])
        threading.Thread(target=self._measure, daemon=True).start()

    def _take(self, answer: dict[str, Any]) -> None:
        self._settings = answer["settings"]
        if at := when(answer.get("now")):
            self._told = at, time.monotonic()
        self._orders.env = self._settings["env"]
        self._orders.workspace = self._settings["workspace"]
        self._orders.work.be(self._settings["work"], [self._place(path) for path in self._settings["workspace"]])

    def run(self) -> None:
        """Until Stopped."""
        beat_at, judged = 0.0, None
        while True:
            if self._orders.stopped is not None and not self._orders.running():
                raise Stopped(self._orders.stopped)
            sample = self._sample()
            judgement = self._watch.judge(
                sample,
                self._settings["idle"],
                when(self._settings["adopted_at"]) or sample.at,
                when(self._settings["keep_awake_until"]),
            )
            flipped = judged is not None and (judged.idle_since is None) != (judgement.idle_since is None)
            judged = judgement
            rang = self._alarm.is_set()
            self._alarm.clear()
            if time.monotonic() >= beat_at or flipped or rang:
                self._beat(sample, judgement)
                beat_at = time.monotonic() + float(self._settings["heartbeat_s"])
            self._alarm.wait(min(1.0, max(0.02, beat_at - time.monotonic())))

    def _measure(self) -> None:
        """What the workspace takes of the disk, now and then: a large tree is walked as seldom as that takes long."""
        while True:
            started = time.monotonic()
            if not self._orders.running():
                self._used = sum(disk_used(self._place(path)) for path in self._settings["workspace"])
            time.sleep(max(MEASURED_EVERY_S, MEASURED_SHARE * (time.monotonic() - started)))

    def _sample(self) -> Sample:
        here, (told, told_at) = now(), self._told
        at = told + timedelta(seconds=time.monotonic() - told_at)
        network, disk = self._counters.rates(here)
        watched = self._settings["idle"].get("heartbeat_file")
        touched = file_time(self._place(watched)) if watched else None
        return Sample(
            at=at,
            gpus=self._monitor.now(),
            network_mbit=network,
            disk_mb_s=disk,
            terminal=self._counters.terminal(here),
            orders=[kind for kind in self._orders.running().values() if kind in WORK],
            heartbeat_file_at=at - (here - touched) if touched else None,
        )

    def _beat(self, sample: Sample, judgement: Judgement) -> None:
        if time.monotonic() - self._read_at > TOLD_AGAIN_S:
            # An order whose result was refused, say, is given again.
            self._read_at, self._carry = time.monotonic(), None
        body = {
            "at": sample.at.isoformat(),
            "gpus": [gpu.wire() for gpu in sample.gpus or []],
            "idle_since": judgement.idle_since.isoformat() if judgement.idle_since else None,
            "why": judgement.why[:500],
            "vetoes": [veto[:200] for veto in judgement.vetoes[:20]],
            "network_mbit": sample.network_mbit,
            "disk_mb_s": sample.disk_mb_s,
            "workspace_bytes": self._used,
            "running_orders": list(self._orders.running())[:100],
            "carry": self._carry,
            "protocol": PROTOCOL,
        }
        try:
            answer = self._api.post("/agent/heartbeat", body, tries=2)
        except (Unreachable, Refused) as error:
            log(f"no heartbeat: {error}")
            return
        self._take(answer)
        self._carry = answer.get("carry")
        if answer.get("update") and not self._orders.running() and time.monotonic() >= self._update_at:
            # Before it takes new orders: nothing runs that would end with us.
            self._update_at = time.monotonic() + TOLD_AGAIN_S
            update(self._api)
        self._orders.give(answer["orders"])


class Updated(Exception):
    """A newer agent lies where this one was started from; the start script starts it."""


def update(api: Api) -> None:
    """Raises Updated once a newer agent is in our place. It is tried first: one that cannot start here leaves us as we are."""
    bundle = Path(sys.argv[0])
    part = bundle.with_name(bundle.name + ".part")
    try:
        part.write_bytes(api.get_bytes("/agent/bundle"))
        tried = subprocess.run([sys.executable, part, CHECK], capture_output=True, text=True, timeout=60)
        if tried.returncode != 0:
            raise ValueError(tried.stderr.strip()[-300:])
        part.replace(bundle)
    except (Unreachable, Refused, OSError, ValueError, subprocess.SubprocessError) as error:
        log(f"a newer agent cannot take over: {type(error).__name__}: {error}")
        return
    raise Updated(f"a newer agent takes over: {tried.stdout.strip()}")


def main() -> int:
    if sys.argv[1:] == [CHECK]:
        print(f"protocol {PROTOCOL}")
        return 0
    settings = load()
    api = Api(settings.url, settings.token)
    monitor = Monitor()
    try:
        registered = register(settings, api, monitor)
        log(f"adopted by instance {registered['settings']['instance_id']}", settings.trace)
        Life(settings, api, monitor, registered).run()
    except Stopped as stopped:
        log(f"stops: {stopped}")
        settings.token_file.unlink(missing_ok=True)
        return 0
    except Updated as updated:
        log(str(updated))
    finally:
        monitor.close()
    return 1


if __name__ == "__main__":
    sys.exit(main())
