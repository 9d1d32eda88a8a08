"""Instances, as clients see and ask for them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from shared.wire.base import Body, ObjectKey, PageQuery, Price, Query, View
from shared.wire.standby import DrillView, FailoverView

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Path = Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$", max_length=1000)]


def _not_ours(name: str) -> str:
    if name.startswith("DUMONT_"):
        raise ValueError("names that begin with DUMONT_ are the agent's own")
    return name


EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,255}$"), AfterValidator(_not_ours)]
Argument = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""What a process is started with: no system takes a NUL there."""
Pattern = Annotated[str, Field(min_length=1, max_length=500)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Image = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.\-/:@]*$", max_length=512)]

Labels = Annotated[
    dict[Annotated[str, Field(max_length=63)], Annotated[str, Field(max_length=200)]], Field(max_length=32)
]


class IdlePolicyBody(Body):
    enabled: bool = True
    idle_after_s: float = Field(default=180, ge=1, le=7 * 86400)
    gpu_percent: float = Field(default=5, ge=0, le=100)
    startup_grace_s: float = Field(default=120, ge=0, le=86400)
    network_mbit: float = Field(default=1, ge=0, le=1e9)
    disk_mb_s: float = Field(default=5, ge=0, le=1e9)
    watch_ports: bool = True
    heartbeat_file: Path | None = None


class ProvisionRequest(Body):
    name: Name | None = None
    gpu_name: str | None = Field(default=None, min_length=1, max_length=100)
    gpu_count: int = Field(default=1, ge=1, le=16)
    min_vram_gb: float = Field(default=0, ge=0, le=10_000)
    disk_gib: float = Field(default=20, ge=8, le=16_000)
    max_usd_per_hour: Price | None = None
    min_reliability: float = Field(default=0.9, ge=0, le=1)
    regions: list[Country] = Field(default_factory=list, max_length=50)
    providers: list[Literal["vast", "tensordock", "gce"]] = Field(default_factory=list, max_length=10)
    image: Image = "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime"
    env: dict[EnvName, Annotated[Argument, Field(max_length=4096)]] = Field(default_factory=dict, max_length=64)
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(default_factory=list, max_length=32)
    workspace: list[Path] = Field(default=["/workspace"], min_length=1, max_length=16)
    excludes: list[Pattern] = Field(default_factory=list, max_length=200)
    hot: list[Pattern] = Field(default_factory=list, max_length=200)
    """Patterns of big files that a wake restores before it says `usable`: `models/base*` or `*.gguf`."""
    setup: Annotated[Argument, Field(max_length=16_384)] | None = None
    idle_policy: IdlePolicyBody = IdlePolicyBody()
    labels: Labels = Field(default_factory=dict)
    strategy: Literal["race", "round_robin", "coldstart", "auto", "serverless"] | None = None
    """None: your default."""
    interruptible: bool = False
    """Cheaper, and may be taken away: then it wakes elsewhere from its newest snapshot."""
    bid_headroom: float = Field(default=0.1, ge=0, le=3)
    """How much more to bid than the lowest price that is taken, where interruptible machines are bid for; 0.1 for a tenth."""
    snapshot_every_s: float | None = Field(default=None, ge=0, le=86400)
    """While running, when something changed; None: ten minutes for interruptible machines, else never."""
    on_loss: Literal["wake", "hibernate"] = "wake"
    storage: Name | None = None
    """Which of your storages its snapshots go to, for good; `dumont` is the deployment's own. None: your default."""
    width: int = Field(default=5, ge=1, le=5)
    max_attempts: int = Field(default=10, ge=1, le=50)


class WaitQuery(Query):
    wait: float = Field(default=25, ge=0, le=50)
    """How many seconds to wait for a resting state before answering with what is."""


class ListQuery(PageQuery):
    limit: int = Field(default=50, ge=1, le=200)
    all: bool = False
    """Destroyed ones too."""


class GetQuery(Query):
    wait: float = Field(default=0, ge=0, le=50)
    """Wait this long for a resting state."""


class ListSnapshotsQuery(PageQuery):
    """With rules: what would stay by them, as a preview; nothing changes."""

    limit: int = Field(default=50, ge=1, le=200)
    last: int | None = Field(default=None, ge=1, le=100)
    hourly: int | None = Field(default=None, ge=0, le=1000)
    daily: int | None = Field(default=None, ge=0, le=1000)
    weekly: int | None = Field(default=None, ge=0, le=1000)

    def rules(self) -> dict[str, int]:
        return self.model_dump(include={"last", "hourly", "daily", "weekly"}, exclude_none=True)


class EventsQuery(PageQuery):
    limit: int = Field(default=100, ge=1, le=500)


class RecentQuery(Query):
    limit: int = Field(default=30, ge=1, le=100)


class RetentionBody(Body):
    """Of which snapshots the newest is kept: of the last hours, days and weeks, and the last few in any case."""

    last: int = Field(default=3, ge=1, le=100)
    hourly: int = Field(default=24, ge=0, le=1000)
    daily: int = Field(default=7, ge=0, le=1000)
    weekly: int = Field(default=4, ge=0, le=1000)


class Patch(Body):
    """What is not named stays."""

    name: Name | None = None
    idle_policy: IdlePolicyBody | None = None
    keep_awake_s: float | None = Field(default=None, ge=0, le=30 * 86400)
    """From now; 0 ends a keep-awake."""
    labels: Labels | None = None
    snapshot_every_s: float | None = Field(default=None, ge=0, le=86400)
    on_loss: Literal["wake", "hibernate"] | None = None
    retention: RetentionBody | None = None
    excludes: list[Pattern] | None = Field(default=None, max_length=200)
    hot: list[Pattern] | None = Field(default=None, max_length=200)


