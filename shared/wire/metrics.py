"""What an instance's machine did over time."""

from __future__ import annotations

from datetime import datetime

from shared.wire.base import Moment, Query, View


class MetricsQuery(Query):
    since: Moment | None = None
    """Six hours before `until` when left out; at most seven days before it."""
    until: Moment | None = None
    """Now when left out."""


class MetricPointView(View):
    at: datetime
    samples: int
    gpu: float | None
    """Percent, of the busiest GPU."""
    gpu_peak: float | None
    vram_mb: float | None
    vram_total_mb: float | None
    network_mbit: float | None
    disk_mb_s: float | None


class AsleepView(View):
    since: datetime
    until: datetime


class MetricsView(View):
    since: datetime
    until: datetime
    step_s: int
    """What one point stands for."""
    idle_gpu_percent: float
    """Below this for long enough it may sleep."""
    kept_days: int
    points: list[MetricPointView]
    asleep: list[AsleepView]
    """When no machine was paid for."""
