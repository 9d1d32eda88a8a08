"""What a worker of a restore does: fetch a range of a pack, open its frames, write what they hold.

    ("fetch", number, url, pack, offset, length, frames)  -> ("fetch", number, [(file, inode, ctime in ns), …])
                                                          or ("stale", number) when storage refuses the address
    frames:  [(offset, sealed length, frame, codec, raw length, targets), …]
    targets: ("small", file, path, offset in the frame, size, mode, owner, group, mtime in ns, attributes, fresh)
             ("chunk", path, offset in the file)

A file appears under its name only when it is whole. In a fresh folder, where nobody looks yet, it is written in place.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable

from agent.snapshot.errors import SnapshotError
from agent.snapshot.pack import TAG, Bytes, Room, Sealer, expand, pieces
from agent.snapshot.tasks import Task
from agent.snapshot.transport import Stale

PART = ".dumont-part"


class Writer:
    """`fetch(pack, url, offset, room)` fills `room`."""

    def __init__(self, key: bytes, fetch: Callable[[str, str, int, memoryview], None]) -> None:
        self._key = key
        self._fetch = fetch
        self._sealed, self._plain = Room(), Room()
        self._turn = threading.Lock()
        """Of the threads of a process one writes small files, the others fetch and open: two that write would wait for the
        interpreter's lock at each call of the system."""

    def do(self, task: Task) -> Task:
        _, number, url, pack, offset, length, frames = task
        room = self._sealed.of(length)
        try:
            self._fetch(pack, url, offset, room)
        except Stale:
            return ("stale", number)
        sealer, written = Sealer(self._key, pack), []
        for at, size, frame, codec, raw_length, targets in frames:
            if size < TAG:
                raise SnapshotError(f"frame {frame} of {pack} has {size} bytes")
            plain = self._plain.of(size - TAG)
            sealer.open_into(frame, room[at - offset : at - offset + size], plain)
            if targets[0][0] == "chunk":
                for _, path, place in targets:
                    _chunk(path, place, pieces(codec, plain, raw_length))
            else:
                data = memoryview(expand(codec, plain, raw_length))
                with self._turn:
                    for _, file, path, at, size, *facts in targets:
                        written.append((file, *write(data[at : at + size], path, *facts)))
        return ("fetch", number, written)

    def finish(self) -> None:
        """Nothing is held open."""

    def abandon(self) -> None:
        """Nothing is held open."""


def _chunk(path: str, offset: int, data: Iterable[Bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for piece in data:
            rest = memoryview(piece)
            while rest:
                done = os.pwrite(descriptor, rest, offset)
                rest, offset = rest[done:], offset + done
    finally:
        os.close(descriptor)


def write(
    body: Bytes,
    path: str,
    mode: int,
    owner: int,
    group: int,
    mtime: int,
    attributes: dict[str, str] | None,
    fresh: bool,
) -> tuple[int, int]:
    """A whole small file; its inode and change time. Raises OSError."""
    place = path if fresh else part_of(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_EXCL if fresh else os.O_TRUNC)
    try:
        descriptor = os.open(place, flags, mode)
    except FileExistsError:
        # Somebody has made it meanwhile.
        return write(body, path, mode, owner, group, mtime, attributes, False)
    try:
        done = os.write(descriptor, body)
        while done < len(body):
            done += os.write(descriptor, memoryview(body)[done:])
        facts = finish(descriptor, mode, owner, group, mtime, attributes)
    finally:
        os.close(descriptor)
    if place != path:
        replace(place, path)
        facts = os.lstat(path)
    return facts.st_ino, facts.st_ctime_ns


def part_of(path: str) -> str:
    """The name of a file that is not whole; the same at each try, so that none is left behind."""
    folder, _, name = path.rpartition("/")
    # Long names leave no room for the ending, and short ones must not meet.
    mark = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{folder}/.{name[:40]}.{mark}{PART}"


def replace(part: str, path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        raise SnapshotError(f"{path} is a folder here and a file in the snapshot")
    os.rename(part, path)


def finish(
    descriptor: int, mode: int, owner: int, group: int, mtime: int, attributes: dict[str, str] | None
) -> os.stat_result:
    """Attributes and time of an open file; owner and mode where they are not as they should be. Its facts afterwards."""
    if attributes:
        for name, value in attributes.items():
            set_xattr(descriptor, name, value)
    os.utime(descriptor, ns=(mtime, mtime))
    facts = os.fstat(descriptor)
    if facts.st_uid == owner and facts.st_gid == group and facts.st_mode & 0o7777 == mode:
        return facts
    own(descriptor, owner, group)
    # After the owner, as changing that takes special bits away.
    os.fchmod(descriptor, mode)
    return os.fstat(descriptor)


def own(target: int | str, owner: int, group: int) -> None:
    """Owners are kept where we may set them."""
    try:
        if isinstance(target, int):
            os.fchown(target, owner, group)
        else:
            os.chown(target, owner, group, follow_symlinks=False)
    except PermissionError:
        return


def set_xattr(target: int | str, name: str, value: str) -> None:
    try:
        os.setxattr(target, name, bytes.fromhex(value))
    except OSError:
        # This file system has none; the snapshot keeps them for one that has.
        return
