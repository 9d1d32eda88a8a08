"""What others ask for the same GPU on demand, with source and date; the yardstick of savings. USD per GPU and hour."""

from __future__ import annotations

from decimal import Decimal

from shared.frozen import dataclass


@dataclass(frozen=True)
class Reference:
    usd_per_gpu_hour: Decimal
    source: str
    date: str


REFERENCES: dict[str, Reference] = {
    "Tesla T4": Reference(Decimal("0.526"), "AWS g4dn.xlarge, us-east-1", "2026"),
    "L4": Reference(Decimal("0.8048"), "AWS g6.xlarge, us-east-1", "2026"),
    "A10G": Reference(Decimal("1.006"), "AWS g5.xlarge, us-east-1", "2026-06"),
    "L40S": Reference(Decimal("2.6225"), "AWS g6e.12xlarge / 4, us-east-1", "2026"),
    "H100": Reference(Decimal("12.29"), "AWS p5.48xlarge / 8, us-east-1", "2026-03"),
    "RTX 4090": Reference(Decimal("0.68"), "usagepricing.com, low end of listed on-demand prices", "2026-06"),
    "RTX 5090": Reference(Decimal("0.87"), "usagepricing.com, low end of listed on-demand prices", "2026-06"),
    "A100": Reference(Decimal("1.17"), "usagepricing.com, A100 80 GB, low end", "2026-06"),
}
"""A GPU without a row has no saving against the market: nothing is invented."""


def reference_of(gpu_name: str) -> Reference | None:
    """By the longest name that `gpu_name` begins with, as whole words: "H100 SXM" is an "H100"."""
    words = gpu_name.replace("_", " ").split()
    for length in range(len(words), 0, -1):
        found = REFERENCES.get(" ".join(words[:length]))
        if found:
            return found
    return None


@dataclass(frozen=True)
class StoragePrice:
    """Object storage: USD per GB and month; how long an object is billed for at least."""

    usd_per_gb_month: Decimal
    minimum_days: int
    source: str


STORAGE: dict[str, StoragePrice] = {
    "s3": StoragePrice(Decimal("0.023"), 0, "AWS S3 Standard list price"),
    "r2": StoragePrice(Decimal("0.015"), 0, "Cloudflare R2 list price"),
    "b2": StoragePrice(Decimal("0.006"), 0, "Backblaze B2 list price"),
    "wasabi": StoragePrice(Decimal("0.00799"), 90, "Wasabi list price since 2026-07-01"),
}
