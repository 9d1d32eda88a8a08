"""What machines and we say to each other. The agent itself uses plain dicts of this form (it has no pydantic).

Authentication: `Authorization: Bearer <attempt id>.<secret>`, given to the machine as DUMONT_TOKEN. Times are UTC
ISO-8601 strings, sizes bytes, durations seconds. An answer is always the envelope `{"success": true, "data": …}`.
A 401 or 403 with code `unauthenticated`/`forbidden` and `details.stop` true tells the agent to stop for good.

The two are never upgraded in one moment, so each ignores fields that it does not know, and takes what is left out for its
default. An agent says with `protocol` what it understands; one that is behind is told to fetch the agent again once it rests.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from shared.domain.manifest import WHOLE_LIMIT
from shared.wire.base import Body, Count, Measure, ObjectKey, View

Words = Annotated[str, Field(max_length=4000)]
FilePath = Annotated[str, Field(max_length=32_768)]

PROTOCOL = 2
"""Of the agent that we hand out: 1 had no such number, 2 takes an update and the trace of an order."""
OrderKind = Literal["restore", "snapshot", "exec", "keys", "setup", "stop"]


class Said(Body):
    """Something an agent sends, perhaps a newer one than we know."""

    model_config = ConfigDict(extra="ignore")


class Gpu(Said):
    index: Annotated[int, Field(ge=0, le=1000)]
    name: str = Field(max_length=200)
    memory_total_mb: Measure
    memory_used_mb: Measure = 0.0
    utilization: Measure = 0.0


class Register(Said):
    """The first contact, after the admission probe; repeated after a restart of the agent."""

    gpus: list[Gpu] = Field(max_length=64)
    cuda: str | None = Field(default=None, max_length=32)
    disk_free_bytes: Count
    disk_write_mb_s: Measure
    download_mb_s: Measure | None = None
    agent_version: str = Field(max_length=64)
    python: str = Field(default="", max_length=64)
    ready_at: AwareDatetime
    problems: list[Words] = Field(default_factory=list, max_length=20)
    """What the probe found wrong; any makes us refuse the machine."""
    protocol: Count = 1


class Order(View):
    """Something to do, once; its id makes a repetition harmless.

    Payloads by kind:
    - restore: snapshot_id, manifest_key, key (base64, 32 bytes), workspace [path], hot [path], max_connections
    - snapshot: snapshot_id, prefix, key, workspace [path], excludes [glob], parent_manifest_key or null, final (bool)
    - exec: command [str] (argv) , stdin (str or null), cwd (str or null), timeout_s, env {str: str}
    - keys: authorized_keys [str]
    - setup: command (shell text), timeout_s
    - stop: reason
    """

    id: str
    kind: OrderKind
    payload: dict[str, Any]
    trace: str | None = None
    """Of the request that it follows from; what the agent asks for it and reports of it bears it again."""


class AgentSettings(View):
    instance_id: str
    heartbeat_s: float
    idle: dict[str, Any]
    """The idle policy's fields, as in `IdlePolicyView`."""
    keep_awake_until: datetime | None
    workspace: list[str]
    env: dict[str, str]
    adopted_at: datetime
    work: Literal["runs", "held", "ended"] = "runs"
    """What users run on this machine goes on, stands still while its last snapshot is taken, or is over."""


class Registered(View):
    adopted: bool
    """False: another machine won, or this one is unfit; the agent stops and removes its token."""
    reason: str | None = None
    settings: AgentSettings | None = None
    orders: list[Order] = Field(default_factory=list)
    now: datetime | None = None
    """The clock by which `settings` names moments; each heartbeat's answer tells it again."""


class Minute(Said):
    """A minute's samples so far, as `domain.metrics.Minute` has them."""

    at: AwareDatetime
    samples: int = Field(ge=1, le=10_000)
    gpu: Measure | None
    gpu_peak: Measure | None
    vram_mb: Measure | None
    vram_total_mb: Measure | None
    network_mbit: Measure | None
    disk_mb_s: Measure | None


