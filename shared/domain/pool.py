"""A pool of warm machines: running instances without a name yet, paid for by their owner, claimed in one compare-and-set."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime, timedelta

from shared.domain.instance import Spec
from shared.domain.offer import Need
from shared.frozen import dataclass


@dataclass(frozen=True)
class Pool:
    """`target` seats are kept warm; one older than `max_age_s` is replaced."""

    id: str
    user_id: str
    name: str
    need: Need
    target: int
    created_at: datetime
    max_age_s: float = 6 * 3600.0
    spec: Spec = field(default_factory=Spec)

    def aged_out(self, seat_created_at: datetime, now: datetime) -> bool:
        return now - seat_created_at >= timedelta(seconds=self.max_age_s)

    def serves(self, need: Need, spec: Spec) -> bool:
        """Whether a seat is what a request asks for: at least its GPU, disk and ports, at most its price, same image."""
        own = self.need
        if need.gpu_name and need.gpu_name != own.gpu_name:
            return False
        if need.providers and (not own.providers or not set(own.providers) <= set(need.providers)):
            return False
        if need.regions and (not own.regions or not set(own.regions) <= set(need.regions)):
            return False
        price_ok = need.max_usd_per_hour is None or (
            own.max_usd_per_hour is not None and own.max_usd_per_hour <= need.max_usd_per_hour
        )
        same_machine = (need.gpu_count, need.interruptible) == (own.gpu_count, own.interruptible)
        enough = own.disk_gib >= need.disk_gib and own.min_vram_gb >= need.min_vram_gb
        same_spec = (spec.image, spec.ports, spec.workspace) == (self.spec.image, self.spec.ports, self.spec.workspace)
        return price_ok and same_machine and enough and same_spec
