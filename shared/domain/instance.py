"""What a user owns: an instance, its states, and what may follow what.

Three tables say everything about states: `NEXT` (which may follow which), `DEADLINE` (how long a passing state
may last) and `ACTIONS` (what a user may ask for in which state). `docs/lifecycle.md` and the console's buttons
are generated from them.
"""

from __future__ import annotations

from dataclasses import field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from shared.domain.lease import Lease
from shared.domain.offer import Need
from shared.domain.retention import Rules
from shared.errors import IllegalTransition
from shared.frozen import dataclass


class State(StrEnum):
    PROVISIONING = "provisioning"
    RUNNING = "running"
    HIBERNATING = "hibernating"
    HIBERNATED = "hibernated"
    WAKING = "waking"
    FAILING_OVER = "failing_over"
    ON_STANDBY = "on_standby"
    DESTROYING = "destroying"
    DESTROYED = "destroyed"
    FAILED = "failed"


RESTING = frozenset({State.RUNNING, State.HIBERNATED, State.ON_STANDBY, State.FAILED, State.DESTROYED})
PASSING = frozenset(State) - RESTING

NEXT: dict[State, frozenset[State]] = {
    State.PROVISIONING: frozenset({State.RUNNING, State.FAILED, State.DESTROYING}),
    # HIBERNATED straight from RUNNING: the machine was lost and the newest snapshot is what remains.
    State.RUNNING: frozenset({State.HIBERNATING, State.FAILING_OVER, State.HIBERNATED, State.FAILED, State.DESTROYING}),
    # RUNNING, ON_STANDBY: the snapshot failed, so the machine is kept, whichever served.
    State.HIBERNATING: frozenset({State.HIBERNATED, State.RUNNING, State.ON_STANDBY, State.FAILED, State.DESTROYING}),
    State.HIBERNATED: frozenset({State.WAKING, State.DESTROYING}),
    State.WAKING: frozenset({State.RUNNING, State.HIBERNATED, State.DESTROYING}),
    State.FAILING_OVER: frozenset({State.ON_STANDBY, State.RUNNING, State.HIBERNATED, State.FAILED, State.DESTROYING}),
    State.ON_STANDBY: frozenset(
        {State.FAILING_OVER, State.RUNNING, State.HIBERNATING, State.HIBERNATED, State.DESTROYING}
    ),
    State.FAILED: frozenset({State.DESTROYING}),
    State.DESTROYING: frozenset({State.DESTROYED}),
    State.DESTROYED: frozenset(),
}

DEADLINE: dict[State, timedelta] = {
    State.PROVISIONING: timedelta(minutes=15),
    State.HIBERNATING: timedelta(hours=2),
    State.WAKING: timedelta(minutes=15),
    State.FAILING_OVER: timedelta(minutes=20),
    State.DESTROYING: timedelta(hours=24),
}
"""When a passing state is over time. `destroying` never gives up: past it, every try is reported."""

SEARCHING = frozenset({State.PROVISIONING, State.WAKING, State.FAILING_OVER})
"""States in which machines race and one is adopted."""

FAILOVERS_A_DAY, FAILOVERS_APART = 5, timedelta(minutes=5)
"""Beyond these a person is asked."""

SILENT, TAKEN_FOR_LOST = "the machine has been silent", "the machine is taken for lost"
"""Begin an instance's `failure` that ends as soon as its machine is heard."""

WARNED_BEFORE = timedelta(seconds=135)
"""Of sleep. The sweep of the next minute tells it, and a quarter of one may pass until it is noticed: a minute is left."""
ANOTHER_REST = timedelta(minutes=1)
"""Sleep that is put off by so much is warned of again."""

ADOPTED_DEADLINE = timedelta(hours=2)
"""Once a machine is adopted, its restore or set-up may take longer than finding one."""


class Action(StrEnum):
    WAKE = "wake"
    HIBERNATE = "hibernate"
    EXEC = "exec"
    KEEP_AWAKE = "keep_awake"
    SNAPSHOT = "snapshot"
    RESTORE = "restore"
    FAIL_OVER = "fail_over"
    EDIT = "edit"
    DESTROY = "destroy"


ACTIONS: dict[Action, frozenset[State]] = {
    Action.WAKE: frozenset({State.HIBERNATED}),
    Action.HIBERNATE: frozenset({State.RUNNING, State.ON_STANDBY}),
    Action.EXEC: frozenset({State.RUNNING, State.ON_STANDBY}),
    Action.KEEP_AWAKE: frozenset({State.RUNNING}),
    Action.SNAPSHOT: frozenset({State.RUNNING}),
    Action.RESTORE: frozenset({State.RUNNING, State.HIBERNATED}),
    Action.FAIL_OVER: frozenset({State.RUNNING}),
    Action.EDIT: frozenset(State) - {State.DESTROYING, State.DESTROYED},
    Action.DESTROY: frozenset(State) - {State.DESTROYED},
}