class Carry(Said):
    """What an answer says of this heartbeat, for the next one to bring along: it saves us reading it again."""

    at: AwareDatetime
    vetoes: list[Words] = Field(max_length=20)
    minute: Minute | None
    orders: Count
    """The instance's count of orders, all of which it has been told of."""


class Heartbeat(Said):
    at: AwareDatetime
    gpus: list[Gpu] = Field(max_length=64)
    idle_since: AwareDatetime | None
    """None while active, or when the agent cannot tell."""
    why: str = Field(max_length=500)
    """`idle since 12:03; GPU 0 %; no veto` or `active: 212 Mbit/s download`."""
    vetoes: list[Words] = Field(default_factory=list, max_length=20)
    network_mbit: Measure | None = None
    disk_mb_s: Measure | None = None
    disk_used_bytes: Count | None = None
    workspace_bytes: Count | None = None
    running_orders: list[Annotated[str, Field(max_length=100)]] = Field(default_factory=list, max_length=100)
    protocol: Count = 1
    carry: Carry | None = None


class HeartbeatAnswer(View):
    settings: AgentSettings
    orders: list[Order]
    now: datetime
    carry: Carry
    update: bool = False
    """There is a newer agent than the one that asks."""


class UploadsRequest(Said):
    """Addresses for `count` new packs of one snapshot, and, when asked, for its manifest."""

    snapshot_id: str = Field(max_length=100)
    count: int = Field(ge=0, le=128)
    manifest: bool = False


class Upload(View):
    key: str
    """The object's key below the instance's prefix, e.g. `p/<epoch>/<n>-<random>` or `m/<snapshot>`."""
    url: str


class Uploads(View):
    uploads: list[Upload]
    manifest: Upload | None = None
    expires_at: datetime


class DownloadsRequest(Said):
    """Addresses to read objects of this machine's own instance: keys as a manifest names them."""

    keys: list[ObjectKey] = Field(min_length=1, max_length=256)


class Downloads(View):
    urls: dict[str, str]
    expires_at: datetime


class PackRef(Said):
    key: ObjectKey
    size: Count


class SnapshotCommit(Said):
    """The agent's word that a snapshot is whole; we check every object before it counts."""

    snapshot_id: str = Field(max_length=100)
    order_id: str = Field(max_length=100)
    manifest_key: str = Field(max_length=200)
    manifest_size: int = Field(ge=1, le=WHOLE_LIMIT)
    packs: list[PackRef] = Field(max_length=200_000)
    """Every pack the manifest names, those of earlier snapshots too."""
    files: Count
    directories: Count = 0
    bytes: Count
    """Of all regular files."""
    stored_bytes: Count
    """Newly uploaded."""
    seconds: float = Field(ge=0, le=1e9)
    torn: list[FilePath] = Field(default_factory=list, max_length=1000)
    """Files that kept changing while they were read."""
    unreadable: list[FilePath] = Field(default_factory=list, max_length=1000)
    note: str | None = Field(default=None, max_length=4000)
    """Why the snapshot before could not be built upon, if so: everything was stored anew."""


class Committed(View):
    snapshot_id: str
    verified: bool
    problem: str | None = None


class OrderResult(Said):
    """How an order goes. `state` running may come many times, done or failed ends it."""

    order_id: str = Field(max_length=100)
    state: Literal["running", "done", "failed"]
    stage: str | None = Field(default=None, max_length=50)
    """restore: `usable` when the hot files are there; then done."""
    done_bytes: Count | None = None
    total_bytes: Count | None = None
    exit_code: Annotated[int, Field(ge=-(2**31), le=2**31)] | None = None
    stdout: str | None = Field(default=None, max_length=262_144)
    stderr: str | None = Field(default=None, max_length=262_144)
    truncated: bool = False
    error: str | None = Field(default=None, max_length=2000)
