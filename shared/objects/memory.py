"""Object storage in memory, for unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from shared import errors
from shared.objects.base import StoredObject


class MemoryObjects:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        self.objects[key] = bytes(body)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        body = self._one(key)
        return body[start:] if length is None else body[start : start + length]

    def head(self, key: str) -> StoredObject:
        return StoredObject(key, len(self._one(key)))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for key in sorted(k for k in self.objects if k.startswith(prefix)):
            yield StoredObject(key, len(self.objects[key]))

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def delete_prefix(self, prefix: str) -> int:
        if len(prefix) < 8:
            raise errors.StorageError(f"refusing to delete everything below {prefix!r}")
        keys = [item.key for item in self.list(prefix)]
        for key in keys:
            self.delete(key)
        return len(keys)

    def presign_put(self, key: str, expires_in: timedelta) -> str:
        return f"memory://put/{key}?expires={expires_in.total_seconds():g}"

    def presign_get(self, key: str, expires_in: timedelta) -> str:
        return f"memory://get/{key}?expires={expires_in.total_seconds():g}"

    def _one(self, key: str) -> bytes:
        if key not in self.objects:
            raise errors.ObjectNotFound(f"there is no object {key}")
        return self.objects[key]
