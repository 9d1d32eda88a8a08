"""Every minute: tell what has happened, to whoever asked to be told."""

from __future__ import annotations

from shared import errors
from shared.deps import Deps
from shared.domain.webhook import Webhook
from shared.flows.webhooks import deliver
from shared.store.shapes import WEBHOOKS
from shared.wire.base import Report


def notify(deps: Deps) -> Report:
    looked_at = changed = failed = 0
    notes: list[str] = []
    for hook in deps.records.all(Webhook, WEBHOOKS, {}):
        looked_at += 1
        try:
            changed += deliver(hook, deps)
        except errors.Error as error:
            failed += 1
            notes.append(f"{hook.id}: {error.message}")
    return Report(name="notify", looked_at=looked_at, changed=changed, failed=failed, notes=notes[:20])
