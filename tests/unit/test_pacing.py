"""Calls to a provider keep its minimum intervals, across processes."""

from __future__ import annotations

import pytest

from shared import errors
from shared.clock import FakeClock
from shared.domain.offer import MachineSpec, Need
from shared.providers.base import in_background
from shared.providers.fake import FakeProvider
from shared.providers.pacing import BACKGROUND_SHARE, DEFAULT_INTERVAL_S, PATIENCE_S, Paced
from shared.store.sqlite import SqliteStore
from shared.sweeps.market import SEARCHES
from tests.support.market import Recorded, lived_week
from tests.support.world import an_offer

SPEC = MachineSpec(image="x", disk_gib=10, onstart="true")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def inner(clock: FakeClock) -> FakeProvider:
    return FakeProvider(clock, [an_offer(n) for n in range(1, 9)])


def test_two_processes_share_one_pace(clock: FakeClock, inner: FakeProvider) -> None:
    store = SqliteStore(":memory:")
    one, two = (Paced(inner, store, clock, account="key") for _ in range(2))
    started = clock.now()

    one.create(an_offer(1), SPEC, "dumont-1")
    try:
        two.create(an_offer(2), SPEC, "dumont-2")
        waited = (clock.now() - started).total_seconds()
        assert waited >= DEFAULT_INTERVAL_S["create"]
    except errors.ProviderBusy as busy:
        assert busy.retry_after_s >= DEFAULT_INTERVAL_S["create"] - PATIENCE_S["create"]
        assert inner.creates == ["dumont-1"], "a create that waits has not happened"


def test_another_account_has_a_pace_of_its_own(clock: FakeClock, inner: FakeProvider) -> None:
    store = SqliteStore(":memory:")
    Paced(inner, store, clock, account="one").list()
    started = clock.now()

    Paced(inner, store, clock, account="two").list()

    assert clock.now() == started


def test_what_the_provider_asks_for_is_kept(clock: FakeClock, inner: FakeProvider) -> None:
    paced = Paced(inner, SqliteStore(":memory:"), clock, account="key")
    inner.fail_next["create"].append(errors.ProviderBusy("slow down", 60.0))
    with pytest.raises(errors.ProviderBusy):
        paced.create(an_offer(1), SPEC, "dumont-1")

    with pytest.raises(errors.ProviderBusy) as caught:
        paced.create(an_offer(1), SPEC, "dumont-1")

    assert caught.value.retry_after_s > 50
    clock.step(seconds=61)
    assert paced.create(an_offer(1), SPEC, "dumont-1").token == "dumont-1"


def test_a_search_of_a_moment_ago_is_used_again(clock: FakeClock, inner: FakeProvider) -> None:
    paced = Paced(inner, SqliteStore(":memory:"), clock, account="key")
    first = paced.offers(Need())
    inner.fail_next["offers"].append(errors.ProviderBusy("quota", 9))

    assert paced.offers(Need()) == first
    clock.step(seconds=30)
    with pytest.raises(errors.ProviderBusy):
        paced.offers(Need())


def test_a_sample_yields_to_users_and_a_user_never_waits_for_more_than_one_search() -> None:
    clock = FakeClock()
    inner = Recorded(clock, [an_offer(1)])
    paced = Paced(inner, SqliteStore(":memory:"), clock, account="key", searches_a_day=1000)
    paced.offers(Need())
    began = clock.now()
    with in_background():
        paced.offers(Need(gpu_name="L4"))
    assert (clock.now() - began).total_seconds() >= 2 * DEFAULT_INTERVAL_S["search"], "a whole interval stayed free"
    began = clock.now()
    paced.offers(Need(gpu_name="H100"))
    assert (clock.now() - began).total_seconds() <= DEFAULT_INTERVAL_S["search"]


def test_samples_leave_a_part_of_the_days_searches_to_users_and_a_new_day_begins_anew() -> None:
    clock = FakeClock()
    inner = Recorded(clock, [an_offer(1)])
    paced = Paced(inner, SqliteStore(":memory:"), clock, account="key", searches_a_day=10)

    def search(count: int) -> None:
        for number in range(count):
            clock.step(seconds=20)
            paced.offers(Need(gpu_name=f"GPU {number}"))

    with in_background(), pytest.raises(errors.ProviderBusy, match="searches"):
        search(10)
    assert len(inner.at) == 10 * BACKGROUND_SHARE
    with pytest.raises(errors.ProviderBusy) as caught:
        search(10)
    assert len(inner.at) == 10
    clock.step(seconds=caught.value.retry_after_s)
    search(1)
    assert len(inner.at) == 11


def test_no_search_budget_is_exceeded_in_a_week_with_fifty_users() -> None:
    """Ten a minute, six seconds apart, 2,000 a day: several processes, and a rush a day in which everybody searches at once."""
    week = lived_week(quota=2000)

    assert week.longest_wait_s <= DEFAULT_INTERVAL_S["search"], "nobody waits long for an answer"
    assert week.shortest_gap_s >= DEFAULT_INTERVAL_S["search"] - 1e-6
    assert week.most_a_minute <= 10, "never eleven within a minute"
    assert week.most_a_day <= 2000
    assert week.served > 5000 and week.refused >= 7 * 40, "the rushes are more than the provider takes"
    assert week.samples > 7 * 144 * SEARCHES * 0.6, "and there is room for samples"
