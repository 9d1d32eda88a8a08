"""Old snapshots, where it is time to look at them."""

from __future__ import annotations

from shared import errors
from shared.deps import Deps
from shared.domain.instance import Instance
from shared.flows.retention import AFTER, look_again, prune
from shared.store.shapes import PRUNABLE_INSTANCES
from shared.wire.base import Report

BATCH = 20


def retention(deps: Deps) -> Report:
    due, _ = deps.records.query(Instance, PRUNABLE_INSTANCES, upto=deps.clock.now(), limit=BATCH)
    changed = failed = 0
    notes: list[str] = []
    for instance in due:
        try:
            changed += prune(instance.id, deps)[0]
        except errors.Error as error:
            failed += 1
            notes.append(f"{instance.id}: {error.message}")
            look_again(instance.id, instance.prune_at, AFTER, deps)
    return Report(name="retention", looked_at=len(due), changed=changed, failed=failed, notes=notes[:20])
