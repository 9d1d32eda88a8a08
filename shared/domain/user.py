"""Who asks."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime

from shared.frozen import dataclass


@dataclass(frozen=True)
class User:
    id: str
    email: str
    created_at: datetime
    admin: bool = False
    disabled: bool = False
    ssh_keys: list[str] = field(default_factory=list)
    strategy: str = "race"
    """The default of new instances."""
    storage: str | None = None
    """The storage profile that new instances go to; None: the deployment's own bucket."""


@dataclass(frozen=True)
class Key:
    """An API key; the secret itself is stored nowhere."""

    id: str
    user_id: str
    name: str
    secret_hash: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True)
class Session:
    """One refresh token, by its hash. All that follow from one login share a `family`."""

    id: str
    user_id: str
    family: str
    created_at: datetime
    expires_at: datetime
    absolute_at: datetime
    rotated_at: datetime | None = None
    current: bool = True
    """Nobody has renewed it yet: each live login has one such, two for a moment when two tabs renew at once."""
    issued_at: datetime | None = None
    device: str = ""
    """What the browser or program called itself at login."""
