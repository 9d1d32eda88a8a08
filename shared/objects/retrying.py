"""Object storage with patience: every call here may be repeated, so transient failures are."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from shared import errors
from shared.objects.base import ObjectStore, StoredObject

T = TypeVar("T")


class Retrying:
    def __init__(self, inner: ObjectStore, tries: int = 4, sleep: Callable[[float], None] = time.sleep) -> None:
        self._inner = inner
        self._tries = tries
        self._sleep = sleep

    def put(self, key: str, body: bytes) -> None:
        self._repeat(lambda: self._inner.put(key, body))

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._repeat(lambda: self._inner.get(key, start=start, length=length))

    def head(self, key: str) -> StoredObject:
        return self._repeat(lambda: self._inner.head(key))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        yield from self._repeat(lambda: list(self._inner.list(prefix)))

    def delete(self, key: str) -> None:
        self._repeat(lambda: self._inner.delete(key))

    def delete_prefix(self, prefix: str) -> int:
        return self._repeat(lambda: self._inner.delete_prefix(prefix))

    def presign_put(self, key: str, expires_in: timedelta) -> str:
        return self._inner.presign_put(key, expires_in)

    def presign_get(self, key: str, expires_in: timedelta) -> str:
        return self._inner.presign_get(key, expires_in)

    def _repeat(self, call: Callable[[], T]) -> T:
        for attempt in range(self._tries):
            try:
                return call()
            except errors.StorageError as error:
                if not error.details.get("transient") or attempt == self._tries - 1:
                    raise
                self._sleep(random.uniform(0, 0.2 * 2**attempt))
        raise AssertionError("unreachable")
