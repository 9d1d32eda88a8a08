"""What a user's machines cost, what was saved, and the budget that stops new ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from shared import errors
from shared.deps import Deps
from shared.domain import usage
from shared.domain.attempt import Attempt
from shared.domain.budget import WARN_AT, Budget, share
from shared.domain.instance import Instance, State
from shared.domain.kept import KeptDay, Stretch
from shared.domain.reference_prices import STORAGE, reference_of
from shared.domain.snapshot import Snapshot
from shared.flows.storage import OURS, vendor_of
from shared.store.records import Transaction
from shared.store.shapes import (
    BUDGETS_OF_USER,
    CLOSED_ATTEMPTS_OF_USER,
    INSTANCES_OF_USER,
    KEPT_OF_USER,
    RECEIPTS_OF_USER,
    SNAPSHOTS_OF_INSTANCE,
)
from shared.wire import usage as wire

LONGEST = timedelta(days=400)
ROWS_SHOWN = 2000
ASLEEP = "seconds without a machine x the hourly rate of the machine before / 3600"
MARKET = "(reference price per GPU x GPUs - the rate paid) x hours the machine ran, machines that served only"


def _range(query: wire.UsageQuery, now: datetime) -> tuple[datetime, datetime]:
    since = query.since or usage.month_start(now)
    until = min(query.until or now, now)
    if since >= until:
        raise errors.InvalidRequest(f"since ({since.isoformat()}) must lie before until ({until.isoformat()})")
    if until - since > LONGEST:
        raise errors.InvalidRequest(f"at most {LONGEST.days} days can be asked for at once")
    return since, until


def attempts_within(deps: Deps, user_id: str, since: datetime) -> list[Attempt]:
    """The user's attempts that were not proven gone before `since`."""
    found = deps.records.all(Attempt, RECEIPTS_OF_USER, {"user_id": user_id, "open": True})
    cursor: str | None = None
    while True:
        page, cursor = deps.records.query(
            Attempt, CLOSED_ATTEMPTS_OF_USER, {"user_id": user_id}, limit=200, cursor=cursor
        )
        found += [a for a in page if a.closed_at is not None and a.closed_at >= since]
        if cursor is None or (page and page[-1].closed_at is not None and page[-1].closed_at < since):
            return list({a.id: a for a in found}.values())


def gone_since(deps: Deps, user_id: str, since: datetime) -> list[tuple[str, Stretch]]:
    """What old snapshots had stored and what was deleted after `since`, each with its instance."""
    found: list[tuple[str, Stretch]] = []
    cursor: str | None = None
    while True:
        page, cursor = deps.records.query(KeptDay, KEPT_OF_USER, {"user_id": user_id}, limit=100, cursor=cursor)
        found += [(day.instance_id, part) for day in page for part in day.stretches if part.until >= since]
        if cursor is None or (page and page[-1].until < since):
            return found


def ledger(query: wire.UsageQuery, user_id: str, deps: Deps) -> wire.LedgerView:
    """Every machine of the range, newest first."""
    since, until = _range(query, deps.clock.now())
    rows = usage.rows(attempts_within(deps, user_id, since), since, until)
    if query.instance:
        rows = [row for row in rows if row.instance_id == query.instance]
    shown = [wire.LedgerRowView(**{**vars(row), "seconds": float(row.seconds)}) for row in reversed(rows)]
    return wire.LedgerView(
        since=since,
        until=until,
        rows=shown[:ROWS_SHOWN],
        usd=usage.total(rows),
        truncated=len(shown) > ROWS_SHOWN,
    )


