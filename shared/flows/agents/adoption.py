"""A machine says that it is ready: the first that is fit becomes the instance's, and starts its work."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from shared.deps import Deps
from shared.domain.attempt import Attempt, Outcome, Stage
from shared.domain.instance import SEARCHING, Instance, State
from shared.domain.snapshot import Snapshot
from shared.flows.agents.telling import new_order, orders_of, settings_of
from shared.flows.history import note
from shared.flows.snapshot_orders import following, restore_order
from shared.store.records import Transaction
from shared.wire import agent as wire


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
        tx.save(replace(attempt, stage=Stage.ADOPTED, adopted_at=tx.now, outcome=Outcome.READY, next_action_at=None))
        if ssh_keys:
            tx.save(new_order(tx, instance, attempt.id, "keys", {"authorized_keys": ssh_keys}))
        if attempt.is_standby:
            holder = following(replace(instance, standby_attempt_id=attempt.id))
            tx.save(replace(holder, pokes=instance.pokes + 1, next_action_at=tx.now))
            tx.event(instance, "standby_ready", f"the standby in {attempt.host_id} follows", "agent")
            return None
        for rival_id in rivals:
            rival = tx.load(Attempt, rival_id)
            if rival.wants_machine:
                tx.save(rival.ending(Outcome.CANCELLED, "another machine was first", tx.now))
        note(tx, attempt, Outcome.READY, disk_mb_s=body.disk_write_mb_s, down_mb_s=body.download_mb_s)
        if instance.state is State.ON_STANDBY:
            tx.save(replace(instance, incoming_attempt_id=attempt.id, pokes=instance.pokes + 1, next_action_at=tx.now))
            tx.event(instance, "gpu_found", f"{attempt.gpu_name} on host {attempt.host_id} was first", "agent")
            return None
        _adopt(tx, instance, attempt, body.ready_at)
        return None

    refused = deps.records.transact(decide)
    if refused is not None:
        return wire.Registered(adopted=False, reason=refused)
    instance = deps.records.load(Instance, agent.instance_id)
    attempt = deps.records.load(Attempt, agent.id)
    orders = orders_of(deps, instance, attempt)
    return wire.Registered(
        adopted=True, settings=settings_of(deps, instance, attempt), orders=orders, now=deps.clock.now()
    )


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


def _adopt(tx: Transaction, instance: Instance, attempt: Attempt, ready_at: datetime) -> None:
    instance = replace(
        instance,
        attempt_id=attempt.id,
        machine=attempt.as_machine(),
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
    begins_with = instance.snapshot_id if instance.state in (State.WAKING, State.FAILING_OVER) else None
    if instance.source is not None:
        begins_with = instance.source.snapshot_id
    if begins_with is not None:
        snapshot = tx.load(Snapshot, begins_with)
        order = restore_order(tx, instance, snapshot, attempt.id)
        instance = replace(instance, order_id=order.id, restoring=True)
    else:
        instance = set_up_or_run(tx, instance, attempt.id)
    tx.save(instance)


def set_up_or_run(tx: Transaction, instance: Instance, attempt_id: str) -> Instance:
    """The set-up command first, where there is one; then the instance runs."""
    if instance.spec.setup and instance.state in SEARCHING:
        order = new_order(tx, instance, attempt_id, "setup", {"command": instance.spec.setup, "timeout_s": 1800})
        tx.save(order)
        tx.event(instance, "setup", "running the set-up command", "system", order_id=order.id)
        return instance
    return run(tx, instance)


def run(tx: Transaction, instance: Instance) -> Instance:
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
