"""What is known of a GPU's market: bands, trend, supply, and how one's own machines compare."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared import errors
from shared.deps import Deps
from shared.domain import bids, prices
from shared.domain.bids import BidFigure
from shared.domain.instance import Instance
from shared.domain.offer import normal_gpu
from shared.domain.prices import Point, PriceDay, day_id
from shared.domain.pricing import IMAGE_GB
from shared.domain.reference_prices import reference_of
from shared.flows import bids as bid_flows
from shared.flows.offers import list_offers
from shared.store import codec
from shared.store.shapes import INSTANCES_OF_USER
from shared.wire import market as wire
from shared.wire.machines import OffersQuery, OfferView

WATCHED = ("RTX 3090", "RTX 4090", "RTX 5090", "RTX A6000", "L4", "L40S", "Tesla T4", "A100 SXM4", "H100 SXM", "H200")
"""What is sampled whether anybody asks or not; GPUs with a price alert come on top."""


def show(query: wire.MarketQuery, user_id: str, deps: Deps) -> wire.MarketView:
    """At most one document read a day of the range; and one search of each provider for what is cheapest now."""
    now, days = deps.clock.now(), int(query.days)
    gpu = normal_gpu(query.gpu_name)
    since = now - timedelta(days=days)
    ids = [day_id(gpu, query.interruptible, now - timedelta(days=n)) for n in range(days, -1, -1)]
    known = _days(ids, deps)
    providers = frozenset({query.provider}) if query.provider else frozenset()
    hourly = prices.points(known, since, providers, 1)
    found = prices.trend(hourly)
    reference, newest = reference_of(query.gpu_name), hourly[-1] if hourly else None
    below = None
    if reference and newest:
        below = round((1 - newest.median / float(reference.usd_per_gpu_hour)) * 100, 1)
    cheapest, cheapest_note = _cheapest(query, user_id, deps)
    tried = bid_flows.of_gpu(gpu, newest.low, deps) if query.interruptible and newest else []
    return wire.MarketView(
        gpu_name=query.gpu_name,
        interruptible=query.interruptible,
        days=days,
        now=_view(newest) if newest else None,
        band=[_view(p) for p in (prices.points(known, since, providers, 24) if days == 30 else hourly)],
        trend=wire.TrendView(
            percent_a_day=round(found.percent_a_day, 2), error=round(found.error, 2), points=found.points
        )
        if found
        else None,
        enough=found is not None,
        note=_note(gpu, hourly, found, days),
        reference_usd_per_gpu_hour=float(reference.usd_per_gpu_hour) if reference else None,
        reference=f"{reference.source}, {reference.date}" if reference else None,
        below_reference_percent=below,
        cheapest=cheapest,
        cheapest_note=cheapest_note,
        yours=_yours(query, newest, user_id, deps),
        bids=[_bid_view(one) for one in tried],
        bid_advice=bids.advice(tried, _on_demand(gpu, now, deps)) if query.interruptible else None,
        watched=list(WATCHED),
    )


def _cheapest(query: wire.MarketQuery, user_id: str, deps: Deps) -> tuple[OfferView | None, str]:
    """The offer whose first hour costs least in all, and what that is made of; or why there is none."""
    # A quarter of room beside the workspace, and no less than what a new instance is given; GB to GiB.
    disk_gib = max(20.0, round(query.workspace_gb * 1.25 * 1e9 / 2**30, 1))
    wanted = OffersQuery(
        gpu_name=query.gpu_name,
        disk_gib=disk_gib,
        provider=query.provider,
        interruptible=query.interruptible,
        workspace_gb=query.workspace_gb,
        limit=1,
    )
    try:
        found = list_offers(wanted, user_id, deps)
    except errors.ProviderBusy as busy:
        return None, f"the providers cannot be asked now: {busy.message}"
    if not found.offers:
        return None, "; ".join(["no offer of one such GPU fits now", *found.troubles])
    return found.offers[0], (
        f"the first hour of one GPU: GPU + {disk_gib:g} GiB of disk + download of an image of {IMAGE_GB:g} GB and a workspace "
        f"of {query.workspace_gb:g} GB + what failed tries are expected to cost; the cheapest of {found.fitting} offers"
    )


def _days(ids: list[str], deps: Deps) -> list[PriceDay]:
    return [codec.decode(PriceDay, d.data) for d in deps.store.get_many("prices", ids) if d]


def _view(point: Point) -> wire.PointView:
    return wire.PointView(
        at=point.at,
        samples=point.samples,
        offers=round(point.offers, 1),
        low=prices.rounded(point.low),
        p10=prices.rounded(point.p10),
        median=prices.rounded(point.median),
        p90=prices.rounded(point.p90),
    )


def _bid_view(one: BidFigure) -> wire.BidView:
    return wire.BidView(
        headroom=one.headroom,
        hours=round(one.hours, 1),
        interruptions=round(one.interruptions, 1),
        interruptions_a_day=round(one.a_day, 2),
        usd_per_gpu_hour=prices.rounded(one.usd_per_gpu_hour),
        usd_per_useful_hour=prices.rounded(one.usd_per_useful_hour),
        enough=one.enough,
    )


def _on_demand(gpu: str, now: datetime, deps: Deps) -> float | None:
    """The lowest price on demand in the newest hour of today or yesterday that was sampled."""
    ids = [day_id(gpu, False, now - timedelta(days=n)) for n in (1, 0)]
    hourly = prices.points(_days(ids, deps), now - timedelta(days=1), frozenset(), 1)
    return hourly[-1].low if hourly else None


def _note(gpu: str, hourly: list[Point], found: prices.Trend | None, days: int) -> str:
    if not hourly:
        watched = gpu in map(normal_gpu, WATCHED)
        words = (
            "is watched, so samples will come" if watched else "is not watched; a price alert on it begins its samples"
        )
        return f"Nothing was sampled in this time. {gpu} {words}."
    covered = f"{len(hourly)} of {days * 24} hours were sampled, from {hourly[0].at:%Y-%m-%d %H:%M} UTC"
    if found is None:
        return f"{covered}: too little for a trend, which needs {prices.ENOUGH}."
    if abs(found.percent_a_day) < 2 * found.error:
        return f"{covered}. No trend that stands out from its error."
    words = "rises" if found.percent_a_day > 0 else "falls"
    return f"{covered}. The median {words} by {abs(found.percent_a_day):.1f} % a day (± {found.error:.1f})."


def _yours(query: wire.MarketQuery, newest: Point | None, user_id: str, deps: Deps) -> list[wire.YourView]:
    if newest is None:
        return []
    found = []
    for one in deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": user_id}):
        machine = one.machine
        if machine is None or not machine.gpu_count or normal_gpu(machine.gpu_name) != normal_gpu(query.gpu_name):
            continue
        if one.need.interruptible != query.interruptible:
            # One that may be taken away is no cheaper way to have one that may not.
            continue
        paid = float(machine.usd_per_hour) / machine.gpu_count
        cheaper = max(0.0, (1 - newest.p10 / paid) * 100) if paid else 0.0
        found.append(
            wire.YourView(
                instance_id=one.id,
                name=one.name,
                usd_per_gpu_hour=prices.rounded(paid),
                cheaper_percent=round(cheaper, 1),
            )
        )
    return found


def new_day(gpu: str, interruptible: bool, now: datetime) -> PriceDay:
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return PriceDay(
        id=day_id(gpu, interruptible, now),
        gpu_name=gpu,
        interruptible=interruptible,
        day=day,
        expires_at=day + prices.KEPT,
    )
