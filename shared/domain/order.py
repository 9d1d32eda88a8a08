"""What an agent is told to do, and how it went."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Any

from shared.domain.metrics import Minute
from shared.frozen import dataclass


@dataclass(frozen=True)
class Order:
    """`payload` never holds a key: the agent's functions add it when they hand the order out."""

    id: str
    instance_id: str
    attempt_id: str
    kind: str
    payload: dict[str, Any]
    created_at: datetime
    expires_at: datetime
    state: str = "pending"
    """pending until the agent reports done or failed."""
    stage: str | None = None
    started: bool = False
    done_bytes: int | None = None
    total_bytes: int | None = None
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    error: str | None = None
    finished_at: datetime | None = None
    trace: str | None = None
    """Of the request that it follows from."""

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed")


@dataclass(frozen=True)
class Pulse:
    """The newest sign of life of a machine's agent; written by its heartbeats only, and sparsely."""

    id: str
    instance_id: str
    at: datetime
    why: str = ""
    gpus: list[dict[str, Any]] = field(default_factory=list)
    network_mbit: float | None = None
    disk_mb_s: float | None = None
    disk_used_bytes: int | None = None
    workspace_bytes: int | None = None
    vetoes: list[str] = field(default_factory=list)
    minute: Minute | None = None
    """What this minute's samples say so far; it goes to its hour when the next begins."""
