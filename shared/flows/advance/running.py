"""`running`: learn the machine's address, hibernate when idleness is due, and notice a machine that is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from shared import errors
from shared.domain.attempt import Attempt, Outcome
from shared.domain.instance import SILENT, TAKEN_FOR_LOST, Clocks, Failover, Instance, State, over_limit
from shared.domain.order import Pulse
from shared.domain.snapshot import Snapshot
from shared.flows import breaker
from shared.flows.advance.standby import ahead
from shared.flows.advance.step import AGAIN, Next, Step
from shared.flows.snapshot_orders import restore_order
from shared.flows.usage import used_up
from shared.providers.base import MachineStatus, RentedMachine
from shared.store.records import Transaction

ADDRESS_TRIES_S = 60.0
GONE = (MachineStatus.OFFLINE, MachineStatus.STOPPED, MachineStatus.BROKEN)
"""What a provider calls a machine on which nobody works; it may come back."""
OFFLINE_SILENCES = 2
"""An instance whose standby holds its files waits so many times the silence that makes a machine suspect."""


def step(step: Step) -> Next:
    instance = step.instance
    attempt = next((a for a in step.attempts if a.id == instance.attempt_id), None)
    if attempt is None:
        return lost(step, None, "its machine is gone")
    if instance.give_up_why is not None:
        return lost(step, attempt, instance.give_up_why, asked=True)
    warn_at = instance.warn_at()
    if warn_at is not None and warn_at <= step.now:
        return _warn(step)
    if _may_sleep(instance, step.now):
        step.enter(
            State.HIBERNATING,
            "hibernating",
            f"hibernating: {instance.idleness.why}",
            hibernate_reason="idle",
            order_id=None,
            hibernate_at=None,
        )
        return AGAIN
    due = [_checkup(step, attempt)]
    if due[0] is AGAIN:
        return AGAIN
    if instance.machine is not None and instance.machine.ssh_host is None:
        due.append(_address(step, attempt))
        if due[1] is AGAIN:
            return AGAIN
    if instance.restore_again_at is not None:
        due.append(_restore_again(step, attempt, instance.restore_again_at))
        if due[-1] is AGAIN:
            return AGAIN
    if warn_at is not None:
        due.append(warn_at)
    if instance.hibernate_at is not None:
        due.append(max(instance.hibernate_at, instance.keep_awake_until or instance.hibernate_at))
    return min(at for at in due if isinstance(at, datetime))


def _restore_again(step: Step, attempt: Attempt, at: datetime) -> Next:
    """What was restored stays; a restore fixes only what differs."""
    if step.now < at:
        return at

    def place(tx: Transaction, fresh: Instance) -> None:
        held = fresh.source.snapshot_id if fresh.source else fresh.snapshot_id
        snapshot = tx.find(Snapshot, held) if held else None
        if fresh.restoring and snapshot is not None:
            restore_order(tx, fresh, snapshot, attempt.id)
        tx.save(replace(fresh, restore_again_at=None))

    step.change(place)
    return AGAIN


def look_at(step: Step) -> datetime:
    return step.now + timedelta(seconds=step.deps.settings.silence_after_s)


def _warn(step: Step) -> Next:
    """Once before it sleeps, in the batch that remembers it."""

    def apply(tx: Transaction, fresh: Instance) -> None:
        if fresh.hibernate_at is not None and fresh.warn_at() is not None:
            tx.save(replace(fresh, warned_for=fresh.hibernate_at))
            at = f"{fresh.hibernate_at:%H:%M:%S} UTC"
            tx.event(
                fresh, "idle_warning", f"{fresh.idleness.why}; it hibernates at {at} unless it is used", step.actor
            )

    step.change(apply)
    return AGAIN


def _may_sleep(instance: Instance, now: datetime) -> bool:
    if instance.restoring:
        return False
    if not instance.idle_policy.enabled or instance.hibernate_at is None or instance.hibernate_at > now:
        return False
    if instance.keep_awake_until is not None and instance.keep_awake_until > now:
        return False
    return instance.hibernate_not_before is None or instance.hibernate_not_before <= now


def _address(step: Step, attempt: Attempt) -> Next:
    """Where SSH and ports answer: providers say so only once the machine runs."""
    asked = step.instance.clocks.asked_at or step.instance.entered_at
    if attempt.machine_id is None:
        return step.after(1)
    machine = step.provider(attempt.provider).get(attempt.machine_id)
    if machine.ssh_host is None:
        late = step.now > max(asked, step.instance.entered_at) + timedelta(seconds=ADDRESS_TRIES_S)
        return step.after(30 if late else 1)

    def apply(tx: Transaction, instance: Instance) -> None:
        adopted = tx.load(Attempt, attempt.id)
        if adopted.ran_at is None and machine.ran_at is not None:
            tx.save(replace(adopted, ran_at=machine.ran_at))
        if instance.machine is not None:
            tx.save(
                replace(
                    instance,
                    machine=replace(
                        instance.machine,
                        machine_id=machine.machine_id,
                        ssh_host=machine.ssh_host,
                        ssh_port=machine.ssh_port,
                        ports=machine.ports,
                    ),
                )
            )

    step.change(apply)
    return AGAIN


def _checkup(step: Step, attempt: Attempt) -> Next:
    """Silence is suspicion, not death: the provider is asked, and only a machine that is gone is lost."""
    silence = timedelta(seconds=step.deps.settings.silence_after_s)
    heard = step.heard(attempt)
    if step.now - heard < silence:
        if attempt.paused:
            step.change_attempt(attempt.id, lambda fresh, _: fresh.seen(True, heard))
        return step.ask_after(heard)
    if attempt.machine_id is None:
        return step.after(2)
    try:
        machine: RentedMachine = step.provider(attempt.provider).get(attempt.machine_id)
    except errors.MachineNotFound:
        return lost(step, attempt, "the provider no longer has the machine")
    runs = machine.status not in (MachineStatus.STOPPED, MachineStatus.OFFLINE)
    if attempt.seen(runs, step.now) != attempt:
        # It stopped when it was last heard or later; it runs again since now or earlier.
        step.change_attempt(attempt.id, lambda fresh, now: fresh.seen(runs, now if runs else heard))
    if machine.status is MachineStatus.STOPPED and step.instance.need.interruptible:
        return lost(step, attempt, "the machine was interrupted: another's bid was higher")
    offline_for = step.now - heard
    if machine.status in GONE and step.instance.standby_snapshot_id is not None:
        # Two observers have lost it, and its files are elsewhere: docs/decisions/0004.
        if offline_for >= OFFLINE_SILENCES * silence:
            return lost(
                step,
                attempt,
                f"silent for {offline_for.total_seconds():.0f} s, and its provider calls it {machine.status}",
            )
        again_at = heard + OFFLINE_SILENCES * silence
    else:
        again_at = step.now + silence
    if step.instance.failure is None:
        words = "" if machine.status is MachineStatus.RUNNING else f"; the provider says {machine.status}"

        def apply(tx: Transaction, instance: Instance) -> None:
            message = f"{SILENT} since {heard:%H:%M:%S} UTC{words}; it is kept, its files are on it"
            tx.save(replace(instance, failure=message))
            tx.event(instance, "suspect", message)

        step.change(apply)
    return again_at


def without_machine(instance: Instance, now: datetime) -> dict[str, Any]:
    """What changes in an instance whose machine is lost and replaced."""
    return {
        "round": instance.round + 1,
        "opened": 0,
        "attempt_id": None,
        "machine": None,
        "order_id": None,
        "incoming_attempt_id": None,
        "give_up_why": None,
        "hibernate_at": None,
        "hibernate_not_before": None,
        "restoring": False,
        "restore_again_at": None,
        "saving_id": None,
        "half_restored_id": None,
        "hand_backs_failed": 0,
        "clocks": Clocks(asked_at=now),
        "failovers": (*(at for at in instance.failovers if now - at < timedelta(days=1)), now),
    }


def _measured(step: Step, attempt: Attempt | None) -> Failover:
    """The moments of a failover as it begins."""
    instance = step.instance
    # By the instance's own word: after a crash the attempt may be closed before this is done.
    heard_of = attempt.id if attempt else instance.attempt_id
    pulse = step.deps.records.find(Pulse, heard_of) if heard_of else None
    # A standby may hold a newer one than storage does.
    taken_over = instance.standby_snapshot_id if ahead(step) else instance.snapshot_id
    held = step.deps.records.find(Snapshot, taken_over) if taken_over else None
    return Failover(
        heard_at=pulse.at if pulse else step.now,
        detected_at=step.now,
        snapshot_at=held.created_at if held else None,
    )


def _fail_over(step: Step, attempt: Attempt | None, why: str) -> Next:
    """Wake elsewhere from the newest verified snapshot, without being asked."""
    instance = step.instance
    message = f"{why}; waking elsewhere from snapshot {instance.snapshot_id}, later changes are lost"
    step.enter(
        State.FAILING_OVER,
        "failing_over",
        message,
        failure=message,
        last_machine=instance.machine,
        last_host_id=None,
        failover=_measured(step, attempt),
        **without_machine(instance, step.now),
    )
    return AGAIN


def _to_standby(step: Step, attempt: Attempt | None, why: str) -> Next:
    """The machine is fenced first: its token is void before anything else may write as this instance."""
    instance = step.instance
    if attempt is not None:
        step.end_attempt(attempt, Outcome.LOST, why)
    message = f"{why}; its standby takes over"
    step.enter(
        State.FAILING_OVER,
        "failing_over",
        message,
        failure=message,
        last_machine=instance.machine,
        last_host_id=None,
        failover=_measured(step, attempt),
        **without_machine(instance, step.now),
    )
    return AGAIN


def _hold(step: Step, why: str, stop: str) -> Next:
    """Nothing is fenced, nothing is ended: a person decides, and a machine that was there all the time goes on."""
    if not (step.instance.failure or "").startswith(TAKEN_FOR_LOST):
        message = f"{TAKEN_FOR_LOST} ({why}), but not failed over: {stop}"

        def apply(tx: Transaction, fresh: Instance) -> None:
            tx.save(replace(fresh, failure=message))
            tx.event(fresh, "failover_held", message, step.actor)

        step.change(apply)
    return look_at(step)


def lost(step: Step, attempt: Attempt | None, why: str, *, asked: bool = False) -> Next:
    """The machine is proven gone, or given up: what remains is the newest verified snapshot.

    A person who asks is not held to the limits of what happens by itself.
    """
    instance = step.instance
    again = (
        (instance.snapshot_id is not None or ahead(step))
        and (asked or instance.may_fail_over(step.now))
        and used_up(instance.user_id, instance.id, step.deps) is None
    )
    if again and not asked and instance.drill_of is None and instance.state in (State.RUNNING, State.ON_STANDBY):
        stop = breaker.admit(f"{instance.id}/{instance.round}", step.deps)
        if stop is not None:
            return _hold(step, why, stop)
    if instance.state is State.RUNNING and again and instance.standby_attempt_id is not None:
        return _to_standby(step, attempt, why)
    if attempt is not None:
        step.end_attempt(attempt, Outcome.LOST, why)
    # A GPU that was raced for, or had won already: nothing wants it where what it was to serve is gone.
    for other in step.attempts:
        if other.wants_machine and not other.is_standby and (attempt is None or other.id != attempt.id):
            step.end_attempt(other, Outcome.CANCELLED, why)
    if again and instance.state in (State.RUNNING, State.ON_STANDBY):
        return _fail_over(step, attempt, why)
    if instance.snapshot_id is not None:
        message = f"{why}; hibernated with snapshot {instance.snapshot_id}, later changes are lost"
        limit = over_limit(instance.failovers, step.now)
        if instance.on_loss == "wake" and limit is not None:
            message += f". It is not failed over by itself: {limit}; wake it when you have looked"
        state = State.HIBERNATED
    else:
        message, state = f"{why}, and there is no snapshot", State.FAILED
    step.enter(
        state,
        "machine_lost",
        message,
        failure=message,
        attempt_id=None,
        last_machine=instance.machine,
        machine=None,
        order_id=None,
        incoming_attempt_id=None,
        hibernate_at=None,
        restoring=False,
        restore_again_at=None,
        saving_id=None,
        half_restored_id=None,
        give_up_why=None,
    )
    return AGAIN
