"""The machines' side: who an agent is, its registration, its heartbeats, its uploads, its results."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Outcome, Stage
from shared.domain.instance import SEARCHING, SILENT, TAKEN_FOR_LOST, Instance, Machine, State
from shared.domain.manifest import fetch_head
from shared.domain.metrics import Minute
from shared.domain.order import Order, Pulse
from shared.domain.snapshot import Snapshot
from shared.flows import keys, metrics, restored, retention
from shared.flows.advance import advance
from shared.flows.history import note
from shared.flows.snapshot_orders import (
    FOLLOW,
    ORDERS_KEPT,
    SAVE,
    begin_saving,
    followed,
    following,
    order_snapshot,
    prefix_of,
    restore_order,
    standing,
    taken_beside,
)
from shared.flows.storage import objects_at, objects_of, with_way_out
from shared.objects.base import ObjectStore
from shared.settings import Settings
from shared.store.base import Store
from shared.store.records import Records, Transaction
from shared.store.shapes import ORDERS_PENDING, SNAPSHOTS_IN_STATE, SNAPSHOTS_OF_INSTANCE
from shared.wire import agent as wire
from shared.wire.base import Done

FIRST_CHECK = timedelta(days=1)
"""From a commit until samples of the snapshot are read."""
RESTORE_AGAIN, RESTORE_AGAIN_AT_MOST = timedelta(seconds=30), timedelta(hours=1)
"""From a restore that failed behind an instance in use until the next try."""
MISSING = "not every file is back yet"
CARRIED = timedelta(minutes=5)
"""What a machine says of its last heartbeat is taken from it; older, the record is read."""
FOLLOW_RETRY = timedelta(seconds=10)
LONGEST_IDLE = timedelta(days=3650)
"""A clock may be so wrong that its span from now lies before all calendars."""
STOP = {"stop": True}


def agent_of(
    settings: Settings, store: Store, records: Records, attempt_id: str, secret: str, *, works: bool = False
) -> Attempt:
    """The attempt whose token this is. Raises Unauthenticated; `details.stop` tells the agent never to ask again.

    Attempts are never deleted, so a token that our own key made and that belongs to none on record means that the database was
    lost: Unavailable, and the machine, which may hold somebody's only copy, goes on asking. `works`: only adopted machines
    make this call; that it did is written down, and the orphan sweep spares it.
    """
    attempt = records.find(Attempt, attempt_id) if re.fullmatch(r"[0-9a-f]{28}", attempt_id) else None
    if attempt is None and keys.is_our_agent(settings, attempt_id, secret):
        if works:
            restored.note_stray(store, records.now(), attempt_id)
        raise errors.Unavailable("this machine is not on record; ask again once the database is restored")
    given = hashlib.sha256(secret.encode()).hexdigest()
    expected = attempt.secret_hash if attempt else "0" * 64
    if not hmac.compare_digest(given, expected) or attempt is None:
        raise errors.Unauthenticated("this token belongs to no machine", **STOP)
    if not attempt.wants_machine:
        why = f"this machine is no longer wanted: {attempt.why}"
        raise errors.Unauthenticated(why, **STOP, attempt_id=attempt.id)
    return attempt


def same_gpu(wanted: str, reported: str) -> bool:
    """`A100 SXM4` was rented, `NVIDIA A100-SXM4-80GB` is what the driver calls it: the model's number decides."""
    model = re.search(r"[A-Z]*\d{1,4}", wanted.upper().replace("RTX", "").replace("TESLA", ""))
    return model is None or model.group() in re.sub(r"[^A-Z0-9]", "", reported.upper())


def unfit(attempt: Attempt, body: wire.Register) -> str | None:
    """Why a machine that says it is ready is not what was rented."""
    if attempt.is_standby:
        return "; ".join(body.problems) or None
    if body.problems:
        return "; ".join(body.problems)
    if len(body.gpus) < attempt.gpu_count:
        return f"{len(body.gpus)} of {attempt.gpu_count} GPUs are there"
    wrong = next((gpu.name for gpu in body.gpus if not same_gpu(attempt.gpu_name, gpu.name)), None)
    return f"rented {attempt.gpu_name}, found {wrong}" if wrong else None


