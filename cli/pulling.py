"""A snapshot read on this machine: its objects by addresses from the API, opened with the owner's key."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from agent.snapshot.errors import SnapshotError
from agent.snapshot.transport import Addresses
from cli.client import ApiError, Client

if TYPE_CHECKING:
    from agent.snapshot.manifest import Reader

BATCH = 500


def _source(api: Client, instance: str, snapshot: str) -> tuple[str, Addresses]:
    """The key of its manifest, and where its objects are."""
    path = f"/instances/{instance}/snapshots/{snapshot}/addresses"

    def fetch(keys: list[str]) -> dict[str, Any]:
        return api.post(path, {"keys": keys})

    first = fetch([])
    return str(first["manifest_key"]), Addresses(lambda keys: dict(fetch(keys)["urls"]), BATCH, first["urls"])


def _key(api: Client, instance: str) -> bytes:
    try:
        import cryptography  # noqa: F401

        from agent.snapshot import pack  # noqa: F401
    except ImportError as error:
        raise ApiError(
            0, "missing", f"reading snapshots here needs: pip install cryptography backports.zstd ({error})"
        ) from error
    return base64.b64decode(api.get(f"/instances/{instance}/recovery")["key"])


def _opened(manifest_key: str, source: Addresses, key: bytes) -> Reader:
    from agent.snapshot.manifest import Reader

    return Reader(lambda at, length: source.get(manifest_key, at, length), key, manifest_key)


def pull(api: Client, instance: str, snapshot: str, to: str) -> tuple[int, int]:
    """How many files and bytes are below `to`. Raises ApiError."""
    key = _key(api, instance)
    from agent.snapshot.restore import restore_below

    manifest_key, source = _source(api, instance, snapshot)
    try:
        reader = _opened(manifest_key, source, key)
        total = restore_below(to, key, manifest_key, source)
    except SnapshotError as error:
        raise ApiError(0, "snapshot", str(error)) from error
    return int(reader.counts["files"]), total


def diff(api: Client, instance: str, old: str, new: str) -> list[tuple[str, str]]:
    """(mark, path) of each file in which two snapshots differ: + new, - gone, M changed. Raises ApiError."""
    key = _key(api, instance)
    from agent.snapshot.compare import changes

    try:
        before, after = (_opened(*_source(api, instance, one), key) for one in (old, new))
        return changes(before, after)
    except SnapshotError as error:
        raise ApiError(0, "snapshot", str(error)) from error
