"""Calls to a provider keep its minimum intervals, across processes."""

from __future__ import annotations

import pytest

from shared import errors
from shared.clock import FakeClock
from shared.domain.offer import MachineSpec, Need
from shared.providers.fake import FakeProvider
from shared.providers.pacing import DEFAULT_INTERVAL_S, PATIENCE_S, Paced
from shared.store.sqlite import SqliteStore
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
