"""The main job on a fresh local cloud, through the command line: provision, work, idle, wake elsewhere, destroy.

make smoke
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import ledger
from bench.report import finish
from local.embedded import ROOT, Embedded, running

GPU = "RTX 4090"
FILES, BYTES = 5_000, 200_000_000
IDLE_AFTER = "10s"
GOALS = {
    "files": f">= {FILES}",
    "bytes": f">= {BYTES}",
    "first_create_s": "<= 0.5",
    "ready_noticed_s": "<= 0.3",
    "files_identical": True,
    "woke_on_other_host": True,
    "hibernated_by_idleness": True,
    "machines_left": 0,
    "objects_left": 0,
    **ledger.GOALS,
}

MAKE_TREE = r"""
import os, random
dice = random.Random(5)
os.makedirs("project", exist_ok=True)
for folder in range(100):
    os.makedirs(f"project/package-{folder:03d}/sub dir", exist_ok=True)
    for number in range(51):
        with open(f"project/package-{folder:03d}/module_{number}.py", "wb") as file:
            file.write(dice.randbytes(dice.randint(0, 6000)))
for number in range(4):
    with open(f"weights-{number}.bin", "wb") as file:
        for _ in range(50):
            file.write(dice.randbytes(1 << 20))
for name in (b"caf\xc3\xa9", b"not-utf8-\xff\xfe", b"new\nline", b" blanks ", b"-dash", b"quote'\"", b"n" * 255):
    with open(name, "wb") as file:
        file.write(name * 3)
os.makedirs("empty/inside", exist_ok=True)
os.symlink("weights-0.bin", "link"); os.symlink("/nowhere/at all", "dangling"); os.symlink("project", "folder-link")
os.link("weights-1.bin", "hard-link"); os.link("project/package-000/module_0.py", "project/hard-small")
with open("sparse", "wb") as file:
    file.truncate(300 << 20); file.seek(150 << 20); file.write(b"x" * 70000)
for number, mode in enumerate((0o400, 0o755, 0o600, 0o4755, 0o000)):
    path = f"project/mode-{number}"
    open(path, "w").write("m"); os.chmod(path, mode)
