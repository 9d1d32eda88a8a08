"""What happened to an instance: who, when, why. Written in the batch of the change it tells of."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Any

from shared.frozen import dataclass


@dataclass(frozen=True)
class Event:
    id: str
    instance_id: str
    user_id: str
    at: datetime
    kind: str
    message: str
    actor: str
    details: dict[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None
