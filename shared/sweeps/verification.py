"""Snapshots that are due are read again, by samples: damage is found while an older snapshot or the machine is still there."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

from shared import errors
from shared.deps import Deps
from shared.domain.snapshot import Snapshot
from shared.flows.snapshots import NEXT_CHECK, SAMPLE, check, mark, read_on
from shared.store.records import Transaction
from shared.store.shapes import DUE_CHECKS
from shared.wire.base import Report

BATCH = 10
WHOLE_S = 60.0
"""Of one pass, for checks of everything that a user has asked for."""
AFTER_TROUBLE = timedelta(hours=1)


def verification(deps: Deps) -> Report:
    until = time.monotonic() + WHOLE_S
    due, _ = deps.records.query(Snapshot, DUE_CHECKS, upto=deps.clock.now(), limit=BATCH)
    changed = failed = 0
    notes: list[str] = []
    for snapshot in due:
        again: timedelta | None = NEXT_CHECK if snapshot.state == "verified" else None
        try:
            if snapshot.reading is not None:
                found = read_on(snapshot, max(0.0, until - time.monotonic()), deps)
                changed += 1
                notes += [f"{snapshot.id}: {found.problem}"] if found.problem else []
                continue
            if again is not None:
                found = check(snapshot, deps, sample=SAMPLE)
                if found.problem is not None:
                    changed += len(mark(snapshot, found, deps))
                    notes.append(f"{snapshot.id}: {found.problem}")
        except errors.Error as error:
            failed += 1
            notes.append(f"{snapshot.id}: {error.message}")
            again = AFTER_TROUBLE

        def later(tx: Transaction, id: str = snapshot.id, again: timedelta | None = again) -> None:
            fresh = tx.find(Snapshot, id)
            if fresh is not None and fresh.check_at is not None:
                tx.save(replace(fresh, check_at=tx.now + again if again is not None else None))

        deps.records.transact(later)
    return Report(name="verification", looked_at=len(due), changed=changed, failed=failed, notes=notes[:20])
