"""Restore a snapshot into place, verified, small and recent files first.

    make folders; write small files, newest first, then the hot list -> usable
    write big files beside their names, rename when whole; then links, modes and times of folders

Doing it again over the same tree fixes only what differs.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from agent.snapshot.errors import SnapshotError
from agent.snapshot.manifest import Manifest, decode
from agent.snapshot.pack import Sealer, expand

THREADS = 4
PART = ".dumont-part"


class Transport(Protocol):
    def get(self, key: str, offset: int, length: int) -> bytes: ...
    def know(self, keys: list[str]) -> None: ...


class _Restore:
    def __init__(self, manifest: Manifest, key: bytes, transport: Transport, place: Callable[[str], str]) -> None:
        self._manifest = manifest
        self._transport = transport
        self._roots = [place(name) for name in manifest.workspace]
        self._sealers = [Sealer(key, name) for name, _ in manifest.packs]
        self.stats: dict[str, list[int]] = {}

    def path(self, entry_path: str) -> str:
        number, _, relative = entry_path.partition("/")
        if ".." in relative.split("/"):
            raise SnapshotError(f"the manifest names {entry_path!r}, which leaves its workspace")
        root = self._roots[int(number)]
        return os.path.join(root, relative) if relative else root

    def frame(self, number: int) -> bytes:
        pack, offset, length, index, codec, raw_length = self._manifest.frames[number]
        sealed = self._transport.get(self._manifest.packs[pack][0], offset, length)
        return expand(codec, self._sealers[pack].open(index, sealed), raw_length)

    def folder(self, entry: dict[str, Any]) -> None:
        path = self.path(entry["p"])
        if os.path.islink(path) or (os.path.exists(path) and not os.path.isdir(path)):
            os.unlink(path)
        os.makedirs(path, exist_ok=True)

    def there(self, entry: dict[str, Any]) -> bool:
        """Whether the file is as it should be already."""
        try:
            facts = os.lstat(self.path(entry["p"]))
        except OSError:
            return False
        good = facts.st_size == entry["s"] and facts.st_mtime_ns == entry["t"] and facts.st_nlink == 1
        if good:
            self.stats[entry["p"]] = [facts.st_ino, facts.st_ctime_ns]
        return good

    def bundle(self, frame: int, entries: Sequence[dict[str, Any]]) -> int:
        """Write the small files of one frame; their bytes."""
        wanted = [entry for entry in entries if not self.there(entry)]
        if not wanted:
            return 0
        data = self.frame(frame)
        for entry in wanted:
            at = entry["b"][1]
            self._write(entry, lambda file, at=at, entry=entry: file.write(data[at : at + entry["s"]]))  # type: ignore[misc]
        return sum(entry["s"] for entry in wanted)

    def big(self, entry: dict[str, Any]) -> int:
        if self.there(entry):
            return 0

        def fill(file: Any) -> None:
            os.ftruncate(file.fileno(), entry["s"])
            for at, frame in entry["f"]:
                os.pwrite(file.fileno(), self.frame(frame), at)

        self._write(entry, fill)
        return int(entry["s"])

    def _write(self, entry: dict[str, Any], fill: Callable[[Any], Any]) -> None:
        """Under another name until whole, so that nobody takes a half file for the file."""
        path = self.path(entry["p"])
        folder, _, name = path.rpartition("/")
        # Long names leave no room for the ending.
        part = f"{folder}/.{name[:80]}.{os.getpid()}.{entry['i'] % 10**8}{PART}"
        if os.path.isdir(path) and not os.path.islink(path):
            raise SnapshotError(f"{path} is a folder here and a file in the snapshot")
        with open(part, "wb") as file:
            fill(file)
            file.flush()
            _own(file.fileno(), entry)
            os.fchmod(file.fileno(), entry["m"])
            for attribute, value in entry.get("x", {}).items():
                _set_xattr(file.fileno(), attribute, value)
            os.utime(file.fileno(), ns=(entry["t"], entry["t"]))
        os.rename(part, path)
        facts = os.lstat(path)
        self.stats[entry["p"]] = [facts.st_ino, facts.st_ctime_ns]

    def special(self, entry: dict[str, Any]) -> None:
        """Links and pipes."""
        path = self.path(entry["p"])
        if entry["k"] == "l" and os.path.islink(path) and os.readlink(path) == entry["to"]:
            return
        if os.path.lexists(path):
            os.unlink(path)
        if entry["k"] == "h":
            os.link(self.path(entry["to"]), path)
            # Another name changes the inode's change time, not its content.
            facts = os.lstat(path)
            self.stats[entry["to"]] = [facts.st_ino, facts.st_ctime_ns]
            return
        if entry["k"] == "l":
            os.symlink(entry["to"], path)
        else:
            os.mkfifo(path, entry["m"])
            os.chmod(path, entry["m"])
        _own(path, entry)
        os.utime(path, ns=(entry["t"], entry["t"]), follow_symlinks=False)

    def remove_others(self) -> None:
        """Whatever the workspace has and the snapshot has not."""
        named = {self.path(entry["p"]) for entry in self._manifest.entries}
        for root in self._roots:
            for folder, folders, files in os.walk(root, topdown=False):
                for name in files:
                    if (path := os.path.join(folder, name)) not in named:
                        os.unlink(path)
                for name in folders:
                    path = os.path.join(folder, name)
                    if path in named:
                        continue
                    if os.path.islink(path):
                        os.unlink(path)
                    else:
                        os.rmdir(path)

    def finish_folder(self, entry: dict[str, Any]) -> None:
        path = self.path(entry["p"])
        _own(path, entry)
        for attribute, value in entry.get("x", {}).items():
            _set_xattr(path, attribute, value)
        os.chmod(path, entry["m"])
        os.utime(path, ns=(entry["t"], entry["t"]))


def _own(target: int | str, entry: dict[str, Any]) -> None:
    """Owners are kept where we may set them."""
    try:
        if isinstance(target, int):
            os.fchown(target, entry["u"], entry["g"])
        else:
            os.chown(target, entry["u"], entry["g"], follow_symlinks=False)
    except PermissionError:
        return


def _set_xattr(target: int | str, name: str, value: str) -> None:
    try:
        os.setxattr(target, name, bytes.fromhex(value))
    except OSError:
        # This file system has none; the snapshot keeps them for one that has.
        return


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
    manifest = decode(lambda offset, length: transport.get(manifest_key, offset, length), key, manifest_key)
    work = _Restore(manifest, key, transport, place)
    transport.know([name for name, _ in manifest.packs])
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in manifest.entries:
        by_kind[entry["k"]].append(entry)
    for entry in by_kind["d"]:
        work.folder(entry)
    bundles: dict[int, list[dict[str, Any]]] = defaultdict(list)
    big: list[dict[str, Any]] = []
    for entry in by_kind["f"]:
        if "b" in entry:
            bundles[entry["b"][0]].append(entry)
        else:
            big.append(entry)

    def newest(entries: Sequence[dict[str, Any]]) -> int:
        return max(int(entry["t"]) for entry in entries)

    def is_hot(entry: dict[str, Any]) -> bool:
        relative = entry["p"].partition("/")[2]
        return any(fnmatch.fnmatchcase(relative, pattern) for pattern in hot) or not entry["f"]

    total = manifest.counts["bytes"]
    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        order = sorted(bundles.items(), key=lambda item: -newest(item[1]))
        first = [entry for entry in big if is_hot(entry)]
        done += sum(pool.map(lambda item: work.bundle(*item), order))
        done += sum(pool.map(work.big, first))
        for entry in by_kind["h"] + by_kind["l"] + by_kind["p"]:
            if entry["k"] != "h" or os.path.lexists(work.path(entry["to"])):
                work.special(entry)
        usable(done, total)
        rest = sorted((e for e in big if not is_hot(e)), key=lambda e: -int(e["t"]))
        done += sum(pool.map(work.big, rest))
    for entry in by_kind["h"]:
        work.special(entry)
    if exact:
        work.remove_others()
    for entry in sorted(by_kind["d"], key=lambda e: -len(e["p"])):
        work.finish_folder(entry)
    kept = {"snapshot_id": manifest.snapshot_id, "stats": work.stats}
    part = state / "restored.json.part"
    part.write_text(json.dumps(kept))
    part.replace(state / "restored.json")
    return total
