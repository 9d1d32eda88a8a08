"""Restore a snapshot into place, verified, what is needed first before the rest.

    make folders and links; write small files, the user's hot list and what was read first after the wake before -> usable
    write big files beside their names, rename when whole; then hard links, modes and times of folders

Entries are read a section at a time and fetched as ranges of packs. Doing it again over the same tree fixes only what differs.
"""

from __future__ import annotations

import base64
import fnmatch
import os
import shutil
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from agent.snapshot.crew import Crew, Lazy, Processes, Threads, few_collections
from agent.snapshot.errors import SnapshotError
from agent.snapshot.hot import BEFORE_USABLE, ranks, urgency, woken
from agent.snapshot.manifest import CHUNK, Frames, Reader, Row, chunks_of, path_of
from agent.snapshot.pack import chunk_id, id_key
from agent.snapshot.restored import Restored
from agent.snapshot.tasks import Task
from agent.snapshot.transport import get_into
from agent.snapshot.writing import Writer, finish, own, part_of, replace, set_xattr, write

LARGE_JOB = 16 << 20
RANGE = 8 << 20
"""Bytes that are fetched at once."""
GAP = 1 << 20
"""Bytes between two frames that are rather fetched than asked around."""
STALE_TRIES = 3
FILES_AT_ONCE = 2


class Transport(Protocol):
    plain_addresses: bool

    def get(self, key: str, offset: int, length: int) -> bytes: ...
    def url(self, key: str, fresh: bool = False) -> str: ...
    def know(self, keys: list[str]) -> None: ...


class _Big:
    """A big file on its way."""

    __slots__ = ("number", "open", "path", "rank", "row")

    def __init__(self, number: int, path: str, row: Row, rank: int | None) -> None:
        self.number, self.path, self.row, self.rank = number, path, row, rank
        self.open = 0


