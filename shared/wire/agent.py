"""What machines and we say to each other. The agent itself uses plain dicts of this form (it has no pydantic).

Authentication: `Authorization: Bearer <attempt id>.<secret>`, given to the machine as DUMONT_TOKEN. Times are UTC
ISO-8601 strings, sizes bytes, durations seconds. An answer is always the envelope `{"success": true, "data": …}`.
A 401 or 403 with code `unauthenticated`/`forbidden` and `details.stop` true tells the agent to stop for good.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shared.wire.base import Body, View

OrderKind = Literal["restore", "snapshot", "exec", "keys", "setup", "stop"]


class Gpu(Body):
    index: int
    name: str = Field(max_length=200)
    memory_total_mb: float
    memory_used_mb: float = 0.0
    utilization: float = 0.0


class Register(Body):
    """The first contact, after the admission probe; repeated after a restart of the agent."""

    gpus: list[Gpu] = Field(max_length=64)
    cuda: str | None = Field(default=None, max_length=32)
    disk_free_bytes: int
    disk_write_mb_s: float
    download_mb_s: float | None = None
    agent_version: str = Field(max_length=64)
    python: str = Field(default="", max_length=64)
    ready_at: datetime
    problems: list[str] = Field(default_factory=list, max_length=20)
    """What the probe found wrong; any makes us refuse the machine."""


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


class Minute(Body):
    """A minute's samples so far, as `domain.metrics.Minute` has them."""

    at: datetime
    samples: int = Field(ge=1, le=10_000)
    gpu: float | None
    gpu_peak: float | None
    vram_mb: float | None
    vram_total_mb: float | None
    network_mbit: float | None
    disk_mb_s: float | None


class Carry(Body):
    """What an answer says of this heartbeat, for the next one to bring along: it saves us reading it again."""

    at: datetime
    vetoes: list[str] = Field(max_length=20)
    minute: Minute | None
    orders: int
    """The instance's count of orders, all of which it has been told of."""


class Heartbeat(Body):
    at: datetime
    gpus: list[Gpu] = Field(max_length=64)
    idle_since: datetime | None
    """None while active, or when the agent cannot tell."""
    why: str = Field(max_length=500)
    """`idle since 12:03; GPU 0 %; no veto` or `active: 212 Mbit/s download`."""
    vetoes: list[str] = Field(default_factory=list, max_length=20)
    network_mbit: float | None = None
    disk_mb_s: float | None = None
    disk_used_bytes: int | None = None
    workspace_bytes: int | None = None
    running_orders: list[str] = Field(default_factory=list, max_length=100)
    carry: Carry | None = None


class HeartbeatAnswer(View):
    settings: AgentSettings
    orders: list[Order]
    now: datetime
    carry: Carry


class UploadsRequest(Body):
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


class DownloadsRequest(Body):
    """Addresses to read objects of this machine's own instance: keys as a manifest names them."""

    keys: list[str] = Field(min_length=1, max_length=256)


class Downloads(View):
    urls: dict[str, str]
    expires_at: datetime


class PackRef(Body):
    key: str = Field(max_length=200)
    size: int = Field(ge=0)


class SnapshotCommit(Body):
    """The agent's word that a snapshot is whole; we check every object before it counts."""

    snapshot_id: str = Field(max_length=100)
    order_id: str = Field(max_length=100)
    manifest_key: str = Field(max_length=200)
    manifest_size: int = Field(ge=1)
    packs: list[PackRef] = Field(max_length=200_000)
    """Every pack the manifest names, those of earlier snapshots too."""
    files: int = Field(ge=0)
    directories: int = Field(default=0, ge=0)
    bytes: int = Field(ge=0)
    """Of all regular files."""
    stored_bytes: int = Field(ge=0)
    """Newly uploaded."""
    seconds: float = Field(ge=0)
    torn: list[str] = Field(default_factory=list, max_length=1000)
    """Files that kept changing while they were read."""
    unreadable: list[str] = Field(default_factory=list, max_length=1000)
    note: str | None = Field(default=None, max_length=4000)
    """Why the snapshot before could not be built upon, if so: everything was stored anew."""


class Committed(View):
    snapshot_id: str
    verified: bool
    problem: str | None = None


class OrderResult(Body):
    """How an order goes. `state` running may come many times, done or failed ends it."""

    order_id: str = Field(max_length=100)
    state: Literal["running", "done", "failed"]
    stage: str | None = Field(default=None, max_length=50)
    """restore: `usable` when the hot files are there; then done."""
    done_bytes: int | None = None
    total_bytes: int | None = None
    exit_code: int | None = None
    stdout: str | None = Field(default=None, max_length=262_144)
    stderr: str | None = Field(default=None, max_length=262_144)
    truncated: bool = False
    error: str | None = Field(default=None, max_length=2000)
