"""Drive whatever is due. One query a look, of what falls due within the sweep's own time: the fleet's size is never read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
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
    until = deps.clock.now() + timedelta(seconds=deps.settings.sweep_budget_s)
    looked_at = changed = failed = 0
    notes: list[str] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        while True:
            # Ids and times only: one record that cannot be read must not stop the others.
            page = deps.store.query(DUE_INSTANCES, upto=max(until, deps.clock.now()), limit=BATCH)
            now = deps.clock.now()
            due = [d.id for d in page.documents if d.data["next_action_at"] <= now]
            looked_at += len(due)
            # Each worker works in a context of its own, with this request's trace.
            contexts = [copy_context() for _ in due]
            for note in pool.map(lambda context, instance_id: context.run(_one, deps, instance_id), contexts, due):
                changed += note == ""
                if note:
                    failed += 1
                    notes.append(note)
            left = (until - deps.clock.now()).total_seconds()
            if left <= 0 or not page.documents:
                break
            deps.clock.sleep(min(deps.settings.motion_interval_s, left))
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
