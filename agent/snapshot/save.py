"""Save a workspace: scan, read what changed, pack, upload while reading; the manifest last.

    for each entry: as in the parent? refer to its frames : a task for the crew, which reads, seals and sends
    an entry is written into the manifest once its bytes have a place; when all packs have arrived, the manifest goes up

A save that was cut off and is tried again under the same id finds in a journal which frames had arrived.
A file that changes while it is read is read again; one that keeps changing is named in `torn`.
"""

from __future__ import annotations

import base64
import errno
import os
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from agent.snapshot.crew import Crew, Lazy, Processes, Threads, few_collections
from agent.snapshot.errors import SnapshotError
from agent.snapshot.hot import Learner, woken_at
from agent.snapshot.journal import Arrived, Journal
from agent.snapshot.manifest import CHUNK, Frames, Reader, Row, Writer
from agent.snapshot.pace import POLITE_RATE, Pace
from agent.snapshot.pack import Bytes, Packer, id_key
from agent.snapshot.reading import REREADS
from agent.snapshot.reading import Reader as FileReader
from agent.snapshot.restored import Restored
from agent.snapshot.scan import Found, data_ranges, order_of, scan, xattrs
from agent.snapshot.tasks import Task

SMALL = 512 << 10
BUNDLE = 2 << 20
BUNDLE_FILES = 1000
LARGE_JOB = 16 << 20
"""Bytes to read from which processes of their own pay."""
POLITE = 15
"""Niceness of a snapshot that is taken while the user works."""
RACY_NS = 2_000_000_000
"""A file touched this shortly before the parent was taken may have changed without a new time."""
READY = 100
"""Entries that are written into the manifest together, where they wait for no bytes."""
NAMES_TOLD = 1000
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Transport(Protocol):
    """Where objects are. `plain_addresses`: any process may use the addresses as they are."""

    plain_addresses: bool

    def new_pack(self) -> tuple[str, str]: ...
    def manifest_address(self) -> tuple[str, str]: ...
    def put(self, key: str, url: str, body: bytes | bytearray | memoryview) -> None: ...
    def get(self, key: str, offset: int, length: int) -> bytes: ...


class _Parent:
    """The manifest before, read along with the scan."""

    def __init__(self, reader: Reader, restored: Restored) -> None:
        self.reader = reader
        self.frames = reader.frames()
        self.ids = reader.ids()
        self.hot = reader.hot()
        self.problem: str | None = None
        """Why the rest of it could not be read."""
        self._folders = self._grouped(restored)
        self._ahead = self._next()

    def _next(self) -> tuple[str, Row, dict[str, Row]] | None:
        try:
            return next(self._folders, None)
        except SnapshotError as error:
            # What cannot be read of it is saved anew.
            self.problem = str(error)
            return None

    def _grouped(self, restored: Restored) -> Iterator[tuple[str, Row, dict[str, Row]]]:
        """Each folder with its entries by name; inodes and change times as a restore on this machine left them."""
        group: tuple[str, Row, dict[str, Row]] | None = None
        number = 0
        for folder, row in self.reader.entries():
            if row[0] == "d":
                if group is not None:
                    yield group
                group = (folder, row, {})
                continue
            if row[0] in "fF":
                row[7:9] = restored.of(number) or row[7:9]
                number += 1
            assert group is not None
            group[2][row[1]] = row
        if group is not None:
            yield group

    def folder(self, path: str) -> tuple[Row | None, dict[str, Row]]:
        """What the manifest has of a folder; folders are asked for in the scan's order."""
        wanted = order_of(path)
        while self._ahead is not None and order_of(self._ahead[0]) < wanted:
            self._ahead = self._next()
        if self._ahead is not None and self._ahead[0] == path:
            return self._ahead[1], self._ahead[2]
        return None, {}


class _Pending:
    """An entry whose bytes have no place yet."""

    __slots__ = ("chunks", "found", "old", "open", "row", "tries")

    def __init__(self, row: Row | None, found: Found | None, old: Row | None) -> None:
        self.row = row
        self.found = found
        self.old = old
        self.open = 0
        self.tries = 0
        self.chunks: list[tuple[int, bytes | None]] = []


