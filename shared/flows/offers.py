"""What could be rented now: every provider's offers, checked, priced in all, with what is remembered of their machines."""

from __future__ import annotations

from shared.deps import Deps
from shared.domain.offer import Need, Offer, misfit
from shared.flows.advance.racing import price_of, search
from shared.flows.history import Memory, remember
from shared.wire import machines as wire


def list_offers(query: wire.OffersQuery, user_id: str, deps: Deps) -> wire.OfferList:
    """Fitting offers, cheapest in all first; with `all`, the others too with their reason."""
    need = Need(
        gpu_name=query.gpu_name,
        gpu_count=query.gpu_count,
        min_vram_gb=query.min_vram_gb,
        disk_gib=query.disk_gib,
        max_usd_per_hour=query.max_usd_per_hour,
        min_reliability=query.min_reliability,
        regions=(query.region,) if query.region else (),
        providers=(query.provider,) if query.provider else (),
        interruptible=query.interruptible,
    )
    found, troubles = search(deps, need)
    memory = remember(deps, found, user_id)
    views = [_view(deps, offer, need, memory, query.workspace_gb) for offer in found]
    fitting = [view for view in views if view.why_not is None]
    shown = sorted(views if query.all else fitting, key=lambda v: (v.why_not is not None, v.price.total))
    return wire.OfferList(offers=shown[: query.limit], fitting=len(fitting), troubles=troubles)


def _view(deps: Deps, offer: Offer, need: Need, memory: Memory, workspace_gb: float) -> wire.OfferView:
    now, known = deps.clock.now(), memory.of(offer)
    price = price_of(deps, offer, memory, now, workspace_gb)
    return wire.OfferView(
        provider=offer.provider,
        offer_id=offer.offer_id,
        machine_id=offer.machine_id,
        host_id=offer.host_id,
        gpu_name=offer.gpu_name,
        gpu_count=offer.gpu_count,
        vram_gb=offer.vram_gb,
        usd_per_hour=offer.usd_per_hour,
        price=wire.PriceView(gpu=price.gpu, disk=price.disk, transfer=price.transfer, dud=price.dud, total=price.total),
        disk_gib=offer.disk_gib,
        reliability=offer.reliability,
        region=offer.region,
        down_mbit=offer.down_mbit,
        interruptible=offer.interruptible,
        rate=round(known.rate(now), 4) if known else None,
        counted=known.counted if known else 0,
        boot_p50_s=known.boot_quantile(0.5) if known else None,
        why_not=misfit(offer, need) or memory.why_not(offer),
    )
