"""Inodes and change times as a restore on this machine left them, so that the next save reads nothing again.

Aligned with the manifest: the n-th regular file's are at place n. Losing them only costs reading.
"""

from __future__ import annotations

import json
import os
from array import array
from pathlib import Path

FILE = "restored.bin"
GROWTH = 4096


class Restored:
    def __init__(self, inodes: array[int], changed: array[int]) -> None:
        self._inodes, self._changed = inodes, changed

    @classmethod
    def empty(cls) -> Restored:
        return cls(array("Q"), array("q"))

    @classmethod
    def read(cls, state: Path, snapshot_id: str) -> Restored:
        """What was kept for that snapshot; nothing when it is another's or not to be read."""
        found = cls.empty()
        try:
            with open(state / FILE, "rb") as file:
                head = json.loads(file.readline())
                if head["snapshot_id"] != snapshot_id:
                    return found
                count = int(head["count"])
                found._inodes.fromfile(file, count)
                found._changed.fromfile(file, count)
        except (OSError, ValueError, KeyError, EOFError):
            return cls.empty()
        return found

    def write(self, state: Path, snapshot_id: str) -> None:
        part = state / (FILE + ".part")
        with open(part, "wb") as file:
            file.write(json.dumps({"snapshot_id": snapshot_id, "count": len(self._inodes)}).encode() + b"\n")
            self._inodes.tofile(file)
            self._changed.tofile(file)
        os.replace(part, state / FILE)

    def note(self, number: int, inode: int, changed_ns: int) -> None:
        if number >= len(self._inodes):
            missing = max(number + 1 - len(self._inodes), GROWTH)
            self._inodes.extend([0] * missing)
            self._changed.extend([0] * missing)
        self._inodes[number], self._changed[number] = inode, changed_ns

    def of(self, number: int) -> list[int] | None:
        """Inode and change time, None where the restore left none."""
        if number >= len(self._inodes) or not self._inodes[number]:
            return None
        return [self._inodes[number], self._changed[number]]
