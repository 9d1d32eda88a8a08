"""Samples of the market, a few searches at a time: users' own searches come first, so a busy provider ends the pass."""

from __future__ import annotations

from collections import defaultdict

from shared import errors
from shared.deps import Deps
from shared.domain import prices
from shared.domain.offer import Need, Offer, normal_gpu
from shared.domain.prices import PriceDay
from shared.flows.market import WATCHED, new_day
from shared.store.records import Transaction
from shared.wire.base import Report

SEARCHES = 4
"""Per provider and pass. Vast.ai allows 10 a minute and a daily quota; every ten minutes these are 576 a day."""
EVERY_S = 600


def sample(deps: Deps) -> Report:
    """Goes on where the pass before ended, by the clock: no state but the time."""
    now = deps.clock.now()
    turns = [(gpu, spot) for gpu in WATCHED for spot in (False, True)]
    start = int(now.timestamp() // EVERY_S) * SEARCHES
    chosen = [turns[(start + n) % len(turns)] for n in range(SEARCHES)]
    looked_at = changed = failed = 0
    notes: list[str] = []
    for name, provider in deps.providers().items():
        for gpu, spot in chosen:
            if spot and not provider.features.sells_spot:
                continue
            try:
                found = provider.offers(Need(gpu_name=gpu, min_reliability=0, interruptible=spot, bid_headroom=0.0))
            except errors.ProviderBusy as busy:
                notes.append(f"{name} is busy, left for later: {busy.message}")
                break
            except errors.ProviderError as error:
                failed += 1
                notes.append(f"{name}: {error.message}")
                break
            looked_at += 1
            changed += _keep(deps, name, gpu, spot, [o for o in found if normal_gpu(o.gpu_name) == normal_gpu(gpu)])
    return Report(name="market_sample", looked_at=looked_at, changed=changed, failed=failed, notes=notes[:20])


def _keep(deps: Deps, provider: str, gpu: str, spot: bool, offers: list[Offer]) -> int:
    """One document write for a search; how many regions it saw."""
    by_region: dict[str, list[float]] = defaultdict(list)
    for offer in offers:
        if offer.gpu_count and offer.interruptible == spot:
            each = float(offer.usd_per_hour) / offer.gpu_count
            # Eight GPUs in one offer are eight GPUs of supply.
            by_region[offer.region] += [each] * offer.gpu_count
    if not by_region:
        return 0

    def apply(tx: Transaction) -> None:
        fresh = new_day(normal_gpu(gpu), spot, tx.now)
        day = tx.find(PriceDay, fresh.id) or fresh
        for region, found in by_region.items():
            day = prices.sampled(day, tx.now, provider, region, found)
        tx.save(day)

    deps.records.transact(apply)
    return len(by_region)
