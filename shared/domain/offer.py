"""What a user needs and what providers offer; which offers fit, and in which order to try them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import field
from decimal import Decimal

from shared.frozen import dataclass


@dataclass(frozen=True)
class Need:
    """What the user asks of a GPU machine. Memory in MB as providers count it (1 GB = 1000), disk in GiB."""

    gpu_name: str | None = None
    gpu_count: int = 1
    min_vram_gb: float = 0.0
    disk_gib: float = 20.0
    max_usd_per_hour: Decimal | None = None
    min_reliability: float = 0.9
    regions: tuple[str, ...] = ()
    """Two-letter country codes; empty means anywhere."""
    providers: tuple[str, ...] = ()
    ports: int = 0
    """How many ports must be reachable from outside."""
    interruptible: bool = False
    """Cheaper, and may be taken away at any time."""
    bid_headroom: float = 0.1
    """Where interruptible machines are bid for: how much more to bid than the lowest price that is taken."""


@dataclass(frozen=True)
class Offer:
    """Capacity that a provider advertises. Prices are for the whole offer, all its GPUs."""

    provider: str
    offer_id: str
    machine_id: str
    """The provider's name of the physical machine."""
    host_id: str
    gpu_name: str
    gpu_count: int
    vram_gb: float
    """Of one GPU."""
    usd_per_hour: Decimal
    """GPU and the disk asked for."""
    disk_gib: float
    reliability: float
    region: str
    """Two-letter country code, "" when unknown."""
    down_mbit: float = 0.0
    up_mbit: float = 0.0
    usd_per_gb_down: Decimal = Decimal(0)
    open_ports: int = 0
    cuda: float = 0.0
    usd_disk_per_hour: Decimal = Decimal(0)
    """What of `usd_per_hour` is for the disk."""
    interruptible: bool = False


def normal_gpu(name: str) -> str:
    """`rtx-4090`, `RTX_4090` and `RTX 4090` are the same card."""
    return " ".join(name.replace("_", " ").replace("-", " ").upper().split())


def misfit(offer: Offer, need: Need) -> str | None:
    """Why an offer does not fit, or None. Providers drop filters silently, so each offer is checked again."""
    if need.gpu_name and normal_gpu(offer.gpu_name) != normal_gpu(need.gpu_name):
        return f"GPU is {offer.gpu_name}"
    if offer.gpu_count != need.gpu_count:
        return f"has {offer.gpu_count} GPUs"
    if offer.vram_gb < need.min_vram_gb:
        return f"has {offer.vram_gb:g} GB of VRAM"
    if offer.disk_gib < need.disk_gib:
        return f"has {offer.disk_gib:g} GiB of disk"
    if need.max_usd_per_hour is not None and offer.usd_per_hour > need.max_usd_per_hour:
        return f"costs ${offer.usd_per_hour:.4f} an hour"
    if offer.reliability < need.min_reliability:
        return f"reliability is {offer.reliability:.3f}"
    if need.regions and offer.region not in need.regions:
        return f"is in {offer.region or 'an unknown region'}"
    if need.providers and offer.provider not in need.providers:
        return f"is at {offer.provider}"
    if offer.interruptible and not need.interruptible:
        return "may be interrupted"
    if offer.open_ports < need.ports:
        return f"has {offer.open_ports} open ports"
    return None


def rank(
    offers: Iterable[Offer],
    need: Need,
    *,
    avoid_machines: Collection[str] = (),
    prefer_host: str | None = None,
    price: Callable[[Offer], Decimal] = lambda offer: offer.usd_per_hour,
) -> Sequence[Offer]:
    """Fitting offers, best first, at most one per host: preferred host, then `price`, in all for the first hour.

    Between offers within a cent the more reliable and the better connected comes first.
    """
    fitting = [o for o in offers if misfit(o, need) is None and o.machine_id not in avoid_machines]

    def order(offer: Offer) -> tuple[bool, Decimal, float, float, str]:
        return (
            offer.host_id != prefer_host,
            round(price(offer), 2),
            -offer.reliability,
            -offer.down_mbit,
            offer.offer_id,
        )

    best: dict[tuple[str, str], Offer] = {}
    for offer in sorted(fitting, key=order):
        best.setdefault((offer.provider, offer.host_id), offer)
    return tuple(best.values())


def nearest_misses(offers: Sequence[Offer], need: Need, limit: int = 3) -> list[str]:
    """Why the cheapest offer of each GPU did not fit, for the user's error message."""
    misses: dict[tuple[int, str], str] = {}
    for offer in sorted(offers, key=lambda o: o.usd_per_hour):
        reason, kind = misfit(offer, need), (offer.gpu_count, offer.gpu_name)
        if reason and kind not in misses:
            misses[kind] = f"{offer.gpu_count}x {offer.gpu_name} at ${offer.usd_per_hour:.3f}/h: {reason}"
    return list(misses.values())[:limit]


@dataclass(frozen=True)
class MachineSpec:
    """What `create` gives a machine."""

    image: str
    disk_gib: float
    onstart: str
    """A script of at most 4,096 characters with the environment's."""
    env: dict[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = ()
