"""Save a workspace: scan, read what changed, pack, upload while reading; the manifest last.

    for each entry: unchanged since the parent? refer to its frames : read, chunk, seal into the open pack
    a full pack goes to the uploaders; when all have arrived, the manifest is written

A file that changes while it is read is read again; one that keeps changing is named in `torn`.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agent.snapshot.errors import SnapshotError
from agent.snapshot.manifest import Manifest, decode, encode
from agent.snapshot.pack import Sealer, chunk_id, compress, id_key
from agent.snapshot.scan import Found, data_ranges, scan, xattrs

CHUNK = 4 << 20
SMALL = 512 << 10
BUNDLE = 2 << 20
PACK = 16 << 20
UPLOADERS = 4
RACY_NS = 2_000_000_000
"""A file touched this shortly before the parent was taken may have changed without a new time."""
REREADS = 3
NAMES_TOLD = 1000


class Transport(Protocol):
    def new_pack(self) -> tuple[str, str]: ...
    def manifest_address(self) -> tuple[str, str]: ...
    def put(self, key: str, url: str, body: bytes) -> None: ...
    def get(self, key: str, offset: int, length: int) -> bytes: ...


@dataclass
class _OpenPack:
    number: int
    name: str
    url: str
    sealer: Sealer
    body: bytearray = field(default_factory=bytearray)
    frames: int = 0


class Packs:
    """The open pack, and the uploaders behind it. At most a handful of packs are in memory."""

    def __init__(self, key: bytes, transport: Transport, manifest: Manifest) -> None:
        self._key = key
        self._transport = transport
        self._manifest = manifest
        self._queue: queue.Queue[tuple[str, str, bytes] | None] = queue.Queue(maxsize=2)
        self._failed: BaseException | None = None
        self.stored = 0
        self._threads = [threading.Thread(target=self._upload, daemon=True) for _ in range(UPLOADERS)]
        for thread in self._threads:
            thread.start()
        self._open: _OpenPack | None = None

    def add(self, data: bytes) -> int:
        """Seal a frame; its index in the manifest."""
        if self._failed is not None:
            raise SnapshotError(f"an upload failed: {self._failed}") from self._failed
        codec, payload = compress(data)
        if self._open is not None and len(self._open.body) + len(payload) > PACK:
            self._close()
        if self._open is None:
            name, url = self._transport.new_pack()
            self._manifest.packs.append((name, 0))
            self._open = _OpenPack(len(self._manifest.packs) - 1, name, url, Sealer(self._key, name))
        pack = self._open
        sealed = pack.sealer.seal(pack.frames, payload)
        self._manifest.frames.append([pack.number, len(pack.body), len(sealed), pack.frames, codec, len(data)])
        pack.body += sealed
        pack.frames += 1
        return len(self._manifest.frames) - 1

    def finish(self) -> None:
        """Wait until every pack has arrived. Raises SnapshotError when one did not."""
        self._close()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        if self._failed is not None:
            raise SnapshotError(f"an upload failed: {self._failed}") from self._failed

    def abandon(self) -> None:
        """End the uploaders; what they wrote is named by no manifest and goes with the next prune."""
        self._failed = self._failed or SnapshotError("abandoned")
        for _ in self._threads:
            self._queue.put(None)

    def _close(self) -> None:
        pack, self._open = self._open, None
        if pack is None:
            return
        self._manifest.packs[pack.number] = (pack.name, len(pack.body))
        self.stored += len(pack.body)
        self._queue.put((pack.name, pack.url, bytes(pack.body)))

    def _upload(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._failed is not None:
                continue
            try:
                self._transport.put(*item)
            except BaseException as error:
                # Kept for the reader, which stops and says so; the queue is drained so that nobody waits for ever.
                self._failed = error


class _Save:
    def __init__(self, key: bytes, manifest: Manifest, packs: Packs, parent: Manifest | None, stats: dict[str, Any]):
        self._id_key = id_key(key)
        self._manifest = manifest
        self._packs = packs
        self._parent = parent
        self._stats = stats
        self._before = {entry["p"]: entry for entry in parent.entries if entry["k"] == "f"} if parent else {}
        self._carried: dict[int, int] = {}
        self._carried_packs: dict[int, int] = {}
        self._inodes: dict[tuple[int, int], str] = {}
        self._bundle: list[tuple[dict[str, Any], bytes]] = []
        self._bundled = 0
        self.torn: list[str] = []
        self.problems: list[str] = []

    def entry(self, found: Found) -> None:
        facts = found.stat
        entry: dict[str, Any] = {
            "p": found.path,
            "k": found.kind,
            "m": facts.st_mode & 0o7777,
            "u": facts.st_uid,
            "g": facts.st_gid,
            "t": facts.st_mtime_ns,
        }
        extra = xattrs(found.place)
        if extra:
            entry["x"] = extra
        if found.kind == "l":
            try:
                entry["to"] = os.readlink(found.place)
            except OSError:
                return
        if found.kind == "f":
            first = self._inodes.get((facts.st_dev, facts.st_ino)) if facts.st_nlink > 1 else None
            if first is not None:
                entry = {"p": found.path, "k": "h", "to": first}
            elif not self._file(found, entry):
                return
            elif facts.st_nlink > 1:
                self._inodes[facts.st_dev, facts.st_ino] = found.path
        self._manifest.entries.append(entry)

    def _file(self, found: Found, entry: dict[str, Any]) -> bool:
        """Where its bytes are; False when it vanished or cannot be read."""
        if self._unchanged(found, entry):
            return True
        try:
            descriptor = os.open(found.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            self.problems.append(f"{found.place}: {error.strerror}")
            return False
        try:
            self._read(found, descriptor, entry)
        except OSError as error:
            self.problems.append(f"{found.place}: {error.strerror}")
            return False
        finally:
            os.close(descriptor)
        return True

    def _unchanged(self, found: Found, entry: dict[str, Any]) -> bool:
        old = self._before.get(found.path)
        facts = found.stat
        if old is None or self._parent is None or old["s"] != facts.st_size or old["t"] != facts.st_mtime_ns:
            return False
        known = self._stats.get(found.path) or [old["i"], old["c"]]
        if known != [facts.st_ino, facts.st_ctime_ns] or facts.st_mtime_ns > self._parent.created_ns - RACY_NS:
            return False
        entry.update(s=old["s"], i=facts.st_ino, c=facts.st_ctime_ns)
        if "b" in old:
            entry["b"] = [self._carry(old["b"][0]), old["b"][1]]
        else:
            entry["f"] = [[at, self._carry(frame)] for at, frame in old["f"]]
        return True

    def _carry(self, frame: int) -> int:
        """A frame of the parent, as one of ours."""
        assert self._parent is not None
        if frame not in self._carried:
            pack, *rest = self._parent.frames[frame]
            if pack not in self._carried_packs:
                self._manifest.packs.append(self._parent.packs[pack])
                self._carried_packs[pack] = len(self._manifest.packs) - 1
            self._manifest.frames.append([self._carried_packs[pack], *rest])
            self._carried[frame] = len(self._manifest.frames) - 1
        return self._carried[frame]

    def _read(self, found: Found, descriptor: int, entry: dict[str, Any]) -> None:
        for attempt in range(REREADS):
            before = os.fstat(descriptor)
            if before.st_size <= SMALL:
                whole = _read_all(descriptor, before.st_size)
                pieces: list[list[int]] | None = None
            else:
                pieces, whole = self._chunks(descriptor, before.st_size), b""
            after = os.fstat(descriptor)
            same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
            if same and (pieces is not None or len(whole) == before.st_size):
                break
            if attempt == REREADS - 1:
                self.torn.append(found.place)
        entry.update(s=before.st_size, t=before.st_mtime_ns, i=before.st_ino, c=before.st_ctime_ns)
        if pieces is not None:
            entry["f"] = pieces
        elif not whole:
            entry["f"] = []
            entry["s"] = 0
        else:
            entry["s"] = len(whole)
            self._bundle.append((entry, whole))
            self._bundled += len(whole)
            if self._bundled >= BUNDLE:
                self.flush()

    def flush(self) -> None:
        """Seal the small files at hand as one frame."""
        if not self._bundle:
            return
        frame = self._packs.add(b"".join(data for _, data in self._bundle))
        at = 0
        for entry, data in self._bundle:
            entry["b"] = [frame, at]
            at += len(data)
        self._bundle, self._bundled = [], 0

    def _chunks(self, descriptor: int, size: int) -> list[list[int]]:
        """A big file's chunks: [offset in the file, frame]. Holes have none."""
        pieces: list[list[int]] = []
        for start, length in data_ranges(descriptor, size):
            for at in range(start, start + length, CHUNK):
                data = os.pread(descriptor, min(CHUNK, start + length - at), at)
                if not data:
                    break
                pieces.append([at, self._frame_of(data)])
        return pieces

    def _frame_of(self, data: bytes) -> int:
        id = chunk_id(data, self._id_key)
        known = self._manifest.ids.get(id)
        if known is None and self._parent is not None and id in self._parent.ids:
            known = self._carry(self._parent.ids[id])
        if known is None:
            known = self._packs.add(data)
        self._manifest.ids[id] = known
        return known


