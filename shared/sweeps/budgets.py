"""Budgets: a warning at 80 %; at 100 % the user's running instances, or the one it is for, are hibernated. Nothing is deleted."""

from __future__ import annotations

from dataclasses import replace

from shared import errors
from shared.deps import Deps
from shared.domain.budget import USED_UP, WARN_AT, Budget, share
from shared.domain.instance import Instance, State
from shared.domain.usage import month_start
from shared.flows import instances
from shared.flows.usage import rows_this_month, spent_on
from shared.store.records import Transaction
from shared.store.shapes import BUDGETS, INSTANCES_OF_USER
from shared.wire.base import Report


def budgets(deps: Deps) -> Report:
    looked_at = changed = failed = 0
    notes: list[str] = []
    for budget in deps.records.all(Budget, BUDGETS, {}):
        looked_at += 1
        try:
            changed += _hold(budget, deps)
        except errors.Error as error:
            failed += 1
            notes.append(f"{budget.id}: {error.message}")
    return Report(name="budgets", looked_at=looked_at, changed=changed, failed=failed, notes=notes[:20])


def _hold(budget: Budget, deps: Deps) -> int:
    if budget.instance_id is None:
        found = deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": budget.owner_id})
    else:
        one = deps.records.find(Instance, budget.instance_id)
        if one is None or one.state is State.DESTROYED:
            # What it was for is gone: nothing of it is spent any more.
            deps.records.transact(lambda tx: tx.delete(Budget, budget.id) if tx.find(Budget, budget.id) else None)
            return 1
        found = [one]
    spent = spent_on(budget, rows_this_month(budget.owner_id, deps))
    of = share(spent, budget.usd_per_month)
    if of < WARN_AT:
        return 0
    serving = (State.RUNNING, State.ON_STANDBY)
    running = [one for one in found if one.state in serving and one.drill_of is None]
    month, reached = month_start(deps.clock.now()).strftime("%Y-%m"), of >= 1
    word = f"{month} {100 if reached else 80}"
    whose = "this instance's budget of the month" if budget.instance_id else "this month's budget"
    used = f"${spent:.2f} of {whose}, ${budget.usd_per_month}, are spent"
    if reached:
        used += (
            ": it sleeps and is not woken" if budget.instance_id else ": nothing new is rented, and what runs sleeps"
        )
    if budget.told not in (word, f"{month} 100"):

        def tell(tx: Transaction) -> None:
            known = tx.find(Budget, budget.id)
            if known is None:
                return
            tx.save(replace(known, told=word))
            # A user's budget is told of at what runs; an instance's also while it sleeps.
            for one in running if budget.instance_id is None else found:
                tx.event(one, "budget_reached" if reached else "budget_warning", used)

        deps.records.transact(tell)
    if not reached:
        return 0
    begun = [one.drill.copy_id for one in found if one.drill is not None and one.drill.ended_at is None]
    drills = [one for one in (deps.records.find(Instance, id) for id in begun) if one is not None]
    for one in drills:
        # A copy holds nothing of the user's.
        instances.destroy(one.id, 0, "budget", deps)
    for one in running:
        if not one.restoring:
            instances.hibernate(one.id, 0, "budget", deps, USED_UP)
    return len(running) + len(drills)
