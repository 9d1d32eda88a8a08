"""Holding an instance's lease: take it by compare-and-set, release it with what is due next."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared import errors
from shared.deps import Deps
from shared.domain import lease as leases
from shared.domain.instance import Instance
from shared.domain.lease import Lease
from shared.store.records import Transaction

RETRY_S = 5.0


@dataclass
class Held:
    """A lease in hand. `next_action_at` is what its holder leaves behind; `seen_pokes` what it has looked at."""

    lease: Lease
    instance: Instance
    """As it was when the lease was taken or renewed."""
    seen_pokes: int
    next_action_at: datetime | None = None


@contextmanager
def hold(deps: Deps, instance_id: str) -> Iterator[Held]:
    """Raises LeaseHeld while another worker has it. A crash inside leaves the instance due when the lease ends."""
    owner = f"{os.environ.get('K_SERVICE', 'worker')}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    ttl = timedelta(seconds=deps.settings.lease_s)

    def take(tx: Transaction) -> Held:
        instance = tx.load(Instance, instance_id)
        taken = leases.take(instance.lease, owner, tx.now, ttl)
        mine = replace(instance, lease=taken, next_action_at=taken.expires_at)
        tx.save(mine)
        return Held(taken, mine, instance.pokes)

    held = deps.records.transact(take)
    held.next_action_at = deps.clock.now()
    try:
        yield held
    except Exception:
        # Whatever broke may break again: others come first.
        held.next_action_at = deps.clock.now() + timedelta(seconds=RETRY_S * deps.settings.time_scale)
        raise
    finally:
        _release(deps, instance_id, held)


def renew(deps: Deps, instance_id: str, held: Held) -> None:
    """Move the lease's end out; raises StaleLease when it was lost."""
    ttl = timedelta(seconds=deps.settings.lease_s)

    def longer(tx: Transaction) -> Instance:
        instance = tx.load(Instance, instance_id)
        lease = replace(held.lease, expires_at=tx.now + ttl)
        mine = replace(instance, lease=lease, next_action_at=lease.expires_at)
        tx.save(mine)
        held.lease = lease
        return mine

    held.instance = deps.records.transact(longer, held.lease)


def _release(deps: Deps, instance_id: str, held: Held) -> None:
    def let_go(tx: Transaction) -> None:
        instance = tx.load(Instance, instance_id)
        # Somebody had a reason to advance after we last looked: it is due at once.
        due = tx.now if instance.pokes != held.seen_pokes else held.next_action_at
        tx.save(replace(instance, lease=leases.release(held.lease, tx.now), next_action_at=due))

    try:
        deps.records.transact(let_go, held.lease)
    except errors.StaleLease:
        # Another worker took over after ours ran out; what is due is theirs to say.
        return
