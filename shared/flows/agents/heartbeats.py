"""Signs of life, and what follows from a machine's rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Stage
from shared.domain.instance import SILENT, TAKEN_FOR_LOST, Instance, State
from shared.domain.metrics import Minute
from shared.domain.order import Pulse
from shared.flows import metrics
from shared.flows.advance import advance
from shared.flows.agents.telling import orders_of, settings_of
from shared.flows.snapshot_orders import begin_saving
from shared.store.records import Transaction
from shared.wire import agent as wire

CARRIED = timedelta(minutes=5)
"""What a machine says of its last heartbeat is taken from it; older, the record is read."""
LONGEST_IDLE = timedelta(days=3650)
"""A clock may be so wrong that its span from now lies before all calendars."""


def heartbeat(body: wire.Heartbeat, agent: Attempt, deps: Deps) -> wire.HeartbeatAnswer:
    """Sparse writes: the pulse when it is old or its words changed, the instance only when its timer moves."""
    if agent.stage is not Stage.ADOPTED:
        raise errors.Conflict("register first")
    now = deps.clock.now()
    instance = deps.records.load(Instance, agent.instance_id)
    measured = agent.id == instance.attempt_id and not agent.is_standby
    carry = _keep_pulse(deps, agent, body, now, instance.orders, measured=measured)
    # Told before: whatever is pending, the machine is at it.
    told = body.carry is not None and body.carry.orders == instance.orders
    # A machine's clock may be wrong: only the span is taken from it.
    idle_since = now - min(body.at - body.idle_since, LONGEST_IDLE) if body.idle_since else None
    if agent.id != instance.attempt_id or agent.is_standby:
        # A follower's rest says nothing about the instance's work.
        idle_since = None
    elif _idleness_moved(instance, idle_since, body.why):
        instance = deps.records.transact(lambda tx: _note_idleness(tx, agent.instance_id, idle_since, body.why))
    elif instance.failure and instance.failure.startswith((SILENT, TAKEN_FOR_LOST)):
        instance = deps.records.transact(lambda tx: _heard_again(tx, agent.instance_id))
    if _to_save(instance, agent, now):
        instance = deps.records.transact(lambda tx: _save_now(tx, agent))
    orders = orders_of(deps, instance, agent, told)
    answer = wire.HeartbeatAnswer(
        settings=settings_of(deps, instance, agent),
        orders=orders,
        now=now,
        carry=carry,
        update=body.protocol < wire.PROTOCOL,
    )
    due = instance.next_action_at
    if due is not None and due <= now - timedelta(seconds=deps.settings.heartbeat_busy_s):
        try:
            advance(deps, instance.id, "agent")
        except (errors.LeaseHeld, errors.StaleLease):
            # Somebody is at it already.
            pass
    return answer


def _to_save(instance: Instance, agent: Attempt, now: datetime) -> bool:
    at = instance.save_at() if instance.attempt_id == agent.id else None
    return at is not None and at <= now


def _save_now(tx: Transaction, agent: Attempt) -> Instance:
    """A snapshot beside the work, begun by the heartbeat of the machine that takes it: nobody else need wake for it."""
    instance = tx.load(Instance, agent.instance_id)
    return begin_saving(tx, instance) if _to_save(instance, agent, tx.now) else instance


def _keep_pulse(
    deps: Deps, agent: Attempt, body: wire.Heartbeat, now: datetime, orders: int, *, measured: bool
) -> wire.Carry:
    """Written when it is old or its words changed. What the machine carries from its last answer saves reading it."""
    old = _carried(body.carry, agent, now) or deps.records.find(Pulse, agent.id)
    beats = deps.settings.heartbeat_s, deps.settings.silence_after_s / 3
    fresh_for = timedelta(seconds=max(beats) * 0.9)
    if agent.is_standby and not measured:
        # Nothing is computed from a follower's last sign of life; its provider is asked before it counts as lost.
        fresh_for *= 2
    if old is None or old.vetoes != body.vetoes or now - old.at >= fresh_for:
        old = Pulse(
            id=agent.id,
            instance_id=agent.instance_id,
            at=now,
            why=body.why,
            gpus=[gpu.model_dump() for gpu in body.gpus],
            network_mbit=body.network_mbit,
            disk_mb_s=body.disk_mb_s,
            disk_used_bytes=body.disk_used_bytes,
            workspace_bytes=body.workspace_bytes,
            vetoes=list(body.vetoes),
            minute=metrics.gather(deps, agent.instance_id, old, body, now) if measured else None,
        )
        deps.records.put_pulse(old)
    minute = wire.Minute.model_validate(old.minute, from_attributes=True) if old.minute else None
    return wire.Carry(at=old.at, vetoes=old.vetoes, minute=minute, orders=orders)


def _carried(carry: wire.Carry | None, agent: Attempt, now: datetime) -> Pulse | None:
    """The pulse as the machine was told of it. One that lies harms its own charts at most, and only around now."""
    if carry is None or carry.at > now or now - carry.at > CARRIED:
        return None
    minute = Minute(**carry.minute.model_dump()) if carry.minute else None
    if minute is not None and not now - CARRIED <= minute.at <= now:
        return None
    return Pulse(id=agent.id, instance_id=agent.instance_id, at=carry.at, vetoes=list(carry.vetoes), minute=minute)


def _idleness_moved(instance: Instance, idle_since: datetime | None, why: str) -> bool:
    known = instance.idleness.idle_since
    if (known is None) != (idle_since is None):
        return True
    if known is not None and idle_since is not None:
        return abs((known - idle_since).total_seconds()) > 2 or (
            instance.hibernate_at is None and instance.idle_policy.enabled and instance.state is State.RUNNING
        )
    return instance.idleness.why.split(":")[0] != why.split(":", maxsplit=1)[0]


def _note_idleness(tx: Transaction, instance_id: str, idle_since: datetime | None, why: str) -> Instance:
    instance = tx.load(Instance, instance_id)
    noted = with_timer(replace(instance, idleness=replace(instance.idleness, idle_since=idle_since, why=why)))
    if noted.hibernate_at is not None and instance.hibernate_at is None:
        tx.event(noted, "idle", f"{why}; hibernates at {noted.hibernate_at:%H:%M:%S} UTC unless it is used", "agent")
    tx.save(noted)
    return noted


def with_timer(instance: Instance) -> Instance:
    """The instance with `hibernate_at` as its idleness and policy have it."""
    at = None
    policy, since = instance.idle_policy, instance.idleness.idle_since
    if instance.state is State.RUNNING and policy.enabled and since is not None:
        times = [
            since + timedelta(seconds=policy.idle_after_s),
            instance.keep_awake_until,
            instance.hibernate_not_before,
        ]
        at = max(t for t in times if t is not None)
    timed = replace(instance, hibernate_at=at, warned_for=instance.warned_for if at else None)
    due = [t for t in (instance.next_action_at, at, timed.warn_at()) if t is not None]
    return replace(timed, next_action_at=min(due) if due else None)


def _heard_again(tx: Transaction, instance_id: str) -> Instance:
    instance = replace(tx.load(Instance, instance_id), failure=None)
    tx.save(instance)
    tx.event(instance, "heard", "the machine answers again", "agent")
    return instance
