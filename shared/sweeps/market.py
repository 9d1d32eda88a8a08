"""Samples of the market, a few searches at a time: users' own searches come first, so a busy provider ends the pass."""

from __future__ import annotations

from collections import defaultdict

from shared import errors
from shared.deps import Deps
from shared.domain import prices
from shared.domain.offer import Need, Offer, normal_gpu
from shared.domain.prices import PriceDay
from shared.flows import alerts
from shared.flows.market import WATCHED, new_day
from shared.providers.base import in_background
from shared.store.records import Transaction
from shared.wire.base import Report

SEARCHES = 4
"""Per provider and pass. Vast.ai allows 10 a minute and a daily quota; every ten minutes these are 576 a day."""
FOR_ALERTS = 2
"""More of them, for GPUs that somebody has a price alert on."""
EVERY_S = 600


def sample(deps: Deps) -> Report:
    """Goes on where the pass before ended, by the clock: no state but the time."""
    now = deps.clock.now()
    number = int(now.timestamp() // EVERY_S)
    chosen = turn([(gpu, spot) for gpu in WATCHED for spot in (False, True)], number, SEARCHES)
    chosen += [pair for pair in turn(alerts.wanted(deps), number, FOR_ALERTS) if pair not in chosen]
    looked_at = changed = failed = 0
    notes: list[str] = []
    for name, provider in deps.providers().items():
        for gpu, spot in chosen:
            if spot and not provider.features.sells_spot:
                continue
            try:
                with in_background():
                    found = provider.offers(Need(gpu_name=gpu, min_reliability=0, interruptible=spot, bid_headroom=0.0))
            except errors.ProviderBusy as busy:
                notes.append(f"{name} is busy, left for later: {busy.message}")
                break
            except errors.ProviderError as error:
                failed += 1
                notes.append(f"{name}: {error.message}")
                break
            looked_at += 1
            kept, lowest = _keep(deps, name, gpu, spot, [o for o in found if normal_gpu(o.gpu_name) == normal_gpu(gpu)])
            changed += kept
            alerts.judge(gpu, spot, name, lowest, deps)
    return Report(name="market_sample", looked_at=looked_at, changed=changed, failed=failed, notes=notes[:20])


def turn(pairs: list[tuple[str, bool]], number: int, count: int) -> list[tuple[str, bool]]:
    """The pass's share: `count` after those of the pass before, round and round."""
    return [pairs[(number * count + n) % len(pairs)] for n in range(min(count, len(pairs)))]


def _keep(deps: Deps, provider: str, gpu: str, spot: bool, offers: list[Offer]) -> tuple[int, float | None]:
    """One document write for a search; how many regions it saw, and the lowest price per GPU."""
    by_region: dict[str, list[float]] = defaultdict(list)
    for offer in offers:
        if offer.gpu_count and offer.interruptible == spot:
            each = float(offer.usd_per_hour) / offer.gpu_count
            # Eight GPUs in one offer are eight GPUs of supply.
            by_region[offer.region] += [each] * offer.gpu_count
    if not by_region:
        return 0, None

    def apply(tx: Transaction) -> None:
        fresh = new_day(normal_gpu(gpu), spot, tx.now)
        day = tx.find(PriceDay, fresh.id) or fresh
        for region, found in by_region.items():
            day = prices.sampled(day, tx.now, provider, region, found)
        tx.save(day)

    deps.records.transact(apply)
    return len(by_region), min(min(found) for found in by_region.values())