@dataclass(frozen=True)
class IdlePolicy:
    """When an instance may sleep. The agent measures; these are its limits."""

    enabled: bool = True
    idle_after_s: float = 180.0
    gpu_percent: float = 5.0
    startup_grace_s: float = 120.0
    network_mbit: float = 1.0
    """Traffic above this on any interface but loopback is work."""
    disk_mb_s: float = 5.0
    watch_ports: bool = True
    """Bytes moved on SSH sessions are work; a silent session is not."""
    heartbeat_file: str | None = None
    """A file the workload touches; young enough, it vetoes."""


DEFAULT_IMAGE = "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime"


@dataclass(frozen=True)
class Spec:
    """What a machine for this instance must be given."""

    image: str = DEFAULT_IMAGE
    env: dict[str, str] = field(default_factory=dict)
    """Its values are sealed."""
    ports: tuple[int, ...] = ()
    workspace: tuple[str, ...] = ("/workspace",)
    excludes: tuple[str, ...] = ()
    hot: tuple[str, ...] = ()
    """Patterns of big files that a wake restores before it says `usable`."""
    setup: str | None = None
    """A shell command run on a fresh machine, and again after a wake elsewhere."""


@dataclass(frozen=True)
class Machine:
    """The machine an instance has adopted."""

    provider: str
    machine_id: str
    host_id: str
    offer_id: str
    gpu_name: str
    gpu_count: int
    usd_per_hour: Decimal
    region: str = ""
    ssh_host: str | None = None
    ssh_port: int | None = None
    ports: dict[str, int] = field(default_factory=dict)
    """Inside port -> outside port."""


@dataclass(frozen=True)
class Clocks:
    """Measured moments of the newest provision or wake."""

    asked_at: datetime | None = None
    first_answer_at: datetime | None = None
    usable_at: datetime | None = None
    restored_at: datetime | None = None
    ready_reported_at: datetime | None = None
    """The agent's own word of when it was ready, corrected for nothing: for `ready_noticed_s`."""


@dataclass(frozen=True)
class Idleness:
    """The agent's newest judgement, kept only when it changes."""

    idle_since: datetime | None = None
    why: str = "not heard yet"


@dataclass(frozen=True)
class Standby:
    """The CPU machine a user wants beside an instance."""

    machine_type: str
    zone: str
    disk_gib: float
    spot: bool
    interval_s: float
    """How often the instance is snapshotted while something changes; what a failover may lose."""
    usd_per_hour: Decimal = Decimal(0)


@dataclass(frozen=True)
class Failover:
    """Measured moments of the newest failover."""

    heard_at: datetime
    """The lost machine's last sign of life."""
    detected_at: datetime
    snapshot_at: datetime | None = None
    """When the snapshot that was taken over was begun: what came later is lost."""
    promoted_at: datetime | None = None
    gpu_found_at: datetime | None = None
    back_at: datetime | None = None

    @property
    def rpo_s(self) -> float | None:
        return _seconds(self.snapshot_at, self.heard_at)

    @property
    def rto_s(self) -> float | None:
        return _seconds(self.detected_at, self.promoted_at or self.back_at)

    @property
    def gpu_back_s(self) -> float | None:
        return _seconds(self.detected_at, self.back_at)


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    return None if since is None or until is None else round(max(0.0, (until - since).total_seconds()), 3)


@dataclass(frozen=True)
class Drill:
    """A failover tried out on a copy; the instance itself goes on. On the copy: what it is to try."""

    copy_id: str
    begun_at: datetime
    heard_at: datetime
    """The instance's last sign of life before: had its machine died then, so much would have been lost."""
    snapshot_id: str
    snapshot_at: datetime
    with_standby: bool
    failover: Failover | None = None
    """What was measured, whole or as far as it came."""
    ended_at: datetime | None = None
    failure: str | None = None
    gone_at: datetime | None = None
    """When every machine of the copy was proven gone and its objects deleted."""

    def measured(self, detected_at: datetime) -> Failover:
        """The measurement as it begins."""
        return Failover(heard_at=self.heard_at, detected_at=detected_at, snapshot_at=self.snapshot_at)


