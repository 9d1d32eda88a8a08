"""What the agent and the control plane agree on: how objects are sealed, and the part of a manifest that both read.

A manifest object starts with a head: `DMF1`, a salt (16 bytes), the head's sealed length (4 bytes, big-endian) and the
sealed head, zlib-compressed JSON under AES-256-GCM. The salt is fresh at each writing: a snapshot tried again under the
same name never seals other bytes with the same key and nonce. `agent/snapshot/FORMAT.md` has the rest.

Every worker of a save imports this, so it imports little.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from shared.errors import StorageError

MAGIC = b"DMF1"
SALT = 16
PREFIX = len(MAGIC) + SALT + 4
"""How many bytes must be read to learn the head's length."""
HEAD_LIMIT, TEXT_LIMIT = 16 << 20, 64 << 20
"""Sealed, and expanded: a machine that has the key may write a head that grows without end. 200,000 packs make 4 and 9 MB."""
READ_AHEAD, WHOLE_LIMIT = 1 << 20, 512 << 20
NO_FILE = "sockets and devices are not saved"
"""How the agent ends its word on what never is in a snapshot; everything else it names could not be read."""


class Head(NamedTuple):
    snapshot_id: str
    packs: dict[str, int]
    """Every pack the manifest names, with its size in bytes."""
    fields: dict[str, Any]


def object_key(key: bytes, name: str) -> bytes:
    """The AES key of one object: HKDF-SHA256 of the instance's key, bound to the object's name."""
    extracted = hmac.new(b"dumont-snapshot-1", key, hashlib.sha256).digest()
    return hmac.new(extracted, b"object|" + name.encode() + b"\x01", hashlib.sha256).digest()


def associated(name: str, frame: int) -> bytes:
    """What a sealed frame is bound to, so that none can stand in for another."""
    return b"dumont1|" + name.encode() + b"|%d" % frame


def nonce(frame: int) -> bytes:
    return struct.pack(">QI", frame, 0)


def salted(name: str, salt: bytes) -> str:
    """The name that a manifest's frames are sealed under."""
    return f"{name}#{salt.hex()}"


def seal_head(head: dict[str, Any], key: bytes, name: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    text = zlib.compress(json.dumps(head, separators=(",", ":")).encode(), 6)
    under = salted(name, salt)
    sealed = AESGCM(object_key(key, under)).encrypt(nonce(0), text, associated(under, 0))
    return MAGIC + salt + struct.pack(">I", len(sealed)) + sealed


def read_head(manifest: bytes, key: bytes, name: str) -> Head:
    """The head of a manifest. Raises StorageError when it is damaged, foreign or of a newer version."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    length = head_length(manifest)
    under = salted(name, salt_of(manifest))
    try:
        text = AESGCM(object_key(key, under)).decrypt(nonce(0), manifest[PREFIX:length], associated(under, 0))
        expander = zlib.decompressobj()
        fields = json.loads(expander.decompress(text, TEXT_LIMIT))
        if not expander.eof:
            raise ValueError("it does not end where it should")
        return Head(str(fields["snapshot_id"]), {str(k): int(v) for k, v in fields["packs"]}, fields)
    except (InvalidTag, zlib.error, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"the head of manifest {name} is damaged or sealed with another key") from error


def fetch_head(get: Callable[[int], bytes], key: bytes, name: str) -> Head:
    """As `read_head`, by `get(length)` of its first bytes: a manifest may be as long as its writer pleased."""
    first = get(READ_AHEAD)
    length = head_length(first)
    return read_head(first if length <= len(first) else get(length), key, name)


def head_length(prefix: bytes) -> int:
    """How many bytes of a manifest its head takes, from its first `PREFIX`. Raises StorageError."""
    if len(prefix) < PREFIX or prefix[:3] != MAGIC[:3]:
        raise StorageError("this is not a manifest")
    if prefix[:4] != MAGIC:
        raise StorageError(f"the manifest is of a version this code cannot read: {prefix[3:4]!r}")
    (length,) = struct.unpack(">I", prefix[PREFIX - 4 : PREFIX])
    if length > HEAD_LIMIT:
        raise StorageError("the manifest's head is too long")
    return PREFIX + int(length)


def salt_of(prefix: bytes) -> bytes:
    return prefix[len(MAGIC) : len(MAGIC) + SALT]
