"""Drive whatever is due. One query a look; with nothing due soon it ends at once, so an idle fleet costs one query."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from shared import errors
from shared.deps import Deps
from shared.flows.advance import advance
from shared.store.shapes import DUE_INSTANCES
from shared.wire.base import Report

BATCH = 50
WORKERS = 8


def motion(deps: Deps) -> Report:
    """Looks again every few seconds while something falls due within the sweep's budget."""
    until = time.monotonic() + deps.settings.sweep_budget_s
    looked_at = changed = failed = 0
    notes: list[str] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        while True:
            # Ids and times only: one record that cannot be read must not stop the others.
            page = deps.store.query(DUE_INSTANCES, limit=BATCH)
            now = deps.clock.now()
            due = [d.id for d in page.documents if d.data["next_action_at"] <= now]
            looked_at += len(due)
            for note in pool.map(lambda instance_id: _one(deps, instance_id), due):
                changed += note == ""
                if note:
                    failed += 1
                    notes.append(note)
            left = until - time.monotonic()
            horizon = now + timedelta(seconds=left)
            if left <= 0 or not any(d.data["next_action_at"] <= horizon for d in page.documents):
                break
            deps.clock.sleep(min(deps.settings.motion_interval_s, max(0.0, left)))
    return Report(name="motion", looked_at=looked_at, changed=changed, failed=failed, notes=notes[:20])


def _one(deps: Deps, instance_id: str) -> str:
    """Advance one; one bad instance must not stop the others. The empty string when it went well."""
    try:
        advance(deps, instance_id)
    except (errors.LeaseHeld, errors.StaleLease):
        return ""
    except errors.Error as error:
        return f"{instance_id}: {error.code}: {error.message}"
    except Exception as error:
        # A bug or a damaged record: told in the report, and the sweep goes on.
        return f"{instance_id}: {type(error).__name__}: {error}"
    return ""
