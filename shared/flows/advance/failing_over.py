"""`failing_over`: the machine was lost.

With a standby: wait until it holds the newest verified snapshot, then it serves (`on_standby`); once a GPU is ready, the
standby's last snapshot is taken and restored there. Whatever breaks on the way back, the standby goes on serving: it was
not written to meanwhile. Without a standby: wake on another host from the newest verified snapshot.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from shared.domain.attempt import Attempt, Outcome, Stage
from shared.domain.instance import Clocks, Instance, State
from shared.domain.order import Order
from shared.domain.snapshot import Snapshot
from shared.flows.advance import drill, waking
from shared.flows.advance.racing import gone_silently, look_again
from shared.flows.advance.standby import holds_newest
from shared.flows.advance.step import AGAIN, Next, Step
from shared.flows.snapshot_orders import restore_order
from shared.store.records import Transaction

AGAIN_AFTER_S, LONGEST_WAIT_S = 60.0, 3600.0


def step(step: Step) -> Next:
    instance = step.instance
    if instance.preparing:
        return drill.prepare(step)
    standby = next((a for a in step.attempts if a.id == instance.standby_attempt_id and a.wants_machine), None)
    if standby is None:
        return _alone(step)
    if instance.attempt_id is None:
        return _promote(step, standby)
    if instance.attempt_id == standby.id:
        return _last_snapshot(step, standby)
    return _restoring(step, standby)


def _alone(step: Step) -> Next:
    """No standby, or it was lost on the way: what its last verified snapshot holds is restored on a GPU."""
    instance = step.instance
    if instance.standby_attempt_id is not None and instance.attempt_id == instance.standby_attempt_id:

        def apply(tx: Transaction, fresh: Instance) -> None:
            tx.save(replace(fresh.without_standby(), attempt_id=None, machine=None, order_id=None))

        step.change(apply)
        return AGAIN
    if instance.incoming_attempt_id is not None and instance.attempt_id is None:
        incoming = next((a for a in step.attempts if a.id == instance.incoming_attempt_id), None)
        if incoming is not None and incoming.stage is Stage.ADOPTED:
            return _take(step, incoming)
    return waking.step(step)


def _serve(step: Step, standby: Attempt, kind: str, message: str, **changes: Any) -> Next:
    step.enter(
        State.ON_STANDBY,
        kind,
        message,
        attempt_id=standby.id,
        machine=standby.as_machine(),
        order_id=None,
        restoring=False,
        incoming_attempt_id=None,
        **changes,
    )
    return AGAIN


def _promote(step: Step, standby: Attempt) -> Next:
    instance = step.instance
    if holds_newest(step):
        failover = replace(instance.failover, promoted_at=step.now) if instance.failover else None
        return _serve(
            step,
            standby,
            "promoted",
            "the standby serves: every file of the newest snapshot is there, without a GPU; a GPU is being searched",
            failover=failover,
            failure="it runs on its CPU standby; a GPU is being searched",
            clocks=Clocks(asked_at=step.now, first_answer_at=step.now, usable_at=step.now, restored_at=step.now),
        )
    if instance.overdue(step.now, step.deps.settings.time_scale) or gone_silently(step, standby):
        step.end_attempt(standby, Outcome.LOST, "the standby could not take over")
        return AGAIN
    # Following is the standby's own affair; its report comes as a poke.
    return look_again(step, instance.deadline_at(step.deps.settings.time_scale))


def _last_snapshot(step: Step, standby: Attempt) -> Next:
    instance = step.instance
    incoming = next((a for a in step.attempts if a.id == instance.incoming_attempt_id), None)
    if incoming is None or incoming.stage is not Stage.ADOPTED or gone_silently(step, incoming):
        if incoming is not None:
            step.end_attempt(incoming, Outcome.LOST, "the machine was lost before it had the files")
        return _serve_on(step, standby, "the GPU was lost before it had the files")
    order = step.deps.records.find(Order, instance.order_id) if instance.order_id else None
    snapshot = step.deps.records.find(Snapshot, str(order.payload["snapshot_id"])) if order else None
    if snapshot is not None and _saved(step, snapshot):
        return _take(step, incoming)
    # Ended otherwise, or damaged in storage at once.
    if order is None or order.ended or (snapshot is not None and snapshot.state != "pending"):
        return _give_up(
            step, standby, incoming, f"the standby's snapshot failed: {order.error if order else 'no order'}"
        )
    if instance.overdue(step.now, step.deps.settings.time_scale):
        return _give_up(step, standby, incoming, "the standby's snapshot took too long")
    if gone_silently(step, standby):
        step.end_attempt(standby, Outcome.LOST, "the standby was lost while it handed back")
        return AGAIN
    return look_again(step, instance.deadline_at(step.deps.settings.time_scale))


def _saved(step: Step, last: Snapshot) -> bool:
    """Whether the newest snapshot holds all that the standby has.

    One that it was told to take beside its work may follow its last: it takes them one by one, and its work is held.
    """
    newest = step.deps.records.find(Snapshot, step.instance.snapshot_id) if step.instance.snapshot_id else None
    if last.state != "verified" or last.verified_at is None or newest is None or newest.verified_at is None:
        return False
    return newest.attempt_id == last.attempt_id and newest.verified_at >= last.verified_at


def _give_up(step: Step, standby: Attempt, incoming: Attempt, why: str) -> Next:
    """The standby holds work that no snapshot has: it goes on, and the GPU is tried again later."""
    step.end_attempt(incoming, Outcome.CANCELLED, why)
    return _serve_on(step, standby, why, AGAIN_AFTER_S)


def _serve_on(step: Step, standby: Attempt, why: str, at_least_s: float = 0.0) -> Next:
    """It was not written to meanwhile. Every GPU costs money: each that fails in a row is followed by a longer wait."""
    instance = step.instance
    failed = instance.hand_backs_failed + 1
    wait_s = max(at_least_s, min(LONGEST_WAIT_S, AGAIN_AFTER_S * 2 ** (failed - 2)) if failed > 1 else 0.0)
    return _serve(
        step,
        standby,
        "handing_back_failed",
        f"{why}; the standby serves again",
        round=instance.round + 1,
        opened=0,
        hand_backs_failed=failed,
        hibernate_not_before=step.after(wait_s) if wait_s else None,
        failure="it runs on its CPU standby; a GPU is being searched",
    )


def _take(step: Step, incoming: Attempt) -> Next:
    """The GPU machine becomes the instance's and restores the snapshot that this step saw."""
    instance = step.instance

    def apply(tx: Transaction, fresh: Instance) -> None:
        if fresh.snapshot_id != instance.snapshot_id or fresh.snapshot_id is None:
            return
        snapshot = tx.load(Snapshot, fresh.snapshot_id)
        order = restore_order(tx, fresh, snapshot, incoming.id)
        tx.save(
            replace(
                fresh,
                attempt_id=incoming.id,
                machine=incoming.as_machine(),
                incoming_attempt_id=None,
                order_id=order.id,
                restoring=True,
                saving_id=None,
                # The standby took that very snapshot: it holds it.
                standby_snapshot_id=fresh.snapshot_id if fresh.standby_attempt_id else None,
            )
        )
        tx.event(fresh, "restoring", f"restoring on host {incoming.host_id}", step.actor)

    step.change(apply)
    return AGAIN


def _restoring(step: Step, standby: Attempt) -> Next:
    instance = step.instance
    order = step.deps.records.find(Order, instance.order_id) if instance.order_id else None
    attempt = next((a for a in step.attempts if a.id == instance.attempt_id), None)
    failed = order is not None and order.state == "failed"
    if failed or attempt is None or not attempt.wants_machine or gone_silently(step, attempt):
        why = f"restore failed: {order.error}" if failed and order else "the machine was lost while it restored"
        if attempt is not None:
            step.end_attempt(attempt, Outcome.FAILED if failed else Outcome.LOST, why)
        return _serve_on(step, standby, why)
    return step.now + timedelta(seconds=step.deps.settings.silence_after_s)
