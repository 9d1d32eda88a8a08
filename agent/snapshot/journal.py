"""Which frames of an unfinished snapshot have arrived in storage, so that a save that was cut off does not send them again.

One line per pack that arrived: `<keyed digest> [name, size, [[id, offset, sealed length, frame, codec, raw length], …]]`,
after a first line with the snapshot's id. Only the same snapshot's packs are taken up: those of one that was given up may
be pruned at any moment. Losing the file costs an upload; a line that is torn or not ours ends it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import defaultdict
from pathlib import Path
from typing import IO, Any, NamedTuple

FILE = "upload.journal"


class Arrived(NamedTuple):
    pack: str
    size: int
    """Of the pack."""
    offset: int
    length: int
    number: int
    codec: int
    raw_length: int


class Journal:
    """`frames`: what an earlier try had stored, by the name of its bytes."""

    def __init__(self, state: Path, key: bytes, snapshot_id: str) -> None:
        self._key = hashlib.blake2b(b"journal", key=key, digest_size=32).digest()
        self._path = state / FILE
        self._guard = threading.Lock()
        self._waiting: dict[str, list[list[Any]]] = defaultdict(list)
        self._sizes: dict[str, int] = {}
        self.frames: dict[bytes, Arrived] = {}
        self._file: IO[bytes] | None = None
        try:
            self._open(snapshot_id)
        except OSError:
            # A disk that takes no journal is no reason to take no snapshot.
            self._file = None

    def _open(self, snapshot_id: str) -> None:
        head = self._line(["snapshot", snapshot_id])
        good = 0
        try:
            with open(self._path, "rb") as file:
                if file.readline() == head:
                    good = len(head)
                    for line in file:
                        if not self._take(line):
                            break
                        good += len(line)
        except FileNotFoundError:
            pass
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._file.truncate(good)
        self._file.seek(good)
        if not good:
            self._write(head)

    def _line(self, fields: list[Any]) -> bytes:
        text = json.dumps(fields, separators=(",", ":")).encode()
        return hashlib.blake2b(text, key=self._key, digest_size=16).hexdigest().encode() + b" " + text + b"\n"

    def _take(self, line: bytes) -> bool:
        try:
            pack, size, frames = fields = json.loads(line.partition(b" ")[2])
            if self._line(fields) != line:
                return False
            for id, *rest in frames:
                self.frames[bytes.fromhex(id)] = Arrived(pack, size, *rest)
        except (ValueError, TypeError):
            return False
        return True

    def _write(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line)
            self._file.flush()
        except OSError:
            # The disk is full: what is not written down is only sent again. Half a line ends what a reader believes.
            self._file = None

    def sealed(self, pack: str, id: bytes, frame: tuple[int, int, int, int, int]) -> None:
        """A frame lies in a pack that may still be on its way. Its end may be told before its last frame."""
        with self._guard:
            row = [id.hex(), *frame]
            if pack in self._sizes:
                self._write(self._line([pack, self._sizes[pack], [row]]))
            else:
                self._waiting[pack].append(row)

    def arrived(self, pack: str, size: int) -> None:
        with self._guard:
            self._sizes[pack] = size
            self._write(self._line([pack, size, self._waiting.pop(pack, [])]))

    def close(self) -> None:
        with self._guard:
            if self._file is not None:
                self._file.close()
                self._file = None
