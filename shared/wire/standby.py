"""CPU standbys and failover."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import Field

from shared.wire.base import Body, View


class StandbyBody(Body):
    instance: str = Field(min_length=1, max_length=60)
    machine_type: str = Field(default="e2-small", max_length=40)
    zone: str | None = Field(default=None, max_length=40)
    """None: one in the GPU's country when there is one."""
    disk_gib: float | None = Field(default=None, ge=10, le=16_000)
    """None: as large as the instance's."""
    spot: bool = True
    """Cheaper; when Google takes it away another is made and catches up."""
    interval_s: float = Field(default=30, ge=2, le=3600)
    """How often the instance is snapshotted while something changes: what a failover may lose."""
    preview: bool = False
    """Only say what it would be and cost; make nothing."""


class StandbyView(View):
    instance_id: str
    instance_name: str
    instance_state: str
    machine_type: str
    zone: str
    disk_gib: float
    spot: bool
    interval_s: float
    usd_per_hour: Decimal
    usd_per_month: Decimal
    """730 hours."""
    phase: str
    """preview, making, filling, following, behind, serving or off (hibernated, its reservation over)."""
    machine_id: str | None
    holds_snapshot_id: str | None
    held_at: datetime | None
    lag_s: float | None
    """How much older what it holds is than the instance's newest snapshot; 0 when it holds that. None: nothing yet."""
    lag_bytes: int | None
    """Bytes newly stored by the snapshots it has not applied."""


class StandbyList(View):
    standbys: list[StandbyView]


class BreakerView(View):
    """The circuit breaker of automatic failovers, of the whole deployment."""

    open: bool
    """None begins by itself; what is asked for does."""
    opened_at: datetime | None
    recent: int
    limit: int
    """More than so many within `within_s` seconds open it."""
    within_s: float


class FailoverBody(Body):
    instance: str = Field(min_length=1, max_length=60)
    why: str = Field(default="asked for", max_length=200)
    drill: bool = False
    """Try it out on a copy, which is then destroyed; the instance goes on and only its `drill` changes."""


class FailoverView(View):
    """Moments measured; the spans in seconds follow from them."""

    heard_at: datetime
    detected_at: datetime
    snapshot_at: datetime | None
    promoted_at: datetime | None
    gpu_found_at: datetime | None
    back_at: datetime | None
    rpo_s: float | None
    """From the start of the snapshot taken over to the lost machine's last sign of life: at most this much is lost."""
    rto_s: float | None
    """From detection until the files served again, on the standby or, without one, on a GPU."""
    gpu_back_s: float | None


class DrillView(View):
    """A failover on a copy."""

    copy_id: str
    begun_at: datetime
    snapshot_id: str
    with_standby: bool
    failover: FailoverView | None
    """What was measured, from the loss on: making and filling the copy's standby comes before it."""
    ended_at: datetime | None
    failure: str | None
    gone_at: datetime | None
    """When every machine of the copy was proven gone."""
