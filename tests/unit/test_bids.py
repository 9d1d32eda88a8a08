"""What bids taught: remembered from every interruptible machine that served, advised only where enough was seen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.domain import bids
from shared.domain.bids import BidMemory, bid_id
from shared.domain.instance import State
from shared.flows import instances, market
from shared.flows.market import new_day
from shared.providers.base import Features, MachineStatus
from shared.wire.market import MarketQuery
from tests.support.world import World, an_offer

NOW = datetime(2026, 11, 2, tzinfo=UTC)


def memory(headroom: float, hours: float, interruptions: float, provider: str = "vast") -> BidMemory:
    return BidMemory(bid_id(provider, "L4", headroom), provider, "L4", headroom, NOW, hours, interruptions)


def test_a_bid_that_is_rarely_taken_away_beats_a_lower_one() -> None:
    found = bids.figures([memory(0.0, 100, 150), memory(0.05, 100, 2), memory(0.5, 100, 0)], 0.2, NOW)

    assert [one.headroom for one in found] == [0.0, 0.05, 0.5]
    assert found[1].usd_per_useful_hour < found[0].usd_per_useful_hour
    words = bids.advice(found, on_demand=0.5)
    assert "Bid 5% above the lowest" in words and "100 hours and 2 interruptions" in words
    assert "take that" not in words
    assert "On demand costs $0.150" in bids.advice(found, on_demand=0.15)


def test_too_little_is_said_with_its_count() -> None:
    found = bids.figures([memory(0.1, 5, 1), memory(0.1, 6, 0, "gce")], 0.2, NOW)
    assert len(found) == 1 and not found[0].enough
    assert "11 hours and 1 interruptions" in bids.advice(found, None)
    assert "0 hours" in bids.advice([], None)


def test_old_observations_fade() -> None:
    later = memory(0.1, 100, 10).noted(0, False, NOW + bids.TAU)
    assert later.hours == pytest.approx(36.8, abs=0.1)
    assert later.interruptions == pytest.approx(3.68, abs=0.01)


@pytest.fixture
def world() -> World:
    world = World()
    world.provider.features = Features(sells_spot=True, takes_bids=True)
    world.provider.stock = [an_offer(n, interruptible=True) for n in range(1, 9)]
    return world


def remembered(world: World) -> list[BidMemory]:
    return world.deps.records.all(BidMemory, market.bid_flows.BIDS_OF_GPU, {"gpu_name": "RTX 4090"})


def test_an_interruption_is_remembered_once_with_its_hours(world: World) -> None:
    instance, _ = world.running(interruptible=True, bid_headroom=0.25)
    assert remembered(world) == []
    machine = instance.machine
    assert machine is not None and machine.machine_id is not None
    world.clock.step(hours=2)
    world.provider.set_status(machine.machine_id, MachineStatus.STOPPED)
    world.advance(instance.id)
    world.settle(instance.id, lambda i: i.state is not State.RUNNING)
    world.settle(instance.id, lambda i: bool(remembered(world)))

    (one,) = remembered(world)
    assert one.headroom == 0.25 and one.interruptions == 1
    assert one.hours == pytest.approx(2, abs=0.1)


def test_an_end_of_ones_own_is_no_interruption_and_others_teach_nothing(world: World) -> None:
    instance, agent = world.running(interruptible=True)
    world.clock.step(hours=1)
    agent.beat()
    instances.destroy(instance.id, 0, world.user.id, world.deps)
    world.settle(instance.id)
    assert [(round(one.hours), one.interruptions) for one in remembered(world)] == [(1, 0.0)]

    world.provider.stock = [replace(offer, interruptible=False) for offer in world.provider.stock]
    other, _ = world.running()
    instances.destroy(other.id, 0, world.user.id, world.deps)
    world.settle(other.id)
    assert len(remembered(world)) == 1


def test_the_market_answers_with_bids_and_their_counts(world: World) -> None:
    day = new_day("RTX 4090", True, world.clock.now())
    sampled = market.prices.sampled(day, world.clock.now(), "vast", "US", [0.2, 0.3])
    old = replace(
        memory(0.1, 48, 4), id=bid_id("vast", "RTX 4090", 0.1), gpu_name="RTX 4090", updated_at=world.clock.now()
    )
    world.deps.records.transact(lambda tx: (tx.find(type(day), day.id), tx.save(sampled), tx.save(old)))

    view = market.show(MarketQuery(gpu_name="RTX 4090", interruptible=True), world.user.id, world.deps)
    assert [(b.headroom, b.hours, b.interruptions, b.enough) for b in view.bids] == [(0.1, 48, 4, True)]
    assert view.bids[0].usd_per_gpu_hour == pytest.approx(0.22)
    assert view.bid_advice is not None and "Bid 10%" in view.bid_advice
    plain = market.show(MarketQuery(gpu_name="RTX 4090"), world.user.id, world.deps)
    assert plain.bids == [] and plain.bid_advice is None


def test_the_offered_price_has_the_headroom_in_it() -> None:
    import httpx

    from shared.domain.offer import MachineSpec, Need
    from shared.providers.vast import Vast

    row = {
        "id": 1, "machine_id": 2, "host_id": 3, "gpu_name": "L4", "num_gpus": 1, "gpu_ram": 24000, "dph_total": 0.23,
        "storage_total_cost": 0.03, "disk_space": 100, "is_bid": True,
    }  # fmt: skip
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200, json={"offers": [row]} if "bundles" in request.url.path else {"new_contract": 7})

    vast = Vast(httpx.Client(transport=httpx.MockTransport(answer), base_url="https://v"), "k")
    (offer,) = vast.offers(Need(gpu_name="L4", interruptible=True, bid_headroom=0.5))
    assert float(offer.usd_per_hour) == pytest.approx(0.33)
    vast.create(offer, MachineSpec(image="x", disk_gib=10, onstart="true"), "dumont-x")
    assert json.loads(sent[-1])["price"] == 0.3
