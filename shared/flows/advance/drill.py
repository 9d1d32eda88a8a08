"""A drill: the copy of an instance goes through a failover, is measured and destroyed; the instance only hears of it.

The copy is an instance of its own, so whatever cuts a drill off leaves it due, and destroying it terminates its machines as
any instance's. It reads its original's objects and writes below its own prefix. It always ends: served, failed, or out of time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from shared.domain.instance import Instance, State
from shared.flows.advance.standby import holds_newest
from shared.flows.advance.step import AGAIN, Moved, Next, Step
from shared.store.records import Transaction

LIMIT = timedelta(hours=1)
"""The longest drill."""


def watch(step: Step) -> Next:
    """Runs in every state of a copy; nothing for other instances."""
    copy = step.instance
    if copy.drill_of is None or copy.drill is None:
        return None
    if copy.state in (State.DESTROYING, State.DESTROYED):
        return _tell_the_rest(step)
    if copy.state is State.RUNNING and not copy.restoring:
        return end(step, copy.failure if copy.half_restored_id else None)
    if copy.state in (State.HIBERNATED, State.FAILED):
        return end(step, copy.failure or "the copy could not be brought back")
    original = step.deps.records.find(Instance, copy.drill_of)
    if original is None or original.state in (State.DESTROYING, State.DESTROYED):
        return end(step, "the instance was destroyed meanwhile")
    limit = copy.created_at + LIMIT * step.deps.settings.time_scale
    return end(step, f"not done within {LIMIT.seconds // 60} minutes") if step.now >= limit else limit


def prepare(step: Step) -> Next:
    """What a real instance's standby holds before the loss, the copy's must hold before the clock starts."""
    copy = step.instance
    if holds_newest(step):

        def lose(tx: Transaction, fresh: Instance) -> None:
            if fresh.drill is not None:
                tx.save(replace(fresh, failover=fresh.drill.measured(tx.now), entered_at=tx.now))
                tx.event(fresh, "drill_loss", "the standby holds the files; from here on it is measured", step.actor)

        step.change(lose)
        return AGAIN
    if copy.overdue(step.now, step.deps.settings.time_scale):
        return end(step, "no standby held the files in time")
    return copy.deadline_at(step.deps.settings.time_scale)


def end(step: Step, failure: str | None) -> Next:
    """The result is stored in the batch that begins the copy's end. Not under the lease: the original is another's."""

    def apply(tx: Transaction) -> None:
        fresh = tx.load(Instance, step.instance.id)
        if fresh.state is not step.instance.state:
            raise Moved(f"instance {fresh.id} is {fresh.state} now")
        tx.save(replace(fresh.enter(State.DESTROYING, tx.now), failure=failure, hibernate_at=None))
        tx.event(fresh, "destroying", "the drill is over", step.actor)
        _result(tx, fresh, failure)

    step.deps.records.transact(apply)
    return AGAIN


def _result(tx: Transaction, copy: Instance, failure: str | None) -> bool:
    original = tx.find(Instance, copy.drill_of or "")
    drill = original.drill if original else None
    if original is None or drill is None or drill.copy_id != copy.id or drill.ended_at is not None:
        return False
    measured = copy.failover
    tx.save(replace(original, drill=replace(drill, failover=measured, ended_at=tx.now, failure=failure)))
    if failure is not None or measured is None:
        tx.event(original, "drill_failed", f"the drill failed: {failure}", copy_id=copy.id)
    else:
        tx.event(
            original,
            "drill_done",
            f"drill: files served {measured.rto_s:g} s after the loss, a GPU {measured.gpu_back_s:g} s after it; "
            f"at most {measured.rpo_s:g} s of work would have been lost",
            copy_id=copy.id,
            rpo_s=measured.rpo_s,
            rto_s=measured.rto_s,
            gpu_back_s=measured.gpu_back_s,
        )
    return True


def _tell_the_rest(step: Step) -> Next:
    """A copy that somebody destroyed has no result yet; one that is gone lets its snapshot go."""
    copy = step.instance
    original = step.deps.records.find(Instance, copy.drill_of or "")
    drill = original.drill if original else None
    if drill is None or drill.copy_id != copy.id:
        return None
    if drill.ended_at is None:
        step.deps.records.transact(lambda tx: _result(tx, copy, "its copy was destroyed before it was done"))
        return AGAIN
    if copy.state is State.DESTROYED and drill.gone_at is None:

        def gone(tx: Transaction) -> None:
            fresh = tx.load(Instance, copy.drill_of or "")
            if fresh.drill is not None and fresh.drill.copy_id == copy.id:
                tx.save(replace(fresh, drill=replace(fresh.drill, gone_at=tx.now)))

        step.deps.records.transact(gone)
        return AGAIN
    return None
