"""Secrets that follow from the master keys, and what is stored sealed by them: agents' secrets, the signature in attempt ids,
instances' data keys, webhooks' secrets, the keys of users' buckets, the values of environments."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.domain.keyring import SEALED, Keyring
from shared.settings import Settings
from shared.store.base import Create

ATTEMPT, AGENT, MODEL = "attempt", "agent", "model"
DATA_KEY, WEBHOOK, STORAGE, ENV = "snapshot key", "webhook secret", "storage secret", "environment"
"""Purposes. What each seals belongs to: an instance, a webhook, a bucket's profile, a user."""


def keyring(settings: Settings) -> Keyring:
    if settings.master_key is None:
        raise errors.Unavailable("DUMONT_MASTER_KEY is not set")
    return Keyring.parse(settings.master_key.get_secret_value())


# Attempts and their machines' tokens ---------------------------------------------------------------------------------


def new_attempt_id(settings: Settings) -> str:
    """Random, and signed: another deployment's labels in the same account do not verify here."""
    body = secrets.token_hex(10)
    _, mac = next(keyring(settings).macs(ATTEMPT, body))
    return f"{body}{mac.hex()[:8]}"


def signer_of(settings: Settings, attempt_id: str) -> str | None:
    """The id of the master key whose signature an attempt's id bears; None when it is none of ours."""
    body, signature = attempt_id[:20], attempt_id[20:]
    return next(
        (
            id
            for id, mac in keyring(settings).macs(ATTEMPT, body)
            if hmac.compare_digest(mac.hex()[:8].encode(), signature.encode())
        ),
        None,
    )


def is_our_attempt(settings: Settings, attempt_id: str) -> bool:
    return signer_of(settings, attempt_id) is not None


def agent_secret(settings: Settings, attempt_id: str, secret_hash: str | None = None) -> str:
    """Derived, so that a create that had to wait can be sent later without the secret at rest.

    `secret_hash`: that on record, which an older key may have made.
    """
    made = [mac.hex() for _, mac in keyring(settings).macs(AGENT, attempt_id)]
    return next((one for one in made if _sha(one) == secret_hash), made[0])


def agent_secret_hash(settings: Settings, attempt_id: str) -> str:
    return _sha(agent_secret(settings, attempt_id))


def agent_token(settings: Settings, attempt: Attempt) -> str:
    return f"{attempt.id}.{agent_secret(settings, attempt.id, attempt.secret_hash)}"


def is_our_agent(settings: Settings, attempt_id: str, secret: str) -> bool:
    """Whether this is the token that a machine of ours was given, whatever is on record."""
    if not re.fullmatch(r"[0-9a-f]{28}", attempt_id) or settings.master_key is None:
        return False
    made = (mac.hex().encode() for _, mac in keyring(settings).macs(AGENT, attempt_id))
    right = any(hmac.compare_digest(one, secret.encode()) for one in made)
    return is_our_attempt(settings, attempt_id) and right


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# Models --------------------------------------------------------------------------------------------------------------


def model_secret(settings: Settings, id: str, purpose: str, key_hash: str | None = None) -> tuple[str, str]:
    """43 letters that only we can derive, and the id of the key they rest on. `key_hash`: that on record, of `client`."""

    def made(what: str) -> list[tuple[str, str]]:
        macs = keyring(settings).macs(MODEL, f"{what}|{id}")
        return [(key, base64.urlsafe_b64encode(mac).decode().rstrip("=")) for key, mac in macs]

    at = next((n for n, (_, one) in enumerate(made("client")) if _sha(one) == key_hash), 0)
    key, secret = made(purpose)[at]
    return secret, key


# What is stored sealed -----------------------------------------------------------------------------------------------


def new_data_key(settings: Settings, instance_id: str) -> Create:
    """The write that gives an instance its snapshot key, wrapped."""
    return _wrapped(settings, instance_id, secrets.token_bytes(32))


def shared_data_key(deps: Deps, instance_id: str, copy_id: str) -> Create:
    """The write that gives a copy its original's key: the copy reads the original's objects."""
    return _wrapped(deps.settings, copy_id, data_key(deps, instance_id))


def _wrapped(settings: Settings, instance_id: str, key: bytes) -> Create:
    return Create("instance_keys", instance_id, {"wrapped": keyring(settings).seal(DATA_KEY, instance_id, key)})


def data_key(deps: Deps, instance_id: str) -> bytes:
    document = deps.store.get("instance_keys", instance_id)
    if document is None:
        raise errors.NotFound(f"instance {instance_id} has no snapshot key")
    return opened(deps.settings, DATA_KEY, instance_id, str(document.data["wrapped"]))


def opened(settings: Settings, purpose: str, belongs_to: str, stored: str) -> bytes:
    """What was sealed, in whichever form. Raises Unavailable when its key is not here."""
    ring = keyring(settings)
    if SEALED.fullmatch(stored):
        return ring.open(purpose, belongs_to, stored)
    return ring.open_old(belongs_to, base64.b64decode(stored))


def seal_text(settings: Settings, purpose: str, belongs_to: str, plain: str) -> str:
    return keyring(settings).seal(purpose, belongs_to, plain.encode())


def open_text(settings: Settings, purpose: str, belongs_to: str, stored: str) -> str:
    """What was stored before there was sealing is as it is."""
    return keyring(settings).open(purpose, belongs_to, stored).decode() if SEALED.fullmatch(stored) else stored


def seal_env(settings: Settings, user_id: str, env: Mapping[str, str]) -> dict[str, str]:
    return {name: seal_text(settings, ENV, user_id, value) for name, value in env.items()}


def open_env(settings: Settings, user_id: str, env: Mapping[str, str]) -> dict[str, str]:
    return {name: open_text(settings, ENV, user_id, value) for name, value in env.items()}
