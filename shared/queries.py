"""Reads for lists and pages: records to views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.domain.event import Event
from shared.domain.instance import ACTIONS, RESTING, Drill, Failover, Instance, State, held_by
from shared.domain.retention import reasons
from shared.domain.snapshot import Snapshot
from shared.domain.webhook import TOLD
from shared.errors import NotFound
from shared.store.shapes import EVENTS_OF_INSTANCE, EVENTS_OF_USER, INSTANCES_OF_USER, SNAPSHOTS_OF_INSTANCE
from shared.wire import instances as wire
from shared.wire.standby import DrillView, FailoverView


def owned(deps: Deps, instance_id: str, user_id: str) -> Instance:
    """The user's instance; another's is as if it did not exist."""
    instance = deps.records.find(Instance, instance_id)
    if instance is None or instance.user_id != user_id:
        raise NotFound(f"there is no instance {instance_id}")
    return instance


def instance_view(instance: Instance, attempts: Sequence[Attempt] = ()) -> wire.InstanceView:
    return wire.InstanceView(
        id=instance.id,
        name=instance.name,
        state=instance.state,
        resting=instance.state in RESTING,
        created_at=instance.created_at,
        entered_at=instance.entered_at,
        need=asdict(instance.need),
        # The values of its environment are written and never read.
        spec=asdict(replace(instance.spec, env=dict.fromkeys(instance.spec.env, ""))),
        idle_policy=asdict(instance.idle_policy),
        labels=instance.labels,
        machine=wire.MachineView.model_validate(instance.machine, from_attributes=True) if instance.machine else None,
        last_host_id=instance.last_host_id,
        snapshot_id=instance.snapshot_id,
        storage=instance.storage,
        clocks=wire.ClocksView.model_validate(instance.clocks, from_attributes=True),
        idle_since=instance.idleness.idle_since,
        why=instance.idleness.why,
        hibernate_at=instance.hibernate_at,
        keep_awake_until=instance.keep_awake_until,
        reserved_until=instance.reserved_until,
        failure=instance.failure,
        restoring=instance.restoring,
        strategy=instance.strategy,
        snapshot_every_s=instance.snapshot_every_s,
        on_loss=instance.on_loss,
        has_standby=instance.standby is not None,
        failover=failover_view(instance.failover),
        drill=drill_view(instance.drill),
        attempts=[attempt_view(a) for a in sorted(attempts, key=lambda a: a.opened_at)],
        can={str(action): instance.state in states for action, states in ACTIONS.items()},
    )


def failover_view(failover: Failover | None) -> FailoverView | None:
    if failover is None:
        return None
    return FailoverView.model_validate(failover, from_attributes=True)


def drill_view(drill: Drill | None) -> DrillView | None:
    if drill is None:
        return None
    return DrillView(**{**vars(drill), "failover": failover_view(drill.failover)})


def attempt_view(attempt: Attempt) -> wire.AttemptView:
    return wire.AttemptView.model_validate(attempt, from_attributes=True)


def full_view(deps: Deps, instance: Instance) -> wire.InstanceView:
    """An instance with the attempts of its newest round, and every one that is not settled."""
    attempts = {a.id: a for a in deps.records.attempts_of_round(instance.id, instance.round)}
    attempts.update((a.id, a) for a in deps.records.open_attempts(instance.id))
    return instance_view(instance, list(attempts.values()))


def list_instances(query: wire.ListQuery, user_id: str, deps: Deps) -> wire.InstanceList:
    found, cursor = deps.records.query(
        Instance, INSTANCES_OF_USER, {"user_id": user_id}, limit=query.limit, cursor=query.cursor
    )
    # A pool's seats are listed with their pool, a drill's copy with its original.
    shown = [i for i in found if (query.all or i.state is not State.DESTROYED) and not (i.pool_id or i.drill_of)]
    return wire.InstanceList(instances=[instance_view(i) for i in shown], next_cursor=cursor)


def list_events(instance_id: str, query: wire.EventsQuery, user_id: str, deps: Deps) -> wire.EventList:
    owned(deps, instance_id, user_id)
    found, cursor = deps.records.query(
        Event, EVENTS_OF_INSTANCE, {"instance_id": instance_id}, limit=query.limit, cursor=query.cursor
    )
    views = [wire.EventView.model_validate(event, from_attributes=True) for event in found]
    return wire.EventList(events=views, next_cursor=cursor)


def recent_events(query: wire.RecentQuery, user_id: str, deps: Deps) -> wire.RecentEvents:
    """What is worth telling of all the user's instances, newest first; looks back over a few hundred events."""
    told: list[Event] = []
    cursor: str | None = None
    for _ in range(3):
        found, cursor = deps.records.query(Event, EVENTS_OF_USER, {"user_id": user_id}, limit=100, cursor=cursor)
        told += [event for event in found if event.kind in TOLD]
        if cursor is None or len(told) >= query.limit:
            break
    views = [wire.RecentEventView.model_validate(event, from_attributes=True) for event in told[: query.limit]]
    return wire.RecentEvents(events=views)


def snapshot_view(snapshot: Snapshot, newest: str | None, kept: str | None = "the newest") -> wire.SnapshotView:
    return wire.SnapshotView(
        id=snapshot.id,
        state=snapshot.state,
        created_at=snapshot.created_at,
        files=snapshot.files,
        bytes=snapshot.bytes,
        stored_bytes=snapshot.stored_bytes,
        seconds=snapshot.seconds,
        torn=list(snapshot.torn),
        unreadable=list(snapshot.unreadable),
        newest=snapshot.id == newest,
        pinned=snapshot.pinned,
        kept=kept,
        problem=snapshot.problem,
    )


def list_snapshots(instance_id: str, query: wire.ListSnapshotsQuery, user_id: str, deps: Deps) -> wire.SnapshotList:
    instance = owned(deps, instance_id, user_id)
    found, cursor = deps.records.query(
        Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance_id}, limit=query.limit, cursor=query.cursor
    )
    # Reasons need all of them; retention keeps that few.
    all_of_it = deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance_id})
    rules = replace(instance.retention, **query.rules())
    why = reasons(rules, held_by(instance), all_of_it)
    return wire.SnapshotList(
        retention=wire.RetentionBody(**asdict(rules)),
        snapshots=[snapshot_view(s, instance.snapshot_id, why.get(s.id)) for s in found if s.state != "dropped"],
        next_cursor=cursor,
    )