def _read_all(descriptor: int, size: int) -> bytes:
    """Up to `size` and one more byte, so that growth is seen."""
    parts, at = [], 0
    while at <= size:
        block = os.pread(descriptor, size + 1 - at, at)
        if not block:
            break
        parts.append(block)
        at += len(block)
    return b"".join(parts)


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
) -> dict[str, Any]:
    """Take a snapshot; what the commit says of it, or `unchanged`. Raises SnapshotError: then nothing was committed."""
    missing = [root for root in roots if not os.path.isdir(root)]
    if missing and parent_key is not None:
        raise SnapshotError(f"the workspace is not there any more: {', '.join(missing)}")
    for root in missing:
        os.makedirs(root, exist_ok=True)
    parent = _parent(parent_key, key, transport)
    manifest = Manifest(snapshot_id, time.time_ns(), list(names))
    packs = Packs(key, transport, manifest)
    work = _Save(key, manifest, packs, parent, _known_stats(state, parent))
    try:
        for found in scan(roots, excludes, work.problems):
            work.entry(found)
        work.flush()
    except BaseException:
        packs.abandon()
        raise
    packs.finish()
    if only_changes and parent is not None and not packs.stored and _same(manifest, parent):
        return {"unchanged": True}
    if parent is not None:
        _carry_ids(manifest, parent, work)
    files = [entry for entry in manifest.entries if entry["k"] in ("f", "h")]
    total = sum(entry.get("s", 0) for entry in files)
    folders = sum(entry["k"] == "d" for entry in manifest.entries)
    manifest.counts = {"files": len(files), "directories": folders, "bytes": total}
    name, url = transport.manifest_address()
    body = encode(manifest, key, name)
    transport.put(name, url, body)
    return {
        "snapshot_id": snapshot_id,
        "manifest_key": name,
        "manifest_size": len(body),
        "packs": [{"key": pack, "size": size} for pack, size in manifest.packs],
        "files": len(files),
        "directories": folders,
        "bytes": total,
        "stored_bytes": packs.stored + len(body),
        "torn": _told(work.torn),
        "unreadable": _told(work.problems),
    }


