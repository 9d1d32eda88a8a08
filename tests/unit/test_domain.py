"""The tables of states, leases, attempts and the ranking of offers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import errors
from shared.domain import lease as leases
from shared.domain.attempt import Attempt, Outcome, Stage, attempt_of_label
from shared.domain.instance import ACTIONS, DEADLINE, NEXT, PASSING, RESTING, Action, Instance, State
from shared.domain.lease import Lease
from shared.domain.offer import Need, misfit, nearest_misses, rank
from shared.domain.pricing import total_price
from shared.store import codec
from tests.support.world import World, an_offer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def an_attempt(**changes: object) -> Attempt:
    attempt = Attempt(
        id="a" * 28,
        instance_id="i-1",
        user_id="u-1",
        round=1,
        provider="fake",
        offer_id="o",
        offer_machine_id="m",
        host_id="h",
        gpu_name="RTX 4090",
        gpu_count=1,
        usd_per_hour=Decimal("0.36"),
        region="US",
        secret_hash="x",
        opened_at=NOON,
    )
    return replace(attempt, **changes)  # type: ignore[arg-type]


# States ---------------------------------------------------------------------------------------------------------------


def test_every_state_can_end_destroyed() -> None:
    for state in State:
        reached, frontier = {state}, [state]
        while frontier:
            following = NEXT[frontier.pop()] - reached
            reached |= following
            frontier += following
        assert State.DESTROYED in reached, state


def test_every_passing_state_has_a_deadline_and_no_resting_one_does() -> None:
    assert set(DEADLINE) == PASSING
    assert set(State) == RESTING | PASSING


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(NEXT) == set(State)
    assert {State.PROVISIONING} | {s for following in NEXT.values() for s in following} == set(State)


def test_every_action_is_possible_somewhere_and_only_destroy_where_it_can_be() -> None:
    assert set(ACTIONS) == set(Action)
    assert all(ACTIONS.values())
    for state in ACTIONS[Action.DESTROY]:
        assert state is State.DESTROYING or State.DESTROYING in NEXT[state]
    for state in ACTIONS[Action.WAKE]:
        assert State.WAKING in NEXT[state]
    for state in ACTIONS[Action.HIBERNATE]:
        assert State.HIBERNATING in NEXT[state]


def test_entering_a_state_that_may_not_follow_is_refused() -> None:
    instance = World().provision()

    with pytest.raises(errors.IllegalTransition) as caught:
        instance.enter(State.HIBERNATED, NOON)

    assert instance.id in caught.value.message and "provisioning" in caught.value.message


def test_an_adopted_machine_may_take_longer_than_finding_one() -> None:
    instance = World().provision()
    adopted = replace(instance, attempt_id="a")

    assert instance.overdue(instance.entered_at + timedelta(minutes=16))
    assert not adopted.overdue(instance.entered_at + timedelta(minutes=16))


def test_records_survive_their_encoding() -> None:
    instance = World().provision(env={"A": "b"}, ports=[8888], labels={"team": "x"})

    assert codec.decode(Instance, codec.encode(instance)) == instance


def test_a_record_of_another_version_is_read_leniently() -> None:
    data = codec.encode(World().provision())
    data["from_the_future"] = 1
    del data["labels"]

    assert codec.decode(Instance, data).labels == {}


# Leases ---------------------------------------------------------------------------------------------------------------


def test_a_lease_held_by_another_is_refused_until_it_ends() -> None:
    held = leases.take(None, "a", NOON, timedelta(seconds=20))

    with pytest.raises(errors.LeaseHeld):
        leases.take(held, "b", NOON + timedelta(seconds=19), timedelta(seconds=20))
    assert leases.take(held, "b", NOON + timedelta(seconds=20), timedelta(seconds=20)).generation == 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.booleans()), max_size=30))
def test_generations_always_grow(steps: list[tuple[str, int, bool]]) -> None:
    held: Lease | None = None
    now, last = NOON, 0
    for owner, seconds, let_go in steps:
        now += timedelta(seconds=seconds)
        try:
            held = leases.take(held, owner, now, timedelta(seconds=20))
        except errors.LeaseHeld:
            continue
        assert held.generation > last
        last = held.generation
        if let_go:
            held = leases.release(held, now)


# Attempts -------------------------------------------------------------------------------------------------------------


def test_an_ended_attempt_keeps_its_first_outcome_and_reason() -> None:
    ended = an_attempt(stage=Stage.CREATED).ending(Outcome.FAILED, "disk full", NOON)

    again = ended.ending(Outcome.CANCELLED, "destroyed", NOON + timedelta(minutes=1))

    assert again == ended
    assert not ended.wants_machine and ended.next_action_at == NOON


def test_a_machine_that_served_well_is_not_cancelled_by_its_end() -> None:
    served = an_attempt(stage=Stage.ADOPTED, outcome=Outcome.READY)

    assert served.ending(Outcome.CANCELLED, "destroyed", NOON).outcome is Outcome.READY
    assert served.ending(Outcome.LOST, "gone", NOON).outcome is Outcome.LOST


def test_a_receipt_counts_from_creation_to_proof() -> None:
    attempt = an_attempt(stage=Stage.CREATED, created_at=NOON)

    closed = attempt.ending(Outcome.CANCELLED, "lost the race", NOON + timedelta(seconds=50)).closed(
        NOON + timedelta(seconds=100)
    )

    assert closed.receipt is not None
    assert closed.receipt.usd == Decimal("0.010000")
    assert closed.receipt.confirmed_at == NOON + timedelta(seconds=100)
    assert not closed.open


@pytest.mark.parametrize("label", [None, "", "dumont-", "dumont", "my-dumont-x", "other"])
def test_foreign_labels_name_no_attempt(label: str | None) -> None:
    assert attempt_of_label(label) is None


# Offers ---------------------------------------------------------------------------------------------------------------

NEED = Need(gpu_name="rtx_4090", disk_gib=50, max_usd_per_hour=Decimal("0.5"), regions=("US",), ports=2)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"gpu_name": "RTX 3090"}, "GPU is"),
        ({"gpu_count": 2}, "2 GPUs"),
        ({"disk_gib": 49}, "of disk"),
        ({"usd_per_hour": Decimal("0.5001")}, "costs"),
        ({"reliability": 0.89}, "reliability"),
        ({"region": "DE"}, "is in DE"),
        ({"open_ports": 1}, "open ports"),
    ],
)
def test_offers_are_checked_again_since_providers_drop_filters(changes: dict[str, object], why: str) -> None:
    assert misfit(an_offer(), NEED) is None
    offer = replace(an_offer(), **changes)  # type: ignore[arg-type]

    reason = misfit(offer, NEED)

    assert reason is not None and why in reason
    assert rank([offer], NEED) == ()
    assert why in nearest_misses([offer], NEED)[0]


def test_ranking_takes_the_cheapest_one_per_host_and_the_preferred_host_first() -> None:
    offers = [an_offer(3), an_offer(1), an_offer(4, host_id="host-1"), an_offer(2)]

    assert [o.offer_id for o in rank(offers, Need())] == ["offer-1", "offer-2", "offer-3"]
    assert rank(offers, Need(), prefer_host="host-3")[0].offer_id == "offer-3"
    assert rank(offers, Need(), avoid_machines={"machine-1"})[0].offer_id == "offer-2"


def test_transfer_counts_as_part_of_the_price() -> None:
    dear_traffic = an_offer(1, usd_per_gb_down=Decimal("0.02"))
    dear, cheap = total_price(dear_traffic, snapshot_gb=12), total_price(an_offer(5), snapshot_gb=12)

    assert dear.transfer == Decimal("0.400000") and dear.total > cheap.total
    best = rank([dear_traffic, an_offer(5)], Need(), price=lambda o: total_price(o, snapshot_gb=12).total)
    assert best[0].offer_id == "offer-5"


@given(st.lists(st.integers(1, 40), unique=True, min_size=1))
def test_ranking_never_depends_on_the_order_of_offers(numbers: list[int]) -> None:
    offers = [an_offer(n) for n in numbers]

    assert rank(offers, Need()) == rank(list(reversed(offers)), Need())