def register(body: wire.Register, agent: Attempt, deps: Deps) -> wire.Registered:
    """One batch adopts the first machine that is fit; every other is told to stop and its attempt ended."""
    rivals = [a.id for a in deps.records.open_attempts(agent.instance_id) if a.id != agent.id and not a.is_standby]
    user = deps.store.get("users", agent.user_id)
    ssh_keys = list(user.data.get("ssh_keys") or []) if user else []
    reason = unfit(agent, body)

    def decide(tx: Transaction) -> str | None:
        attempt = tx.load(Attempt, agent.id)
        instance = tx.load(Instance, attempt.instance_id)
        if attempt.stage is Stage.ADOPTED:
            return None
        refusal = reason and f"unfit: {reason}"
        if refusal is None and not _awaited(instance, attempt):
            refusal = "another machine was first"
        if refusal is not None:
            if attempt.wants_machine:
                outcome = Outcome.FAILED if reason else Outcome.CANCELLED
                tx.save(attempt.ending(outcome, refusal, tx.now))
                if not attempt.is_standby:
                    note(tx, attempt, outcome, refusal)
                tx.save(replace(instance, pokes=instance.pokes + 1, next_action_at=tx.now))
                tx.event(instance, "refused", f"machine on host {attempt.host_id}: {refusal}", "agent")
            return refusal
        if attempt.is_standby:
            tx.save(
                replace(attempt, stage=Stage.ADOPTED, adopted_at=tx.now, outcome=Outcome.READY, next_action_at=None)
            )
            holder = following(replace(instance, standby_attempt_id=attempt.id))
            tx.save(replace(holder, pokes=instance.pokes + 1, next_action_at=tx.now))
            if ssh_keys:
                tx.save(new_order(tx, instance, attempt.id, "keys", {"authorized_keys": ssh_keys}))
            tx.event(instance, "standby_ready", f"the standby in {attempt.host_id} follows", "agent")
            return None
        for rival_id in rivals:
            rival = tx.load(Attempt, rival_id)
            if rival.wants_machine:
                tx.save(rival.ending(Outcome.CANCELLED, "another machine was first", tx.now))
        tx.save(replace(attempt, stage=Stage.ADOPTED, adopted_at=tx.now, outcome=Outcome.READY, next_action_at=None))
        note(tx, attempt, Outcome.READY, disk_mb_s=body.disk_write_mb_s, down_mb_s=body.download_mb_s)
        if instance.state is State.ON_STANDBY:
            tx.save(replace(instance, incoming_attempt_id=attempt.id, pokes=instance.pokes + 1, next_action_at=tx.now))
            tx.event(instance, "gpu_found", f"{attempt.gpu_name} on host {attempt.host_id} was first", "agent")
            if ssh_keys:
                tx.save(new_order(tx, instance, attempt.id, "keys", {"authorized_keys": ssh_keys}))
            return None
        _adopt(tx, instance, attempt, body.ready_at, ssh_keys)
        return None

    refused = deps.records.transact(decide)
    if refused is not None:
        return wire.Registered(adopted=False, reason=refused)
    instance = deps.records.load(Instance, agent.instance_id)
    attempt = deps.records.load(Attempt, agent.id)
    orders = _orders(deps, instance, attempt)
    return wire.Registered(adopted=True, settings=_settings(deps, instance, attempt), orders=orders)


def _awaited(instance: Instance, attempt: Attempt) -> bool:
    """Whether the instance still looks for a machine of this attempt's kind."""
    if attempt.is_standby:
        return instance.standby is not None and instance.standby_attempt_id is None
    if attempt.round != instance.round:
        return False
    if instance.state in (State.WAKING, State.FAILING_OVER) and instance.snapshot_id is None:
        # Its newest snapshot was found damaged meanwhile: an empty workspace is no wake.
        return False
    if instance.state is State.ON_STANDBY:
        return instance.incoming_attempt_id is None
    return instance.state in SEARCHING and instance.attempt_id is None


