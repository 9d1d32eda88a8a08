"""Machine history for people: what is known, whom to keep away, what is not proven gone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

from pydantic import ValidationError

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Stage
from shared.domain.machine_history import Block, MachineHistory
from shared.flows.advance.settle import LATE
from shared.flows.history import blocks
from shared.store import codec
from shared.store.base import Delete, Put
from shared.store.shapes import MACHINES, RECEIPTS_OF_USER
from shared.wire import machines as wire
from shared.wire.base import Done, PageQuery

SCANNED = 5
"""Pages that one filtered answer may read."""


def history_view(history: MachineHistory, deps: Deps) -> wire.MachineHistoryView:
    now = deps.clock.now()
    low, high = history.interval(now)
    return wire.MachineHistoryView(
        id=history.id,
        provider=history.provider,
        machine_id=history.machine_id,
        host_id=history.host_id,
        gpu_name=history.gpu_name,
        region=history.region,
        rate=round(history.rate(now), 4),
        rate_low=round(low, 4),
        rate_high=round(high, 4),
        counted=history.counted,
        boot_p50_s=history.boot_quantile(0.5),
        boot_p95_s=history.boot_quantile(0.95),
        disk_mb_s=history.disk_mb_s,
        down_mb_s=history.down_mb_s,
        blocked=history.blocked(now),
        blocked_until=history.blocked_until,
        blocked_why=history.blocked_why,
        recent=[wire.PastView.model_validate(past, from_attributes=True) for past in reversed(history.recent)],
        updated_at=history.updated_at,
    )


def list_history(query: wire.HistoryQuery, deps: Deps) -> wire.MachineHistoryList:
    """Newest first. A page may be short when a filter left much out; the cursor goes on."""
    now, found = deps.clock.now(), []
    cursor = query.cursor
    for _ in range(SCANNED):
        page, cursor = deps.records.query(MachineHistory, MACHINES, limit=query.limit, cursor=cursor)
        found += [
            history
            for history in page
            if (query.provider is None or history.provider == query.provider)
            and (query.gpu_name is None or history.gpu_name == query.gpu_name)
            and (query.blocked is None or history.blocked(now) == query.blocked)
        ]
        if cursor is None or len(found) >= query.limit:
            break
    return wire.MachineHistoryList(machines=[history_view(h, deps) for h in found], next_cursor=cursor)


def block(machine: str, body: wire.BlockBody, user_id: str, deps: Deps) -> wire.BlockView:
    """Keep this user's instances away from a machine, or allow one that failed lately."""
    made = Block(
        id=f"{user_id}-{machine}", user_id=user_id, machine=machine, allow=body.allow, why=body.why,
        at=deps.clock.now(),
    )  # fmt: skip
    deps.store.commit([Put("blocks", made.id, codec.encode(made))])
    return wire.BlockView.model_validate(made, from_attributes=True)


def unblock(machine: str, user_id: str, deps: Deps) -> Done:
    if deps.store.get("blocks", f"{user_id}-{machine}") is None:
        raise errors.NotFound(f"you have not blocked machine {machine}")
    deps.store.commit([Delete("blocks", f"{user_id}-{machine}")])
    return Done()


def list_blocks(user_id: str, deps: Deps) -> wire.BlockList:
    return wire.BlockList(
        blocks=[wire.BlockView.model_validate(one, from_attributes=True) for one in blocks(deps, user_id)]
    )


def open_receipts(user_id: str, deps: Deps) -> wire.OpenReceiptList:
    """Machines of this user whose end was asked for and is not proven yet."""
    now = deps.clock.now()
    found = deps.records.all(Attempt, RECEIPTS_OF_USER, {"user_id": user_id, "open": True})
    return wire.OpenReceiptList(
        receipts=[
            wire.OpenReceiptView(
                attempt_id=a.id,
                instance_id=a.instance_id,
                provider=a.provider,
                machine_id=a.machine_id,
                gpu_name=a.gpu_name,
                why=a.why,
                requested_at=a.receipt.requested_at,
                tries=a.receipt.tries,
                usd=a.usd_until(now),
                late=now - a.receipt.requested_at > LATE,
            )
            for a in sorted(found, key=lambda a: a.opened_at)
            if a.stage is Stage.ENDING and a.receipt is not None
        ]
    )


def export(query: PageQuery, deps: Deps) -> wire.ExportView:
    """The whole history as JSON Lines, page by page."""
    page, cursor = deps.records.query(MachineHistory, MACHINES, limit=min(query.limit, 200), cursor=query.cursor)
    lines = [json.dumps(codec.encode(history), default=lambda at: at.isoformat()) for history in page]
    return wire.ExportView(lines=lines, next_cursor=cursor)


def import_lines(body: wire.ImportBody, deps: Deps) -> wire.ImportedView:
    """Histories of another deployment. What is known here already is kept when it is newer."""
    imported = 0
    for number, line in enumerate(body.lines, 1):
        try:
            given = codec.decode(MachineHistory, json.loads(line))
        except (ValueError, TypeError, ValidationError) as error:
            raise errors.InvalidRequest(f"line {number} is not a machine's history") from error
        if not given.id or given.updated_at > deps.clock.now() + timedelta(minutes=5):
            raise errors.InvalidRequest(f"line {number}: updated_at lies in the future")

        def keep(tx: object, given: MachineHistory = given) -> bool:
            known = tx.find(MachineHistory, given.id)  # type: ignore[attr-defined]
            if known is not None and known.updated_at >= given.updated_at:
                return False
            tx.save(replace(given))  # type: ignore[attr-defined]
            return True

        imported += deps.records.transact(keep)
    return wire.ImportedView(imported=imported)
