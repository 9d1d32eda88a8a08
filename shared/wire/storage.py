"""Storage of users' own: buckets that instances' snapshots go to."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from shared.wire.base import Body, View

BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]


class StorageBody(Body):
    vendor: Literal["s3", "r2", "b2", "wasabi"]
    bucket: BucketName
    region: Region = "us-east-1"
    endpoint: str | None = Field(default=None, min_length=8, max_length=500)
    """None: the vendor's own for the region; R2 needs its account's."""
    access_key: str = Field(min_length=1, max_length=256)
    secret_key: SecretStr = Field(min_length=1, max_length=1024)
    """Kept sealed and never shown again."""


class VendorView(View):
    """What a vendor asks, by its public prices."""

    name: str
    title: str
    endpoint: str | None
    """Where a region answers; None: give the account's own address."""
    usd_per_gb_month: Decimal
    minimum_days: int
    """An object deleted sooner is billed for so many days."""
    egress: str
    source: str


class BucketView(View):
    name: str
    vendor: str
    title: str
    bucket: str
    region: str
    endpoint: str | None
    access_key: str | None
    """Its first letters; None for the deployment's own."""
    usd_per_gb_month: Decimal
    minimum_days: int
    egress: str
    own: bool
    """Yours; otherwise the deployment's."""
    default: bool
    """Where new instances go unless they name another."""
    instances: int
    """Yours whose files are there; while there are any it cannot be removed."""
    tested_at: datetime | None


class StorageList(View):
    buckets: list[BucketView]
    vendors: list[VendorView]


class StepView(View):
    step: str
    """write, read, list, address or delete."""
    problem: str | None


class TriedView(View):
    name: str
    good: bool
    steps: list[StepView]
    """Those that were tried; after the first that fails no other is."""