def show(query: wire.UsageQuery, user_id: str, deps: Deps) -> wire.UsageView:
    """Costs, savings and the budget of a range. Raises InvalidRequest for a range backwards or too long."""
    now = deps.clock.now()
    since, until = _range(query, now)
    rows = usage.rows(attempts_within(deps, user_id, since), since, until)
    owned = {one.id: one for one in deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": user_id})}
    if query.instance:
        if query.instance not in owned:
            raise errors.NotFound(f"there is no instance {query.instance}")
        rows = [row for row in rows if row.instance_id == query.instance]
        owned = {query.instance: owned[query.instance]}
    served = [row for row in rows if row.served]
    market, unknown = usage.against_market(served)
    per_instance = _per_instance(rows, owned, since, until)
    named = sorted({one.storage for one in owned.values() if one.storage is not None})
    # One that was removed held nothing any more.
    vendors = {name: vendor for name in named if (vendor := vendor_of(deps, user_id, name))}
    longest = max(STORAGE[vendor].minimum_days for vendor in (deps.settings.s3_vendor, *vendors.values()))
    gone = gone_since(deps, user_id, since - timedelta(days=longest))
    ours = _storage(None, deps.settings.s3_vendor, owned, gone, since, until, deps)
    theirs = [_storage(name, vendor, owned, gone, since, until, deps) for name, vendor in vendors.items()]
    machines = usage.total(rows)
    return wire.UsageView(
        since=since,
        until=until,
        machines_usd=machines,
        wasted_usd=usage.total(row for row in rows if not row.served),
        storage=ours,
        own_storage=theirs,
        total_usd=machines + ours.usd,
        burning_usd_per_hour=sum((row.usd_per_hour for row in rows if row.end is None), Decimal(0)),
        savings=wire.SavingsView(
            asleep_usd=sum((one.asleep_saved_usd for one in per_instance), Decimal(0)),
            asleep_formula=ASLEEP,
            market_usd=market,
            market_formula=MARKET,
            references=_references(served),
            no_reference=sorted(unknown),
        ),
        days=[wire.DayView(day=day, usd=usd) for day, usd in usage.by_day(rows, since, until)],
        providers=[wire.ShareView(name=n, usd=u) for n, u in sorted(usage.grouped(rows, "provider").items())],
        instances=per_instance,
        budget=show_budget(user_id, deps),
    )


def _storage(
    name: str | None,
    vendor: str,
    owned: dict[str, Instance],
    gone: Sequence[tuple[str, Stretch]],
    since: datetime,
    until: datetime,
    deps: Deps,
) -> wire.StorageView:
    """What keeping the snapshots of one bucket cost: the deployment's (None), or one of the user's own."""
    price = STORAGE[vendor]
    counts_from = since - timedelta(days=price.minimum_days)
    there = [one for one in owned.values() if one.storage == name]
    deleted = {one.id: one.entered_at for one in there if one.state is State.DESTROYED}
    kept = [
        snapshot
        for one in there
        if (deleted[one.id] > counts_from if one.id in deleted else one.snapshot_id is not None)
        for snapshot in deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": one.id})
    ]
    instances = {one.id for one in there}
    parts = [part for id, part in gone if id in instances]
    usd, stored = usage.storage(kept, vendor, since, until, deleted, parts)
    return wire.StorageView(
        name=name or OURS,
        usd=usd,
        bytes=stored,
        vendor=vendor,
        usd_per_gb_month=price.usd_per_gb_month,
        minimum_days=price.minimum_days,
        source=price.source,
    )


def _references(served: list[usage.Row]) -> list[wire.ReferenceView]:
    found = {}
    for row in served:
        reference = reference_of(row.gpu_name)
        if reference:
            found[row.gpu_name] = wire.ReferenceView(gpu_name=row.gpu_name, **vars(reference))
    return [found[name] for name in sorted(found)]


def _per_instance(
    rows: list[usage.Row], owned: dict[str, Instance], since: datetime, until: datetime
) -> list[wire.InstanceUsageView]:
    views = []
    for one in owned.values():
        own = [row for row in rows if row.instance_id == one.id]
        saved = usage.asleep(one, [row for row in own if row.served], since, until)
        if own or saved:
            views.append(
                wire.InstanceUsageView(
                    instance_id=one.id,
                    name=one.name,
                    state=one.state,
                    usd=usage.total(own),
                    wasted_usd=usage.total(row for row in own if not row.served),
                    asleep_saved_usd=saved,
                )
            )
    return sorted(views, key=lambda view: (-view.usd, view.name))


# Budgets -------------------------------------------------------------------------------------------------------------


def rows_this_month(user_id: str, deps: Deps) -> list[usage.Row]:
    now = deps.clock.now()
    since = usage.month_start(now)
    return usage.rows(attempts_within(deps, user_id, since), since, now + timedelta(microseconds=1))


def spent_on(budget: Budget, rows: Iterable[usage.Row]) -> Decimal:
    """What counts against a budget: everything, or one instance's machines."""
    return usage.total(row for row in rows if budget.instance_id in (None, row.instance_id))


def _level(budget: Budget | None, spent: Decimal) -> dict[str, Any]:
    of = share(spent, budget.usd_per_month) if budget else None
    return {
        "usd_per_month": budget.usd_per_month if budget else None,
        "spent_usd": spent,
        "share": round(float(of), 4) if of is not None else None,
        "warned": of is not None and of >= WARN_AT,
        "reached": of is not None and of >= 1,
    }


def show_budget(user_id: str, deps: Deps) -> wire.BudgetView:
    rows = rows_this_month(user_id, deps)
    own = deps.records.all(Budget, BUDGETS_OF_USER, {"user_id": user_id})
    named = [(one, deps.records.find(Instance, one.id)) for one in own if one.instance_id is not None]
    return wire.BudgetView(
        **_level(deps.records.find(Budget, user_id), usage.total(rows)),
        instances=[
            wire.InstanceBudgetView(instance_id=one.id, name=instance.name, **_level(one, spent_on(one, rows)))
            for one, instance in sorted(named, key=lambda pair: pair[0].id)
            if instance is not None
        ],
    )


def show_instance_budget(instance_id: str, user_id: str, deps: Deps) -> wire.InstanceBudgetView:
    instance = _owned(instance_id, user_id, deps)
    spent = usage.total(row for row in rows_this_month(user_id, deps) if row.instance_id == instance_id)
    level = _level(deps.records.find(Budget, instance_id), spent)
    return wire.InstanceBudgetView(instance_id=instance_id, name=instance.name, **level)


def _owned(instance_id: str, user_id: str, deps: Deps) -> Instance:
    instance = deps.records.find(Instance, instance_id)
    if instance is None or instance.user_id != user_id:
        raise errors.NotFound(f"there is no instance {instance_id}")
    return instance


def set_budget(body: wire.BudgetBody, user_id: str, deps: Deps) -> wire.BudgetView:
    _set(Budget(user_id, Decimal(0), user_id=user_id), body.usd_per_month, deps)
    return show_budget(user_id, deps)


def set_instance_budget(instance_id: str, body: wire.BudgetBody, user_id: str, deps: Deps) -> wire.InstanceBudgetView:
    _owned(instance_id, user_id, deps)
    _set(Budget(instance_id, Decimal(0), user_id=user_id, instance_id=instance_id), body.usd_per_month, deps)
    return show_instance_budget(instance_id, user_id, deps)


def _set(fresh: Budget, usd_per_month: Decimal | None, deps: Deps) -> None:
    """A new limit is told of anew."""

    def apply(tx: Transaction) -> None:
        known = tx.find(Budget, fresh.id)
        if usd_per_month is not None:
            tx.save(replace(fresh, usd_per_month=usd_per_month))
        elif known:
            tx.delete(Budget, known.id)

    deps.records.transact(apply)


def used_up(user_id: str, instance_id: str | None, deps: Deps) -> tuple[Budget, Decimal] | None:
    """The user's budget or the instance's own, if this month's is spent, and how much was."""
    known = (deps.records.find(Budget, id) for id in (user_id, instance_id) if id is not None)
    budgets = [budget for budget in known if budget is not None]
    rows = rows_this_month(user_id, deps) if budgets else []
    for budget in budgets:
        spent = spent_on(budget, rows)
        if share(spent, budget.usd_per_month) >= 1:
            return budget, spent
    return None


def require_budget(user_id: str, deps: Deps, instance_id: str | None = None) -> None:
    """Raises BudgetReached when this month's budget is used up; asked before anything is rented for a request."""
    found = used_up(user_id, instance_id, deps)
    if found is None:
        return
    budget, spent = found
    whose = f"budget of instance {budget.instance_id}," if budget.instance_id else "budget of"
    option = f" --instance {budget.instance_id}" if budget.instance_id else ""
    raise errors.BudgetReached(
        f"this month's {whose} ${budget.usd_per_month} is used up (${spent:.2f} spent); "
        f"raise it with `dumont budget set USD{option}`, or wait for the next month",
        usd_per_month=str(budget.usd_per_month),
        spent_usd=str(spent),
    )
