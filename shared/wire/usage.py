"""Cost, savings and budgets. All amounts are USD."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import Field

from shared.wire.base import Body, Budget, Moment, Query, View


class UsageQuery(Query):
    since: Moment | None = None
    """The start of this month when left out."""
    until: Moment | None = None
    """Now when left out."""
    instance: str | None = Field(default=None, max_length=60)


class InstanceBudgetView(View):
    instance_id: str
    name: str
    usd_per_month: Decimal | None
    """None: no budget of its own."""
    spent_usd: Decimal
    share: float | None
    warned: bool
    reached: bool
    """It is hibernated and not woken before the month ends or the budget is raised."""


class BudgetView(View):
    usd_per_month: Decimal | None
    """None: no budget."""
    spent_usd: Decimal
    """This calendar month (UTC), machines alone."""
    share: float | None
    warned: bool
    reached: bool
    instances: list[InstanceBudgetView]
    """Instances that have a budget of their own."""


class BudgetBody(Body):
    usd_per_month: Budget | None
    """None takes the budget away."""


class DayView(View):
    day: str
    usd: Decimal


class ShareView(View):
    name: str
    usd: Decimal


class InstanceUsageView(View):
    instance_id: str
    name: str
    state: str
    usd: Decimal
    wasted_usd: Decimal
    asleep_saved_usd: Decimal


class ReferenceView(View):
    gpu_name: str
    usd_per_gpu_hour: Decimal
    source: str
    date: str


class SavingsView(View):
    asleep_usd: Decimal
    asleep_formula: str
    market_usd: Decimal
    market_formula: str
    references: list[ReferenceView]
    no_reference: list[str]
    """GPUs that ran and have no reference price: they count nothing."""


class StorageView(View):
    name: str
    """`dumont` is the deployment's own bucket; others are the user's."""
    usd: Decimal
    bytes: int
    vendor: str
    usd_per_gb_month: Decimal
    minimum_days: int
    source: str


class UsageView(View):
    since: datetime
    until: datetime
    machines_usd: Decimal
    wasted_usd: Decimal
    """Of it, for machines that never served: race losers and failed tries."""
    storage: StorageView
    own_storage: list[StorageView]
    """Buckets of the user's own, whose vendors bill the user: not in the total."""
    total_usd: Decimal
    burning_usd_per_hour: Decimal
    savings: SavingsView
    days: list[DayView]
    providers: list[ShareView]
    instances: list[InstanceUsageView]
    budget: BudgetView


class LedgerRowView(View):
    attempt_id: str
    instance_id: str
    provider: str
    machine_id: str | None
    gpu_name: str
    gpu_count: int
    usd_per_hour: Decimal
    start: datetime
    end: datetime | None
    """When its provider took the wish for its end; None until it is proven gone."""
    usd_loading_per_hour: Decimal | None = None
    """What it costs before it runs: its whole rate, or, where the provider bills so, its disk's alone."""
    ran_at: datetime | None = None
    """From when on its whole rate counts."""
    served: bool
    why: str | None
    seconds: float
    usd: Decimal


class LedgerView(View):
    since: datetime
    until: datetime
    rows: list[LedgerRowView]
    usd: Decimal
    truncated: bool
    """Only the newest rows are shown; ask for a shorter range."""
