"""How long from the order until a woken workspace is usable, by its size: `make bench NAME=hot`.

Workspaces differ in their weights alone; what is needed first (45 MB of code and one hot file) is the same in each. Over a link
of 25 ms, 90 MB/s a connection and 600 MB/s in all; sizes take turns. SCALE=0.1 makes the weights a tenth as large; the goal is
judged at SCALE=1 only.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import workspaces
from bench.report import finish
from bench.snapshot import FAR, Contest, Ours
from infra.agent_bundle import wheels
from local.embedded import ROOT

SCALE = float(os.environ.get("SCALE", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SIZES_GB = (0.5, 3.0, 8.0)
HOT_FILE = "adapter.safetensors"
HOT_FILE_BYTES = 25 << 20
SMALL_FILES = 2000
SMALL_MEAN = 9800.0
SHARD = 1 << 30
SPREAD = 1.2


def workspace(folder: Path, size: int) -> Path:
    workspaces.small_files(folder / "project", SMALL_FILES, SMALL_MEAN, 31)
    workspaces.big(folder / HOT_FILE, HOT_FILE_BYTES, 32, 2)
    number = 0
    while size > 0:
        workspaces.big(folder / f"model-{number:05}.safetensors", min(SHARD, size) // 8 * 8, 40 + number, 2)
        number, size = number + 1, size - SHARD
    return workspaces.aged(folder)


def main() -> None:
    figures: dict[str, Any] = {"scale": SCALE, "rounds": ROUNDS}
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="dumont-bench-") as memory:
        folder = Path(memory)
        for wheel in wheels(f"{sys.version_info[0]}.{sys.version_info[1]}", ROOT / "build" / "wheels"):
            shutil.unpack_archive(str(wheel), str(folder / "lib"), "zip")
        contest = Contest(folder)
        ours, source, target = Ours(contest, folder / "lib"), folder / "source", folder / "target"
        try:
            contest.serve(*FAR)
            for size_gb in SIZES_GB:
                workspace(source, int(size_gb * SCALE * 1e9))
                ours("save", f"{size_gb} GB save", source, f"s{size_gb}")
                shutil.rmtree(source)
            usable: dict[float, list[float]] = {size_gb: [] for size_gb in SIZES_GB}
            for size_gb in SIZES_GB * ROUNDS:
                told = ours(
                    "restore", f"{size_gb} GB usable", target, f"s{size_gb}", "--hot", HOT_FILE, "--until-usable"
                )
                usable[size_gb].append(float(told["usable_s"]))
                whole = (target / HOT_FILE).stat().st_size == HOT_FILE_BYTES
                if not whole or sum(1 for _ in (target / "project").rglob("*.py")) != SMALL_FILES:
                    raise RuntimeError("usable was said before the hot files were there")
                shutil.rmtree(target)
        finally:
            contest.stop()
    medians = {size_gb: statistics.median(seconds) for size_gb, seconds in usable.items()}
    figures["usable_s"] = {str(size_gb): round(seconds, 3) for size_gb, seconds in medians.items()}
    spread = max(medians.values()) / min(medians.values())
    figures["spread"] = round(spread, 3)
    goals = {"spread": f"<= {SPREAD}: slowest by fastest median"}
    finish("hot", figures, goals, spread <= SPREAD and SCALE >= 1)


if __name__ == "__main__":
    main()
