"""How long the agent takes to start on a bare image: `make bench NAME=agentstart`.

One file, an empty home, no package installed and no variable set. The first start unpacks what this Python needs; the
time is from the start of the process until it has read all of its code and looks for its settings, which are not there.
Each supported Python of this machine in turns, ROUNDS times.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.report import finish
from infra.agent_bundle import ABIS, build
from local.embedded import ROOT
from tests.unit.test_bundle import pythons

ROUNDS = int(os.environ.get("ROUNDS", "7"))
GOAL_S = 0.5


def start(python: str, bundle: Path, home: str) -> float:
    began = time.perf_counter()
    ended = subprocess.run([python, "-I", str(bundle)], env={"HOME": home}, capture_output=True, text=True)
    spent = time.perf_counter() - began
    if "DUMONT_URL and DUMONT_TOKEN are not set" not in ended.stderr:
        raise RuntimeError(ended.stderr[-2000:])
    return spent


def main() -> None:
    found = {version: path for version, path in pythons().items() if version in ABIS}
    first: dict[str, list[float]] = {version: [] for version in found}
    again: dict[str, list[float]] = {version: [] for version in found}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "agent.pyz"
        build(bundle, list(ABIS), ROOT / "build" / "wheels")
        for _ in range(ROUNDS):
            for version, python in found.items():
                with tempfile.TemporaryDirectory(dir=folder) as home:
                    first[version].append(start(python, bundle, home))
                    again[version].append(start(python, bundle, home))
        size = bundle.stat().st_size
    medians = {version: round(statistics.median(seconds), 3) for version, seconds in first.items()}
    figures = {
        "bundle_mb": round(size / 1e6, 1),
        "first_start_s": medians,
        "next_start_s": {version: round(statistics.median(seconds), 3) for version, seconds in again.items()},
        "not_here": [version for version in ABIS if version not in found],
        "rounds": ROUNDS,
    }
    finish(
        "agentstart", figures, {"first_start_s": f"<= {GOAL_S}, median, each Python"}, max(medians.values()) <= GOAL_S
    )


if __name__ == "__main__":
    main()
