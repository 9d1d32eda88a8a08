"""SIGKILL of the functions that drive a failover, in every phase of it, on the local cloud with its real processes.

    make bench NAME=failover_killed        also the last part of make bench NAME=failover

For each phase, one instance's host dies and another is given up by its owner; the moment the phase is on record, every process
that could take the next step is killed, at work or not; a last pair meets a kill in each phase. A process of the user's writes
numbered lines on the GPU, and commands go on writing on the standby. Afterwards every line that was written before the
snapshot that was taken over is there, every command that the standby has reported as done as well, and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import crash, ledger
from bench.report import finish
from bench.smoke import GPU
from bench.smoke_failover import INTERVAL_S, WRITER, until
from cli.client import ApiError
from local.embedded import Embedded, running
from shared.clock import SystemClock
from shared.domain.instance import Instance, State
from shared.domain.snapshot import Snapshot
from shared.store.records import Records
from shared.store.shapes import SNAPSHOTS_OF_INSTANCE
from shared.store.sqlite import SqliteStore

DRIVERS = ("failover", "idle_check", "agent")
STANDBY_WRITER = "nohup sh -c 'while :; do echo x >> process; sleep 0.02; done' >/dev/null 2>&1 & echo 0 >> commands"
WORKERS = 3
PATIENCE_S = 180.0
LOOK_S = 0.003


def _detected(i: Instance) -> bool:
    return i.state is State.FAILING_OVER and i.attempt_id is None


def _promoted(i: Instance) -> bool:
    return i.state is State.ON_STANDBY and i.opened == 0


def _searching(i: Instance) -> bool:
    return i.state is State.ON_STANDBY and i.opened > 0 and i.incoming_attempt_id is None


def _provisioned(i: Instance) -> bool:
    return i.incoming_attempt_id is not None


def _restored(i: Instance) -> bool:
    """The standby's last snapshot is verified, and the GPU reads it."""
    return i.state is State.FAILING_OVER and i.attempt_id is not None and i.restoring


def _handed_back(i: Instance) -> bool:
    return i.state is State.RUNNING and bool(i.failovers)


PHASES: dict[str, Callable[[Instance], bool]] = {
    "detected": _detected,
    "promoted": _promoted,
    "searching": _searching,
    "provisioned": _provisioned,
    "restored": _restored,
    "handed_back": _handed_back,
}
GOALS = {
    "kills": f">= 1 in each of {', '.join(PHASES)}",
    "kills_at_work": ">= 1",
    "standby_commands": ">= 1",
    "standby_process_bytes": ">= 1",
    "saved_lines_lost": 0,
    "standby_work_lost": 0,
    "two_writers": 0,
    "not_recovered": 0,
    "machines_left": 0,
    "objects_left": 0,
    **ledger.GOALS,
}


def size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass
class Tally:
    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    at_work: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    standby_commands: int = 0
    standby_bytes: int = 0
    lines_lost: int = 0
    standby_lost: int = 0
    two_writers: int = 0
    stuck: int = 0
    recoveries: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)