class _Save:
    def __init__(
        self,
        key: bytes,
        name: str,
        transport: Transport,
        parent: _Parent | None,
        pace: Pace | None,
        journal: Journal,
        learner: Learner,
    ) -> None:
        self._key = key
        self._pace = pace
        self._journal = journal
        self.learner = learner
        self._adopted_packs: dict[str, int] = {}
        self._adopted: dict[bytes, int] = {}
        self._transport = transport
        self._parent = parent
        self.writer = Writer(key, name)
        self.packs: list[tuple[str, int]] = []
        self.frames = Frames()
        self._frame_of: dict[bytes, int] = {}
        self._claimed: set[bytes] = set()
        self._guard = threading.Lock()
        self._carried = array("q", [-1]) * len(parent.frames) if parent else array("q")
        self._carried_packs: dict[int, int] = {}
        self._inodes: dict[tuple[int, int], str] = {}
        self._dropped: set[str] = set()
        self._rows: deque[_Pending] = deque()
        self._again: list[_Pending] = []
        self._bundle: list[_Pending] = []
        self._files: list[tuple[str, int, int]] = []
        """Of the bundle: path, size, time."""
        self._bundled = 0
        self._tasks: dict[int, Any] = {}
        self._count = 0
        self.crew = Lazy(self._crew, LARGE_JOB)
        self._before: dict[str, Row] = {}
        self.stored = 0
        self.changed = 0
        self.counts = {"files": 0, "directories": 0, "bytes": 0}
        self.torn: list[str] = []
        self.problems: list[str] = []

    # Entries ----------------------------------------------------------------------------------------------------------

    def entry(self, found: Found) -> None:
        pending = self._file(found) if found.kind == "f" else self._other(found)
        if pending is None:
            return
        self._rows.append(pending)
        if len(self._rows) >= READY and not self._rows[0].open:
            self._emit()

    def _other(self, found: Found) -> _Pending | None:
        """A folder, a link or a pipe; None when it has gone."""
        facts = found.stat
        row: Row = [found.kind, found.name, facts.st_mode & 0o7777, facts.st_uid, facts.st_gid, facts.st_mtime_ns]
        old: Row | None
        if found.kind == "d":
            row[1] = found.path
            old, self._before = self._parent.folder(found.path) if self._parent else (None, {})
        else:
            old = self._before.get(found.name)
        if found.kind == "l":
            try:
                row.append(os.readlink(found.place))
            except OSError:
                return None
        if extra := xattrs(found.place):
            row.append(extra)
        return _Pending(row, found, old)

    def _file(self, found: Found) -> _Pending:
        name, facts = found.name, found.stat
        size, mtime_ns = facts.st_size, facts.st_mtime_ns
        row: Row = [
            "f", name, facts.st_mode & 0o7777, facts.st_uid, facts.st_gid, mtime_ns, size, facts.st_ino, facts.st_ctime_ns, -1, 0
        ]  # fmt: skip
        old = self._before.get(name)
        pending = _Pending(row, found, old)
        if facts.st_nlink > 1:
            inode = (facts.st_dev, facts.st_ino)
            if (first := self._inodes.get(inode)) is not None:
                pending.row = ["h", name, first]
                return pending
            self._inodes[inode] = found.path
        if self.learner.learns:
            self.learner.see(found.path, facts)
        if old is not None and self._unchanged(facts, old):
            row[0] = old[0]
            row[9:] = [self._carry(old[9]), old[10]] if old[0] == "f" else [self._carry_all(old[9])]
        elif size > SMALL:
            row[0], row[9:] = "F", [[]]
            pending.open = 1
        elif size:
            # Its attributes come with its bytes.
            pending.open = 1
            self._bundle.append(pending)
            self._files.append((found.place, size, mtime_ns))
            self._bundled += size
            if self._bundled >= BUNDLE or len(self._bundle) >= BUNDLE_FILES:
                self.flush()
            return pending
        if extra := xattrs(found.place):
            row.append(extra)
        if pending.open:
            self._big(pending)
        return pending

    def _unchanged(self, facts: os.stat_result, old: Row) -> bool:
        assert self._parent is not None
        return (
            old[0] in "fF"
            and old[6] == facts.st_size
            and old[5] == facts.st_mtime_ns
            and old[7:9] == [facts.st_ino, facts.st_ctime_ns]
            and facts.st_mtime_ns <= self._parent.reader.created_ns - RACY_NS
        )

    def _carry(self, frame: int) -> int:
        """A frame of the parent, as one of ours."""
        if frame < 0:
            return frame
        assert self._parent is not None
        if self._carried[frame] < 0:
            pack, *rest = self._parent.frames[frame]
            if pack not in self._carried_packs:
                with self._guard:
                    self.packs.append(self._parent.reader.packs[pack])
                    self._carried_packs[pack] = len(self.packs) - 1
            self._carried[frame] = self.frames.add([self._carried_packs[pack], *rest])
        return self._carried[frame]

    def _carry_all(self, chunks: list[Any]) -> list[Any]:
        return [self._carry(of) if isinstance(of, int) else [of[0], self._carry(of[1])] for of in chunks]

    def _big(self, pending: _Pending) -> None:
        """A task for each chunk."""
        found = pending.found
        assert found is not None
        pending.chunks = []
        try:
            ranges = data_ranges(found.place, found.stat)
        except OSError as error:
            self._drop(pending, error.errno or errno.EIO)
            return
        # Results come while tasks are handed over: it is not whole before the last was.
        pending.open = 1
        for start, length in ranges:
            # Chunks lie where they would without holes, so that a hole that fills does not move the others.
            for at in range(start - start % CHUNK, start + length, CHUNK):
                first = max(at, start)
                size = min(at + CHUNK, start + length) - first
                pending.chunks.append((first, None))
                pending.open += 1
                self._submit(("chunk", found.place, first, size), (pending, len(pending.chunks) - 1), size)
        self._one_less(pending)

    def flush(self) -> None:
        """The small files at hand become one frame."""
        if self._bundle:
            self._submit(("bundle", self._files), self._bundle, self._bundled)
            self._bundle, self._files, self._bundled = [], [], 0

    # The crew ---------------------------------------------------------------------------------------------------------

    def _submit(self, task: Task, context: Any, size: int) -> None:
        self._count += 1
        self._tasks[self._count] = context
        self.crew.submit((task[0], self._count, *task[1:]), size)

    def _crew(self, large: bool) -> Crew:
        """Processes for a large job where storage can be reached from any; else threads of this one."""
        if self._transport.plain_addresses and large:
            job = {
                "kind": "save",
                "key": base64.b64encode(self._key).decode(),
                "paced": self._pace is not None,
                "resumed": bool(self._journal.frames),
            }
            calls: dict[str, Callable[..., Any]] = {
                "address": self._address,
                "claim": self._claim,
                "closed": self._closed,
                "stored": self._stored_before,
                "delay": self._delay,
            }
            few = {"count": 1, "threads": 1, "nice": POLITE} if self._pace is not None else {}
            return Processes(job, calls, self._done, **few)
        packer = Packer(self._key, self._address, self._put, self._closed)
        work = FileReader(packer, id_key(self._key), self._claim, self._stored_before)
        return Threads(work, self._done)

    def _put(self, key: str, url: str, body: Bytes) -> None:
        time.sleep(self._delay(len(body)))
        self._transport.put(key, url, body)

    def _delay(self, size: int) -> float:
        return self._pace.delay(size) if self._pace is not None else 0.0

    def _stored_before(self, id: bytes) -> bool:
        return id in self._journal.frames

    def _address(self) -> tuple[int, str, str]:
        name, url = self._transport.new_pack()
        with self._guard:
            self.packs.append((name, 0))
            return len(self.packs) - 1, name, url

    def _closed(self, number: int, size: int) -> None:
        with self._guard:
            self.packs[number] = (self.packs[number][0], size)
            self.stored += size
            name = self.packs[number][0]
        self._journal.arrived(name, size)

    def _claim(self, id: bytes) -> bool:
        with self._guard:
            if id in self._claimed or (self._parent is not None and id in self._parent.ids):
                return False
            if id in self._journal.frames:
                return False
            self._claimed.add(id)
            return True

    def _adopt(self, id: bytes) -> int:
        """A frame that had arrived before this save was cut off, as one of ours."""
        if id not in self._adopted:
            one: Arrived = self._journal.frames[id]
            if one.pack not in self._adopted_packs:
                with self._guard:
                    self.packs.append((one.pack, one.size))
                    self.stored += one.size
                    self._adopted_packs[one.pack] = len(self.packs) - 1
            self._adopted[id] = self.frames.add([self._adopted_packs[one.pack], *one[2:]])
        return self._adopted[id]

    def _done(self, result: Task) -> None:
        kind, number = result[0], result[1]
        context = self._tasks.pop(number)
        id = result[2] if kind == "chunk" else result[6]
        frame = -1
        if result[3] is not None:
            pack, *place = result[3]
            frame = self.frames.add((pack, *place, result[4], result[5]))
            self._journal.sealed(self.packs[pack][0], id, (*place, result[4], result[5]))
        elif kind == "bundle" and id:
            frame = self._adopt(id)
        if kind == "chunk":
            self._chunk_done(context[0], context[1], result[2], frame)
        else:
            self._bundle_done(context, result[2], frame)
        self._emit()

    def _bundle_done(self, bundle: list[_Pending], facts: list[Any], frame: int) -> None:
        for pending, one in zip(bundle, facts, strict=True):
            pending.open = 0
            row = pending.row
            if isinstance(one, int):
                self._drop(pending, one)
            elif row is not None:
                row[6], row[5], row[7], row[8], offset, whole, extra = one
                if row[6]:
                    row[9], row[10] = frame, offset
                if extra:
                    row.append(extra)
                if not whole and pending.found is not None:
                    self.torn.append(pending.found.place)

    def _chunk_done(self, pending: _Pending, index: int, id: bytes | int, frame: int) -> None:
        if isinstance(id, int):
            pending.chunks[index] = (-id, None)
        else:
            pending.chunks[index] = (pending.chunks[index][0], id)
            if frame >= 0:
                self._frame_of[id] = frame
        self._one_less(pending)

    def _one_less(self, pending: _Pending) -> None:
        pending.open -= 1
        if pending.open == 0 and pending.row is not None:
            self._whole(pending)

    def _whole(self, pending: _Pending) -> None:
        """Every chunk has been read: was it the same file all the time?"""
        found, row = pending.found, pending.row
        assert found is not None and row is not None
        failed = next((-at for at, id in pending.chunks if id is None), None)
        try:
            now = os.lstat(found.place)
        except OSError as error:
            self._drop(pending, error.errno or errno.EIO)
            return
        same = (now.st_ino, now.st_size, now.st_mtime_ns) == (
            found.stat.st_ino,
            found.stat.st_size,
            found.stat.st_mtime_ns,
        )
        if same and failed is not None:
            self._drop(pending, failed)
        elif not same and pending.tries < REREADS - 1:
            pending.tries += 1
            pending.found = found._replace(stat=now)
            row[5:9] = [now.st_mtime_ns, now.st_size, now.st_ino, now.st_ctime_ns]
            # Its bytes may not be in the manifest before it was read once more.
            pending.open = -1
            self._again.append(pending)
        elif not same:
            self.torn.append(found.place)
            pending.chunks = [(at, id) for at, id in pending.chunks if id is not None]

    def _drop(self, pending: _Pending, error: int) -> None:
        """A file that vanished was never there; one that cannot be read is told."""
        assert pending.found is not None
        if error not in GONE:
            self.problems.append(f"{pending.found.place}: {os.strerror(error)}")
        pending.row, pending.open, pending.chunks = None, 0, []
        self._dropped.add(pending.found.path)
        self._inodes.pop((pending.found.stat.st_dev, pending.found.stat.st_ino), None)

    def reread(self) -> None:
        while self._again:
            self._big(self._again.pop())

    # The manifest -----------------------------------------------------------------------------------------------------

    def _emit(self) -> None:
        """Write the entries that are complete, in the scan's order."""
        rows, ready = self._rows, []
        files = folders = size = changed = 0
        while rows and rows[0].open == 0:
            pending = rows[0]
            if pending.chunks and not self._placed(pending):
                break
            rows.popleft()
            row = pending.row
            if row is not None and row[0] == "h" and row[2] in self._dropped and pending.found is not None:
                self.problems.append(f"{pending.found.place}: its first name could not be read")
                row = None
            if row is None:
                changed += 1
                continue
            kind = row[0]
            if kind in "fF":
                files += 1
                size += row[6]
            elif kind == "h":
                files += 1
            elif kind == "d":
                folders += 1
            if pending.old is None or not self._like(row, pending.old):
                changed += 1
            ready.append(row)
        self.changed += changed
        self.counts["files"] += files
        self.counts["directories"] += folders
        self.counts["bytes"] += size
        self.writer.entries(ready)

    def _placed(self, pending: _Pending) -> bool:
        """Give each chunk its frame; False while one is still on its way in another's hands."""
        assert pending.row is not None
        frames: list[tuple[int, int]] = []
        for at, id in pending.chunks:
            assert id is not None
            frame = self._frame_of.get(id)
            if frame is None:
                known = self._parent.ids.get(id) if self._parent else None
                if known is not None:
                    frame = self._carry(known)
                elif id in self._journal.frames:
                    frame = self._adopt(id)
                else:
                    return False
                self._frame_of[id] = frame
            frames.append((at, frame))
        dense = all(at == n * CHUNK for n, (at, _) in enumerate(frames))
        pending.row[9] = [frame for _, frame in frames] if dense else [[at, frame] for at, frame in frames]
        return True

    def _like(self, row: Row, old: Row) -> bool:
        """Whether an entry is as the parent has it; inodes and change times may differ."""
        if old[0] != row[0]:
            return False
        if row[0] in "fF":
            same = [*old[:7], *(old[10:] if row[0] == "f" else [])] == [*row[:7], *(row[10:] if row[0] == "f" else [])]
            if row[0] == "f":
                return same and (self._carried[old[9]] if old[9] >= 0 else -1) == row[9]
            return same and old[10:] == row[10:] and self._carry_all(old[9]) == row[9]
        return old == row

    def end(self) -> None:
        """Wait until everything has been read and every pack has arrived. Raises SnapshotError when one did not."""
        self.flush()
        self.crew.drain()
        while self._again:
            self.reread()
            self.crew.drain()
        self._emit()
        self.crew.finish()

    def chunk_ids(self) -> dict[bytes, int]:
        """Names of chunks that are referred to, so that the next snapshot finds equal ones."""
        if self._parent is not None:
            for id, frame in self._parent.ids.items():
                if self._carried[frame] >= 0:
                    self._frame_of.setdefault(id, self._carried[frame])
        return self._frame_of