os.chmod("empty", 0o700)
os.utime("project/mode-1", ns=(1_000_000_001, 1_234_567_890_123_456_789))
open("zero", "w").close()
"""

DESCRIBE = r"""
import hashlib, json, os, stat
whole = hashlib.sha256(); groups = {}; files = size = 0
rows = []
for place, folders, names in os.walk(b"."):
    folders.sort()
    for name in sorted(names + folders):
        path = os.path.join(place, name); facts = os.lstat(path)
        row = [path.hex(), stat.S_IMODE(facts.st_mode), stat.S_IFMT(facts.st_mode), facts.st_mtime_ns]
        if stat.S_ISLNK(facts.st_mode):
            row.append(os.readlink(path).hex())
        elif stat.S_ISREG(facts.st_mode):
            files += 1; size += facts.st_size
            with open(path, "rb") as file:
                row += [facts.st_size, hashlib.file_digest(file, "sha256").hexdigest()]
            row.append(groups.setdefault(facts.st_ino, path.hex()))
            if name == b"sparse":
                row.append(facts.st_blocks * 512 < facts.st_size // 2)
        rows.append(row)
rows.sort()
print(json.dumps({"digest": hashlib.sha256(json.dumps(rows).encode()).hexdigest(), "files": files, "bytes": size}))
"""


class Terminal:
    """The command line, as its user types it."""

    def __init__(self, cloud: Embedded, home: Path) -> None:
        self._env = {
            **os.environ,
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "DUMONT_API_URL": cloud.state["api_url"],
            "DUMONT_EMAIL": cloud.state["demo"]["email"],
            "DUMONT_PASSWORD": cloud.state["demo"]["password"],
        }
        self._env.pop("XDG_CONFIG_HOME", None)

    def run(self, *words: str, stdin: str | None = None) -> dict[str, Any]:
        """The answer of `dumont --json WORDS`. Raises RuntimeError when it failed."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", "--json", *words],
            env=self._env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=300,
        )
        if done.returncode != 0:
            raise RuntimeError(f"dumont {' '.join(words)} exited {done.returncode}: {done.stderr}{done.stdout[-2000:]}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def settled(cloud: Embedded, patience_s: float = 30.0) -> int:
    """Machines left once there has been time to end them."""
    until = time.monotonic() + patience_s
    while cloud.control("GET", "/machines") and time.monotonic() < until:
        time.sleep(0.2)
    return len(cloud.control("GET", "/machines"))


def first_create(cloud: Embedded, terminal: Terminal) -> float:
    """Seconds from the request to the first machine asked for. The first of two instances warms the function."""
    seconds = 0.0
    for name in ("warm-up", "warm"):
        shown = terminal.run("provision", "--gpu", "RTX 3090", "--provider", "vast", "--name", name, "--no-wait")
        asked = moment(shown["clocks"]["asked_at"]).timestamp()
        until = time.monotonic() + 20
        sent: list[float] = []
        while not sent and time.monotonic() < until:
            creates = cloud.control("GET", "/requests?path=/asks/")
            sent = [record["at"] for record in creates if record["method"] == "PUT" and record["at"] >= asked]
            time.sleep(0.05)
        if not sent:
            raise RuntimeError("no machine was asked for")
        seconds = min(sent) - asked
        terminal.run("destroy", name, "--yes")
    return seconds


def drive(cloud: Embedded, terminal: Terminal) -> dict[str, Any]:
    terminal.run("login")
    first_create_s = first_create(cloud, terminal)
    started = time.monotonic()
    instance = terminal.run(
        "provision", "--gpu", GPU, "--idle-after", IDLE_AFTER, "--startup-grace", "1s", "--name", "smoke"
    )
    provision_s = time.monotonic() - started
    noticed = moment(instance["clocks"]["usable_at"]) - moment(instance["clocks"]["ready_reported_at"])
    host = instance["machine"]["host_id"]
    say(f"running on host {host} after {provision_s:.1f} s")

    machine_id = int(instance["machine"]["machine_id"])
    cloud.control("PUT", f"/machines/{machine_id}/load", {"gpu": 80})
    smi = terminal.run("exec", "smoke", "--", "nvidia-smi")
    if "CUDA" not in smi["stdout"]:
        raise RuntimeError(f"nvidia-smi said {smi}")
    terminal.run("exec", "smoke", "-i", "--timeout", "120s", "--", "python3", "-", stdin=MAKE_TREE)
    before = json.loads(terminal.run("exec", "smoke", "-i", "--", "python3", "-", stdin=DESCRIBE)["stdout"])
    say(f"{before['files']} files, {before['bytes']} bytes are there; now it idles")

    attempt = next(a for a in instance["attempts"] if a["stage"] == "adopted")
    cloud.control("POST", f"/hosts/{attempt['offer_machine_id']}/sell-out")
    cloud.control("PUT", f"/machines/{machine_id}/load", {"gpu": 0})
    until = time.monotonic() + 120
    while (asleep := terminal.run("show", "smoke"))["state"] != "hibernated":
        if time.monotonic() > until:
            raise RuntimeError(f"it did not hibernate: {asleep['state']}, {asleep['why']}, {asleep['failure']}")
        time.sleep(0.3)
    events = {e["kind"]: e for e in terminal.run("events", "smoke")["events"]}
    hibernate_s = (moment(events["hibernated"]["at"]) - moment(events["hibernating"]["at"])).total_seconds()
    by_idleness = "idle since" in events["hibernating"]["message"]
    left_asleep = settled(cloud)
    say(f"hibernated by itself in {hibernate_s:.1f} s; {left_asleep} machines are left")

    woken = terminal.run("wake", "smoke")
    asked = moment(woken["clocks"]["asked_at"])
    after = json.loads(terminal.run("exec", "smoke", "-i", "--", "python3", "-", stdin=DESCRIBE)["stdout"])
    say(f"woke on host {woken['machine']['host_id']}")
    other = woken["machine"]["host_id"] != host

    terminal.run("destroy", "smoke", "--yes")
    left = settled(cloud) + left_asleep
    return {
        **ledger.of_cloud(cloud),
        "provision_s": round(provision_s, 3),
        "first_create_s": round(first_create_s, 3),
        "ready_noticed_s": round(noticed.total_seconds(), 3),
        "hibernate_s": round(hibernate_s, 3),
        "hibernated_by_idleness": by_idleness,
        "wake_usable_s": round((moment(woken["clocks"]["usable_at"]) - asked).total_seconds(), 3),
        "wake_restored_s": round((moment(woken["clocks"]["restored_at"]) - asked).total_seconds(), 3),
        "files": before["files"],
        "bytes": before["bytes"],
        "files_identical": before == after,
        "woke_on_other_host": other,
        "machines_left": left,
        "objects_left": len(cloud.objects()),
    }


def say(text: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")
    sys.stdout.flush()


def main() -> None:
    with running() as cloud, tempfile.TemporaryDirectory() as home:
        try:
            figures = drive(cloud, Terminal(cloud, Path(home)))
        except RuntimeError as error:
            finish("smoke", {"error": str(error)}, GOALS, ok=False)
    ok = (
        figures["files_identical"]
        and figures["woke_on_other_host"]
        and figures["hibernated_by_idleness"]
        and figures["machines_left"] == 0
        and figures["objects_left"] == 0
        and ledger.agrees(figures)
        and figures["files"] >= FILES
        and figures["bytes"] >= BYTES
        and figures["ready_noticed_s"] <= 0.3
        and figures["first_create_s"] <= 0.5
    )
    finish("smoke", figures, GOALS, ok)


if __name__ == "__main__":
    main()