class Ride(crash.Rider):
    """One instance, whose functions are killed as it reaches each of some phases."""

    def __init__(self, cloud: Embedded, tally: Tally, phases: tuple[str, ...], asked: bool) -> None:
        super().__init__(cloud, crash.Tally(), 0)
        self.cloud, self.tally, self.phases, self.asked = cloud, tally, phases, asked
        self.looks = Records(SqliteStore(cloud.state["store"].removeprefix("sqlite:")), SystemClock())
        self.id = ""
        self.commands: list[str] = []
        """What the standby's commands wrote, as far as they were reported as done."""
        self.process = 0
        """What a process on the standby wrote, as far as it was seen there."""

    @property
    def instance(self) -> Instance:
        return self.looks.load(Instance, self.id)

    def live(self) -> None:
        body = {"gpu_name": GPU, "width": 2, "idle_policy": {"enabled": False}}
        self.id = self._api.call("POST", "/instances/provision", body, {"wait": 20}, key=uuid.uuid4().hex)["id"]
        until("it runs", lambda: self.instance.state is State.RUNNING, PATIENCE_S)
        first = self.instance
        self.run(self.id, WRITER)
        self._api.post("/standby", {"instance": self.id, "interval_s": INTERVAL_S})
        until("the standby holds the files", lambda: self.instance.standby_snapshot_id, PATIENCE_S)
        held = self.instance.standby_snapshot_id
        until("the standby follows", lambda: self.instance.standby_snapshot_id != held, PATIENCE_S)

        lines = self.workspace(str(first.attempt_id)) / "lines"
        written, started = lines.read_text().splitlines(), time.monotonic()
        helpers = [threading.Thread(target=self.strike), threading.Thread(target=self.work)]
        if self.asked:
            helpers.append(threading.Thread(target=self.give_up))
        else:
            assert first.machine is not None
            self.cloud.control("POST", f"/machines/{first.machine.machine_id}/kill")
        for helper in helpers:
            helper.start()
        try:
            until("a GPU serves and the standby follows it", self.recovered, PATIENCE_S)
        finally:
            for helper in helpers:
                helper.join()
        seconds = time.monotonic() - started
        with self.tally.guard:
            self.tally.recoveries.append(seconds)
        self.judge(written)

    def recovered(self) -> bool:
        now = self.instance
        return _handed_back(now) and not now.restoring and now.standby_snapshot_id == now.snapshot_id is not None

    def workspace(self, attempt_id: str) -> Path:
        """On its machine, past everything of ours."""
        machine = next(m for m in self.cloud.control("GET", "/machines") if m["label"] == f"dumont-{attempt_id}")
        return Path(machine["root"]) / "workspace"

    def give_up(self) -> None:
        """Its driver dies under the request; whether it was heard is seen by the instance."""
        while not self.instance.failovers:
            try:
                self._api.call("POST", "/standby/failover", {"instance": self.id}, {"wait": 25})
            except ApiError:
                time.sleep(0.1)

    def strike(self) -> None:
        limit = time.monotonic() + PATIENCE_S
        for phase in self.phases:
            while not PHASES[phase](self.instance):
                if time.monotonic() > limit or self.recovered():
                    return
                time.sleep(LOOK_S)
            for name in DRIVERS:
                crash.kill(self.cloud, name)
            # Nobody releases it any more: whoever holds it was killed at work.
            lease = self.instance.lease
            at_work = lease is not None and lease.expires_at > datetime.now(UTC) and lease.owner.startswith(DRIVERS)
            with self.tally.guard:
                self.tally.kills[phase] += 1
                self.tally.at_work[phase] += at_work

    def work(self) -> None:
        """On the standby, from its promotion until it hands back: commands, and a process that never ends by itself."""
        limit = time.monotonic() + PATIENCE_S
        while self.instance.state is not State.ON_STANDBY:
            if time.monotonic() > limit or _handed_back(self.instance):
                return
            time.sleep(LOOK_S)
        file = self.workspace(str(self.instance.attempt_id)) / "process"
        for number in itertools.count():
            if self.instance.state is not State.ON_STANDBY:
                break
            with contextlib.suppress(ApiError):
                self.command(number, STANDBY_WRITER if number == 0 else f"echo {number} >> commands")
        while not _handed_back(self.instance) and time.monotonic() < limit:
            self.process = max(self.process, size(file))
            time.sleep(LOOK_S)

    def command(self, number: int, script: str) -> None:
        body = {"command": ["sh", "-c", script], "timeout_s": 10}
        order = self._api.post(f"/instances/{self.id}/exec", body, key=True)
        while order["state"] == "pending" and self.instance.state is State.ON_STANDBY:
            order = self._api.get(f"/instances/{self.id}/exec/{order['id']}", wait=1)
        order = self._api.get(f"/instances/{self.id}/exec/{order['id']}")
        if order["state"] == "done" and order["exit_code"] == 0:
            self.commands.append(str(number))

    def judge(self, written: list[str]) -> None:
        failover = self.instance.failover
        assert failover is not None and failover.snapshot_at is not None
        before = failover.snapshot_at.timestamp()
        kept = self.run(self.id, "cat lines").splitlines()
        numbers = [int(line.split()[0]) for line in kept]
        lost = [line for line in written if float(line.split()[1]) < before and line not in set(kept)]
        whole = numbers == list(range(1, len(numbers) + 1))
        commands = self.run(self.id, "cat commands 2>/dev/null").split()
        process = int(self.run(self.id, "wc -c < process 2>/dev/null || echo 0"))
        work_lost = [number for number in self.commands if number not in commands] + ["process"] * (
            process < self.process
        )
        # A process that went on beside the GPU would have made the standby's file another by now.
        follower = size(self.workspace(str(self.instance.standby_attempt_id)) / "process")
        # Nobody wrote as the instance again once another had.
        snapshots = self.looks.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": self.id})
        commits = sorted((s.verified_at, s.attempt_id) for s in snapshots if s.verified_at is not None)
        turns = [attempt_id for attempt_id, _ in itertools.groupby(one for _, one in commits)]
        with self.tally.guard:
            self.tally.lines += len(kept)
            self.tally.standby_commands += len(self.commands)
            self.tally.standby_bytes += self.process
            self.tally.lines_lost += len(lost) + (not whole)
            self.tally.standby_lost += len(work_lost)
            self.tally.two_writers += len(turns) != len(set(turns)) or follower > process
            if lost or not whole or work_lost:
                self.tally.notes.append(f"{self}: lost {lost[:3]}, {work_lost[:3]}, whole: {whole}")
            if len(turns) != len(set(turns)) or follower > process:
                self.tally.notes.append(f"{self}: commits by {turns}; the standby wrote {follower}, the GPU {process}")

    def end(self) -> None:
        act = self._lifecycle("destroy", self.id)
        if self.id:
            self.rest(self.id, "destroyed", act)

    def __str__(self) -> str:
        return f"{self.id} ({'given up' if self.asked else 'host died'}, killed at {', '.join(self.phases)})"


