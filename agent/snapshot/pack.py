"""Chunk to compressed, sealed bytes, and back."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

from agent.snapshot.errors import SnapshotError
from shared.domain.snapshot import associated, nonce, object_key

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RAW, ZSTD = 0, 1
TAG = 16
SAMPLE = 16 << 10


def chunk_id(data: bytes, id_key: bytes) -> str:
    """A chunk's name: keyed, so that storage learns nothing of the content."""
    return hashlib.blake2b(data, key=id_key, digest_size=20).hexdigest()


def id_key(key: bytes) -> bytes:
    return object_key(key, "chunk ids")


def compress(data: bytes) -> tuple[int, bytes]:
    """Codec and payload; what a few samples say cannot shrink stays as it is."""
    if len(data) > 4 * SAMPLE:
        step = len(data) // 3
        sample = b"".join(data[at : at + SAMPLE] for at in range(0, len(data) - SAMPLE, step))
        if len(zstd.compress(sample, 1)) > 0.95 * len(sample):
            return RAW, data
    small = zstd.compress(data, 1)
    return (ZSTD, small) if len(small) < len(data) else (RAW, data)


def expand(codec: int, payload: bytes, raw_length: int) -> bytes:
    if codec == RAW:
        data = payload
    elif codec == ZSTD:
        data = zstd.decompress(payload)
    else:
        raise SnapshotError(f"frame codec {codec} is of a newer version")
    if len(data) != raw_length:
        raise SnapshotError(f"a frame has {len(data)} instead of {raw_length} bytes")
    return data


class Sealer:
    """Seals the frames of one object, each bound to its place."""

    def __init__(self, key: bytes, name: str) -> None:
        self._name = name
        self._cipher = _cipher(object_key(key, name))

    def seal(self, frame: int, payload: bytes) -> bytes:
        sealed: bytes = self._cipher.encrypt(nonce(frame), payload, associated(self._name, frame))
        return sealed

    def open(self, frame: int, sealed: bytes) -> bytes:
        """Raises SnapshotError when one bit of it, or its place, is not as it was sealed."""
        from cryptography.exceptions import InvalidTag

        try:
            payload: bytes = self._cipher.decrypt(nonce(frame), sealed, associated(self._name, frame))
        except InvalidTag as error:
            raise SnapshotError(f"frame {frame} of {self._name} is damaged or sealed with another key") from error
        return payload


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
