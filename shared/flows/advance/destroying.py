"""`destroying`: every machine proven gone, then every object deleted and the prefix proven empty, then the key."""

from __future__ import annotations

from dataclasses import replace

from shared import errors
from shared.domain.attempt import Outcome
from shared.domain.instance import Instance, State
from shared.flows.advance.racing import call_off
from shared.flows.advance.step import AGAIN, Next, Step
from shared.flows.snapshot_orders import prefix_of, readers
from shared.flows.storage import objects_of
from shared.store.base import Delete
from shared.store.records import Transaction


def step(step: Step) -> Next:
    if call_off(step, "the instance is destroyed", Outcome.CANCELLED):
        return AGAIN
    if step.attempts:
        # Machines still being ended; settling says when to look again.
        return None
    reading = readers(step.deps, step.instance)
    if reading:
        words = f"its snapshots stay until {', '.join(one.name for one in reading)} has their files"
        if step.instance.failure != words:
            step.say("destroying", words)
            step.change(lambda tx, fresh: tx.save(replace(fresh, failure=words)))
        return step.after(2)
    objects = objects_of(step.deps, step.instance)
    prefix = prefix_of(step.instance.id)
    try:
        objects.delete_prefix(prefix)
        left = next(iter(objects.list(prefix)), None)
    except errors.StorageError as error:
        # A user's own bucket that its owner has deleted holds nothing. Of ours it would be a wrong setting.
        if step.instance.storage is None or error.details.get("answered") != "NoSuchBucket":
            raise
        left = None
    if left is not None:
        return step.after(2)

    def apply(tx: Transaction, instance: Instance) -> None:
        gone = replace(
            instance.enter(State.DESTROYED, tx.now),
            attempt_id=None,
            machine=None,
            snapshot_id=None,
            order_id=None,
            hibernate_at=None,
            reserved_until=None,
            restoring=False,
            source=None,
        )
        tx.save(gone)
        tx.write(Delete("instance_keys", instance.id))
        tx.event(instance, "destroyed", "destroyed: no machine, no snapshot and no key is left", step.actor)

    step.change(apply)
    return AGAIN
