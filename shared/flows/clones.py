"""A new instance that begins with the files of another's snapshot.

Its first machine reads the original's objects, by address, with the original's key; nothing is copied in the bucket.
Once every file is there it saves them below its own prefix, under a key of its own, and the two have nothing in common
any more. Until then the original keeps that snapshot, and does not end before.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, replace

from shared import errors
from shared.deps import Deps
from shared.domain.instance import Instance, Source, State
from shared.domain.snapshot import Snapshot
from shared.flows import instances, storage
from shared.flows.advance import drive, kick
from shared.flows.usage import require_budget
from shared.store.records import Transaction
from shared.wire import instances as wire


def clone(
    original: Instance, snapshot_id: str, body: wire.CloneBody, wait_s: float, deps: Deps, key: str | None
) -> Instance:
    """The same key gives the same clone.

    Raises NotFound, Conflict for a snapshot that is not whole, NoCapacity, BudgetReached.
    """
    if original.drill_of is not None:
        raise errors.Conflict("a drill's copy has no files of its own; name the instance it is a copy of")
    user_id = original.user_id
    clone_id = instances.id_of(f"clone|{key or uuid.uuid4().hex}")
    if deps.records.find(Instance, clone_id) is None:
        require_budget(user_id, deps)
        place = storage.chosen(body.storage or original.storage or storage.OURS, user_id, deps)
        changes = {name: value for name, value in body.need().items() if value is not None}
        need = replace(original.need, **changes)
        instances.check_market(deps, need, original.spec.image)
        # Labels say what an instance is for, to whoever set them: a clone is something else.
        request = wire.ProvisionRequest(
            name=body.name or f"{original.name[:56]}-clone",
            idle_policy=wire.IdlePolicyBody(**asdict(original.idle_policy)),
            width=original.width,
            max_attempts=original.max_attempts,
            snapshot_every_s=original.snapshot_every_s,
            on_loss="wake" if original.on_loss == "wake" else "hibernate",
        )
        strategy = "race" if original.strategy == "serverless" else original.strategy

        def begin(tx: Transaction) -> None:
            if tx.find(Instance, clone_id) is not None:
                return
            fresh = tx.load(Instance, original.id)
            snapshot = tx.find(Snapshot, snapshot_id)
            if snapshot is None or snapshot.instance_id != original.id or snapshot.state == "dropped":
                raise errors.NotFound(f"there is no snapshot {snapshot_id}")
            if snapshot.state != "verified":
                raise errors.Conflict(f"snapshot {snapshot_id} is {snapshot.state}: {snapshot.problem or 'not whole'}")
            if fresh.state in (State.DESTROYING, State.DESTROYED):
                raise errors.Conflict(f"instance {fresh.id} is {fresh.state}")
            source = Source(original.id, snapshot_id)
            instances.open_instance(
                tx,
                request,
                need,
                clone_id,
                user_id,
                deps,
                place=place,
                spec=fresh.spec,
                strategy=strategy,
                source=source,
            )
            # Both are written: whoever gives the snapshot up or ends the original at this moment meets it.
            tx.save(replace(snapshot, cloned_at=tx.now))
            tx.save(replace(fresh, pokes=fresh.pokes + 1))
            tx.event(fresh, "cloned", f"snapshot {snapshot_id} is cloned as {request.name}", user_id, clone_id=clone_id)

        instances.open_once(deps, clone_id, begin)
    kick(deps, clone_id, user_id)
    return drive(deps, clone_id, wait_s, user_id)
