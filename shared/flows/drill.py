"""Asking for a drill: a failover on a copy, measured, while the instance goes on."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

from shared import errors
from shared.deps import Deps
from shared.domain.instance import Action, Clocks, Drill, Instance, State, over_limit
from shared.domain.order import Pulse
from shared.domain.snapshot import Snapshot
from shared.flows import keys
from shared.flows.advance import drive, kick
from shared.flows.snapshot_orders import COPY
from shared.flows.usage import require_budget
from shared.store.records import Transaction


def begin(instance_id: str, wait_s: float, user_id: str, deps: Deps) -> Instance:
    """The instance, with its drill under way. Nothing is rented before the copy is on record.

    Raises IllegalTransition unless it runs, Conflict without a snapshot, while another drill goes on or beyond the limits,
    BudgetReached.
    """
    known = deps.records.find(Instance, instance_id)
    if known is None or known.user_id != user_id:
        raise errors.NotFound(f"there is no instance {instance_id}")
    known.require(Action.FAIL_OVER, "a drill")
    require_budget(user_id, deps, instance_id)
    copy_id = f"{COPY}{uuid.uuid4().hex[:16]}"
    key = keys.shared_data_key(deps, instance_id, copy_id)
    pulse = deps.records.find(Pulse, known.attempt_id) if known.attempt_id else None

    def apply(tx: Transaction) -> None:
        fresh = tx.load(Instance, instance_id)
        fresh.require(Action.FAIL_OVER, "a drill")
        if fresh.snapshot_id is None:
            raise errors.Conflict(f"instance {fresh.id} has no snapshot yet: there is nothing to fail over to")
        if fresh.drill is not None and fresh.drill.gone_at is None:
            raise errors.Conflict(f"a drill of instance {fresh.id} is under way")
        limit = over_limit(fresh.drills, tx.now)
        if limit is not None:
            raise errors.Conflict(f"no drill of instance {fresh.id} now: {limit}")
        snapshot = tx.load(Snapshot, fresh.snapshot_id)
        plan = Drill(
            copy_id=copy_id,
            begun_at=tx.now,
            heard_at=pulse.at if pulse else tx.now,
            snapshot_id=snapshot.id,
            snapshot_at=snapshot.created_at,
            with_standby=fresh.standby is not None,
        )
        lately = (*(at for at in fresh.drills if tx.now - at < timedelta(days=1)), tx.now)
        tx.save(replace(fresh, drill=plan, drills=lately))
        tx.save(_copy(fresh, plan))
        tx.write(key)
        tx.event(fresh, "drill_begun", f"a failover is tried out on copy {copy_id}", user_id, copy_id=copy_id)

    deps.records.transact(apply)
    kick(deps, copy_id, user_id)
    drive(deps, copy_id, wait_s, user_id)
    return deps.records.load(Instance, instance_id)


def _copy(original: Instance, plan: Drill) -> Instance:
    """It never sleeps, is never replaced, and runs no set-up command: what that starts may write elsewhere as the original."""
    return Instance(
        id=plan.copy_id,
        user_id=original.user_id,
        name=f"{original.name[:57]}-drill",
        state=State.FAILING_OVER,
        need=original.need,
        spec=replace(original.spec, setup=None),
        storage=original.storage,
        created_at=plan.begun_at,
        entered_at=plan.begun_at,
        idle_policy=replace(original.idle_policy, enabled=False),
        strategy=original.strategy,
        width=original.width,
        max_attempts=original.max_attempts,
        round=1,
        next_action_at=plan.begun_at,
        snapshot_id=plan.snapshot_id,
        clocks=Clocks(asked_at=plan.begun_at),
        on_loss="hibernate",
        standby=original.standby,
        failover=None if plan.with_standby else plan.measured(plan.begun_at),
        drill_of=original.id,
        drill=plan,
    )
