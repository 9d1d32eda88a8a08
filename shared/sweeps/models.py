"""Deployments: those that start are looked at, replicas that failed are replaced, those without requests sleep."""

from __future__ import annotations

from shared import errors
from shared.deps import Deps
from shared.flows.models import all_models, look, renew
from shared.wire.base import Report


def models(deps: Deps) -> Report:
    looked_at = changed = failed = 0
    notes: list[str] = []
    for one in all_models(deps):
        if one.state in ("failed", "deleted"):
            continue
        looked_at += 1
        try:
            changed += renew(look(one, deps), deps) != one
        except errors.Error as error:
            failed += 1
            notes.append(f"{one.id}: {error.message}")
    return Report(name="models", looked_at=looked_at, changed=changed, failed=failed, notes=notes[:20])
