"""A snapshot read on this machine: its objects by addresses from the API, opened with the owner's key."""

from __future__ import annotations

import base64
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from cli.client import ApiError, Client

BATCH = 500


class Addresses:
    """Where a snapshot's objects are; any process may read them."""

    plain_addresses = True

    def __init__(self, api: Client, instance: str, snapshot: str) -> None:
        self._api, self._path = api, f"/instances/{instance}/snapshots/{snapshot}/addresses"
        self._guard = threading.Lock()
        self._urls: dict[str, str] = {}
        self.manifest_key = str(self._fetch([])["manifest_key"])

    def _fetch(self, keys: list[str]) -> dict[str, Any]:
        answer = self._api.post(self._path, {"keys": keys})
        self._urls.update(answer["urls"])
        return answer

    def get(self, key: str, offset: int, length: int) -> bytes:
        from agent.snapshot.transport import Stale, get_into

        room = bytearray(length)
        try:
            get_into(self.url(key), offset, memoryview(room))
        except Stale:
            get_into(self.url(key, fresh=True), offset, memoryview(room))
        return bytes(room)

    def url(self, key: str, fresh: bool = False) -> str:
        with self._guard:
            if fresh or key not in self._urls:
                self._fetch([key])
            return self._urls[key]

    def know(self, keys: list[str]) -> None:
        for start in range(0, len(keys), BATCH):
            with self._guard:
                self._fetch(keys[start : start + BATCH])


def _key(api: Client, instance: str) -> bytes:
    try:
        import cryptography  # noqa: F401

        from agent.snapshot import pack  # noqa: F401
    except ImportError as error:
        raise ApiError(
            0, "missing", f"reading snapshots here needs: pip install cryptography backports.zstd ({error})"
        ) from error
    return base64.b64decode(api.get(f"/instances/{instance}/recovery")["key"])


def pull(api: Client, instance: str, snapshot: str, to: str) -> tuple[int, int]:
    """How many files and bytes are below `to`. Raises ApiError."""
    key = _key(api, instance)
    from agent.snapshot.errors import SnapshotError
    from agent.snapshot.manifest import Reader
    from agent.snapshot.restore import restore

    target = os.path.abspath(to)
    os.makedirs(target, exist_ok=True)
    source = Addresses(api, instance, snapshot)
    try:
        reader = Reader(lambda at, length: source.get(source.manifest_key, at, length), key, source.manifest_key)
        with tempfile.TemporaryDirectory() as state:
            total = restore(
                place=lambda path: os.path.join(target, path.lstrip("/")),
                key=key,
                manifest_key=source.manifest_key,
                transport=source,
                state=Path(state),
                hot=[],
                usable=lambda done, of: None,
            )
    except SnapshotError as error:
        raise ApiError(0, "snapshot", str(error)) from error
    return int(reader.counts["files"]), total


def diff(api: Client, instance: str, old: str, new: str) -> list[tuple[str, str]]:
    """(mark, path) of each file in which two snapshots differ: + new, - gone, M changed. Raises ApiError."""
    key = _key(api, instance)
    from agent.snapshot.__main__ import facts
    from agent.snapshot.errors import SnapshotError
    from agent.snapshot.manifest import Reader, path_of

    def files(snapshot: str) -> dict[str, tuple[Any, ...]]:
        source = Addresses(api, instance, snapshot)
        reader = Reader(lambda at, length: source.get(source.manifest_key, at, length), key, source.manifest_key)
        return {path_of(folder, row): facts(row) for folder, row in reader.entries() if row[0] != "d"}

    try:
        before, after = files(old), files(new)
    except SnapshotError as error:
        raise ApiError(0, "snapshot", str(error)) from error
    return [
        ("-" if path not in after else "+" if path not in before else "M", path.partition("/")[2])
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
