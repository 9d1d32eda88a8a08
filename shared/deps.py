"""What flows are given: one value with the store, the clock, the providers and object storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.clock import Clock
from shared.domain.attempt import Attempt
from shared.frozen import dataclass
from shared.objects.base import Bucket, ObjectStore
from shared.providers.base import Provider
from shared.settings import Settings
from shared.store.base import Store
from shared.store.records import Records


@dataclass(frozen=True)
class Deps:
    settings: Settings
    clock: Clock
    store: Store
    records: Records
    providers: Callable[[], Mapping[str, Provider]]
    """Made on first use: only some functions may import what providers need."""
    objects: Callable[[], ObjectStore]
    """The deployment's own bucket."""
    bucket: Callable[[Bucket], ObjectStore]
    """One of a user's."""
    agent_of: Callable[[str, str, bool], Attempt]
    """The attempt that a machine's token belongs to, and whether only adopted machines make this call; raises Unauthenticated."""
