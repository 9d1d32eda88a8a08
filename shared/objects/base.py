"""The object storage's contract: S3, R2, B2 and Wasabi through one adapter, and a store in memory for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from datetime import timedelta
from typing import Protocol

from shared.frozen import dataclass


@dataclass(frozen=True)
class StoredObject:
    key: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Bucket:
    """Where a bucket is, and what opens it."""

    vendor: str
    endpoint: str | None
    """None: AWS's own for the region."""
    region: str
    name: str
    access_key: str
    secret_key: str = field(repr=False)
    public_only: bool = False
    """A user gave the endpoint: no other than public addresses are connected to."""


class ObjectStore(Protocol):
    def put(self, key: str, body: bytes) -> None:
        """Write a small object whole. Raises StorageError."""

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read a range of an object. Raises ObjectNotFound, StorageError."""

    def head(self, key: str) -> StoredObject:
        """Raises ObjectNotFound, StorageError."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in key order, however many."""

    def delete(self, key: str) -> None:
        """Remove one object; one that is not there is fine."""

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object below a prefix of at least 8 characters; how many were removed."""

    def presign_put(self, key: str, expires_in: timedelta) -> str:
        """A URL that can write exactly this key until it expires."""

    def presign_get(self, key: str, expires_in: timedelta) -> str:
        """A URL that can read exactly this key (ranges too) until it expires."""