def ride(cloud: Embedded, tally: Tally, phases: tuple[str, ...], asked: bool) -> None:
    rider = Ride(cloud, tally, phases, asked)
    try:
        rider.live()
    except (RuntimeError, ApiError) as error:
        with tally.guard:
            tally.stuck += 1
            tally.notes.append(f"{rider}: {error}; {rider.instance.state}: {rider.instance.failure}")
    rider.end()
    with tally.guard:
        tally.runs += 1
        sys.stdout.write(f"{rider}: {dict(tally.kills)} kills, {tally.lines_lost} lines lost, {tally.stuck} stuck\n")
        sys.stdout.flush()


def measure() -> tuple[dict[str, Any], bool]:
    tally = Tally()
    each: list[tuple[tuple[str, ...], bool]] = [((phase,), asked) for phase in PHASES for asked in (False, True)]
    each += [(tuple(PHASES), asked) for asked in (False, True)]
    with running() as cloud:
        if not cloud.state["store"].startswith("sqlite:"):
            sys.exit("this bench looks into SQLite while functions die; run it without STORE")
        with ThreadPoolExecutor(WORKERS) as pool:
            for one in [pool.submit(ride, cloud, tally, *wanted) for wanted in each]:
                one.result()
        machines, objects = crash.left(cloud)
        money = ledger.of_cloud(cloud)
    figures = {
        "runs": tally.runs,
        "kills": {phase: tally.kills[phase] for phase in PHASES},
        "kills_at_work": {phase: tally.at_work[phase] for phase in PHASES},
        "lines": tally.lines,
        "standby_commands": tally.standby_commands,
        "standby_process_bytes": tally.standby_bytes,
        "saved_lines_lost": tally.lines_lost,
        "standby_work_lost": tally.standby_lost,
        "two_writers": tally.two_writers,
        "not_recovered": tally.stuck,
        "recovered_s_max": round(max(tally.recoveries, default=0.0), 1),
        "machines_left": machines,
        "objects_left": objects,
        **money,
        "notes": tally.notes[:5],
    }
    ok = (
        all(tally.kills[phase] for phase in PHASES)
        and sum(tally.at_work.values()) >= 1
        and min(tally.standby_commands, tally.standby_bytes) >= 1
        and not (tally.lines_lost or tally.standby_lost or tally.two_writers or tally.stuck)
        and machines == objects == 0
        and ledger.agrees(money)
    )
    return figures, ok


def main() -> None:
    figures, ok = measure()
    finish("failover_killed", figures, GOALS, ok)


if __name__ == "__main__":
    main()