def _adopt(tx: Transaction, instance: Instance, attempt: Attempt, ready_at: datetime, ssh_keys: list[str]) -> None:
    machine = Machine(
        provider=attempt.provider,
        machine_id=attempt.machine_id or "",
        host_id=attempt.host_id,
        offer_id=attempt.offer_id,
        gpu_name=attempt.gpu_name,
        gpu_count=attempt.gpu_count,
        usd_per_hour=attempt.usd_per_hour,
        region=attempt.region,
        ssh_host=attempt.ssh_host,
        ssh_port=attempt.ssh_port,
    )
    instance = replace(
        instance,
        attempt_id=attempt.id,
        machine=machine,
        pokes=instance.pokes + 1,
        next_action_at=tx.now,
        failure=None,
        order_id=None,
        clocks=replace(instance.clocks, first_answer_at=tx.now, ready_reported_at=ready_at),
    )
    tx.event(
        instance,
        "adopted",
        f"{attempt.gpu_count}x {attempt.gpu_name} on host {attempt.host_id} was first",
        "agent",
        attempt_id=attempt.id,
    )
    if ssh_keys:
        tx.save(new_order(tx, instance, attempt.id, "keys", {"authorized_keys": ssh_keys}))
    begins_with = instance.snapshot_id if instance.state in (State.WAKING, State.FAILING_OVER) else None
    if instance.source is not None:
        begins_with = instance.source.snapshot_id
    if begins_with is not None:
        snapshot = tx.load(Snapshot, begins_with)
        order = restore_order(tx, instance, snapshot, attempt.id)
        instance = replace(instance, order_id=order.id, restoring=True)
    else:
        instance = _set_up_or_run(tx, instance, attempt.id)
    tx.save(instance)


def _set_up_or_run(tx: Transaction, instance: Instance, attempt_id: str) -> Instance:
    """The set-up command first, where there is one; then the instance runs."""
    if instance.spec.setup and instance.state in SEARCHING:
        order = new_order(tx, instance, attempt_id, "setup", {"command": instance.spec.setup, "timeout_s": 1800})
        tx.save(order)
        tx.event(instance, "setup", "running the set-up command", "system", order_id=order.id)
        return instance
    return _run(tx, instance)


def _run(tx: Transaction, instance: Instance) -> Instance:
    restoring = "; the rest of its files is on the way" if instance.restoring else ""
    kind = "woken" if instance.state is State.WAKING else "running"
    tx.event(instance, kind, f"running{restoring}", "system")
    done_at = None if instance.restoring else tx.now
    failover = instance.failover
    if failover is not None and failover.back_at is None:
        failover = replace(failover, back_at=tx.now)
        lost = f", at most {failover.rpo_s:g} s of work lost" if failover.rpo_s is not None else ""
        tx.event(
            instance,
            "handed_back",
            f"a GPU serves again {failover.gpu_back_s:g} s after the loss was noticed{lost}",
            "system",
            rpo_s=failover.rpo_s,
            rto_s=failover.rto_s,
            gpu_back_s=failover.gpu_back_s,
        )
    return replace(
        instance.enter(State.RUNNING, tx.now),
        order_id=None,
        pokes=instance.pokes + 1,
        next_action_at=tx.now,
        reserved_until=None,
        hand_backs_failed=0,
        clocks=replace(instance.clocks, usable_at=tx.now, restored_at=instance.clocks.restored_at or done_at),
        failover=failover,
        failure=None if instance.state is State.FAILING_OVER else instance.failure,
    )


def new_order(tx: Transaction, instance: Instance, attempt_id: str, kind: str, payload: dict[str, Any]) -> Order:
    return Order(
        id=f"o-{uuid.uuid4().hex[:16]}",
        instance_id=instance.id,
        attempt_id=attempt_id,
        kind=kind,
        payload=payload,
        created_at=tx.now,
        expires_at=tx.now + ORDERS_KEPT,
    )


def _settings(deps: Deps, instance: Instance, attempt: Attempt) -> wire.AgentSettings:
    busy = instance.busy_until is not None and instance.busy_until > deps.clock.now()
    passing = instance.state is not State.RUNNING
    settings = deps.settings
    beat_s = settings.heartbeat_busy_s if busy or passing else settings.heartbeat_s
    save_at = instance.save_at() if instance.attempt_id == attempt.id else None
    if save_at is not None:
        # The heartbeat that begins the snapshot comes when that is due, not up to a heartbeat later.
        beat_s = min(beat_s, max(settings.heartbeat_busy_s, (save_at - deps.clock.now()).total_seconds()))
    return wire.AgentSettings(
        instance_id=instance.id,
        heartbeat_s=beat_s,
        idle=asdict(instance.idle_policy),
        keep_awake_until=instance.keep_awake_until,
        workspace=list(instance.spec.workspace),
        env=keys.open_env(settings, instance.user_id, instance.spec.env),
        adopted_at=attempt.adopted_at or deps.clock.now(),
        work=_work(instance, attempt),
    )


