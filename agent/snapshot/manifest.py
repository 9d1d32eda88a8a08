"""What a snapshot is: entries, and where each one's bytes lie; encoded as a sealed head and sealed sections.

Always whole, never a chain: a restore needs exactly one manifest. The head (`shared.domain.manifest`) names every pack
and every section's length, so the control plane can check a snapshot without reading its entries. Entries are written
and read a section at a time, in the order of the scan, so neither side ever holds them all.

Rows of entries (what stands in brackets may be absent; x are attributes):

    d, path, mode, uid, gid, mtime, [x]                                  a folder; what follows lies in it
    f, name, mode, uid, gid, mtime, size, inode, ctime, frame, offset, [x]   a small file in a bundle; frame -1: empty
    F, name, mode, uid, gid, mtime, size, inode, ctime, chunks, [x]      frames of 4 MiB each, or [offset, frame] with holes
    l, name, mode, uid, gid, mtime, target, [x]
    h, name, path of the first name
    p, name, mode, uid, gid, mtime
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from agent.snapshot.errors import SnapshotError
from agent.snapshot.pack import Sealer, expand, squeeze
from shared.domain.manifest import PREFIX, SALT, Head, head_length, read_head, salt_of, salted, seal_head
from shared.errors import StorageError

FORMAT = 2
SECTION = 5_000
"""Rows in a section."""
CHUNK = 4 << 20
READ_AHEAD = 1 << 20
Row = list[Any]


class Frame(NamedTuple):
    pack: int
    """Its place among the manifest's packs."""
    offset: int
    length: int
    """Sealed."""
    number: int
    """In its pack."""
    codec: int
    raw_length: int


class Frames:
    """Very many frames in little memory."""

    def __init__(self) -> None:
        self._columns = [array("q") for _ in range(6)]

    def add(self, frame: Sequence[int]) -> int:
        for column, value in zip(self._columns, frame, strict=True):
            column.append(value)
        return len(self) - 1

    def __len__(self) -> int:
        return len(self._columns[0])

    def __getitem__(self, number: int) -> Frame:
        return Frame(*(column[number] for column in self._columns))

    def rows(self, start: int, end: int) -> list[list[int]]:
        return [list(row) for row in zip(*(column[start:end] for column in self._columns), strict=True)]


def chunks_of(row: Row) -> list[tuple[int, int]]:
    """Where in a big file which frame lies."""
    return [(at * CHUNK, of) if isinstance(of, int) else (of[0], of[1]) for at, of in enumerate(row[9])]


class Writer:
    """A manifest as it comes to be; `finish` gives the object that is written under `name`, last of all."""

    def __init__(self, key: bytes, name: str) -> None:
        self.rows = 0
        self._key, self._name, self._salt = key, name, os.urandom(SALT)
        self._sealer = Sealer(key, salted(name, self._salt))
        self._sections: list[Row] = []
        self._bodies: list[bytes] = []
        self._open: list[Row] = []

    def entries(self, rows: Sequence[Row]) -> None:
        self.rows += len(rows)
        self._open += rows
        while len(self._open) >= SECTION:
            self._section("entries", self._open[:SECTION])
            del self._open[:SECTION]

    def _section(self, kind: str, rows: Sequence[Any]) -> None:
        raw = json.dumps(rows, separators=(",", ":")).encode()
        codec, payload = squeeze(raw)
        sealed = self._sealer.seal(len(self._bodies) + 1, payload)
        self._sections.append([kind, len(sealed), codec, len(raw), len(rows)])
        self._bodies.append(sealed)

    def finish(self, frames: Frames, ids: dict[bytes, int], hot: Sequence[str] = (), **head: Any) -> bytes:
        if self._open:
            self._section("entries", self._open)
        if hot:
            self._section("hot", hot)
        for start in range(0, len(frames), SECTION):
            self._section("frames", frames.rows(start, start + SECTION))
        named = [[id.hex(), frame] for id, frame in ids.items()]
        for start in range(0, len(named), SECTION):
            self._section("ids", named[start : start + SECTION])
        whole = {"format": FORMAT, **head, "sections": self._sections}
        return seal_head(whole, self._key, self._name, self._salt) + b"".join(self._bodies)


class Reader:
    """A manifest in storage; `read(offset, length)`. Raises SnapshotError when it is damaged, foreign or too new."""

    def __init__(self, read: Callable[[int, int], bytes], key: bytes, name: str) -> None:
        self._read = read
        try:
            length = head_length(read(0, PREFIX))
            prefix = read(0, length)
            self.head: Head = read_head(prefix, key, name)
        except StorageError as error:
            raise SnapshotError(f"{name}: {error.message}") from error
        fields = self.head.fields
        if fields.get("format") != FORMAT:
            raise SnapshotError(
                f"manifest format {fields.get('format')} is of {'a newer' if fields.get('format', 0) > FORMAT else 'another'} "
                "version; use the agent that wrote it"
            )
        self.snapshot_id: str = self.head.snapshot_id
        self.created_ns = int(fields["created_ns"])
        self.workspace: list[str] = list(fields["workspace"])
        self.packs: list[tuple[str, int]] = [(str(k), int(v)) for k, v in fields["packs"]]
        self.counts: dict[str, int] = dict(fields["counts"])
        self._sealer = Sealer(key, salted(name, salt_of(prefix)))
        self._sections: list[tuple[str, int, int, int, int, int]] = []
        for number, (kind, size, codec, raw_length, _) in enumerate(fields["sections"], 1):
            self._sections.append((kind, number, length, size, codec, raw_length))
            length += size
        self.rows = sum(int(section[4]) for section in fields["sections"] if section[0] == "entries")
        """How many entries there are."""

    def _of(self, kind: str) -> Iterator[list[Any]]:
        for named, number, offset, size, codec, raw_length in self._sections:
            if named == kind:
                sealed = self._read(offset, size)
                yield json.loads(bytes(expand(codec, self._sealer.open(number, sealed), raw_length)))

    def frames(self) -> Frames:
        frames = Frames()
        for rows in self._of("frames"):
            for row in rows:
                frames.add(row)
        return frames

    def ids(self) -> dict[bytes, int]:
        """Chunk's name -> its frame."""
        return {bytes.fromhex(id): frame for rows in self._of("ids") for id, frame in rows}

    def hot(self) -> list[str]:
        """Paths in the order in which they were read after the wake before; empty where nothing was learnt."""
        return [str(path) for rows in self._of("hot") for path in rows]

    def check(self) -> None:
        """Open what a restore does not need, so that damage is found by whoever reads the snapshot at all."""
        for _ in self._of("ids"):
            pass

    def sections(self) -> Iterator[list[tuple[str, Row]]]:
        """Entries a section at a time, each with the folder it lies in."""
        folder = ""
        for rows in self._of("entries"):
            found = []
            for row in rows:
                if row[0] == "d":
                    folder = row[1]
                found.append((folder, row))
            yield found

    def entries(self) -> Iterator[tuple[str, Row]]:
        for section in self.sections():
            yield from section


def path_of(folder: str, row: Row) -> str:
    """An entry's path in the snapshot."""
    if row[0] == "d":
        return folder
    return f"{folder}{row[1]}" if folder.endswith("/") else f"{folder}/{row[1]}"
