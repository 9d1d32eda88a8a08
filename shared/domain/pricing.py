"""What an offer costs in all for its first hour, with its parts."""

from __future__ import annotations

from decimal import Decimal

from shared.domain.offer import Offer
from shared.frozen import dataclass

IMAGE_GB = 8.0
"""What a fresh machine downloads of its image."""
CENT = Decimal("0.000001")


@dataclass(frozen=True)
class TotalPrice:
    """USD. `dud`: what failed tries on this machine are expected to cost before one is ready."""

    gpu: Decimal
    disk: Decimal
    transfer: Decimal
    dud: Decimal

    @property
    def total(self) -> Decimal:
        return self.gpu + self.disk + self.transfer + self.dud


def total_price(
    offer: Offer,
    *,
    snapshot_gb: float = 0.0,
    success_rate: float = 0.9,
    boot_s: float = 90.0,
    bills_loading: bool = True,
) -> TotalPrice:
    """(1/p - 1) failed tries are expected before a success; each costs its transfer and, where that is billed, its time."""
    transfer = offer.usd_per_gb_down * Decimal(str(IMAGE_GB + snapshot_gb))
    loading = offer.usd_per_hour * Decimal(str(boot_s)) / 3600 if bills_loading else offer.usd_disk_per_hour * 0
    failures = Decimal(str(1 / max(0.05, success_rate) - 1))
    return TotalPrice(
        gpu=(offer.usd_per_hour - offer.usd_disk_per_hour).quantize(CENT),
        disk=offer.usd_disk_per_hour.quantize(CENT),
        transfer=transfer.quantize(CENT),
        dud=(failures * (transfer + loading)).quantize(CENT),
    )
