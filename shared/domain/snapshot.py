"""A snapshot's record."""

from __future__ import annotations

from datetime import datetime

from shared.domain.manifest import NO_FILE
from shared.frozen import dataclass


@dataclass(frozen=True)
class Snapshot:
    """`state`: pending until the agent commits, then verified or failed; dropped once it is given up and about to go;
    damaged once storage was found not to hold it whole.

    Only a verified one is ever restored.
    """

    id: str
    instance_id: str
    user_id: str
    order_id: str | None
    """None: its machine takes it beside its work, told so by heartbeats."""
    state: str
    created_at: datetime
    epoch: str
    manifest_key: str
    parent_id: str | None = None
    manifest_size: int = 0
    files: int = 0
    directories: int = 0
    bytes: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0
    torn: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    verified_at: datetime | None = None
    problem: str | None = None
    cloned_at: datetime | None = None
    """When it was last cloned: whoever gives it up meanwhile meets that write."""
    pinned: bool = False
    """Stays whatever the rules of retention say."""
    check_at: datetime | None = None
    """When samples of it are read next."""
    reading: int | None = None
    """How many frames of a check of everything were read so far; None: no such check is under way."""
    damaged_packs: tuple[str, ...] = ()
    """The objects that nothing may be built upon."""
    attempt_id: str = ""
    """The machine it was ordered from."""

    @property
    def missed(self) -> list[str]:
        """Files that were there and could not be read."""
        return [line for line in self.unreadable if not line.endswith(NO_FILE)]
