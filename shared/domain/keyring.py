"""Master keys, newest first: what each purpose derives from them, and what lies sealed by them.

Each purpose has keys of its own (HKDF-SHA-256), so that what signs a machine's label opens nothing and what wraps snapshots'
keys signs nothing. Sealed text is `k1.KEY.DATA`: the id of the master key, then nonce and AES-256-GCM, bound to its purpose and
to what it belongs to, so that it cannot be moved to another place. The newest key seals, every key opens: that is a rotation.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from shared import errors

SALT = b"dumont-keyring-1"
SEALED = re.compile(r"k1\.([0-9a-f]{8})\.([A-Za-z0-9_-]+)")


@cache
def derived(master: bytes, purpose: str) -> bytes:
    """HKDF-SHA-256 (RFC 5869), one block."""
    extracted = hmac.new(SALT, master, hashlib.sha256).digest()
    return hmac.new(extracted, purpose.encode() + b"\x01", hashlib.sha256).digest()


@dataclass(frozen=True)
class Keyring:
    masters: tuple[bytes, ...]

    @classmethod
    @cache
    def parse(cls, text: str) -> Keyring:
        """Base64 of 32 bytes each, separated by commas. Raises Unavailable."""
        try:
            masters = tuple(base64.b64decode(part.strip(), validate=True) for part in text.split(","))
        except binascii.Error as error:
            raise errors.Unavailable("DUMONT_MASTER_KEY is not base64") from error
        if any(len(master) != 32 for master in masters) or len(set(masters)) != len(masters):
            raise errors.Unavailable(
                "DUMONT_MASTER_KEY must be base64 of 32 bytes, or different ones with commas between"
            )
        return cls(masters)

    @property
    def ids(self) -> tuple[str, ...]:
        """Safe to show: they say which key, and nothing of it."""
        return tuple(derived(master, "id").hex()[:8] for master in self.masters)

    def macs(self, purpose: str, text: str) -> Iterator[tuple[str, bytes]]:
        """What each key makes of a text, with its id, the one for new things first; the old form, without a purpose, last."""
        for id, master in zip(self.ids, self.masters, strict=True):
            yield id, hmac.new(derived(master, purpose), text.encode(), hashlib.sha256).digest()
        for id, master in zip(self.ids, self.masters, strict=True):
            yield f"{id}, old form", hmac.new(master, f"{purpose}|{text}".encode(), hashlib.sha256).digest()

    def seal(self, purpose: str, belongs_to: str, plain: bytes) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(12)
        sealed = AESGCM(derived(self.masters[0], purpose)).encrypt(nonce, plain, belongs_to.encode())
        return f"k1.{self.ids[0]}.{base64.urlsafe_b64encode(nonce + sealed).decode().rstrip('=')}"

    def open(self, purpose: str, belongs_to: str, sealed: str) -> bytes:
        """Raises Unavailable when its key is not here, or when it was changed or moved."""
        found = SEALED.fullmatch(sealed)
        if found is None or found[1] not in self.ids:
            key = found[1] if found else "no key of ours"
            raise errors.Unavailable(f"this was sealed by {key}; DUMONT_MASTER_KEY has {', '.join(self.ids)}")
        data = base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))
        return unlocked(derived(self.masters[self.ids.index(found[1])], purpose), belongs_to, data)

    def open_old(self, belongs_to: str, data: bytes) -> bytes:
        """What was sealed by a master key itself, before there were purposes."""
        for master in self.masters[:-1]:
            try:
                return unlocked(master, belongs_to, data)
            except errors.Unavailable:
                continue
        return unlocked(self.masters[-1], belongs_to, data)

    def rests_on(self, sealed: str) -> str:
        """The id of the key that opens it, or `old form`."""
        found = SEALED.fullmatch(sealed)
        return found[1] if found else "old form"


def unlocked(key: bytes, belongs_to: str, data: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(data[:12], data[12:], belongs_to.encode())
    except InvalidTag as error:
        raise errors.Unavailable(
            "what was sealed does not open: it was changed, moved, or sealed by another key"
        ) from error