def _work(instance: Instance, attempt: Attempt) -> Literal["runs", "held", "ended"]:
    """A standby's last snapshot is all that the GPU gets, and one that only follows holds nobody's work.

    Until the GPU runs it may have to go on: so long its work is held.
    """
    if not attempt.is_standby:
        return "runs"
    if instance.attempt_id == attempt.id:
        return "held" if instance.state in (State.FAILING_OVER, State.HIBERNATING) else "runs"
    return "held" if instance.state is State.FAILING_OVER else "ended"


def _orders(deps: Deps, instance: Instance, attempt: Attempt, told: bool = False) -> list[wire.Order]:
    where = {"attempt_id": attempt.id, "state": "pending"}
    pending = [] if told else deps.records.all(Order, ORDERS_PENDING, where)
    given = [(one.id, one.kind, one.payload, one.trace) for one in sorted(pending, key=lambda order: order.created_at)]
    answer = []
    for id, kind, payload, trace in [*given, *((*one, None) for one in standing(instance, attempt.id))]:
        given_out = dict(payload)
        if kind in ("restore", "snapshot"):
            key = keys.data_key(deps, str(given_out.pop("key_of", instance.id)))
            given_out["key"] = base64.b64encode(key).decode()
        elif kind == "exec":
            given_out["env"] = keys.open_env(deps.settings, attempt.user_id, given_out.get("env", {}))
        answer.append(wire.Order.model_validate({"id": id, "kind": kind, "payload": given_out, "trace": trace}))
    return answer


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
    orders = _orders(deps, instance, agent, told)
    answer = wire.HeartbeatAnswer(
        settings=_settings(deps, instance, agent),
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


def uploads(body: wire.UploadsRequest, agent: Attempt, deps: Deps) -> wire.Uploads:
    """Addresses that can each write one object of this machine's own pending snapshot, and nothing else."""
    snapshot = _pending(_find_snapshot(deps.records, agent, body.snapshot_id), agent, body.snapshot_id)
    prefix, objects = prefix_of(agent.instance_id), objects_at(deps, agent.instance_id)
    expires_in = timedelta(seconds=deps.settings.presign_s)

    def address(key: str) -> wire.Upload:
        return wire.Upload(key=key, url=objects.presign_put(prefix + key, expires_in))

    packs = [f"p/{snapshot.epoch}/{n}-{secrets.token_hex(8)}" for n in range(body.count)]
    return wire.Uploads(
        uploads=[address(key) for key in packs],
        manifest=address(snapshot.manifest_key) if body.manifest else None,
        expires_at=deps.clock.now() + expires_in,
    )


def downloads(body: wire.DownloadsRequest, agent: Attempt, deps: Deps) -> wire.Downloads:
    """Addresses to read objects of this machine's own instance."""
    if agent.stage is not Stage.ADOPTED:
        raise errors.Forbidden("this machine has not been adopted")
    place = _places(deps, agent.instance_id)
    expires_in = timedelta(seconds=deps.settings.presign_s)

    def address(key: str) -> str:
        objects, prefix = place(key)
        return objects.presign_get(prefix + key, expires_in)

    return wire.Downloads(
        urls={key: address(key) for key in body.keys},
        expires_at=deps.clock.now() + expires_in,
    )


def _places(deps: Deps, instance_id: str) -> Callable[[str], tuple[ObjectStore, str]]:
    """In which bucket and below which prefix an object lies.

    That is the instance's own; what a drill's copy or a clone did not write itself is its original's.
    """
    instance = deps.records.load(Instance, instance_id)
    own = (objects_of(deps, instance), prefix_of(instance_id))
    original_id = instance.source.instance_id if instance.source else instance.drill_of
    if original_id is None:
        return lambda key: own
    original = deps.records.load(Instance, original_id)
    theirs = (objects_of(deps, original), prefix_of(original_id))
    mine = deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance_id})
    written = {part for one in mine for part in (one.manifest_key, one.epoch)}
    beside = taken_beside(instance, instance.saving_id) if instance.saving_id else None
    if beside is not None:
        written |= {beside.manifest_key, beside.epoch}

    def place(key: str) -> tuple[ObjectStore, str]:
        name = key if key.startswith("m/") else key.split("/")[1]
        return own if name in written else theirs

    return place


