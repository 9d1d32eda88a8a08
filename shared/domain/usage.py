"""Where the money went: every machine from its creation until its end, believed once it is proven gone, as its provider bills it.

Pure: attempts in, rows and sums out. All amounts are USD; a range is half open, `since` <= t < `until`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from shared.domain.attempt import Attempt, Outcome, seconds_within
from shared.domain.instance import Instance, State
from shared.domain.kept import DELETED, Stretch
from shared.domain.reference_prices import STORAGE, reference_of
from shared.domain.snapshot import Snapshot
from shared.frozen import dataclass

HOUR = Decimal(3600)
MICRO = Decimal("0.000001")
MONTH_S = Decimal(30 * 86400)


@dataclass(frozen=True)
class Row:
    """One machine within a range."""

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
    usd_loading_per_hour: Decimal
    """What it costs before it runs: its whole rate, or its disk's alone."""
    ran_at: datetime | None
    """From when on its whole rate counts."""
    served: bool
    """False: it never became the instance's machine, so what it cost is wasted."""
    why: str | None
    seconds: Decimal
    ran_seconds: Decimal
    usd: Decimal
    attempt: Attempt


def rows(attempts: Iterable[Attempt], since: datetime, until: datetime) -> list[Row]:
    """Machines that existed within the range, oldest first; a try that rented nothing has no row."""
    found = []
    for attempt in attempts:
        if attempt.created_at is None:
            continue
        end = attempt.billed_until
        lasted = seconds_within(attempt.created_at, end or until, since, until)
        if lasted == 0 and not since <= attempt.created_at < until:
            continue
        found.append(
            Row(
                attempt_id=attempt.id,
                instance_id=attempt.instance_id,
                provider=attempt.provider,
                machine_id=attempt.machine_id,
                gpu_name=attempt.gpu_name,
                gpu_count=attempt.gpu_count,
                usd_per_hour=attempt.usd_per_hour,
                start=attempt.created_at,
                end=end,
                usd_loading_per_hour=attempt.usd_per_hour if attempt.bills_loading else attempt.usd_disk_per_hour,
                ran_at=attempt.whole_from,
                served=attempt.adopted_at is not None or attempt.outcome in (Outcome.READY, Outcome.LOST),
                why=attempt.why,
                seconds=lasted,
                ran_seconds=attempt.whole_seconds(since, until),
                usd=attempt.usd_between(since, until),
                attempt=attempt,
            )
        )
    return sorted(found, key=lambda row: (row.start, row.attempt_id))


def total(of: Iterable[Row]) -> Decimal:
    return sum((row.usd for row in of), Decimal(0))


def by_day(of: Sequence[Row], since: datetime, until: datetime) -> list[tuple[str, Decimal]]:
    """USD of each UTC day of the range, days without cost included."""
    days = []
    day = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day < until:
        after = day + timedelta(days=1)
        usd = sum((row.attempt.usd_between(max(day, since), min(after, until)) for row in of), Decimal(0))
        days.append((day.date().isoformat(), usd))
        day = after
    return days


def asleep(instance: Instance, served: Sequence[Row], since: datetime, until: datetime) -> Decimal:
    """USD not paid while the instance had no machine: those seconds at the rate of the machine before.

    Before the range's first machine the rate is that machine's; an instance that slept all through it is charged at
    its last machine's.
    """
    saved = Decimal(0)
    gone = instance.state in (State.DESTROYED, State.DESTROYING, State.FAILED)
    life_end = instance.entered_at if gone else until
    if not served:
        if instance.state is State.HIBERNATED and instance.last_machine:
            idle = seconds_within(instance.entered_at, life_end, since, until)
            saved = instance.last_machine.usd_per_hour * idle / HOUR
        return saved.quantize(MICRO)
    if instance.created_at < since and served[0].start > since:
        saved += served[0].usd_per_hour * seconds_within(since, served[0].start, since, until) / HOUR
    for row, after in zip(served, [*served[1:], None], strict=True):
        if row.end is None:
            continue
        next_start = after.start if after else life_end
        saved += row.usd_per_hour * seconds_within(row.end, next_start, since, until) / HOUR
    return saved.quantize(MICRO)


def against_market(served: Iterable[Row]) -> tuple[Decimal, set[str]]:
    """USD that the same GPUs for the same hours would have cost more on demand, and the GPUs without a reference."""
    saved, unknown = Decimal(0), set()
    for row in served:
        reference = reference_of(row.gpu_name)
        if reference is None:
            unknown.add(row.gpu_name)
            continue
        saved += (reference.usd_per_gpu_hour * row.gpu_count - row.usd_per_hour) * row.ran_seconds / HOUR
    return saved.quantize(MICRO), unknown


def storage(
    snapshots: Iterable[Snapshot],
    vendor: str,
    since: datetime,
    until: datetime,
    deleted: Mapping[str, datetime] | None = None,
    gone: Iterable[Stretch] = (),
) -> tuple[Decimal, int]:
    """USD of keeping what each snapshot newly stored, and the bytes kept now.

    `deleted`: when an instance's snapshots went with it; `gone`: what old snapshots had stored. What is deleted sooner than
    the vendor's minimum is billed until that.
    """
    price, deleted = STORAGE[vendor], deleted or {}
    minimum = timedelta(days=price.minimum_days)
    usd, kept = Decimal(0), 0

    def cost(stored: int, begin: datetime, end: datetime) -> Decimal:
        lasted = seconds_within(begin, end, since, until)
        return price.usd_per_gb_month * Decimal(stored) / Decimal(10**9) * lasted / MONTH_S

    for one in snapshots:
        if one.state not in ("verified", "damaged"):
            continue
        gone_at = deleted.get(one.instance_id)
        if gone_at is None:
            kept += one.stored_bytes
            end = until
        else:
            end = max(gone_at, one.created_at + minimum)
        usd += cost(one.stored_bytes, one.created_at, end)
    for part in gone:
        least = part.since + minimum if part.heir_id == DELETED else part.until
        usd += cost(part.bytes, part.since, max(part.until, least))
    return usd.quantize(MICRO), kept


def grouped(of: Iterable[Row], key: str) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in of:
        sums[str(getattr(row, key))] += row.usd
    return dict(sums)


def month_start(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
