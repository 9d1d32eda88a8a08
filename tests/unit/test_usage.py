"""Every cent is on the ledger; savings follow their formulas; a budget stops renting and deletes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import errors
from shared.domain import usage
from shared.domain.attempt import Attempt, Outcome, Receipt, Stage
from shared.domain.budget import Budget
from shared.domain.event import Event
from shared.domain.instance import Instance, State
from shared.domain.reference_prices import STORAGE, reference_of
from shared.domain.snapshot import Snapshot
from shared.flows import instances
from shared.flows import usage as flow
from shared.providers.base import Features, MachineStatus
from shared.store.shapes import BUDGETS, EVENTS_OF_INSTANCE, SNAPSHOTS_OF_INSTANCE
from shared.sweeps.budgets import budgets
from shared.wire.usage import BudgetBody, UsageQuery
from tests.support.http import client, error_of
from tests.support.world import World
from tests.unit.test_web import bearer


@pytest.fixture
def world() -> World:
    return World()


START = datetime(2026, 11, 10, tzinfo=UTC)


def an_attempt(
    number: int = 0, begin: float = 0, end: float | None = 3600, rate: str = "0.36", served: bool = True, gpus: int = 1
) -> Attempt:
    """`begin` and `end` in seconds after START."""
    ended = None if end is None else START + timedelta(seconds=end)
    return Attempt(
        id=f"a-{number}",
        instance_id="i-1",
        user_id="u",
        round=1,
        provider="vast",
        offer_id="o",
        offer_machine_id="m",
        host_id="h",
        gpu_name="L4",
        gpu_count=gpus,
        usd_per_hour=Decimal(rate),
        region="US",
        secret_hash="",
        opened_at=START,
        stage=Stage.CLOSED if ended else Stage.ADOPTED,
        open=ended is None,
        created_at=START + timedelta(seconds=begin),
        adopted_at=START + timedelta(seconds=begin) if served else None,
        outcome=Outcome.READY if served else Outcome.CANCELLED,
        receipt=Receipt(requested_at=ended, confirmed_at=ended) if ended else None,
        closed_at=ended,
    )


def hours_of(instance: Instance, hours: str) -> Decimal:
    """What its machine costs in so many hours."""
    assert instance.machine is not None
    return (instance.machine.usd_per_hour * Decimal(hours)).quantize(Decimal("0.01"))


def rows(*attempts: Attempt, hours: float = 24) -> list[usage.Row]:
    return usage.rows(attempts, START, START + timedelta(hours=hours))


def test_a_machine_costs_its_rate_from_creation_until_it_is_proven_gone() -> None:
    (row,) = rows(an_attempt(begin=600, end=4200))

    assert (row.seconds, row.usd) == (Decimal(3600), Decimal("0.36"))


def test_only_what_lies_within_the_range_counts() -> None:
    (row,) = rows(an_attempt(begin=-7200, end=None), hours=2)

    assert row.usd == Decimal("0.72")
    assert rows(an_attempt(begin=-7200, end=-10)) == []


def test_a_try_that_rented_nothing_has_no_row() -> None:
    assert rows(replace(an_attempt(), created_at=None)) == []


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 200_000)), max_size=8), st.integers(1, 47))
def test_days_add_up_to_the_whole_and_ranges_can_be_cut_anywhere(spans: list[tuple[int, int]], cut: int) -> None:
    attempts = [an_attempt(n, begin, begin + lasted) for n, (begin, lasted) in enumerate(spans)]
    until, middle = START + timedelta(hours=48), START + timedelta(hours=cut)
    whole = usage.rows(attempts, START, until)
    halves = usage.rows(attempts, START, middle) + usage.rows(attempts, middle, until)
    rounding = Decimal("0.00001") * (len(spans) + 1)

    assert abs(sum(u for _, u in usage.by_day(whole, START, until)) - usage.total(whole)) <= rounding
    assert abs(usage.total(halves) - usage.total(whole)) <= rounding


def test_a_reference_is_of_the_same_gpu_and_counts_every_gpu() -> None:
    reference = reference_of("L4")
    assert reference is not None
    saved, unknown = usage.against_market(rows(an_attempt(rate="1.00", gpus=8)))

    assert saved == reference.usd_per_gpu_hour * 8 - 1
    assert unknown == set()
    assert reference_of("L40") is None, "an L40 is no L4"
    assert reference_of("H100 SXM") == reference_of("H100")


def test_a_gpu_without_a_reference_saves_nothing_and_is_named() -> None:
    odd = replace(an_attempt(), gpu_name="GTX 980")

    assert usage.against_market(rows(odd)) == (Decimal(0), {"GTX 980"})


def test_sleep_is_saved_at_the_rate_of_the_machine_before(world: World) -> None:
    instance = world.hibernated(gpu_name="RTX 4090")
    asleep_at, rate = world.clock.now(), instance.last_machine.usd_per_hour if instance.last_machine else Decimal(0)
    world.clock.step(hours=10)

    shown = flow.show(UsageQuery(since=asleep_at), world.user.id, world.deps)

    assert shown.savings.asleep_usd == pytest.approx(rate * 10, abs=Decimal("0.01"))
    assert shown.machines_usd == 0
    assert shown.storage.bytes == 10


def test_the_ledger_has_a_row_for_each_machine_winner_and_losers(world: World) -> None:
    instance, _ = world.running()
    world.clock.step(hours=2)
    instances.destroy(instance.id, 0, world.user.id, world.deps)
    world.settle(instance.id)

    ledger = flow.ledger(UsageQuery(), world.user.id, world.deps)

    assert ledger.usd == sum((row.usd for row in ledger.rows), Decimal(0)) > Decimal("0.6")
    assert sum(row.served for row in ledger.rows) == 1
    assert all(row.end is not None for row in ledger.rows)


def test_another_users_machines_are_not_mine(world: World) -> None:
    world.running()

    assert flow.ledger(UsageQuery(), "u-other", world.deps).rows == []
    with pytest.raises(errors.NotFound):
        flow.show(UsageQuery(instance="i-unknown"), world.user.id, world.deps)


def test_a_range_backwards_or_endless_is_refused(world: World) -> None:
    now = world.clock.now()
    for since, until in ((now, now - timedelta(days=1)), (now - timedelta(days=500), now)):
        with pytest.raises(errors.InvalidRequest):
            flow.show(UsageQuery(since=since, until=until), world.user.id, world.deps)


def test_a_used_up_budget_hibernates_what_runs_and_refuses_what_is_new(world: World) -> None:
    instance, agent = world.running()
    flow.set_budget(BudgetBody(usd_per_month=hours_of(instance, "3.5")), world.user.id, world.deps)
    world.clock.step(hours=2)
    agent.beat()
    assert budgets(world.deps).changed == 0, "below 80 % nothing happens"

    world.clock.step(hours=1)
    agent.beat()
    budgets(world.deps)
    assert world.instance(instance.id).state is State.RUNNING, "a warning stops nothing"

    world.clock.step(hours=1)
    agent.beat()
    budgets(world.deps)
    assert world.instance(instance.id).state is State.HIBERNATING
    agent.take_snapshot()
    world.settle(instance.id)
    assert world.instance(instance.id).state is State.HIBERNATED

    with pytest.raises(errors.BudgetReached, match="budget"):
        instances.wake(instance.id, 0, world.user.id, world.deps)
    with pytest.raises(errors.BudgetReached):
        world.provision()

    flow.set_budget(BudgetBody(usd_per_month=Decimal(100)), world.user.id, world.deps)
    assert instances.wake(instance.id, 0, world.user.id, world.deps).state is State.WAKING


def test_each_level_is_told_once_a_month(world: World) -> None:
    instance, agent = world.running()
    flow.set_budget(BudgetBody(usd_per_month=hours_of(instance, "3.5")), world.user.id, world.deps)
    world.clock.step(hours=3)
    agent.beat()
    for _ in range(3):
        budgets(world.deps)

    told = world.deps.records.all(Event, EVENTS_OF_INSTANCE, {"instance_id": instance.id})
    assert [e.kind for e in told if e.kind.startswith("budget")] == ["budget_warning"]


def test_no_budget_limits_nothing_and_one_can_be_taken_away(world: World) -> None:
    assert flow.show_budget(world.user.id, world.deps).usd_per_month is None
    flow.set_budget(BudgetBody(usd_per_month=Decimal(0)), world.user.id, world.deps)
    with pytest.raises(errors.BudgetReached):
        world.provision()
    assert flow.set_budget(BudgetBody(usd_per_month=None), world.user.id, world.deps).usd_per_month is None
    world.provision()


def test_an_instances_own_budget_hibernates_it_alone_and_nobody_wakes_it(world: World) -> None:
    dear, agent = world.running(name="dear")
    other, busy = world.running(name="other")
    own = flow.set_instance_budget(dear.id, BudgetBody(usd_per_month=hours_of(dear, "3.5")), world.user.id, world.deps)
    assert own.reached is False
    world.clock.step(hours=3)
    agent.beat()
    busy.beat()
    budgets(world.deps)
    assert [e.kind for e in budget_events(world, dear)] == ["budget_warning"]
    assert world.instance(dear.id).state is State.RUNNING, "a warning stops nothing"

    world.clock.step(hours=1)
    agent.beat()
    busy.beat()
    for _ in range(2):
        budgets(world.deps)
    agent.take_snapshot()
    world.settle(dear.id)
    assert world.instance(dear.id).state is State.HIBERNATED and world.instance(dear.id).snapshot_id
    assert world.instance(other.id).state is State.RUNNING
    assert sorted(e.kind for e in budget_events(world, dear)) == ["budget_reached", "budget_warning"]
    assert budget_events(world, other) == []

    with pytest.raises(errors.BudgetReached, match=f"--instance {dear.id}"):
        instances.wake(dear.id, 0, world.user.id, world.deps)
    world.provision()
    (shown,) = flow.show_budget(world.user.id, world.deps).instances
    assert (shown.name, shown.reached) == ("dear", True)
    flow.set_instance_budget(dear.id, BudgetBody(usd_per_month=None), world.user.id, world.deps)
    assert instances.wake(dear.id, 0, world.user.id, world.deps).state is State.WAKING


def test_a_machine_that_is_lost_is_not_replaced_on_a_used_up_budget(world: World) -> None:
    instance, agent = world.running()
    flow.set_instance_budget(instance.id, BudgetBody(usd_per_month=Decimal("0.01")), world.user.id, world.deps)
    instances.take_snapshot(instance.id, 0, world.user.id, world.deps)
    agent.take_snapshot()
    world.clock.step(hours=1)
    world.provider.made.clear()
    world.settle(instance.id, lambda i: i.state is State.HIBERNATED)

    assert world.provider.made == {}
    assert world.instance(instance.id).snapshot_id is not None


def test_a_race_under_way_asks_for_no_more_machines_on_a_used_up_budget(world: World) -> None:
    id = world.hibernated().id
    instances.wake(id, 0, world.user.id, world.deps)
    world.advance(id)
    flow.set_budget(BudgetBody(usd_per_month=Decimal(0)), world.user.id, world.deps)
    asked = world.created(id)
    assert asked
    for attempt in asked:
        world.agent(attempt).register(problems=["its GPU is gone"])
    woken = world.settle(id)

    assert woken.state is State.HIBERNATED and "is used up" in str(woken.failure)
    assert {a.id for a in world.attempts(id) if a.machine_id} == {a.id for a in asked}


def test_a_budget_ends_with_its_instance(world: World) -> None:
    instance, _ = world.running()
    flow.set_instance_budget(instance.id, BudgetBody(usd_per_month=Decimal(5)), world.user.id, world.deps)
    instances.destroy(instance.id, 0, world.user.id, world.deps)
    world.settle(instance.id)
    budgets(world.deps)
    assert world.deps.records.find(Budget, instance.id) is None
    assert flow.show_budget(world.user.id, world.deps).instances == []


def test_another_users_instance_has_no_budget_of_mine(world: World) -> None:
    instance, _ = world.running()
    with pytest.raises(errors.NotFound):
        flow.set_instance_budget(instance.id, BudgetBody(usd_per_month=Decimal(0)), "u-other", world.deps)
    with pytest.raises(errors.NotFound):
        flow.show_instance_budget(instance.id, "u-other", world.deps)


def budget_events(world: World, instance: Instance) -> list[Event]:
    told = world.deps.records.all(Event, EVENTS_OF_INSTANCE, {"instance_id": instance.id})
    return [event for event in told if event.kind.startswith("budget")]


@pytest.mark.parametrize("amount", [-1, -0.01, "NaN", "Infinity", 10_000_001, 1e300, "1.001", "much", [], True, {}])
@pytest.mark.parametrize("path", ["", "/INSTANCE"])
def test_absurd_budgets_are_refused_over_http_and_change_nothing(world: World, amount: object, path: str) -> None:
    instance, _ = world.running()
    where = "/api/v1/usage/budget" + path.replace("INSTANCE", instance.id)
    answer = client("usage", world.deps).put(where, json={"usd_per_month": amount}, headers=bearer(world))

    assert answer.status_code == 400 and "usd_per_month" in error_of(answer)["message"]
    assert world.deps.records.all(Budget, BUDGETS, {}) == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("since=2026-11-02T00:00:00Z&until=2026-11-01T00:00:00Z", "before until"),
        ("since=2020-01-01T00:00:00Z", "400 days"),
        ("since=yesterday", "since"),
        ("since=2026-11-02T00:00:00", "since"),
        ("until=", "until"),
        ("since=2999-01-01T00:00:00Z", "before until"),
    ],
)
def test_ranges_backwards_or_absurd_are_refused_over_http(world: World, query: str, words: str) -> None:
    for path in ("usage", "usage/ledger"):
        answer = client("usage", world.deps).get(f"/api/v1/{path}?{query}", headers=bearer(world))
        assert answer.status_code == 400 and words in error_of(answer)["message"]


@pytest.mark.parametrize(("vendor", "days"), [("s3", 10), ("r2", 10), ("b2", 10), ("wasabi", 90)])
def test_storage_costs_until_it_is_deleted_and_at_least_the_vendors_minimum(vendor: Any, days: int) -> None:
    world = World(s3_vendor=vendor)
    instance = world.hibernated()
    (snapshot,) = world.deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance.id})
    world.deps.records.transact(lambda tx: tx.save(replace(tx.load(Snapshot, snapshot.id), stored_bytes=1000 * 10**9)))
    world.clock.step(hours=240)
    instances.destroy(instance.id, 0, world.user.id, world.deps)
    world.settle(instance.id)
    gone = world.instance(instance.id)
    world.clock.step(hours=24 * 120)

    shown = flow.show(UsageQuery(since=snapshot.created_at), world.user.id, world.deps).storage
    price = STORAGE[vendor].usd_per_gb_month
    assert shown.bytes == 0
    assert shown.usd == pytest.approx(price * 1000 * days / 30, rel=Decimal("0.001"))
    later = flow.show(UsageQuery(since=gone.entered_at + timedelta(days=81)), world.user.id, world.deps).storage
    assert later.usd == 0, "past every minimum"


# As the provider bills it -------------------------------------------------------------------------------------------


def loading(ran: float | None, end: float | None = 3600, adopted: float | None = None) -> Attempt:
    """At a provider that bills the disk alone until the machine runs; in seconds after START."""
    return replace(
        an_attempt(end=end, rate="0.37", served=False),
        bills_loading=False,
        usd_disk_per_hour=Decimal("0.01"),
        ran_at=None if ran is None else START + timedelta(seconds=ran),
        adopted_at=None if adopted is None else START + timedelta(seconds=adopted),
    )


def test_where_loading_is_not_billed_the_disk_is_until_the_machine_runs() -> None:
    (never,) = rows(loading(None))
    (ran,) = rows(loading(1800, adopted=2000))
    (said_nothing,) = rows(loading(None, adopted=900))

    assert (never.usd, never.ran_at, never.ran_seconds) == (Decimal("0.01"), None, Decimal(0))
    assert (ran.usd, ran.ran_seconds) == (Decimal("0.01") + Decimal("0.36") / 2, Decimal(1800))
    assert said_nothing.usd == Decimal("0.01") + Decimal("0.36") * 3 / 4
    assert (ran.usd_loading_per_hour, ran.seconds) == (Decimal("0.01"), Decimal(3600))
    saved, _ = usage.against_market([never])
    assert saved == 0, "what never ran would have cost nothing elsewhere"


@given(st.integers(0, 90_000), st.integers(0, 90_000), st.integers(1, 47))
def test_days_and_cuts_add_up_with_loading_too(ran: int, lasted: int, cut: int) -> None:
    attempt = loading(min(ran, lasted), lasted)
    until, middle = START + timedelta(hours=48), START + timedelta(hours=cut)
    whole = usage.rows([attempt], START, until)
    halves = usage.rows([attempt], START, middle) + usage.rows([attempt], middle, until)

    assert abs(sum(u for _, u in usage.by_day(whole, START, until)) - usage.total(whole)) <= Decimal("0.00001")
    assert abs(usage.total(halves) - usage.total(whole)) <= Decimal("0.00001")
    assert attempt.receipt is not None and attempt.usd_until(until) == usage.total(whole)


def unbilled_loading() -> World:
    world = World()
    world.provider.features = Features(bills_while_loading=False)
    world.provider.stock = [replace(o, usd_disk_per_hour=Decimal("0.01")) for o in world.provider.stock]
    return world


@pytest.mark.parametrize("doubt", [False, True])
def test_whether_a_loser_ran_is_asked_before_it_goes_and_in_doubt_it_did(doubt: bool) -> None:
    world = unbilled_loading()
    instance = world.provision(width=3)
    world.settle(instance.id, lambda i: len(world.created(i.id)) == 3)
    winner, ran, loads = world.created(instance.id)
    world.clock.step(seconds=30)
    world.provider.set_status(str(ran.machine_id), MachineStatus.RUNNING)
    began = world.clock.now()
    world.clock.step(seconds=4)
    world.agent(winner).register()
    if doubt:
        world.provider.fail_next["list"] = [errors.ProviderBusy("slow down", 1)] * 2
    world.settle(instance.id)
    by_id = {row.attempt_id: row for row in flow.ledger(UsageQuery(), world.user.id, world.deps).rows}

    assert by_id[ran.id].end is not None and by_id[loads.id].end is not None
    assert ran.created_at is not None and loads.created_at is not None
    if doubt:
        assert by_id[ran.id].ran_at == ran.created_at and by_id[loads.id].ran_at == loads.created_at
    else:
        assert by_id[ran.id].ran_at == began and by_id[loads.id].ran_at is None
        assert by_id[loads.id].usd < by_id[ran.id].usd
    assert world.provider.made.keys() == {winner.machine_id}


def test_a_machine_costs_until_its_end_was_last_accepted_and_only_once_it_is_gone() -> None:
    world = World()
    world.provider.stubborn = 3
    instance, _ = world.running(width=1)
    world.clock.step(hours=1)
    instances.destroy(instance.id, 0, world.user.id, world.deps)
    asked_at = world.clock.now()
    (row,) = flow.ledger(UsageQuery(), world.user.id, world.deps).rows
    assert row.end is None, "it is not proven gone"
    world.settle(instance.id)
    (row,) = flow.ledger(UsageQuery(), world.user.id, world.deps).rows
    (attempt,) = world.attempts(instance.id)

    assert attempt.receipt is not None and attempt.receipt.accepted_at is not None
    assert attempt.receipt.confirmed_at is not None
    assert asked_at < attempt.receipt.accepted_at < attempt.receipt.confirmed_at
    assert row.end == attempt.receipt.accepted_at
    assert row.usd == attempt.receipt.usd


def test_a_machine_that_stood_still_costs_its_disk_and_the_ledger_goes_on_when_it_runs_again() -> None:
    world = unbilled_loading()
    instance, agent = world.running(width=1)
    silence = world.deps.settings.silence_after_s
    world.clock.step(seconds=100)
    agent.beat()
    stopped_at = world.clock.now()
    world.provider.set_status(str(agent.me.machine_id), MachineStatus.OFFLINE)
    for _ in range(4):
        world.clock.step(seconds=silence + 1)
        world.advance(instance.id)
    assert agent.me.paused and world.instance(instance.id).state is State.RUNNING
    (row,) = flow.ledger(UsageQuery(), world.user.id, world.deps).rows
    until_then = row.usd
    again_at = world.clock.now()
    world.provider.set_status(str(agent.me.machine_id), MachineStatus.RUNNING)
    agent.beat()
    world.advance(instance.id)
    world.clock.step(hours=1)
    (row,) = flow.ledger(UsageQuery(), world.user.id, world.deps).rows

    (pause,) = agent.me.pauses
    assert (pause.since, pause.until) == (stopped_at, again_at)
    hour = row.usd_per_hour
    assert row.usd - until_then == pytest.approx(hour, abs=Decimal("0.00001"))
    assert row.ran_at is not None
    ran = Decimal((stopped_at - row.ran_at).total_seconds()) / 3600
    assert until_then == pytest.approx(
        hour * ran + Decimal("0.01") * Decimal(4 * (silence + 1)) / 3600, abs=Decimal("0.0002")
    )
    assert usage.rows([agent.me], row.start, world.clock.now())[0].ran_seconds < Decimal(row.seconds)
    everywhere = replace(agent.me, bills_loading=True)
    assert everywhere.seen(False, again_at) == everywhere, "where all is billed whole, nothing is noted"