def _find_snapshot(tx: Transaction | Records, agent: Attempt, snapshot_id: str) -> Snapshot | None:
    """On record, or only in the instance while its machine takes it beside its work."""
    beside = taken_beside(tx.load(Instance, agent.instance_id), snapshot_id)
    return beside or tx.find(Snapshot, snapshot_id)


def _pending(snapshot: Snapshot | None, agent: Attempt, snapshot_id: str) -> Snapshot:
    if snapshot is None or snapshot.instance_id != agent.instance_id:
        raise errors.NotFound(f"there is no snapshot {snapshot_id}")
    if agent.stage is not Stage.ADOPTED or snapshot.state != "pending":
        raise errors.Conflict(f"snapshot {snapshot_id} is {snapshot.state}")
    return snapshot


def commit_snapshot(body: wire.SnapshotCommit, agent: Attempt, deps: Deps) -> wire.Committed:
    """A snapshot counts only after its manifest was read and every object it names was found at its full size."""
    known = _find_snapshot(deps.records, agent, body.snapshot_id)
    if known is not None and known.instance_id == agent.instance_id and known.state == "verified":
        return wire.Committed(snapshot_id=known.id, verified=True)
    snapshot = _pending(known, agent, body.snapshot_id)
    problem = _problem(deps, snapshot, body)

    def settle(tx: Transaction) -> None:
        instance = tx.load(Instance, snapshot.instance_id)
        beside = taken_beside(instance, snapshot.id)
        fresh = _pending(beside or tx.find(Snapshot, snapshot.id), agent, snapshot.id)
        if fresh.attempt_id != agent.id:
            raise errors.Forbidden("this snapshot was ordered from another machine")
        if not tx.load(Attempt, agent.id).wants_machine:
            raise errors.Unauthenticated("this machine is no longer wanted", **STOP)
        if instance.attempt_id != agent.id:
            # A standby that has handed back lives on; a snapshot it was still at must not follow the GPU's.
            raise errors.Conflict(f"another machine serves instance {instance.id} now")
        state = "failed" if problem else "verified"
        half = None if problem else instance.half_restored_id
        aside = half and f"its files are those of a restore of {half} that failed half-way; a wake brings {half} back"
        tx.save(
            replace(
                fresh,
                state=state,
                manifest_size=body.manifest_size,
                files=body.files,
                directories=body.directories,
                bytes=body.bytes,
                stored_bytes=body.stored_bytes,
                seconds=body.seconds,
                torn=tuple(body.torn),
                unreadable=tuple(body.unreadable),
                verified_at=None if problem else tx.now,
                # A drill's copy is gone before the day is over.
                check_at=None if problem or instance.drill_of else tx.now + FIRST_CHECK,
                problem=problem or aside,
                pinned=fresh.pinned or aside is not None,
            )
        )
        if fresh.order_id is not None:
            order = tx.load(Order, fresh.order_id)
            tx.save(replace(order, state="failed" if problem else "done", error=problem, finished_at=tx.now))
        changed = replace(
            instance,
            # Half-restored files are kept, but nothing takes them for what the user has.
            snapshot_id=instance.snapshot_id if problem or half else fresh.id,
            prune_at=instance.prune_at or tx.now + retention.AFTER,
            saving_id=None if beside else instance.saving_id,
        )
        if not (beside and instance.state is State.RUNNING):
            changed = replace(changed, pokes=instance.pokes + 1, next_action_at=tx.now)
        tx.save(following(changed))
        if beside and instance.snapshot_id is not None and not (problem or body.note):
            # One of thousands a day: its record says it all.
            return
        words = problem or f"{body.files} files, {body.bytes} bytes, {body.stored_bytes} newly stored"
        words += f"; kept aside: {aside}" if aside else ""
        if body.note:
            words += f"; the snapshot before could not be built upon: {body.note}"
        tx.event(
            instance,
            f"snapshot_{state}",
            f"snapshot {fresh.id}: {words}",
            "agent",
            snapshot_id=fresh.id,
            torn=list(body.torn[:20]),
            unreadable=list(body.unreadable[:20]),
        )

    deps.records.transact(settle)
    return wire.Committed(snapshot_id=snapshot.id, verified=problem is None, problem=problem)


