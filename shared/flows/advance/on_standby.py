"""`on_standby`: the CPU standby serves the files while a GPU is raced for; a GPU that is ready takes them back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from shared.domain.attempt import Attempt, Stage
from shared.domain.instance import Instance, State
from shared.flows.advance import running
from shared.flows.advance.racing import Exhausted, gone_silently, race
from shared.flows.advance.step import AGAIN, Next, Step
from shared.flows.snapshot_orders import order_snapshot
from shared.flows.usage import used_up
from shared.store.records import Transaction

SEARCH_AGAIN_S = 120.0


def step(step: Step) -> Next:
    instance = step.instance
    serving = next((a for a in step.attempts if a.id == instance.attempt_id and a.wants_machine), None)
    if serving is None or gone_silently(step, serving):
        return running.lost(step, serving, "the standby that served was lost")
    incoming = next((a for a in step.attempts if a.id == instance.incoming_attempt_id), None)
    if instance.incoming_attempt_id is not None:
        if incoming is None or incoming.stage is not Stage.ADOPTED:
            return _search_again(step, None)
        return _hand_back(step, serving)
    looked = _search(step)
    if looked is AGAIN:
        return AGAIN
    return min(at for at in (looked, running.look_at(step)) if isinstance(at, datetime))


def _search(step: Step) -> Next:
    instance = step.instance
    not_before = instance.hibernate_not_before
    if not_before is not None and not_before > step.now:
        return not_before
    if instance.opened == 0 and used_up(instance.user_id, instance.id, step.deps):
        # The budgets' sweep hibernates it; a GPU begun meanwhile would be let go again.
        return step.after(SEARCH_AGAIN_S)
    if instance.opened == 0:
        step.say("searching", "a GPU is searched while the standby serves")
    following = race(step)
    if not isinstance(following, Exhausted):
        return following if following is not None else running.look_at(step)
    step.say("no_gpu_yet", f"no GPU could be had, the standby goes on serving: {following.why}")
    return _search_again(step, SEARCH_AGAIN_S)


def _search_again(step: Step, after_s: float | None) -> Next:
    """A new round: machines that failed in this one may be tried again."""

    def apply(tx: Transaction, fresh: Instance) -> None:
        later = step.after(after_s) if after_s else None
        tx.save(
            replace(
                fresh,
                round=fresh.round + 1,
                opened=0,
                incoming_attempt_id=None,
                hibernate_not_before=later,
            )
        )

    step.change(apply)
    return AGAIN


def _hand_back(step: Step, serving: Attempt) -> Next:
    """From here on the standby is not written to: its last snapshot is what the GPU gets."""

    def apply(tx: Transaction, fresh: Instance) -> None:
        order = order_snapshot(tx, fresh, serving, final=True)
        found = replace(fresh.failover, gpu_found_at=tx.now) if fresh.failover else None
        tx.save(replace(fresh.enter(State.FAILING_OVER, tx.now), order_id=order.id, failover=found))
        tx.event(fresh, "handing_back", "a GPU is ready; the standby's files go back to it", step.actor)

    step.change(apply)
    return AGAIN
