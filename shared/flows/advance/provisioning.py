"""`provisioning`: race until a machine registers; then wait for its set-up, or fail with what was tried."""

from __future__ import annotations

from shared.domain.instance import State
from shared.flows.advance.racing import Exhausted, call_off, race
from shared.flows.advance.step import AGAIN, Next, Step


def step(step: Step) -> Next:
    instance = step.instance
    deadline = instance.deadline_at(step.deps.settings.time_scale)
    if instance.overdue(step.now, step.deps.settings.time_scale):
        return _fail(step, "no machine became ready in time")
    if instance.attempt_id is not None:
        return deadline
    following = race(step)
    if isinstance(following, Exhausted):
        return _fail(step, following.why)
    return following if following is not None else deadline


def _fail(step: Step, why: str) -> Next:
    call_off(step, "the instance gave up")
    step.enter(State.FAILED, "failed", why, failure=why, attempt_id=None, machine=None)
    return AGAIN
