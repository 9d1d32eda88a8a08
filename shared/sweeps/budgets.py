"""Budgets: a warning at 80 %, and at 100 % every running instance is hibernated. Nothing is ever deleted for money."""

from __future__ import annotations

from dataclasses import replace

from shared import errors
from shared.deps import Deps
from shared.domain.budget import WARN_AT, Budget, share
from shared.domain.instance import Instance, State
from shared.domain.usage import month_start
from shared.flows import instances
from shared.flows.usage import spent_this_month
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
    spent = spent_this_month(budget.id, deps)
    of = share(spent, budget.usd_per_month)
    if of < WARN_AT:
        return 0
    running = [
        one
        for one in deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": budget.id})
        if one.state is State.RUNNING
    ]
    month, reached = month_start(deps.clock.now()).strftime("%Y-%m"), of >= 1
    word = f"{month} {100 if reached else 80}"
    used = f"${spent:.2f} of this month's budget of ${budget.usd_per_month} are spent"
    if budget.told not in (word, f"{month} 100"):

        def tell(tx: Transaction) -> None:
            tx.save(replace(tx.load(Budget, budget.id), told=word))
            for one in running:
                tx.event(one, "budget_reached" if reached else "budget_warning", used)

        deps.records.transact(tell)
    if not reached:
        return 0
    for one in running:
        if not one.restoring:
            instances.hibernate(one.id, 0, "budget", deps)
    return len(running)