@dataclass(frozen=True)
class Source:
    """Another instance's snapshot, whose files a clone begins with."""

    instance_id: str
    snapshot_id: str


@dataclass(frozen=True)
class Instance:
    id: str
    user_id: str
    name: str
    state: State
    need: Need
    spec: Spec
    created_at: datetime
    entered_at: datetime
    idle_policy: IdlePolicy = field(default_factory=IdlePolicy)
    labels: dict[str, str] = field(default_factory=dict)
    strategy: str = "race"
    width: int = 5
    max_attempts: int = 10
    round: int = 0
    """Grows with every provision and wake; attempts belong to one round."""
    opened: int = 0
    """Attempts opened in this round."""
    pokes: int = 0
    """Grows when somebody has a reason to advance; a worker that sees it change looks again."""
    lease: Lease | None = None
    next_action_at: datetime | None = None
    """When `advance` has something to do; None when nothing is due."""
    attempt_id: str | None = None
    """The adopted attempt."""
    machine: Machine | None = None
    last_host_id: str | None = None
    last_provider: str | None = None
    """Of the newest attempt."""
    last_machine: Machine | None = None
    reserved_until: datetime | None = None
    """Until then a wake prefers the last host."""
    storage: str | None = None
    """The name of its user's storage profile that holds its objects; None: the deployment's own bucket."""
    snapshot_id: str | None = None
    """The newest verified snapshot."""
    retention: Rules = field(default_factory=Rules)
    """Which older ones are kept."""
    prune_at: datetime | None = None
    """When the older ones are looked at."""
    orders: int = 0
    """How many its machines were ever given; grows with each, by itself."""
    order_id: str | None = None
    """The order this passing state waits for."""
    clocks: Clocks = field(default_factory=Clocks)
    idleness: Idleness = field(default_factory=Idleness)
    hibernate_at: datetime | None = None
    warned_for: datetime | None = None
    """The `hibernate_at` that its user was warned of."""
    keep_awake_until: datetime | None = None
    hibernate_reason: str | None = None
    hibernate_not_before: datetime | None = None
    """Set when a hibernation failed, so that the next try waits; on standby, when a GPU did not get the files."""
    busy_until: datetime | None = None
    """Until then the agent asks for orders often."""
    failure: str | None = None
    """Why the last passing state ended badly, in words for the user."""
    restoring: bool = False
    """Usable, but not every file is back yet."""
    restore_again_at: datetime | None = None
    """When the rest is ordered once more, after it failed."""
    half_restored_id: str | None = None
    """The snapshot whose restore failed on the way: its machine's files are no state that anybody wanted."""
    pool_id: str | None = None
    """Set while it is a seat of a pool that nobody has claimed."""
    snapshot_every_s: float = 0.0
    """Snapshot this often while running, when something changed; 0 is never."""
    snapshot_at: datetime | None = None
    """When the newest snapshot was begun."""
    saving_id: str | None = None
    """The snapshot that its machine takes beside its work; on record once it is committed."""
    on_loss: str = "wake"
    """`wake`: a lost machine is replaced at once from the newest snapshot; `hibernate`: it waits for its user."""
    standby: Standby | None = None
    standby_attempt_id: str | None = None
    """The machine that follows, once its agent has registered."""
    standby_snapshot_id: str | None = None
    """What the standby holds, whole."""
    standby_at: datetime | None = None
    """When it held that."""
    standby_order_id: str | None = None
    """What the standby is told to take over, until it has: `f-`, a random part, the snapshot's id."""
    standby_retry_at: datetime | None = None
    """Set when it could not."""
    standby_tries: int = 0
    standby_not_before: datetime | None = None
    standby_silent_since: datetime | None = None
    """Since when it has been silent while the instance's machine was heard."""
    give_up_why: str | None = None
    """Set when a person gave its machine up; the next step fails over whatever the machine says."""
    incoming_attempt_id: str | None = None
    """While on standby: the GPU machine that is ready to take the files back."""
    hand_backs_failed: int = 0
    """GPUs in a row that did not get the standby's files."""
    failover: Failover | None = None
    failovers: tuple[datetime, ...] = ()
    """When it failed over lately; limits the next."""
    source: Source | None = None
    """Set in a clone until every file of it is there."""
    drill_of: str | None = None
    """Set in the copy that a drill works on: the instance it is a copy of."""
    drill: Drill | None = None
    """The newest."""
    drills: tuple[datetime, ...] = ()
    """When it was drilled lately; limits the next."""
    trace: str | None = None
    """Of the request that set it in motion last."""

    def enter(self, state: State, now: datetime) -> Instance:
        """The instance in its next state. Raises IllegalTransition."""
        if state not in NEXT[self.state]:
            raise IllegalTransition(f"instance {self.id} is {self.state}, cannot become {state}")
        return replace(self, state=state, entered_at=now)

    def without_standby(self) -> Instance:
        """What it knows once its standby machine is gone; that it wants one stays."""
        return replace(
            self,
            standby_attempt_id=None,
            standby_silent_since=None,
            standby_snapshot_id=None,
            standby_at=None,
            standby_order_id=None,
            standby_retry_at=None,
        )

    def warn_at(self) -> datetime | None:
        """When its user is warned that it is about to sleep; None: it is not, or the warning is out."""
        if self.hibernate_at is None:
            return None
        told = self.warned_for is not None and self.hibernate_at - self.warned_for < ANOTHER_REST
        return None if told else self.hibernate_at - WARNED_BEFORE

    def save_at(self) -> datetime | None:
        """When its machine is saved beside its work next, by its user's wish or for its standby; None: never, or not now."""
        wanted = (self.snapshot_every_s, self.standby.interval_s if self.standby else 0.0)
        every_s = min((s for s in wanted if s > 0), default=0.0)
        if every_s == 0 or self.state not in (State.RUNNING, State.ON_STANDBY):
            return None
        if self.restoring or self.saving_id or self.half_restored_id:
            return None
        return (self.snapshot_at or self.entered_at) + timedelta(seconds=every_s)

    def require(self, action: Action, words: str = "") -> None:
        """Raises IllegalTransition when `action`, called so for its user, is not possible in this state."""
        if self.drill_of is not None and action is not Action.DESTROY:
            raise IllegalTransition(f"instance {self.id} is the copy of a drill; it can only be destroyed")
        if self.state not in ACTIONS[action]:
            states = ", ".join(sorted(ACTIONS[action]))
            raise IllegalTransition(
                f"instance {self.id} is {self.state}; {words or action.replace('_', '-')} needs {states}",
                state=self.state,
                action=action,
            )

    def deadline_at(self, scale: float = 1.0) -> datetime | None:
        limit = DEADLINE.get(self.state)
        if self.state in SEARCHING and self.attempt_id is not None:
            limit = ADOPTED_DEADLINE
        return self.entered_at + limit * scale if limit else None

    @property
    def preparing(self) -> bool:
        """The copy of a drill whose standby does not hold the files yet: the loss is still to come."""
        return self.drill_of is not None and self.state is State.FAILING_OVER and self.failover is None

    @property
    def reads_source(self) -> bool:
        """Whether another instance's snapshot must stay for this one."""
        return self.source is not None and self.state not in (State.FAILED, State.DESTROYING, State.DESTROYED)

    def may_fail_over(self, now: datetime) -> bool:
        """Whether a lost machine is replaced without asking: by its policy, and within the limits."""
        return self.on_loss == "wake" and over_limit(self.failovers, now) is None

    def overdue(self, now: datetime, scale: float = 1.0) -> bool:
        deadline = self.deadline_at(scale)
        return deadline is not None and now >= deadline


