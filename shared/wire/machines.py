"""Machine history, blocks, receipts; offers with their total price; pools of warm machines."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from shared.wire.base import Body, PageQuery, Price, Query, View
from shared.wire.instances import Argument, Country, EnvName, Image, Name, Path


class HistoryQuery(PageQuery):
    limit: int = Field(default=50, ge=1, le=200)
    provider: str | None = Field(default=None, max_length=20)
    gpu_name: str | None = Field(default=None, max_length=100)
    blocked: bool | None = None


class PastView(View):
    at: datetime
    outcome: str
    why: str
    kind: str
    boot_s: float | None


class MachineHistoryView(View):
    id: str
    provider: str
    machine_id: str
    host_id: str
    gpu_name: str
    region: str
    rate: float
    """How likely a try becomes ready, 0 to 1; recent tries weigh more."""
    rate_low: float
    rate_high: float
    counted: int
    """Tries that said something about the host."""
    boot_p50_s: float | None
    boot_p95_s: float | None
    disk_mb_s: float | None
    down_mb_s: float | None
    blocked: bool
    blocked_until: datetime | None
    blocked_why: str | None
    recent: list[PastView]
    updated_at: datetime


class MachineHistoryList(View):
    machines: list[MachineHistoryView]
    next_cursor: str | None


class BlockBody(Body):
    allow: bool = False
    """True lets a machine be tried again although it failed lately."""
    why: str = Field(default="", max_length=200)


class BlockView(View):
    machine: str
    allow: bool
    why: str
    at: datetime


class BlockList(View):
    blocks: list[BlockView]


class OpenReceiptView(View):
    """A machine whose end was asked for and is not proven yet."""

    attempt_id: str
    instance_id: str
    provider: str
    machine_id: str | None
    gpu_name: str
    why: str | None
    requested_at: datetime
    tries: int
    usd: Decimal
    late: bool


class OpenReceiptList(View):
    receipts: list[OpenReceiptView]


class ImportBody(Body):
    lines: list[Annotated[str, Field(max_length=20_000)]] = Field(max_length=400)
    """JSON documents, one a machine, as the export gives them."""


class ImportedView(View):
    imported: int


class ExportView(View):
    lines: list[str]
    next_cursor: str | None


class OffersQuery(Query):
    gpu_name: str | None = Field(default=None, max_length=100)
    gpu_count: int = Field(default=1, ge=1, le=16)
    min_vram_gb: float = Field(default=0, ge=0, le=10_000)
    disk_gib: float = Field(default=20, ge=8, le=16_000)
    max_usd_per_hour: Price | None = None
    min_reliability: float = Field(default=0.9, ge=0, le=1)
    region: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    provider: Literal["vast", "tensordock", "gce"] | None = None
    interruptible: bool = False
    workspace_gb: float = Field(default=0, ge=0, le=10_000)
    """What the machine will have to download beside its image; part of the price in all."""
    all: bool = False
    """Those that do not fit or are kept away from too, with the reason."""
    limit: int = Field(default=50, ge=1, le=200)


class PriceView(View):
    """USD, for the first hour."""

    gpu: Decimal
    disk: Decimal
    transfer: Decimal
    dud: Decimal
    total: Decimal


class OfferView(View):
    provider: str
    offer_id: str
    machine_id: str
    host_id: str
    gpu_name: str
    gpu_count: int
    vram_gb: float
    usd_per_hour: Decimal
    price: PriceView
    disk_gib: float
    reliability: float
    region: str
    down_mbit: float
    interruptible: bool
    rate: float | None
    """From our own history; None when nothing is known."""
    counted: int
    boot_p50_s: float | None
    why_not: str | None


class OfferList(View):
    offers: list[OfferView]
    fitting: int
    troubles: list[str]
    """Providers that could not say."""


class PoolBody(Body):
    gpu_name: str | None = Field(default=None, min_length=1, max_length=100)
    gpu_count: int = Field(default=1, ge=1, le=16)
    min_vram_gb: float = Field(default=0, ge=0, le=10_000)
    disk_gib: float = Field(default=20, ge=8, le=16_000)
    max_usd_per_hour: Price | None = None
    regions: list[Country] = Field(default_factory=list, max_length=50)
    image: Image | None = None
    env: dict[EnvName, Annotated[Argument, Field(max_length=4096)]] = Field(default_factory=dict, max_length=64)
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(default_factory=list, max_length=32)
    workspace: list[Path] = Field(default=["/workspace"], min_length=1, max_length=16)
    target: int = Field(default=1, ge=0, le=20)
    """How many machines to keep warm. They are paid for."""
    max_age_s: float = Field(default=6 * 3600, ge=300, le=7 * 86400)


class SeatView(View):
    instance_id: str
    state: str
    created_at: datetime
    usd_per_hour: Decimal | None


class PoolView(View):
    name: Name
    gpu_name: str | None
    gpu_count: int
    target: int
    max_age_s: float
    ready: int
    seats: list[SeatView]
    usd_per_hour: Decimal
    """What its seats cost now."""


class PoolList(View):
    pools: list[PoolView]


class DefaultsBody(Body):
    strategy: Literal["race", "round_robin", "coldstart", "auto", "serverless"] = "race"


class DefaultsView(View):
    strategy: str
    strategies: dict[str, str]
    """Each strategy and what it means."""
