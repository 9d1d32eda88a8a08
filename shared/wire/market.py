"""What the market was and is. Prices are USD per GPU and hour."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from shared.wire.base import Body, Price, Query, View
from shared.wire.machines import OfferView


class MarketQuery(Query):
    gpu_name: str = Field(min_length=1, max_length=100)
    interruptible: bool = False
    days: Literal["1", "7", "30"] = "1"
    provider: Literal["vast", "tensordock", "gce"] | None = None
    workspace_gb: float = Field(default=0, ge=0, le=10_000)
    """Of the instance that would be woken there; 0 for a new one."""


class PointView(View):
    at: datetime
    samples: int
    offers: float
    low: float
    p10: float
    median: float
    p90: float


class TrendView(View):
    percent_a_day: float
    error: float
    """One standard error of it."""
    points: int


class YourView(View):
    instance_id: str
    name: str
    usd_per_gpu_hour: float
    cheaper_percent: float
    """How much less the cheapest tenth of the market asks now; 0 when none does."""


class BidView(View):
    """How one bid went: `headroom` above the lowest price that was taken, 0.1 for a tenth."""

    headroom: float
    hours: float
    interruptions: float
    interruptions_a_day: float
    usd_per_gpu_hour: float
    usd_per_useful_hour: float
    """With the work that is done twice after an interruption."""
    enough: bool


class MarketView(View):
    gpu_name: str
    interruptible: bool
    days: int
    now: PointView | None
    """The newest hour that was sampled."""
    band: list[PointView]
    trend: TrendView | None
    enough: bool
    note: str
    """In words, what the data allow to say."""
    reference_usd_per_gpu_hour: float | None
    reference: str | None
    below_reference_percent: float | None
    cheapest: OfferView | None
    """What one such GPU costs in all for its first hour, asked of the providers now; None: `cheapest_note` says why."""
    cheapest_note: str
    yours: list[YourView]
    bids: list[BidView]
    """Of interruptible machines, what our own taught."""
    bid_advice: str | None
    watched: list[str]
    """The GPUs that are sampled."""


class AlertBody(Body):
    """Tell me when this GPU is offered for less."""

    gpu_name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/-]*$")
    usd_per_gpu_hour: Price
    interruptible: bool = False
    provider: Literal["vast", "tensordock", "gce"] | None = None


class AlertView(View):
    id: str
    gpu_name: str
    interruptible: bool
    provider: str | None
    """None: any."""
    usd_per_gpu_hour: float
    created_at: datetime
    met: bool
    """The newest sample lies under the limit."""
    lowest_usd_per_gpu_hour: float | None
    cheapest_at: str | None
    """The provider with that price."""
    seen_at: datetime | None
    """The newest sample of this GPU."""
    told_at: datetime | None


class AlertList(View):
    alerts: list[AlertView]
