"""What a worker of a save does: read a chunk or a bundle of small files, name, compress and seal it.

Tasks and results are plain values, so that they cross to other processes as they are:

    ("chunk", number, path, offset, length)     -> ("chunk", number, id, placed | None, codec, length)
    ("bundle", number, [(path, size, mtime in ns), …])
                                                -> ("bundle", number, [facts | errno, …], placed | None, codec, length, id)

`placed` is (pack, offset, sealed length, frame); None for a chunk that is stored already, by this snapshot or an earlier one,
and for a bundle that this snapshot had stored before it was cut off.
`facts` of a file: (size, mtime in ns, inode, ctime in ns, offset in the frame, whole, attributes).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from agent.snapshot.pack import Packer, Room, chunk_id, compress, squeeze
from agent.snapshot.scan import xattrs
from agent.snapshot.tasks import Task

REREADS = 3


class Reader:
    """`claim` says whether a chunk of that name is to be stored by whoever asks; `stored`, whether a bundle had arrived
    before the save was cut off."""

    def __init__(
        self, packer: Packer, id_key: bytes, claim: Callable[[bytes], bool], stored: Callable[[bytes], bool]
    ) -> None:
        self._stored = stored
        self._packer = packer
        self._id_key = id_key
        self._claim = claim
        self._room = Room()

    def do(self, task: Task) -> Task:
        return self._chunk(*task[1:]) if task[0] == "chunk" else self._bundle(*task[1:])

    def finish(self) -> None:
        self._packer.finish()

    def abandon(self) -> None:
        self._packer.abandon()

    def _chunk(self, number: int, path: str, offset: int, length: int) -> Task:
        """An error's number in place of the id when the file cannot be read any more; a short read is a shrunk file."""
        try:
            descriptor = open_quietly(path)
        except OSError as error:
            return ("chunk", number, error.errno or errno.EIO, None, 0, 0)
        room = self._room.of(length)
        try:
            got = 0
            while got < length and (more := os.preadv(descriptor, [room[got:]], offset + got)):
                got += more
        except OSError as error:
            return ("chunk", number, error.errno or errno.EIO, None, 0, 0)
        finally:
            os.close(descriptor)
        data = room[:got]
        id = chunk_id(data, self._id_key)
        if not self._claim(id):
            return ("chunk", number, id, None, 0, len(data))
        codec, parts = compress(data)
        placed = self._packer.seal(parts)
        return ("chunk", number, id, (placed.pack, placed.offset, placed.length, placed.frame), codec, len(data))

    def _bundle(self, number: int, files: list[tuple[str, int, int]]) -> Task:
        found: list[Any] = []
        expected = sum(size for _, size, _ in files) + 1
        room = self._room.of(expected)
        at = 0
        for path, size, mtime_ns in files:
            try:
                descriptor = open_quietly(path)
            except OSError as error:
                found.append(error.errno or errno.EIO)
                continue
            try:
                for _ in range(REREADS):
                    if len(room) < at + size + 1:
                        # It has grown since it was scanned: this bundle has a room of its own, which is not kept.
                        room = memoryview(bytearray(room[:at]).ljust(at + size + 1, b"\0"))
                    # One byte more than it had, so that growth is seen.
                    got = os.preadv(descriptor, [room[at : at + size + 1]], 0)
                    facts = os.fstat(descriptor)
                    whole = got == size == facts.st_size and facts.st_mtime_ns == mtime_ns
                    if whole:
                        break
                    size, mtime_ns = facts.st_size, facts.st_mtime_ns
                extra = xattrs(descriptor)
            except OSError as error:
                found.append(error.errno or errno.EIO)
                continue
            finally:
                os.close(descriptor)
            found.append((got, facts.st_mtime_ns, facts.st_ino, facts.st_ctime_ns, at, whole, extra))
            at += got
        if not at:
            return ("bundle", number, found, None, 0, 0, b"")
        codec, payload = squeeze(room[:at])
        # Named by what it compresses to: half the bytes to hash, and only a save that was cut off asks for the name.
        id = bytes([codec]) + chunk_id(payload, self._id_key)
        if self._stored(id):
            return ("bundle", number, found, None, 0, at, id)
        placed = self._packer.seal((payload,))
        return ("bundle", number, found, (placed.pack, placed.offset, placed.length, placed.frame), codec, at, id)


def open_quietly(path: str) -> int:
    """For reading, without a trace in its access time where we may: those tell what the user reads. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        return os.open(path, flags)
