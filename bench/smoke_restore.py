"""The database is lost while three instances run and two sleep; it is restored from its export, and all five go on.

make smoke NAME=restore
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import ledger
from bench.report import finish
from bench.smoke import DESCRIBE, Terminal, say, settled
from local.embedded import ROOT, Embedded, running
from shared.store.sqlite import SqliteStore

RUN, SLEEP = ("run-1", "run-2", "run-3"), ("sleep-1", "sleep-2")
MAKE = (
    "import os, random; d = random.Random({seed}); os.makedirs('work', exist_ok=True)\n"
    "for n in range(200): open(f'work/file-{{n}}', 'wb').write(d.randbytes(d.randint(0, 20000)))\n"
)
LOST_S = 35.0
"""Two rounds of the sweep that ends orphans, while the database is empty."""
GOALS = {
    "instances_going_on": 5,
    "same_machine_after": 3,
    "files_lost": 0,
    "machines_lost_while_empty": 0,
    "snapshot_after_export_kept": True,
    "machines_leaked": 0,
    "machines_left": 0,
    "objects_left": 0,
    **ledger.GOALS,
}


def backup(cloud: Embedded, *words: str) -> dict[str, int]:
    """The operator's command with the functions' settings."""
    kept = json.loads((cloud.folder / "secrets.json").read_text())["secrets"]
    s3 = cloud.state["s3"]
    environment = {
        **os.environ,
        "DUMONT_STORE": cloud.state["store"],
        "DUMONT_MASTER_KEY": kept["master_key"],
        "DUMONT_S3_ENDPOINT": s3["endpoint"],
        "DUMONT_S3_BUCKET": s3["bucket"],
        "DUMONT_S3_ACCESS_KEY": s3["access_key"],
        "DUMONT_S3_SECRET_KEY": s3["secret_key"],
    }
    command = [sys.executable, "-m", "infra.backup", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"backup {words[0]}: {done.stderr[-2000:]}")
    answer: dict[str, int] = json.loads(done.stdout)
    return answer


def lose(cloud: Embedded) -> None:
    """The database's files are gone, and every function begins again on an empty one."""
    path = Path(cloud.state["store"].partition(":")[2])
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    SqliteStore(str(path)).close()
    for name, pid in cloud.state["pids"].items():
        if name.startswith("fn-"):
            os.kill(pid, signal.SIGKILL)


def files(terminal: Terminal, name: str) -> dict[str, Any]:
    done = terminal.run("exec", name, "-i", "--", "python3", "-", stdin=DESCRIBE)
    found: dict[str, Any] = json.loads(done["stdout"])
    return found


def drive(cloud: Embedded, terminal: Terminal, folder: Path) -> dict[str, Any]:
    terminal.run("login")

    def make(numbered: tuple[int, str]) -> dict[str, Any]:
        seed, name = numbered
        terminal.run("provision", "--gpu", "RTX 4090" if seed % 2 else "RTX 3090", "--name", name, "--no-hibernate")
        terminal.run("exec", name, "-i", "--", "python3", "-", stdin=MAKE.format(seed=seed))
        return files(terminal, name)

    with ThreadPoolExecutor(2) as pool:
        before = dict(zip((*RUN, *SLEEP), pool.map(make, enumerate((*RUN, *SLEEP))), strict=True))
        list(pool.map(lambda name: terminal.run("hibernate", name), SLEEP))
    machines = {name: terminal.run("show", name)["machine"]["machine_id"] for name in RUN}
    say(f"3 run, 2 sleep, {len(cloud.control('GET', '/machines'))} machines")
    exported = backup(cloud, "export", str(folder / "export.jsonl"))
    say(f"exported: {exported}")
    # Made after the export: a snapshot that only storage will know of.
    late = terminal.run("snapshots", "take", RUN[0])["id"]

    lose(cloud)
    time.sleep(LOST_S)
    lost = 3 - len(cloud.control("GET", "/machines"))
    say(f"the database was empty for {LOST_S:g} s; {3 - lost} machines are still there")
    imported = backup(cloud, "import", str(folder / "export.jsonl"))
    say(f"restored: {imported}")
    started = time.monotonic()
    after = {name: files(terminal, name) for name in RUN}
    again_s = time.monotonic() - started
    same = sum(terminal.run("show", name)["machine"]["machine_id"] == machines[name] for name in RUN)
    say(f"the running ones answer after {again_s:.1f} s, {same} on the machine they had")
    kept = {s["id"]: s["state"] for s in terminal.run("snapshots", "ls", RUN[0])["snapshots"]}
    for name in SLEEP:
        terminal.run("wake", name)
        after[name] = files(terminal, name)
    say("the sleeping ones woke")
    # The snapshot that the database had never heard of brings its instance back, too.
    terminal.run("hibernate", RUN[0])
    terminal.run("wake", RUN[0])
    after[RUN[0]] = files(terminal, RUN[0])
    until = time.monotonic() + 30
    while (leaked := len(cloud.control("GET", "/machines")) - 5) and time.monotonic() < until:
        time.sleep(0.3)
    for name in before:
        terminal.run("destroy", name, "--yes")
    return {
        "exported": sum(exported.values()),
        "imported": sum(imported.values()),
        "instances_going_on": sum(before[name] == after[name] for name in before),
        "same_machine_after": same,
        "again_s": round(again_s, 3),
        "files": sum(one["files"] for one in before.values()),
        "files_lost": sum(one["files"] for one in before.values()) - sum(one["files"] for one in after.values()),
        "machines_lost_while_empty": lost,
        "snapshot_after_export_kept": kept.get(late) == "verified",
        "machines_leaked": leaked,
        "machines_left": settled(cloud),
        "objects_left": len(cloud.objects()),
        **ledger.of_cloud(cloud),
    }


def main() -> None:
    with running() as cloud, tempfile.TemporaryDirectory() as home:
        try:
            figures = drive(cloud, Terminal(cloud, Path(home)), Path(home))
        except RuntimeError as error:
            finish("smoke_restore", {"error": str(error)}, GOALS, ok=False)
    plain = {name: goal for name, goal in GOALS.items() if name not in ledger.GOALS}
    ok = all(figures[name] == goal for name, goal in plain.items()) and ledger.agrees(figures)
    finish("smoke_restore", figures, GOALS, ok)


if __name__ == "__main__":
    main()