@few_collections()
def save(
    roots: Sequence[str],
    names: Sequence[str],
    excludes: Sequence[str],
    key: bytes,
    snapshot_id: str,
    parent_key: str | None,
    transport: Transport,
    state: Path,
    only_changes: bool = False,
    polite: bool = False,
    rate: float = POLITE_RATE,
    hurry: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Take a snapshot; what the commit says of it, or `unchanged`. Raises SnapshotError: then nothing was committed.

    `polite` while the user works: one process that runs when nobody else wants to, and sends at most `rate` bytes a second
    until `hurry` says that somebody waits.
    """
    missing = [root for root in roots if not os.path.isdir(root)]
    if missing and parent_key is not None:
        raise SnapshotError(f"the workspace is not there any more: {', '.join(missing)}")
    for root in missing:
        os.makedirs(root, exist_ok=True)
    created_ns = time.time_ns()
    parent, note = None, None
    if parent_key is not None:
        try:
            reader = Reader(lambda offset, length: transport.get(parent_key, offset, length), key, parent_key)
            parent = _Parent(reader, Restored.read(state, reader.snapshot_id))
        except SnapshotError as error:
            # The workspace is here: a damaged parent costs an upload, never the snapshot.
            note = str(error)
    name, _ = transport.manifest_address()
    journal = Journal(state, key, snapshot_id)
    learner = Learner(woken_at(state), parent.hot if parent else ())
    work = _Save(key, name, transport, parent, Pace(rate, hurry) if polite else None, journal, learner)
    try:
        if parent is None and not polite:
            # A first snapshot is seldom small: its workers start while the scan begins.
            work.crew.expect(LARGE_JOB)
        for found in scan(roots, excludes, work.problems):
            work.entry(found)
            if work._again:
                work.reread()
        work.end()
    except BaseException:
        work.crew.abandon()
        raise
    finally:
        journal.close()
    if only_changes and parent is not None and not work.changed and work.writer.rows == parent.reader.rows:
        return {"unchanged": True}

    body = work.writer.finish(
        work.frames,
        work.chunk_ids(),
        learner.order(),
        snapshot_id=snapshot_id,
        created_ns=created_ns,
        workspace=list(names),
        packs=work.packs,
        counts=work.counts,
    )
    # The address is fetched now: one of the beginning may have expired meanwhile.
    transport.put(*transport.manifest_address(), body)
    return {
        "snapshot_id": snapshot_id,
        "manifest_key": name,
        "manifest_size": len(body),
        "packs": [{"key": pack, "size": size} for pack, size in work.packs],
        **work.counts,
        "stored_bytes": work.stored + len(body),
        "torn": _told(work.torn),
        "unreadable": _told(work.problems),
        "note": note or (parent.problem if parent else None),
    }


def _told(names: Sequence[str]) -> list[str]:
    return [name.encode("utf-8", "replace").decode()[:1000] for name in names[:NAMES_TOLD]]
