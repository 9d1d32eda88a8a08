"""A bucket of a user's own."""

from __future__ import annotations

import hashlib
from datetime import datetime

from shared.frozen import dataclass


@dataclass(frozen=True)
class StorageProfile:
    """Where the snapshots of those instances go that name it; an instance stays in its bucket all its life."""

    id: str
    user_id: str
    name: str
    vendor: str
    endpoint: str
    region: str
    bucket: str
    access_key: str
    sealed_secret: str
    """The secret key, wrapped by the master key."""
    created_at: datetime
    tested_at: datetime
    used_at: datetime | None = None
    """When an instance last chose it: whoever removes it meanwhile meets that write."""


def profile_id(user_id: str, name: str) -> str:
    return "storage-" + hashlib.sha256(f"{user_id}|{name}".encode()).hexdigest()[:16]
