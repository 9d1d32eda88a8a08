"""`waking`: a race like provision, then the restore; whatever fails, the instance is hibernated again, never lost."""

from __future__ import annotations

from dataclasses import replace

from shared.domain.attempt import Attempt, Outcome
from shared.domain.instance import Instance, State
from shared.domain.order import Order
from shared.flows.advance.racing import Exhausted, call_off, race
from shared.flows.advance.step import AGAIN, Next, Step
from shared.store.records import Transaction


def step(step: Step) -> Next:
    instance = step.instance
    deadline = instance.deadline_at(step.deps.settings.time_scale)
    if instance.overdue(step.now, step.deps.settings.time_scale):
        return _back(step, "no machine became usable in time")
    if instance.attempt_id is not None:
        order = step.deps.records.find(Order, instance.order_id) if instance.order_id else None
        attempt = next((a for a in step.attempts if a.id == instance.attempt_id), None)
        if attempt is None or not attempt.wants_machine or (order is not None and order.state == "failed"):
            return _let_go(step, attempt, order.error if order and order.error else "the machine was lost")
        return deadline
    following = race(step)
    if isinstance(following, Exhausted):
        return _back(step, following.why)
    return following if following is not None else deadline


def _let_go(step: Step, attempt: Attempt | None, why: str) -> Next:
    """This machine could not restore: end it and go on with the race."""
    if attempt is not None:
        step.end_attempt(attempt, Outcome.FAILED, f"restore failed: {why}")

    def apply(tx: Transaction, instance: Instance) -> None:
        tx.save(replace(instance, attempt_id=None, machine=None, order_id=None, restoring=False))

    step.change(apply)
    return AGAIN


def _back(step: Step, why: str) -> Next:
    call_off(step, "the wake gave up")
    step.enter(
        State.HIBERNATED,
        "wake_failed",
        f"still hibernated: {why}",
        failure=why,
        attempt_id=None,
        machine=None,
        order_id=None,
        restoring=False,
    )
    return AGAIN
