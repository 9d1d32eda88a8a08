"""How orders go, and what that means for the instance."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.domain.instance import SEARCHING, Instance, State
from shared.domain.order import Order
from shared.domain.snapshot import Snapshot
from shared.flows.agents.adoption import run, set_up_or_run
from shared.flows.snapshot_orders import (
    FOLLOW,
    SAVE,
    followed,
    order_snapshot,
    standing,
    taken_beside,
)
from shared.flows.storage import with_way_out
from shared.store.records import Transaction
from shared.wire import agent as wire
from shared.wire.base import Done

RESTORE_AGAIN, RESTORE_AGAIN_AT_MOST = timedelta(seconds=30), timedelta(hours=1)
"""From a restore that failed behind an instance in use until the next try."""
MISSING = "not every file is back yet"
FOLLOW_RETRY = timedelta(seconds=10)


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
            instance = run(tx, instance)
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
        instance = set_up_or_run(tx, instance, order.attempt_id)
    return instance