def _same(manifest: Manifest, parent: Manifest) -> bool:
    """Whether two manifests describe the same tree; inodes and change times may differ."""

    def facts(one: Manifest) -> list[str]:
        return sorted(
            json.dumps({k: v for k, v in e.items() if k not in ("i", "c", "b", "f")}, sort_keys=True)
            for e in one.entries
        )

    return len(manifest.entries) == len(parent.entries) and facts(manifest) == facts(parent)


def _carry_ids(manifest: Manifest, parent: Manifest, work: _Save) -> None:
    """Chunk names of carried frames, so that the next snapshot knows them too."""
    carried = work._carried
    for id, frame in parent.ids.items():
        if frame in carried:
            manifest.ids.setdefault(id, carried[frame])


def _told(names: Sequence[str]) -> list[str]:
    return [name.encode("utf-8", "replace").decode()[:1000] for name in names[:NAMES_TOLD]]


def _parent(parent_key: str | None, key: bytes, transport: Transport) -> Manifest | None:
    if parent_key is None:
        return None
    return decode(lambda offset, length: transport.get(parent_key, offset, length), key, parent_key)


def _known_stats(state: Path, parent: Manifest | None) -> dict[str, Any]:
    """Inodes and change times as the restore on this machine left them; losing them only costs reading again."""
    try:
        kept = json.loads((state / "restored.json").read_text())
    except (OSError, ValueError):
        return {}
    if parent is None or kept.get("snapshot_id") != parent.snapshot_id:
        return {}
    stats = kept.get("stats")
    return stats if isinstance(stats, dict) else {}
