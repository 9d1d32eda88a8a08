"""Secrets under the master key: agents' secrets, the signature in attempt ids, instances' data keys, what users entrust."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets

from shared import errors
from shared.deps import Deps
from shared.settings import Settings
from shared.store.base import Create


def master_key(settings: Settings) -> bytes:
    if settings.master_key is None:
        raise errors.Unavailable("DUMONT_MASTER_KEY is not set")
    return base64.b64decode(settings.master_key.get_secret_value())


def _mac(settings: Settings, text: str) -> bytes:
    return hmac.new(master_key(settings), text.encode(), hashlib.sha256).digest()


def new_attempt_id(settings: Settings) -> str:
    """Random, and signed: another deployment's labels in the same account do not verify here."""
    body = secrets.token_hex(10)
    return f"{body}{_mac(settings, 'attempt|' + body).hex()[:8]}"


def is_our_attempt(settings: Settings, attempt_id: str) -> bool:
    body, signature = attempt_id[:20], attempt_id[20:]
    return hmac.compare_digest(_mac(settings, "attempt|" + body).hex()[:8].encode(), signature.encode())


def agent_secret(settings: Settings, attempt_id: str) -> str:
    """Derived, so that a create that had to wait can be sent later without the secret at rest."""
    return _mac(settings, "agent|" + attempt_id).hex()


def agent_secret_hash(settings: Settings, attempt_id: str) -> str:
    return hashlib.sha256(agent_secret(settings, attempt_id).encode()).hexdigest()


def is_our_agent(settings: Settings, attempt_id: str, secret: str) -> bool:
    """Whether this is the token that a machine of ours was given, whatever is on record."""
    if not re.fullmatch(r"[0-9a-f]{28}", attempt_id) or settings.master_key is None:
        return False
    right = hmac.compare_digest(agent_secret(settings, attempt_id).encode(), secret.encode())
    return is_our_attempt(settings, attempt_id) and right


def sealed(settings: Settings, what: str, secret: bytes) -> str:
    """A secret under the master key, bound to what it belongs to."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(12)
    return base64.b64encode(nonce + AESGCM(master_key(settings)).encrypt(nonce, secret, what.encode())).decode()


def opened(settings: Settings, what: str, text: str) -> bytes:
    """Raises Unavailable when it was sealed with another master key."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    blob = base64.b64decode(text)
    try:
        return AESGCM(master_key(settings)).decrypt(blob[:12], blob[12:], what.encode())
    except InvalidTag as error:
        raise errors.Unavailable(f"the key of {what} was sealed with another DUMONT_MASTER_KEY") from error


def new_data_key(settings: Settings, instance_id: str) -> Create:
    """The write that gives an instance its snapshot key, wrapped by the master key."""
    return Create("instance_keys", instance_id, {"wrapped": sealed(settings, instance_id, os.urandom(32))})


def shared_data_key(deps: Deps, instance_id: str, copy_id: str) -> Create:
    """The write that gives a copy its original's key: the copy reads the original's objects."""
    wrapped = sealed(deps.settings, copy_id, data_key(deps, instance_id))
    return Create("instance_keys", copy_id, {"wrapped": wrapped})


def data_key(deps: Deps, instance_id: str) -> bytes:
    document = deps.store.get("instance_keys", instance_id)
    if document is None:
        raise errors.NotFound(f"instance {instance_id} has no snapshot key")
    return opened(deps.settings, instance_id, document.data["wrapped"])
