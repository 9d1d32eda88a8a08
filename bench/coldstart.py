"""From a function's start to its first 200, and its memory then: every stage, under the framework, in an environment of its own.

    make bench NAME=coldstart           ROUNDS=7 asks each more often; NAMES=wake,usage only those

Each stage's requirements are installed by pip's rules (`--require-hashes`, compiled) into a virtual environment of their own.
`/health` touches no database; `/ready` makes the Firestore client and reads one document from Google's emulator. A bare hello
function starts in every round beside them, so figures of machines of different speed compare by their ratio to it.

Memory is what the kernel cannot take back: anonymous pages of all the function's processes, shared ones counted once. What is
resident, with the pages of libraries that are mapped and can be dropped, is told beside it.

A start is one thread's work after another's, the server's and then that which answers, and this machine's cores are shared: the
seconds that the kernel kept those two ready and waiting for a core (`/proc/PID/task/TID/schedstat`) are taken off. Both are
told, with (`wall`) and without.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from bench.report import finish
from infra import manifest
from infra.manifest import ROOT
from infra.stage import stage
from local import emulator

ROUNDS = int(os.environ.get("ROUNDS", "5"))
NAMES = [name for name in os.environ.get("NAMES", "").split(",") if name]
WITHOUT_S, WITH_S, MEMORY_MB = 0.35, 0.55, 70
GOALS = {"without_database_s": f"<= {WITHOUT_S}", "with_database_s": f"<= {WITH_S}", "memory_mb": f"<= {MEMORY_MB}"}
HELLO = "import functions_framework\n\n\n@functions_framework.http\ndef main(request):\n    return 'hello'\n"
PATIENCE_S = 60.0


def environment(requirements: Path) -> Path:
    """The `bin` of a virtual environment with exactly these; made once for each list of them."""
    text = requirements.read_bytes()
    folder = ROOT / "build" / "coldstart" / hashlib.sha256(text).hexdigest()[:12]
    if not (folder / ".whole").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "-q", "--require-hashes", "--compile-bytecode"]
        subprocess.run([*install, "-p", str(folder / "bin" / "python"), "-r", str(requirements)], check=True)
        (folder / ".whole").touch()
    return folder / "bin"


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def memory_mb(pids: list[int]) -> tuple[float, float]:
    """Of all together, what they share counted once: anonymous, and resident."""
    anonymous, resident = 0, 0
    for pid in pids:
        rows = dict(line.split()[:2] for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        anonymous += int(rows["Pss_Anon:"])
        resident += int(rows["Pss:"])
    return anonymous / 1024, resident / 1024


def waited_s(pids: list[int]) -> float:
    """How long those were ready and had no core that did the work: of each process the main thread and the busiest other one."""
    waited = 0
    for pid in pids:
        main, *others = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda one: int(one.name))
        waited += scheduled(main)[1] + max(map(scheduled, others), default=(0, 0))[1]
    return waited / 1e9


def scheduled(thread: Path) -> tuple[int, int]:
    """Nanoseconds: how long it ran, how long it waited; nothing of one that has ended, as none that answers does."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        ran, waited, _ = (thread / "schedstat").read_text().split()
        return int(ran), int(waited)
    return 0, 0


def start(folder: Path, bin_: Path, path: str, env: dict[str, str]) -> dict[str, float]:
    port = emulator.free_port()
    command = [str(bin_ / "functions-framework"), "--target", "main", "--source", str(folder / "main.py")]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], cwd=folder, env=env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
                    answer.read()
                    break
            except OSError as error:
                # Not listening yet; anything else is no start.
                if not isinstance(getattr(error, "reason", None), ConnectionRefusedError):
                    raise
                if process.poll() is not None or time.perf_counter() - begun > PATIENCE_S:
                    raise RuntimeError(f"{folder.name} did not start") from error
                time.sleep(0.003)
        wall, pids = time.perf_counter() - begun, family(process.pid)
        anonymous, resident = memory_mb(pids)
        return {"wall_s": wall, "s": wall - waited_s(pids), "memory_mb": anonymous, "resident_mb": resident}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def medians(rows: list[dict[str, float]], digits: int = 3) -> dict[str, float]:
    return {name: round(median(row[name] for row in rows), digits if name.endswith("s") else 1) for name in rows[0]}


def main() -> None:
    jar = emulator.find_jar()
    if jar is None:
        sys.exit(
            "this bench needs Java and Google's Firestore emulator: gcloud components install cloud-firestore-emulator"
        )
    functions = {name: one for name, one in manifest.load().items() if not NAMES or name in NAMES}
    seen: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, emulator.running(jar) as address:
        stages = {one.name: stage(one, Path(name)) for one in functions.values()}
        bins = {one: environment(folder / "requirements.txt") for one, folder in stages.items()}
        hello = Path(name) / "hello"
        hello.mkdir()
        (hello / "main.py").write_text(HELLO)
        base = {k: v for k, v in os.environ.items() if not k.startswith(("DUMONT_", "PYTHON"))}
        env = {
            **base, "FIRESTORE_EMULATOR_HOST": address, "DUMONT_ENV": "local", "DUMONT_STORE": "firestore:coldstart",
            "DUMONT_MASTER_KEY": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
        }  # fmt: skip
        some = next(iter(stages))
        # The first answer of a Java server, and the first reading of every file, are not the functions'.
        for one, folder in stages.items():
            start(folder, bins[one], "/ready", env)
        for number in range(ROUNDS):
            seen["hello", "/"].append(start(hello, bins[some], "/", env))
            for one, folder in stages.items():
                threads = {"THREADS": str(functions[one].concurrency)}
                for path in ("/health", "/ready"):
                    seen[one, path].append(start(folder, bins[one], path, {**env, **threads}))
            sys.stdout.write(f"round {number + 1} of {ROUNDS}: load {os.getloadavg()[0]:.1f}\n")
            sys.stdout.flush()
    bare = medians(seen.pop(("hello", "/")))
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for (one, path), measured in seen.items():
        found: dict[str, Any] = medians(measured)
        rows[one]["with" if path == "/ready" else "without"] = {**found, "of_hello": round(found["s"] / bare["s"], 2)}

    def worst(kind: str, figure: str) -> float:
        return float(max(row[kind][figure] for row in rows.values()))

    figures: dict[str, Any] = {
        "functions": len(rows),
        "rounds": ROUNDS,
        "hello": bare,
        "without_database_s": worst("without", "s"),
        "with_database_s": worst("with", "s"),
        "without_database_of_hello": worst("without", "of_hello"),
        "with_database_of_hello": worst("with", "of_hello"),
        "without_database_wall_s": worst("without", "wall_s"),
        "with_database_wall_s": worst("with", "wall_s"),
        "memory_mb": worst("with", "memory_mb"),
        "resident_mb": worst("with", "resident_mb"),
        "memory_without_database_mb": worst("without", "memory_mb"),
        "resident_without_database_mb": worst("without", "resident_mb"),
        "load": [round(one, 1) for one in os.getloadavg()],
        "by_function": rows,
    }
    ok = (
        figures["without_database_s"] <= WITHOUT_S
        and figures["with_database_s"] <= WITH_S
        and figures["memory_mb"] <= MEMORY_MB
    )
    finish("coldstart", figures, GOALS, ok)


if __name__ == "__main__":
    main()
