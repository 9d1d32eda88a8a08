"""What the market's memory says is what was sampled, and no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import fmean, linear_regression, median, quantiles
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import errors
from shared.domain import prices
from shared.domain.reference_prices import reference_of
from shared.flows import market
from shared.providers.base import Features
from shared.sweeps.market import EVERY_S, SEARCHES, sample, turn
from shared.wire.market import MarketQuery
from tests.support.market import month_of, year_of_forty_gpus
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


def test_a_month_of_a_year_of_forty_gpus_is_read_in_at_most_fifty_documents() -> None:
    store, world = year_of_forty_gpus()

    for interruptible in (False, True):
        store.reads = 0
        shown = market.show(month_of(interruptible), world.user.id, world.deps)
        assert store.reads <= 50, store.reads
        assert len(shown.band) >= 30 and shown.enough and shown.now is not None


class Quoted:
    """What the simulated search found, kept as it was: the raw samples."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.raw: list[tuple[datetime, str, list[float]]] = []

    def ask(self, found: list[tuple[float, int, str]]) -> None:
        """Offers of (price per GPU, GPUs, region), sampled now."""
        self.world.provider.stock = [
            an_offer(n, gpu_count=gpus, usd_per_hour=Decimal(str(price)) * gpus, region=region)
            for n, (price, gpus, region) in enumerate(found)
        ]
        now = self.world.clock.now()
        report = sample(self.world.deps)
        assert report.failed == 0
        if ("RTX 4090", False) in turn(PAIRS, int(now.timestamp() // EVERY_S), SEARCHES):
            by_region: dict[str, list[float]] = {}
            for price, gpus, region in found:
                by_region.setdefault(region, []).extend([price] * gpus)
            self.raw += [(now, region, seen) for region, seen in by_region.items()]


PAIRS = [(gpu, spot) for gpu in market.WATCHED for spot in (False, True)]
OFFERS = st.lists(
    st.tuples(
        st.integers(5, 500).map(lambda cents: cents / 100), st.sampled_from([1, 2, 8]), st.sampled_from(["US", "DE"])
    ),
    max_size=6,
)


@given(st.lists(OFFERS, min_size=8, max_size=40), st.integers(10, 55))
@settings(max_examples=20, deadline=None)
def test_every_figure_of_the_answer_agrees_with_the_raw_samples(asked: list[Any], minutes: int) -> None:
    world = World(offers=0)
    quoted = Quoted(world)
    for found in asked:
        quoted.ask(found)
        world.clock.step(minutes=minutes)
    shown = market.show(MarketQuery(gpu_name="RTX 4090", days="7"), world.user.id, world.deps)

    hours: dict[datetime, list[tuple[str, list[float]]]] = {}
    for at, region, seen in quoted.raw:
        hours.setdefault(at.replace(minute=0, second=0, microsecond=0), []).append((region, seen))
    assert [p.at for p in shown.band] == sorted(hours)
    for point in shown.band:
        of_hour = hours[point.at]
        assert point.low == pytest.approx(min(min(seen) for _, seen in of_hour), abs=1e-5)
        assert point.samples == len(of_hour)
        rows = []
        for region in {r for r, _ in of_hour}:
            own = [sorted(seen) for r, seen in of_hour if r == region]
            supply = fmean(map(len, own))
            bands = [fmean(float(quantile_of(s, q)) for s in own) for q in (0.1, 0.5, 0.9)]
            rows.append((supply, supply * len(own), bands))
        weight = sum(w for _, w, _ in rows)
        for name, place in (("p10", 0), ("median", 1), ("p90", 2)):
            assert getattr(point, name) == pytest.approx(sum(b[place] * w for _, w, b in rows) / weight, abs=2e-5)
        assert point.offers == pytest.approx(sum(s for s, _, _ in rows), abs=0.051)
    reference = reference_of("RTX 4090")
    assert reference is not None
    if shown.now is None:
        assert quoted.raw == [] and shown.trend is None and "Nothing was sampled" in shown.note
        return
    assert shown.now == shown.band[-1]
    saved = (1 - shown.now.median / float(reference.usd_per_gpu_hour)) * 100
    assert shown.below_reference_percent == pytest.approx(saved, abs=0.06)
    assert f"{len(hours)} of 168 hours" in shown.note
    if len(hours) < prices.ENOUGH:
        assert shown.trend is None and not shown.enough
    elif shown.trend is not None:
        days = [(p.at - shown.band[0].at).total_seconds() / 86400 for p in shown.band]
        medians = [p.median for p in shown.band]
        slope = linear_regression(days, medians).slope / fmean(medians) * 100
        assert shown.trend.percent_a_day == pytest.approx(slope, rel=0.01, abs=0.02)


def quantile_of(ordered: list[float], share: float) -> float:
    """The library's own, for two values and more."""
    return quantiles(ordered, n=10, method="inclusive")[round(share * 10) - 1] if len(ordered) > 1 else ordered[0]


@given(
    st.lists(st.tuples(st.integers(10, 200), st.integers(0, 40)), min_size=1, max_size=8),
    st.sampled_from([0, 10, 400]),
)
@settings(max_examples=30, deadline=None)
def test_the_cheapest_in_all_counts_disk_and_transfer_of_the_workspace(
    asked: list[tuple[int, int]], workspace_gb: int
) -> None:
    """Cents an hour, thousandths of a dollar per GB; recomputed from the offers as they were."""
    world = World(offers=0)
    world.provider.stock = [
        an_offer(
            n,
            usd_per_hour=Decimal(cents) / 100,
            usd_disk_per_hour=Decimal(cents) / 1000,
            usd_per_gb_down=Decimal(mills) / 1000,
            disk_gib=2000,
        )
        for n, (cents, mills) in enumerate(asked)
    ]
    query = MarketQuery(gpu_name="rtx_4090", workspace_gb=workspace_gb)
    cheapest = market.show(query, world.user.id, world.deps).cheapest

    assert cheapest is not None
    transfers = [Decimal(mills) / 1000 * (8 + workspace_gb) for _, mills in asked]
    hourly = [Decimal(cents) / 100 for cents, _ in asked]
    failed = cheapest.price.dud / (cheapest.price.transfer + cheapest.usd_per_hour * 120 / 3600)
    totals = [h + t + failed * (t + h * 120 / 3600) for h, t in zip(hourly, transfers, strict=True)]
    assert cheapest.price.total == pytest.approx(min(totals), abs=Decimal("0.0001"))
    assert cheapest.price.gpu + cheapest.price.disk == cheapest.usd_per_hour


def test_a_workspace_that_fits_no_disk_has_no_cheapest_and_says_so(world: World) -> None:
    query = MarketQuery(gpu_name="RTX 4090", workspace_gb=900)
    shown = market.show(query, world.user.id, world.deps)
    assert shown.cheapest is None and "no offer" in shown.cheapest_note

    fitting = market.show(query.model_copy(update={"workspace_gb": 100}), world.user.id, world.deps)
    assert fitting.cheapest is not None and "workspace of 100 GB" in fitting.cheapest_note
    assert fitting.cheapest.gpu_count == 1


def test_a_provider_that_cannot_be_asked_leaves_the_band_and_says_so(world: World) -> None:
    passes(world, 6)
    world.provider.fail_next["offers"] = [errors.ProviderBusy("slow down", 5)]
    shown = market.show(MarketQuery(gpu_name="RTX 4090"), world.user.id, world.deps)
    assert shown.now is not None and shown.cheapest is None and "slow down" in shown.cheapest_note


def test_what_may_be_taken_away_is_not_called_a_cheaper_way_to_have_what_may_not(world: World) -> None:
    world.running()
    world.provider.features = Features(sells_spot=True)
    world.provider.stock = [an_offer(50 + n, usd_per_hour=Decimal("0.05"), interruptible=True) for n in range(4)]
    passes(world, 6)

    spot = market.show(MarketQuery(gpu_name="RTX 4090", interruptible=True), world.user.id, world.deps)
    assert spot.now is not None and spot.yours == []