class CloneBody(Body):
    """A new instance like the snapshot's own, but for what is named here."""

    name: Name | None = None
    """None: the original's with -clone behind it."""
    gpu_name: str | None = Field(default=None, min_length=1, max_length=100)
    gpu_count: int | None = Field(default=None, ge=1, le=16)
    disk_gib: float | None = Field(default=None, ge=8, le=16_000)
    max_usd_per_hour: Price | None = None
    storage: Name | None = None
    """Where its own snapshots go; None: where the original's are."""

    def need(self) -> dict[str, Any]:
        return self.model_dump(exclude={"name", "storage"})


class SnapshotPatch(Body):
    pinned: bool
    """A pinned snapshot stays whatever the rules say."""


class ExecRequest(Body):
    command: list[Annotated[Argument, Field(max_length=32_768)]] = Field(min_length=1, max_length=256)
    """An argument vector; no shell is involved unless you name one."""
    stdin: str | None = Field(default=None, max_length=262_144)
    cwd: Annotated[Argument, Field(max_length=1000)] | None = None
    env: dict[EnvName, Annotated[Argument, Field(max_length=32_768)]] = Field(default_factory=dict, max_length=64)
    timeout_s: float = Field(default=60, gt=0, le=86_400)


class ExecView(View):
    id: str
    state: str
    """pending, running, done or failed."""
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    error: str | None = None


class MachineView(View):
    provider: str
    machine_id: str
    host_id: str
    gpu_name: str
    gpu_count: int
    usd_per_hour: Decimal
    region: str
    ssh_host: str | None
    ssh_port: int | None
    ports: dict[str, int]


class ReceiptView(View):
    requested_at: datetime
    confirmed_at: datetime | None
    usd: Decimal


class AttemptView(View):
    id: str
    round: int
    provider: str
    host_id: str
    offer_machine_id: str
    machine_id: str | None
    gpu_name: str
    gpu_count: int
    usd_per_hour: Decimal
    region: str
    stage: str
    outcome: str | None
    why: str | None
    opened_at: datetime
    created_at: datetime | None
    adopted_at: datetime | None
    receipt: ReceiptView | None


class ClocksView(View):
    asked_at: datetime | None
    first_answer_at: datetime | None
    usable_at: datetime | None
    restored_at: datetime | None
    ready_reported_at: datetime | None


class InstanceView(View):
    id: str
    name: str
    state: str
    resting: bool
    created_at: datetime
    entered_at: datetime
    need: dict[str, Any]
    spec: dict[str, Any]
    idle_policy: dict[str, Any]
    labels: dict[str, str]
    machine: MachineView | None
    last_host_id: str | None
    snapshot_id: str | None
    storage: str | None
    """The storage of yours that holds its snapshots; None: the deployment's own."""
    clocks: ClocksView
    idle_since: datetime | None
    why: str
    """The agent's judgement of idleness, in words."""
    hibernate_at: datetime | None
    keep_awake_until: datetime | None
    reserved_until: datetime | None
    failure: str | None
    restoring: bool
    strategy: str
    snapshot_every_s: float
    on_loss: str
    has_standby: bool
    failover: FailoverView | None
    """The newest, measured."""
    drill: DrillView | None = None
    """The newest, on a copy."""
    attempts: list[AttemptView] = Field(default_factory=list)
    """Of the newest round, and every one whose machine is not proven gone; empty in lists."""
    can: dict[str, bool]
    """Which actions this state allows."""


class RecoveryView(View):
    """Enough, with the bucket's credentials, to restore by `python -m agent.snapshot` when there is no control plane."""

    instance_id: str
    store: str
    endpoint: str | None
    key: str
    """Base64 of the 32 bytes that open this instance's snapshots, and no other's."""


class InstanceList(View):
    instances: list[InstanceView]
    next_cursor: str | None


class EventView(View):
    id: str
    at: datetime
    kind: str
    message: str
    actor: str
    details: dict[str, Any]


class EventList(View):
    events: list[EventView]
    next_cursor: str | None


class RecentEventView(EventView):
    instance_id: str


class RecentEvents(View):
    events: list[RecentEventView]


class SnapshotView(View):
    id: str
    state: str
    created_at: datetime
    files: int
    bytes: int
    stored_bytes: int
    seconds: float
    torn: list[str]
    unreadable: list[str]
    newest: bool
    pinned: bool
    kept: str | None
    """Why it stays; None when it goes with the next pruning."""
    problem: str | None = None
    """What is wrong with one that failed or is damaged."""


class VerifyQuery(WaitQuery):
    go_on: bool = False
    """A check that ended since the last call is told of, not begun anew."""


class VerifyView(View):
    """What a check has found so far: every object's size, the whole manifest, and frames in their order until the time was over.

    Asking again goes on from there, and a sweep goes on by itself every few minutes; its end is an event.
    """

    snapshot_id: str
    state: str
    problem: str | None
    objects: int
    frames: int
    frames_read: int
    """In all, by every call of this check."""
    whole: bool
    """Everything was read and is good."""


class AddressesBody(Body):
    keys: list[ObjectKey] = Field(default_factory=list, max_length=1000)
    """Of packs; the manifest's address comes anyway."""


class AddressesView(View):
    manifest_key: str
    urls: dict[str, str]
    expires_at: datetime


class SnapshotList(View):
    retention: RetentionBody
    snapshots: list[SnapshotView]
    next_cursor: str | None


class SshKeysBody(Body):
    ssh_keys: list[Annotated[str, Field(max_length=2000)]] = Field(max_length=20)


class SshKeysView(View):
    ssh_keys: list[str]
