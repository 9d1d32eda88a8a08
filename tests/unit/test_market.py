"""What the market's memory says is what was sampled, and no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from statistics import fmean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import errors
from shared.domain import prices
from shared.flows import market
from shared.store.counting import CountingStore
from shared.sweeps.market import SEARCHES, sample
from shared.wire.market import MarketQuery
from tests.support.world import World, an_offer

START = datetime(2026, 11, 2, tzinfo=UTC)
PRICES = st.lists(st.floats(0.01, 20, allow_nan=False), min_size=1, max_size=12)


def day_of(samples: list[tuple[int, str, list[float]]]) -> prices.PriceDay:
    day = market.new_day("RTX 4090", False, START)
    for hour, provider, found in samples:
        day = prices.sampled(day, START + timedelta(hours=hour), provider, "US", found)
    return day


@given(st.lists(PRICES, min_size=1, max_size=6))
@settings(max_examples=60)
def test_an_hour_is_the_mean_of_its_samples_quantiles(samples: list[list[float]]) -> None:
    (hour,) = day_of([(3, "vast", found) for found in samples]).hours

    assert hour.samples == len(samples)
    assert hour.low == min(min(found) for found in samples)
    assert hour.median == pytest.approx(fmean(median(found) for found in samples))
    assert hour.offers == pytest.approx(fmean(len(found) for found in samples))


@given(st.lists(st.tuples(st.integers(0, 23), st.sampled_from(["vast", "gce"]), PRICES), min_size=1, max_size=20))
@settings(max_examples=60)
def test_points_follow_from_the_raw_samples(samples: list[tuple[int, str, list[float]]]) -> None:
    found = prices.points([day_of(samples)], START - timedelta(hours=1), frozenset(), 1)

    assert [p.at.hour for p in found] == sorted({hour for hour, _, _ in samples})
    for point in found:
        raw = [(p, f) for hour, p, f in samples if hour == point.at.hour]
        assert point.low == min(min(f) for _, f in raw)
        assert point.samples == len(raw)
        rows = []
        for provider in {p for p, _ in raw}:
            own = [f for p, f in raw if p == provider]
            rows.append((fmean(map(median, own)), fmean(map(len, own)) * len(own)))
        assert point.median == pytest.approx(sum(m * w for m, w in rows) / sum(w for _, w in rows))


def test_a_trend_needs_data_and_knows_its_error() -> None:
    rising = day_of([(h, "vast", [1 + h * 0.01]) for h in range(24)])
    found = prices.trend(prices.points([rising], START, frozenset(), 1))
    assert found is not None
    assert found.percent_a_day == pytest.approx(0.24 / 1.115 * 100, rel=0.01) and found.error < 0.1
    few = day_of([(h, "vast", [1.0]) for h in range(5)])
    assert prices.trend(prices.points([few], START, frozenset(), 1)) is None


def test_no_data_says_so(world: World) -> None:
    shown = market.show(MarketQuery(gpu_name="RTX 4090"), world.user.id, world.deps)
    assert (shown.now, shown.trend, shown.enough) == (None, None, False)
    assert "Nothing was sampled" in shown.note


@pytest.fixture
def world() -> World:
    return World()


def passes(world: World, count: int) -> None:
    for _ in range(count):
        sample(world.deps)
        world.clock.step(minutes=10)


def test_samples_are_taken_in_turn_and_compared_with_what_a_user_pays(world: World) -> None:
    instance, _ = world.running()
    world.provider.stock = [an_offer(50 + n, usd_per_hour=an_offer(1).usd_per_hour / 2) for n in range(4)]
    passes(world, 6)

    shown = market.show(MarketQuery(gpu_name="rtx_4090"), world.user.id, world.deps)
    assert shown.now is not None and shown.now.offers == 4
    (mine,) = shown.yours
    assert mine.instance_id == instance.id and mine.cheaper_percent > 40
    assert "of 24 hours" in shown.note


def test_a_busy_provider_ends_the_pass(world: World) -> None:
    world.provider.fail_next["offers"] = [errors.ProviderBusy("slow down", 5)]
    report = sample(world.deps)
    assert (report.looked_at, report.failed) == (0, 0) and "busy" in report.notes[0]


def test_a_pass_searches_little(world: World) -> None:
    asked = 0
    real = world.provider.offers

    def counted(need: object) -> object:
        nonlocal asked
        asked += 1
        return real(need)  # type: ignore[arg-type]

    world.provider.offers = counted  # type: ignore[method-assign,assignment]
    sample(world.deps)
    assert asked <= SEARCHES


def test_a_month_is_read_in_few_documents() -> None:
    store = CountingStore(World().store)
    world = World(store=store)
    user = world.user.id
    calls = []
    real = store.inner.get_many
    store.inner.get_many = lambda collection, ids: calls.append(len(ids)) or real(collection, ids)  # type: ignore[func-returns-value,method-assign]
    market.show(MarketQuery(gpu_name="RTX 4090", days="30"), user, world.deps)
    assert sum(calls) <= 50 and store.calls["get_many"] == 1
