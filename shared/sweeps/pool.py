"""Every pool at its target size, none of its seats too old."""

from __future__ import annotations

from shared import errors
from shared.deps import Deps
from shared.domain.pool import Pool
from shared.flows.pools import refill
from shared.store.shapes import POOLS
from shared.wire.base import Report


def pool(deps: Deps) -> Report:
    looked_at = changed = failed = 0
    notes: list[str] = []
    for one in deps.records.all(Pool, POOLS, {}):
        looked_at += 1
        try:
            changed += refill(one, deps)
        except errors.Error as error:
            failed += 1
            notes.append(f"{one.name}: {error.message}")
    return Report(name="pool", looked_at=looked_at, changed=changed, failed=failed, notes=notes[:20])
