"""Everything that only time asks for, in one pass: a sweep that fails does not keep the others from running."""

from __future__ import annotations

from collections.abc import Callable

from shared import errors
from shared.deps import Deps
from shared.sweeps.budgets import budgets
from shared.sweeps.machines import machines
from shared.sweeps.models import models
from shared.sweeps.pool import pool
from shared.sweeps.records import records, reservations
from shared.sweeps.retention import retention
from shared.sweeps.verification import verification
from shared.wire.base import Report

SWEEPS: tuple[Callable[[Deps], Report], ...] = (
    machines,
    models,
    budgets,
    reservations,
    pool,
    retention,
    records,
    # Last, as it is the one that reads much.
    verification,
)


def clean(deps: Deps) -> Report:
    reports = [_run(sweep, deps) for sweep in SWEEPS]
    return Report(
        name="cleanup",
        looked_at=sum(r.looked_at for r in reports),
        changed=sum(r.changed for r in reports),
        failed=sum(r.failed for r in reports),
        notes=[f"{r.name}: {note}" for r in reports for note in r.notes],
    )


def _run(sweep: Callable[[Deps], Report], deps: Deps) -> Report:
    try:
        return sweep(deps)
    except errors.Error as error:
        return Report(name=sweep.__name__, failed=1, notes=[f"{error.code}: {error.message}"])