class _Restore:
    def __init__(self, reader: Reader, key: bytes, transport: Transport, place: Callable[[str], str]) -> None:
        self._reader = reader
        self._key = key
        self._transport = transport
        self._roots = [place(name) for name in reader.workspace]
        self._frames, self._ranks = Frames(), dict[str, int]()
        self._crew = Lazy(self._make_crew, LARGE_JOB)
        self._tasks: dict[int, tuple[Task, list[_Big], int]] = {}
        self._count = 0
        self._fresh: set[str] = set()
        self._announced: set[str] = set()
        self._names: dict[int, bytes] | None = None
        self.restored = Restored.empty()
        self.done_bytes = 0
        self.folders: list[tuple[str, Row]] = []
        self.links: list[tuple[str, str]] = []
        self.big: list[_Big] = []

    def begin(self) -> None:
        """Where nothing is yet, everything will be fetched: workers start while the manifest is read."""
        if not any(os.path.isdir(root) and os.listdir(root) for root in self._roots):
            self._crew.expect(self._reader.counts["bytes"])
        self._frames, self._ranks = self._reader.frames(), ranks(self._reader.hot())

    def path(self, entry_path: str) -> str:
        number, _, relative = entry_path.partition("/")
        if ".." in relative.split("/"):
            raise SnapshotError(f"the manifest names {entry_path!r}, which leaves its workspace")
        root = self._roots[int(number)]
        return f"{root}/{relative}" if relative else root

    # Entries ----------------------------------------------------------------------------------------------------------

    def section(self, entries: Iterable[tuple[str, Row]], number: int) -> int:
        """Begin with a section's entries; the number of its last regular file."""
        small: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        known = ""
        folder_place = ""
        for folder, row in entries:
            if folder != known or row[0] == "d":
                known = folder
                folder_place = self.path(folder)
            if row[0] == "d":
                self._announce(folder)
                self._folder(folder_place, row)
                continue
            fresh = folder_place in self._fresh
            name = row[1]
            if "/" in name or name in ("", ".", ".."):
                raise SnapshotError(f"the manifest names {path_of(folder, row)!r}, which leaves its folder")
            path = f"{folder_place}/{name}"
            if row[0] == "f" or row[0] == "F":
                number += 1
                if not fresh and self._there(path, row, number):
                    self.done_bytes += row[6]
                elif row[0] == "F":
                    self.big.append(_Big(number, path, row, self._ranks.get(path_of(folder, row))))
                else:
                    extra = row[11] if len(row) > 11 else None
                    target = ("small", number, path, row[10], row[6], row[2], row[3], row[4], row[5], extra, fresh)
                    if row[9] < 0:
                        self.restored.note(number, *write(b"", path, *target[5:10], fresh))
                    else:
                        small[row[9]].append(target)
            elif row[0] == "h":
                self.links.append((path, row[2]))
            else:
                self._special(path, row)
        for _ in self._fetch(small, []):
            pass
        return number

    def _announce(self, folder: str) -> None:
        """A folder lies in one that came before, so that no link of the manifest leads out of the workspace."""
        parent, _, name = folder.rpartition("/")
        if name and parent + ("/" if "/" not in parent else "") not in self._announced:
            raise SnapshotError(f"the manifest names {folder!r} before what it lies in")
        self._announced.add(folder)

    def _folder(self, path: str, row: Row) -> None:
        if os.path.islink(path) or (os.path.exists(path) and not os.path.isdir(path)):
            os.unlink(path)
        try:
            os.mkdir(path, row[2] | 0o700)
            self._fresh.add(path)
        except FileExistsError:
            if not os.listdir(path):
                self._fresh.add(path)
        except FileNotFoundError:
            os.makedirs(path)
            self._fresh.add(path)
        self.folders.append((path, row))

    def _there(self, path: str, row: Row, number: int) -> bool:
        """Whether a file is as it should be already."""
        try:
            facts = os.lstat(path)
        except OSError:
            return False
        if facts.st_size != row[6] or facts.st_mtime_ns != row[5] or facts.st_nlink != 1:
            return False
        self.restored.note(number, facts.st_ino, facts.st_ctime_ns)
        return True

    def _special(self, path: str, row: Row) -> None:
        """Symbolic links and pipes."""
        if row[0] == "l" and os.path.islink(path) and os.readlink(path) == row[6]:
            return
        if os.path.lexists(path):
            os.unlink(path)
        if row[0] == "l":
            os.symlink(row[6], path)
        else:
            os.mkfifo(path, row[2])
            os.chmod(path, row[2])
        own(path, row[3], row[4])
        os.utime(path, ns=(row[5], row[5]), follow_symlinks=False)

    # Fetching ---------------------------------------------------------------------------------------------------------

    def _fetch(self, wanted: dict[int, list[tuple[Any, ...]]], files: list[_Big]) -> Iterator[None]:
        """Tasks for frames and what is written from each, neighbours together, one at each step. `files` are filled by them."""
        places = sorted((self._frames[number][:2], number) for number in wanted)
        run: list[int] = []
        for (pack, offset), number in places:
            if run:
                first, last = self._frames[run[0]], self._frames[run[-1]]
                end = last.offset + last.length
                if (
                    pack != first.pack
                    or offset - end > GAP
                    or offset + self._frames[number].length - first.offset > RANGE
                ):
                    self._submit(run, wanted, files)
                    yield
                    run = []
            run.append(number)
        if run:
            self._submit(run, wanted, files)
            yield

    def _submit(self, run: list[int], wanted: dict[int, list[tuple[Any, ...]]], files: list[_Big]) -> None:
        first, last = self._frames[run[0]], self._frames[run[-1]]
        length = last.offset + last.length - first.offset
        pack = self._reader.packs[first.pack][0]
        frames = []
        for number in run:
            frame = self._frames[number]
            frames.append((frame.offset, frame.length, frame.number, frame.codec, frame.raw_length, wanted[number]))
        url = self._transport.url(pack) if self._transport.plain_addresses else ""
        self._count += 1
        task = ("fetch", self._count, url, pack, first.offset, length, frames)
        for file in files:
            file.open += 1
        self._tasks[self._count] = (task, files, 0)
        self._crew.submit(task, length)

    def _make_crew(self, large: bool) -> Crew:
        if large and self._transport.plain_addresses:
            job = {"kind": "restore", "key": base64.b64encode(self._key).decode()}
            return Processes(job, {}, self._done)
        return Threads(Writer(self._key, self._read), self._done)

    def _read(self, pack: str, url: str, offset: int, room: memoryview) -> None:
        if self._transport.plain_addresses:
            get_into(url, offset, room)
        else:
            body = self._transport.get(pack, offset, len(room))
            if len(body) != len(room):
                raise SnapshotError(f"{pack} gave {len(body)} instead of {len(room)} bytes at {offset}")
            room[:] = body

    def _done(self, result: Task) -> None:
        task, files, tries = self._tasks.pop(result[1])
        if result[0] == "stale":
            if tries == STALE_TRIES:
                raise SnapshotError(f"storage refuses to give {task[3]}")
            fresh = (*task[:2], self._transport.url(task[3], fresh=True), *task[3:])
            self._tasks[task[1]] = (fresh, files, tries + 1)
            self._crew.submit(fresh, task[5])
            return
        for number, inode, changed_ns in result[2]:
            self.restored.note(number, inode, changed_ns)
        for _, _, _, _, raw_length, _ in task[6]:
            self.done_bytes += raw_length
        for file in files:
            file.open -= 1
            if not file.open:
                self._complete(file)

    def fill(self, files: Iterable[_Big]) -> None:
        """Fetch big files in this order, some at a time: who writes into a file waits for whoever else does."""
        coming = map(self._filled, files)
        going = deque(islice(coming, FILES_AT_ONCE))
        while going:
            steps = going.popleft()
            for _ in steps:
                going.append(steps)
                break
            else:
                going.extend(islice(coming, 1))

    def _filled(self, file: _Big) -> Iterator[None]:
        """Fetch one beside its name; what a restore that was cut off had written of it stays."""
        part, row = part_of(file.path), file.row
        done = self._begun(part, row)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(part, flags if done else flags | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(descriptor, row[6])
        finally:
            os.close(descriptor)
        wanted: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for offset, frame in chunks_of(row):
            if offset in done:
                self.done_bytes += self._frames[frame].raw_length
            else:
                wanted[frame].append(("chunk", part, offset))
        file.open = 1
        yield from self._fetch(wanted, [file])
        file.open -= 1
        if not file.open:
            self._complete(file)

    def _begun(self, part: str, row: Row) -> set[int]:
        """Offsets of chunks that lie there already. Each is hashed: nothing is believed that a machine's crash may have torn."""
        chunks = chunks_of(row)
        if any(not isinstance(of, int) for of in row[9]):
            # With holes it begins anew: what an older version had in them must not stay.
            return set()
        try:
            descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return set()
        done: set[int] = set()
        try:
            facts = os.fstat(descriptor)
            if facts.st_nlink != 1:
                os.unlink(part)
                return set()
            if self._names is None:
                self._names = {frame: id for id, frame in self._reader.ids().items()}
            ids, room = id_key(self._key), memoryview(bytearray(CHUNK))
            at = 0
            for offset, frame in chunks:
                if offset < at or frame not in self._names:
                    continue
                try:
                    # Straight to what has data: the rest is all hole.
                    at = os.lseek(descriptor, offset, os.SEEK_DATA)
                except OSError:
                    break
                if at >= offset + CHUNK:
                    continue
                got = os.preadv(descriptor, [room[: self._frames[frame].raw_length]], offset)
                if got and chunk_id(room[:got], ids) == self._names[frame]:
                    done.add(offset)
                at = offset + CHUNK
        finally:
            os.close(descriptor)
        return done

    def _complete(self, file: _Big) -> None:
        part, row = part_of(file.path), file.row
        descriptor = os.open(part, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            finish(descriptor, row[2], row[3], row[4], row[5], row[10] if len(row) > 10 else None)
        finally:
            os.close(descriptor)
        replace(part, file.path)
        facts = os.lstat(file.path)
        self.restored.note(file.number, facts.st_ino, facts.st_ctime_ns)

    def drain(self) -> None:
        self._crew.drain()

    def end(self) -> None:
        self._crew.drain()
        self._crew.finish()

    def abandon(self) -> None:
        self._crew.abandon()

    # The rest ---------------------------------------------------------------------------------------------------------

    def link(self, path: str, target: str) -> None:
        """A further name of a file; the inode's change time moves with it, which costs reading it once more."""
        first = self.path(target)
        if os.path.lexists(path):
            if os.path.samestat(os.lstat(path), os.lstat(first)):
                return
            os.unlink(path)
        os.link(first, path)

    def remove_others(self) -> None:
        """Whatever the workspace has and the snapshot has not. The entries are read again: names of all would be much memory."""
        folders = {path for path, _ in self.folders}
        group: set[str] = set()
        place: str | None = None

        def sweep() -> None:
            if place is None:
                return
            for entry in os.scandir(place):
                if entry.is_dir(follow_symlinks=False):
                    if entry.path not in folders:
                        shutil.rmtree(entry.path)
                elif entry.name not in group:
                    os.unlink(entry.path)

        for folder, row in self._reader.entries():
            if row[0] == "d":
                sweep()
                group, place = set(), self.path(folder)
            else:
                group.add(row[1])
        sweep()

    def finish_folders(self) -> None:
        for path, row in sorted(self.folders, key=lambda one: -len(one[0])):
            own(path, row[3], row[4])
            for name, value in (row[6] if len(row) > 6 else {}).items():
                set_xattr(path, name, value)
            os.chmod(path, row[2])
            os.utime(path, ns=(row[5], row[5]))


@few_collections()
def restore(
    place: Callable[[str], str],
    key: bytes,
    manifest_key: str,
    transport: Transport,
    state: Path,
    hot: Sequence[str],
    usable: Callable[[int, int], None],
    exact: bool = False,
) -> int:
    """Restore everything; with `exact`, what the snapshot does not name is removed.

    Returns how many bytes the workspace has. Raises SnapshotError or OSError (disk full).
    """
    reader = Reader(lambda offset, length: transport.get(manifest_key, offset, length), key, manifest_key)
    woken(state, reader.snapshot_id)
    transport.know([name for name, _ in reader.packs])
    work = _Restore(reader, key, transport, place)
    total = reader.counts["bytes"]

    def is_hot(file: _Big) -> bool:
        name = file.path.rpartition("/")[2]
        return any(fnmatch.fnmatchcase(file.path, f"*/{one}") or fnmatch.fnmatchcase(name, one) for one in hot)

    try:
        work.begin()
        number = -1
        for section in reader.sections():
            number = work.section(section, number)
        work.big.sort(key=lambda one: urgency(one.path, one.row, one.rank))
        first, room = [], BEFORE_USABLE
        for file in work.big:
            if not file.row[9] or is_hot(file):
                first.append(file)
            elif file.rank is not None and file.row[6] <= room:
                room -= file.row[6]
                first.append(file)
        chosen = set(map(id, first))
        rest = [file for file in work.big if id(file) not in chosen]
        work.fill(first)
        work.drain()
        coming = {file.path for file in rest}
        later = [one for one in work.links if work.path(one[1]) in coming]
        for link in work.links:
            if work.path(link[1]) not in coming:
                work.link(*link)
        usable(work.done_bytes, total)
        work.fill(rest)
        work.end()
    except BaseException:
        work.abandon()
        raise
    for link in later:
        work.link(*link)
    if exact:
        work.remove_others()
    work.finish_folders()
    reader.check()
    work.restored.write(state, reader.snapshot_id)
    return total


def restore_below(target: str, key: bytes, manifest_key: str, transport: Transport, hot: Sequence[str] = ()) -> int:
    """Restore into a folder of one's own, each workspace by its name below it, leaving no trace for later saves."""
    folder = os.path.abspath(target)
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as state:
        return restore(
            place=lambda path: os.path.join(folder, path.lstrip("/")),
            key=key,
            manifest_key=manifest_key,
            transport=transport,
            state=Path(state),
            hot=hot,
            usable=lambda done, of: None,
        )
