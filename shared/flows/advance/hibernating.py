"""`hibernating`: order the snapshot, see it verified, and only then end the machine, until it is proven gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from shared.domain.attempt import Outcome
from shared.domain.budget import USED_UP
from shared.domain.instance import Clocks, Idleness, Instance, State
from shared.domain.order import Order
from shared.domain.snapshot import Snapshot
from shared.flows.advance.racing import gone_silently
from shared.flows.advance.running import lost
from shared.flows.advance.step import AGAIN, Next, Step
from shared.flows.snapshot_orders import order_snapshot
from shared.store.records import Transaction

RETRY_S = 300.0
MISSED_RETRY_S = 3600.0


def step(step: Step) -> Next:
    instance, records = step.instance, step.deps.records
    raced = [a for a in step.attempts if a.wants_machine and not a.is_standby and a.id != instance.attempt_id]
    if raced:
        # It slept from its standby: the GPUs that were raced for are not wanted any more.
        for other in raced:
            step.end_attempt(other, Outcome.CANCELLED, "the instance hibernates")
        return AGAIN
    attempt = next((a for a in step.attempts if a.id == instance.attempt_id), None)
    order = records.find(Order, instance.order_id) if instance.order_id else None
    if order is None and attempt is not None:

        def place(tx: Transaction, fresh: Instance) -> None:
            placed = order_snapshot(tx, fresh, attempt, final=True)
            tx.save(replace(fresh, order_id=placed.id))

        step.change(place)
        return AGAIN
    snapshot = records.find(Snapshot, str(order.payload["snapshot_id"])) if order else None
    if order is not None and snapshot is not None and snapshot.state == "verified":
        if attempt is not None and attempt.wants_machine and snapshot.missed:
            return _stay_awake(step, _missed(snapshot), MISSED_RETRY_S)
        if attempt is not None:
            if attempt.wants_machine:
                step.end_attempt(attempt, Outcome.READY, "hibernated")
                return AGAIN
            # Settling looks again when it is due; the machine still costs money until then.
            return None
        return _asleep(step)
    if attempt is None:
        return lost(step, None, "its machine was gone before the snapshot was whole")
    if order is not None and (order.state == "failed" or (snapshot and snapshot.state == "failed")):
        return _stay_awake(step, (snapshot.problem if snapshot else None) or order.error or "the snapshot failed")
    if instance.overdue(step.now, step.deps.settings.time_scale):
        return _stay_awake(step, "the snapshot took too long")
    if gone_silently(step, attempt):
        return lost(step, attempt, "the machine was lost while it was hibernating")
    return step.now + timedelta(seconds=step.deps.settings.silence_after_s)


def _asleep(step: Step) -> Next:
    instance = step.instance
    # After a standby it is the lost GPU that sleep is reckoned by, and no host is preferred.
    gpu = instance.machine if instance.machine and instance.machine.gpu_count else None
    spent = instance.hibernate_reason == USED_UP
    message = "hibernated; its machine is gone and only the snapshot costs money"
    half = instance.half_restored_id
    if half is not None:
        message = (
            f"hibernated after a restore of {half} that failed half-way: a wake brings {instance.snapshot_id} back, and what "
            "the machine held is kept aside as a snapshot of its own"
        )
    step.enter(
        State.HIBERNATED,
        "hibernated",
        message,
        half_restored_id=None,
        attempt_id=None,
        machine=None,
        last_machine=gpu or instance.last_machine,
        last_host_id=gpu.host_id if gpu else instance.last_host_id,
        # While it is reserved its standby is kept; a budget that is used up pays for none.
        reserved_until=None if spent else step.now + timedelta(seconds=step.deps.settings.reservation_s),
        order_id=None,
        saving_id=None,
        failure=message if half is not None else None,
        hibernate_at=None,
        hibernate_not_before=None,
        idleness=Idleness(),
        clocks=Clocks(),
    )
    return AGAIN


def _missed(snapshot: Snapshot) -> str:
    more = f" and {len(snapshot.missed) - 3} more" if len(snapshot.missed) > 3 else ""
    return (
        f"{', '.join(snapshot.missed[:3])}{more} could not be read and would be lost; "
        "make it readable, delete it, or leave it out with `dumont snapshots exclude`"
    )


def _stay_awake(step: Step, why: str, retry_s: float = RETRY_S) -> Next:
    """The machine holds the only copy of the newest work: it is kept, and somebody is told."""
    on_standby = step.instance.attempt_id == step.instance.standby_attempt_id
    step.enter(
        State.ON_STANDBY if on_standby else State.RUNNING,
        "hibernate_failed",
        f"not hibernated, the machine is kept: {why}",
        failure=f"the last hibernation failed: {why}",
        order_id=None,
        hibernate_at=None,
        hibernate_not_before=step.after(retry_s),
    )
    return AGAIN
