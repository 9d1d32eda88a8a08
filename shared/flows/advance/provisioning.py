"""`provisioning`: race until a machine registers; then wait for its set-up, or fail with what was tried."""

from __future__ import annotations

from shared.domain.instance import State
from shared.domain.order import Order
from shared.flows.advance.racing import Exhausted, call_off, gone_silently, let_go, look_again, race, what_was_tried
from shared.flows.advance.step import AGAIN, Next, Step


def step(step: Step) -> Next:
    instance = step.instance
    deadline = instance.deadline_at(step.deps.settings.time_scale)
    if instance.overdue(step.now, step.deps.settings.time_scale):
        return _fail(step, "out of time: " + what_was_tried(step))
    if instance.attempt_id is not None:
        order = step.deps.records.find(Order, instance.order_id) if instance.order_id else None
        attempt = next((a for a in step.attempts if a.id == instance.attempt_id), None)
        if order is not None and order.kind == "restore" and order.state == "failed":
            return let_go(step, attempt, f"the snapshot could not be restored: {order.error}")
        if attempt is None or not attempt.wants_machine or gone_silently(step, attempt):
            return let_go(step, attempt, "the machine was lost while it was set up")
        return look_again(step, deadline)
    following = race(step)
    if isinstance(following, Exhausted):
        return _fail(step, following.why)
    return following if following is not None else deadline


def _fail(step: Step, why: str) -> Next:
    call_off(step, "the instance gave up")
    step.enter(State.FAILED, "failed", why, failure=why, attempt_id=None, machine=None)
    return AGAIN