def _problem(deps: Deps, snapshot: Snapshot, body: wire.SnapshotCommit) -> str | None:
    """What is wrong with a snapshot in storage, or None."""
    if body.manifest_key != snapshot.manifest_key:
        return "the manifest is not where it was to be"
    place = _places(deps, snapshot.instance_id)
    try:
        objects, prefix = place(snapshot.manifest_key)
        data_key, at = keys.data_key(deps, snapshot.instance_id), prefix + snapshot.manifest_key
        head = fetch_head(lambda length: objects.get(at, length=length), data_key, snapshot.manifest_key)
    except errors.StorageError as error:
        return f"the manifest cannot be read: {error.message}"
    if head.snapshot_id != snapshot.id:
        return "the manifest is another snapshot's"
    stored = {
        item.key.removeprefix(where): item.size
        for bucket, where in {place(key) for key in (snapshot.manifest_key, *head.packs)}
        for item in bucket.list(where + "p/")
    }
    bad = deps.records.all(Snapshot, SNAPSHOTS_IN_STATE, {"instance_id": snapshot.instance_id, "state": "damaged"})
    damaged = {pack for one in bad for pack in one.damaged_packs}
    for key, size in head.packs.items():
        if key in damaged:
            return f"object {key}, which it is built upon, is damaged"
        if stored.get(key) != size:
            return f"object {key} is missing or has {stored.get(key)} instead of {size} bytes"
    return None


def result(body: wire.OrderResult, agent: Attempt, deps: Deps) -> Done:
    """How an order goes. Repeating the same word changes nothing."""

    def note(tx: Transaction) -> None:
        if body.order_id.startswith((SAVE, FOLLOW)):
            if body.state != "running":
                tx.save(_after_standing(tx, tx.load(Instance, agent.instance_id), body, agent))
            return
        order = tx.find(Order, body.order_id)
        if order is None or order.attempt_id != agent.id:
            raise errors.NotFound(f"there is no order {body.order_id}")
        if order.ended:
            return
        instance = tx.load(Instance, order.instance_id)
        ended = body.state != "running"
        noted = replace(
            order,
            state=body.state if ended else "pending",
            started=True,
            stage=body.stage or order.stage,
            done_bytes=body.done_bytes if body.done_bytes is not None else order.done_bytes,
            total_bytes=body.total_bytes if body.total_bytes is not None else order.total_bytes,
            exit_code=body.exit_code,
            stdout=body.stdout or "",
            stderr=body.stderr or "",
            truncated=body.truncated,
            error=body.error,
            finished_at=tx.now if ended else None,
        )
        if order.kind == "snapshot" and body.state == "done":
            # Only the commit ends a snapshot that was taken.
            return
        tx.save(noted)
        changed = _after(tx, instance, order, noted)
        if changed != instance:
            tx.save(replace(changed, pokes=instance.pokes + 1, next_action_at=tx.now))

    deps.records.transact(note)
    return Done()


def _after(tx: Transaction, instance: Instance, before: Order, order: Order) -> Instance:
    """What an order's progress means for its instance."""
    if instance.attempt_id != order.attempt_id:
        return instance
    if order.kind == "snapshot" and order.state == "failed":
        _not_taken(tx, instance, tx.load(Snapshot, str(order.payload["snapshot_id"])), order.error)
        return replace(instance, pokes=instance.pokes + 1)
    if order.kind == "restore":
        return _after_restore(tx, instance, before, order)
    if order.kind == "setup" and order.ended:
        good = order.state == "done" and not order.exit_code
        words = (
            "the set-up command is done" if good else f"the set-up command failed ({order.error or order.exit_code})"
        )
        output = (order.stdout + order.stderr)[-4000:]
        tx.event(instance, "setup", words, "agent", order_id=order.id, output=output)
        if instance.state in SEARCHING:
            instance = _run(tx, instance)
        return instance if good else replace(instance, failure=words)
    return instance


