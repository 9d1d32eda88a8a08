"""A year of samples, and a week of searches: what the market's memory reads, and what its samples leave to users."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from shared import errors
from shared.clock import Clock, FakeClock
from shared.domain import prices
from shared.domain.offer import Need, Offer
from shared.flows import market
from shared.providers.fake import FakeProvider
from shared.providers.pacing import Paced
from shared.store import codec
from shared.store.base import Put, Write
from shared.store.counting import CountingStore
from shared.store.sqlite import SqliteStore
from shared.sweeps.market import sample
from shared.wire.market import MarketQuery
from tests.support.world import World, an_offer

GPUS, DAYS = 40, 366


def year_of_forty_gpus() -> tuple[CountingStore, World]:
    """Every hour of a year, three providers, both kinds; the regions of a day are in its one document."""
    store = CountingStore(SqliteStore(":memory:"))
    world = World(store=store)
    now = world.clock.now()
    hours = tuple(
        prices.Hour(h, p, "US", 1, 4.0, 0.2, 0.2, 0.3, 0.4) for h in range(24) for p in ("vast", "gce", "tensordock")
    )
    writes: list[Write] = []
    for number in range(GPUS):
        for spot in (False, True):
            for day in range(DAYS):
                fresh = market.new_day(f"RTX {number}", spot, now - timedelta(days=day))
                # Only what a month may read needs its hours: the others are there to be in the way.
                kept = replace(fresh, hours=hours) if number == 7 and day <= 31 else fresh
                writes.append(Put("prices", fresh.id, codec.encode(kept)))
    for start in range(0, len(writes), 400):
        store.commit(writes[start : start + 400])
    world.running(gpu_name="RTX 4090")
    return store, world


def month_of(interruptible: bool) -> MarketQuery:
    """The GPU of that year that has hours."""
    return MarketQuery(gpu_name="RTX 7", days="30", interruptible=interruptible)


class Recorded(FakeProvider):
    """Notes when it was searched."""

    def __init__(self, clock: FakeClock, stock: list[Offer]) -> None:
        super().__init__(clock, stock)
        self.name = "vast"
        self.at: list[datetime] = []
        self.clock: Clock = clock

    def offers(self, need: Need) -> Sequence[Offer]:
        self.at.append(self.clock.now())
        return super().offers(need)


class OwnTime:
    """The clock of one request among many: what it sleeps passes for it alone."""

    def __init__(self, base: FakeClock) -> None:
        self._base, self.slept = base, 0.0

    def now(self) -> datetime:
        return self._base.now() + timedelta(seconds=self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


@dataclass(frozen=True)
class Week:
    searches: int
    """That reached the provider, users' and samples."""
    most_a_day: int
    most_a_minute: int
    shortest_gap_s: float
    served: int
    refused: int
    samples: int
    longest_wait_s: float
    """Of a user, for an answer or a refusal."""


def lived_week(quota: int, users: int = 50, seed: int = 6) -> Week:
    """Each request a process of its own; more by day, and every day at ten everybody at once."""
    world = World()
    clock, dice = world.clock, random.Random(seed)
    inner = Recorded(clock, [an_offer(1), an_offer(2, gpu_name="L4")])
    inner.features = replace(inner.features, sells_spot=True)
    sampler = Paced(inner, world.store, clock, account="key", searches_a_day=quota)
    deps = replace(world.deps, providers=lambda: {"vast": sampler})
    started, refused, served, samples, longest = clock.now(), 0, 0, 0, 0.0
    for ten_minutes in range(7 * 144):
        inner.clock = clock
        before = len(inner.at)
        sample(deps)
        samples += len(inner.at) - before
        hour = ten_minutes // 6 % 24
        rush = hour == 10 and ten_minutes % 6 == 0
        for user in range(users) if rush else range(dice.randint(0, 22 if 8 <= hour < 20 else 4)):
            own = inner.clock = OwnTime(clock)
            process = Paced(inner, world.store, own, account="key", searches_a_day=quota)
            try:
                process.offers(Need(gpu_name=f"{user}"))
                served += 1
            except errors.ProviderBusy:
                refused += 1
            longest = max(longest, own.slept)
            clock.step(seconds=0 if rush else dice.uniform(0, 40))
        behind = (ten_minutes + 1) * 600 - (clock.now() - started).total_seconds()
        clock.step(seconds=max(0.0, behind))
    at = sorted(inner.at)
    return Week(
        searches=len(at),
        most_a_day=max(Counter(one.date() for one in at).values()),
        # Half open: a search counts in the minute that ends with it.
        most_a_minute=max(sum((b - a).total_seconds() < 60 - 1e-5 for b in at[n : n + 11]) for n, a in enumerate(at)),
        shortest_gap_s=min((b - a).total_seconds() for a, b in pairwise(at)),
        served=served,
        refused=refused,
        samples=samples,
        longest_wait_s=longest,
    )
