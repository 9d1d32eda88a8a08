"""Machine history: writing outcomes in the batch that ends an attempt, and reading what a user's search must know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from shared.deps import Deps
from shared.domain.attempt import Attempt, Outcome
from shared.domain.machine_history import Block, MachineHistory, history_id
from shared.domain.offer import Offer
from shared.frozen import dataclass
from shared.store import codec
from shared.store.records import Transaction
from shared.store.shapes import BLOCKED_MACHINES, BLOCKS_OF_USER

LOOKED_UP = 24
"""Offers, cheapest first, whose histories a search reads."""


def note(
    tx: Transaction,
    attempt: Attempt,
    outcome: Outcome,
    why: str = "",
    *,
    was_ready: bool = False,
    disk_mb_s: float | None = None,
    down_mb_s: float | None = None,
) -> None:
    """One attempt's outcome, exactly once: it is written in the batch that changes the attempt."""
    if outcome is Outcome.CANCELLED:
        return
    id = history_id(attempt.provider, attempt.offer_machine_id)
    known = tx.find(MachineHistory, id) or MachineHistory(
        id=id,
        provider=attempt.provider,
        machine_id=attempt.offer_machine_id,
        host_id=attempt.host_id,
        gpu_name=attempt.gpu_name,
        region=attempt.region,
        updated_at=tx.now,
    )
    boot_s = (tx.now - attempt.asked_at).total_seconds() if outcome is Outcome.READY and attempt.asked_at else None
    noted = known.noted(outcome, why, tx.now, boot_s=boot_s, was_ready=was_ready)
    tx.save(replace(noted, disk_mb_s=disk_mb_s or noted.disk_mb_s, down_mb_s=down_mb_s or noted.down_mb_s))


@dataclass(frozen=True)
class Memory:
    """What is known of the machines behind some offers."""

    histories: dict[str, MachineHistory]
    kept_away: dict[str, str]
    """Machine's history id -> why it is not to be tried."""

    def of(self, offer: Offer) -> MachineHistory | None:
        return self.histories.get(history_id(offer.provider, offer.machine_id))

    def why_not(self, offer: Offer) -> str | None:
        return self.kept_away.get(history_id(offer.provider, offer.machine_id))


def remember(deps: Deps, offers: Sequence[Offer], user_id: str) -> Memory:
    """Who is kept away from this user, and the histories of the cheapest offers."""
    now = deps.clock.now()
    kept_away = {
        history.id: f"failed lately: {history.blocked_why}" for history in _resting(deps, now)
    }  # fmt: skip
    for block in blocks(deps, user_id):
        if block.allow:
            kept_away.pop(block.machine, None)
        else:
            kept_away[block.machine] = f"you blocked it: {block.why}" if block.why else "you blocked it"
    cheapest = sorted(offers, key=lambda o: o.usd_per_hour)[:LOOKED_UP]
    ids = list(dict.fromkeys(history_id(o.provider, o.machine_id) for o in cheapest))
    found = deps.store.get_many("machines", ids)
    histories = {d.id: codec.decode(MachineHistory, d.data) for d in found if d is not None}
    return Memory(histories, kept_away)


def _resting(deps: Deps, now: datetime) -> list[MachineHistory]:
    """Newest end first, so the first one that is over ends the search."""
    found: list[MachineHistory] = []
    cursor: str | None = None
    while True:
        page, cursor = deps.records.query(MachineHistory, BLOCKED_MACHINES, limit=100, cursor=cursor)
        found += [history for history in page if history.blocked(now)]
        if cursor is None or not page or not page[-1].blocked(now):
            return found


def blocks(deps: Deps, user_id: str) -> list[Block]:
    return deps.records.all(Block, BLOCKS_OF_USER, {"user_id": user_id})