def _not_taken(tx: Transaction, instance: Instance, snapshot: Snapshot, error: str | None) -> None:
    why = with_way_out(error or "the agent could not take it")
    tx.save(replace(snapshot, state="failed", problem=why))
    tx.event(instance, "snapshot_failed", f"snapshot {snapshot.id}: {why}", "agent")


def _after_standing(tx: Transaction, instance: Instance, body: wire.OrderResult, agent: Attempt) -> Instance:
    """The end of what was handed out without an order on record. Raises NotFound when it is no longer wanted."""
    if body.order_id not in {id for id, _, _ in standing(instance, agent.id)}:
        raise errors.NotFound(f"there is no order {body.order_id}")
    if body.order_id.startswith(FOLLOW):
        return _after_follow(tx, instance, body)
    taken = taken_beside(instance, body.order_id.removeprefix(SAVE))
    assert taken is not None
    if body.state == "failed":
        _not_taken(tx, instance, taken, body.error)
    elif body.stage != "unchanged" or instance.snapshot_id is None:
        # Only the commit ends a snapshot that was taken.
        return instance
    return replace(instance, saving_id=None)


def _after_follow(tx: Transaction, instance: Instance, body: wire.OrderResult) -> Instance:
    """The standby holds a snapshot only once all of it is there."""
    poked = replace(instance, standby_order_id=None, pokes=instance.pokes + 1, next_action_at=tx.now)
    if body.state == "failed":
        tx.event(instance, "standby_behind", f"the standby could not follow: {body.error}", "agent")
        return replace(poked, standby_retry_at=tx.now + FOLLOW_RETRY)
    if instance.standby_snapshot_id is None:
        tx.event(instance, "standby_holds", "the standby holds every file of the newest snapshot", "agent")
    held = followed(body.order_id)
    if instance.state is State.RUNNING and held == instance.snapshot_id:
        # Nobody waits for it, and nothing follows from it.
        poked = replace(instance, standby_order_id=None)
    return replace(poked, standby_snapshot_id=held, standby_at=tx.now)


def _after_restore(tx: Transaction, instance: Instance, before: Order, order: Order) -> Instance:
    snapshot_id = str(order.payload["snapshot_id"])
    if order.state == "failed":
        why = with_way_out(order.error or "no word why")
        tx.event(instance, "restore_failed", f"restore failed: {why}", "agent")
        if instance.state is State.RUNNING and order.payload.get("exact"):
            words = f"the restore of snapshot {snapshot_id} failed half-way, restore again: {order.error}"
            instance = replace(instance, failure=words, restoring=False, half_restored_id=snapshot_id)
        elif instance.state is State.RUNNING and instance.restoring:
            # The longer it has been failing, the longer it waits.
            tried_for = tx.now - (instance.clocks.usable_at or tx.now)
            wait = min(RESTORE_AGAIN_AT_MOST, max(RESTORE_AGAIN, tried_for / 2))
            again = replace(instance, restore_again_at=tx.now + wait)
            instance = replace(again, failure=f"{MISSING}, which is tried again: {order.error}")
        return replace(instance, pokes=instance.pokes + 1)
    usable = order.stage == "usable" or order.state == "done"
    if order.state == "done":
        cured = (instance.failure or "").startswith(MISSING)
        instance = replace(
            instance,
            restoring=False,
            restore_again_at=None,
            half_restored_id=None,
            failure=None if cured else instance.failure,
            clocks=replace(instance.clocks, restored_at=tx.now),
        )
        tx.event(instance, "restored", "every file is back", "agent")
        if instance.source is not None:
            # From here on it stands by itself, once it has saved its files under its own key.
            instance = replace(instance, source=None)
            order_snapshot(tx, instance, tx.load(Attempt, order.attempt_id), final=False)
    waits = instance.state in (State.PROVISIONING, State.WAKING, State.FAILING_OVER)
    if usable and before.stage != "usable" and waits:
        instance = _set_up_or_run(tx, instance, order.attempt_id)
    return instance
