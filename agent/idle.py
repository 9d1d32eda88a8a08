"""Whether the machine is idle, and why. Missing or stale telemetry is active: we fail towards paying, never towards
losing work.

Quiet is measured here: all GPUs under the threshold and nothing else at work. How long quiet must last is the control
plane's to judge, from `idle_since`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from agent.gpu import Gpu


@dataclass(frozen=True)
class Sample:
    """One second of a machine. Rates are None where they are unknown or not measured."""

    at: datetime
    gpus: list[Gpu] | None
    network_mbit: float | None
    disk_mb_s: float | None
    terminal: bool
    """Bytes moved on a terminal in the last seconds: a forgotten session does not count."""
    orders: list[str]
    heartbeat_file_at: datetime | None


@dataclass(frozen=True)
class Judgement:
    idle_since: datetime | None
    why: str
    vetoes: list[str]


def activity(sample: Sample, policy: dict[str, Any]) -> str | None:
    """What is at work, in words; None when nothing is."""
    if sample.gpus is None:
        return "GPU telemetry is missing"
    busy = [gpu for gpu in sample.gpus if gpu.utilization >= policy["gpu_percent"]]
    if busy:
        return f"GPU {busy[0].index} at {busy[0].utilization:.0f} %"
    if sample.orders:
        return f"{sample.orders[0]} is running"
    if sample.network_mbit is not None and sample.network_mbit > policy["network_mbit"]:
        return f"{sample.network_mbit:.0f} Mbit/s of network traffic"
    if sample.disk_mb_s is not None and sample.disk_mb_s > policy["disk_mb_s"]:
        return f"{sample.disk_mb_s:.0f} MB/s of disk traffic"
    if sample.terminal and policy["watch_ports"]:
        return "someone is typing"
    return None


class Watch:
    """Keeps since when the machine has been quiet."""

    def __init__(self) -> None:
        self.quiet_since: datetime | None = None

    def judge(
        self, sample: Sample, policy: dict[str, Any], adopted_at: datetime, keep_awake_until: datetime | None
    ) -> Judgement:
        working = activity(sample, policy)
        if working is not None:
            self.quiet_since = None
            return Judgement(None, f"active: {working}", [working])
        if self.quiet_since is None:
            self.quiet_since = sample.at
        since = self.quiet_since
        vetoes = []
        grace_ends = adopted_at + timedelta(seconds=policy["startup_grace_s"])
        if sample.at < grace_ends:
            vetoes.append("start-up grace")
        if keep_awake_until is not None and sample.at < keep_awake_until:
            vetoes.append("kept awake")
        touched = sample.heartbeat_file_at
        if touched is not None and sample.at - touched < timedelta(seconds=policy["idle_after_s"]):
            vetoes.append("the workload's heartbeat file is young")
        if vetoes:
            return Judgement(None, f"active: {vetoes[0]}", vetoes)
        since = max(since, grace_ends)
        return Judgement(since, f"idle since {since:%H:%M:%S} UTC; GPU 0 %; no veto", [])


class Counters:
    """Rates of network, disk and terminals from /proc; None on a machine shared with others, where they say nothing."""

    def __init__(self, shared_host: bool) -> None:
        self._shared = shared_host
        self._last: tuple[datetime, int, int] | None = None

    def rates(self, now: datetime) -> tuple[float | None, float | None]:
        """Mbit/s of network but loopback, and MB/s of disks."""
        if self._shared:
            return None, None
        try:
            network, disk = _network_bytes(), _disk_bytes()
        except (OSError, ValueError, IndexError):
            return None, None
        before, self._last = self._last, (now, network, disk)
        if before is None or now <= before[0]:
            return None, None
        seconds = (now - before[0]).total_seconds()
        return (network - before[1]) * 8 / 1e6 / seconds, (disk - before[2]) / 1e6 / seconds

    def terminal(self, now: datetime, within_s: float = 15.0) -> bool:
        if self._shared:
            return False
        try:
            times = [entry.stat().st_mtime for entry in os.scandir("/dev/pts") if entry.name.isdigit()]
        except OSError:
            return False
        return any(now.timestamp() - at < within_s for at in times)


def _network_bytes() -> int:
    total = 0
    for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            fields = numbers.split()
            total += int(fields[0]) + int(fields[8])
    return total


def _disk_bytes() -> int:
    total = 0
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        # Whole disks only: a partition's traffic is its disk's too.
        if not fields[2].startswith(("loop", "ram", "dm-")) and not fields[2][-1].isdigit():
            total += (int(fields[5]) + int(fields[9])) * 512
    return total


def file_time(path: str | None) -> datetime | None:
    """When a file was last touched; None when there is none."""
    if path is None:
        return None
    try:
        return datetime.fromtimestamp(os.stat(path).st_mtime, timezone.utc)
    except OSError:
        return None