def over_limit(before: tuple[datetime, ...], now: datetime) -> str | None:
    """Why another failover, or drill, is one too many now; None when it is not."""
    lately = [at for at in before if now - at < timedelta(days=1)]
    if len(lately) >= FAILOVERS_A_DAY:
        return f"{FAILOVERS_A_DAY} within a day are the most"
    if lately and now - max(lately) < FAILOVERS_APART:
        return f"the last was less than {FAILOVERS_APART.seconds // 60} minutes ago"
    return None


def mermaid() -> str:
    """The lifecycle as a Mermaid diagram, from the tables."""
    lines = ["stateDiagram-v2", "    [*] --> provisioning"]
    for state, following in NEXT.items():
        lines += [f"    {state} --> {after}" for after in sorted(following)]
    lines.append("    destroyed --> [*]")
    return "\n".join(lines)


def held_by(instance: Instance) -> dict[str, str]:
    """The snapshots an instance cannot do without, and why."""
    held: dict[str, str] = {}
    if instance.standby_snapshot_id is not None:
        held[instance.standby_snapshot_id] = "the standby holds it"
    if instance.standby_order_id is not None:
        held[instance.standby_order_id.split("-", 2)[2]] = "the standby takes it over"
    if instance.snapshot_id is not None:
        held[instance.snapshot_id] = "the newest"
    if instance.drill is not None and instance.drill.gone_at is None:
        held.setdefault(instance.drill.snapshot_id, "a drill reads it")
    return held
