"""What is brought back first: learnt from what was read first after the wake before.

A restore leaves each file with an access time as old as its content, so that the first read afterwards shows, on every file
system that keeps access times the usual way (relatime); the save itself reads without leaving a trace. Where none are kept,
what earlier snapshots had learnt stays, and after that code and configuration come before weights, newest first.
"""

from __future__ import annotations

import heapq
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.snapshot.manifest import Row

FILE = "wake.json"
FIRST_NS = 30 * 60 * 1_000_000_000
"""What is read later than this after a wake was not needed first."""
LEARNT = 5000
"""Names that are kept."""
BEFORE_USABLE = 256 << 20
"""Bytes of learnt big files that a wake waits for; what goes beyond comes first afterwards."""
WEIGHTS = (
    ".bin", ".ckpt", ".gguf", ".ggml", ".h5", ".msgpack", ".npy", ".npz", ".onnx", ".parquet", ".pt", ".pth",
    ".safetensors", ".tar", ".tgz", ".zip", ".zst",
)  # fmt: skip


def woken(state: Path, snapshot_id: str) -> None:
    """Note when a restore began; one that is done again began when it first did."""
    try:
        known = json.loads((state / FILE).read_text())
        if known["snapshot_id"] == snapshot_id:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    part = state / (FILE + ".part")
    try:
        part.write_text(json.dumps({"snapshot_id": snapshot_id, "at_ns": time.time_ns()}))
        os.replace(part, state / FILE)
    except OSError:
        # Nothing is learnt this time.
        return


def woken_at(state: Path) -> int | None:
    """When this machine's workspace was brought back; None when it never was."""
    try:
        return int(json.loads((state / FILE).read_text())["at_ns"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Learner:
    """Sees each file of a scan; the order for the next wake."""

    def __init__(self, since_ns: int | None, before: Iterable[str]) -> None:
        self._since = since_ns
        self._before = {path: rank for rank, path in enumerate(before)}
        self._there: set[str] = set()
        self._first: list[tuple[int, str]] = []
        self.learns = since_ns is not None or bool(self._before)
        """Whether there is anything to see."""

    def see(self, path: str, facts: os.stat_result) -> None:
        if path in self._before:
            self._there.add(path)
        at = facts.st_atime_ns
        # A file that was only written has the same time for both.
        if self._since is None or not self._since <= at < self._since + FIRST_NS or at <= facts.st_mtime_ns:
            return
        # A heap with the latest on top: it goes when there are too many.
        one = (-at, path)
        if len(self._first) < LEARNT:
            heapq.heappush(self._first, one)
        else:
            heapq.heappushpop(self._first, one)

    def order(self) -> list[str]:
        """First what was read after this wake, as it was read; then what is still there of what had been learnt."""
        read = [path for _, path in sorted(self._first, key=lambda one: (-one[0], one[1]))]
        known = set(read)
        kept = sorted(self._there - known, key=self._before.__getitem__)
        return (read + kept)[:LEARNT]


def is_weights(path: str) -> bool:
    return path.lower().endswith(WEIGHTS)


def ranks(order: Sequence[str]) -> dict[str, int]:
    return {path: rank for rank, path in enumerate(order)}


def urgency(path: str, row: Row, rank: int | None) -> tuple[int, bool, int]:
    """What big files are sorted by: learnt ones as they were read; then code before weights, newest first."""
    return (0, False, rank) if rank is not None else (1, is_weights(path), -int(row[5]))
