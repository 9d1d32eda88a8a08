"""The next thing an instance's state calls for, done once, under its lease.

Level-triggered: each step looks at what is stored, does one thing, stores that, and returns. Nothing calls "the
next step"; the state does, so a crash needs no recovery code of its own. Whatever the state, attempts that no longer
want their machine are settled first: their machines are terminated until the provider finds them no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from shared import errors, leases
from shared.deps import Deps
from shared.domain.instance import RESTING, Instance, State
from shared.flows.advance import (
    destroying,
    drill,
    failing_over,
    hibernating,
    on_standby,
    provisioning,
    running,
    settle,
    standby,
    waking,
)
from shared.flows.advance.step import AGAIN, Moved, Next, Step
from shared.leases import Held
from shared.logs import traced

STEPS: dict[State, Callable[[Step], Next]] = {
    State.PROVISIONING: provisioning.step,
    State.WAKING: waking.step,
    State.RUNNING: running.step,
    State.HIBERNATING: hibernating.step,
    State.FAILING_OVER: failing_over.step,
    State.ON_STANDBY: on_standby.step,
    State.DESTROYING: destroying.step,
}
"""States without a row have nothing to do but to settle what their attempts left."""

MAX_STEPS = 40
LOSERS_GO = timedelta(minutes=2)
POLL_S = 0.1


def advance(deps: Deps, instance_id: str, actor: str = "system") -> None:
    """Do what is due now. Raises LeaseHeld while another worker is at it, NotFound when it does not exist."""
    with leases.hold(deps, instance_id) as held:
        for _ in range(MAX_STEPS):
            with traced(_trace(held.instance, deps.clock.now())):
                due = _once(deps, instance_id, held, actor)
            if due is not AGAIN:
                held.next_action_at = due if isinstance(due, datetime) else None
                return
            leases.renew(deps, instance_id, held)
        held.next_action_at = deps.clock.now()


def _trace(instance: Instance, now: datetime) -> str | None:
    """Whatever drives it on, an instance in motion moves for the request that set it in motion; the losers of a race go a little
    after."""
    settled = instance.state is State.RUNNING and now - instance.entered_at > LOSERS_GO
    return None if settled else instance.trace


def _once(deps: Deps, instance_id: str, held: Held, actor: str) -> Next:
    instance = held.instance
    held.seen_pokes = instance.pokes
    step = Step(deps, instance, held.lease, deps.records.open_attempts(instance_id), actor)
    try:
        settled = settle.settle(step)
        if settled is AGAIN:
            return AGAIN
        kept = standby.keep(step)
        if kept is AGAIN:
            return AGAIN
        watched = drill.watch(step)
        if watched is AGAIN:
            return AGAIN
        follow = STEPS.get(instance.state)
        wanted = follow(step) if follow else None
    except Moved:
        # Somebody else changed it between the look and the act: look again.
        return AGAIN
    except errors.ProviderBusy as busy:
        return deps.clock.now() + timedelta(seconds=max(0.2, busy.retry_after_s))
    except (errors.ProviderError, errors.StorageError) as error:
        step.say("trouble", f"will try again: {error.message}")
        return deps.clock.now() + timedelta(seconds=5 * deps.settings.time_scale)
    if wanted is AGAIN:
        return AGAIN
    times = [at for at in (settled, kept, watched, wanted) if isinstance(at, datetime)]
    return min(times) if times else None


def drive(deps: Deps, instance_id: str, wait_s: float, actor: str = "system") -> Instance:
    """Advance an instance until it rests or the wait is over; the instance as it is then."""
    until = time.monotonic() + wait_s
    while True:
        instance = deps.records.load(Instance, instance_id)
        if instance.state in RESTING or time.monotonic() >= until:
            return instance
        now = deps.clock.now()
        if instance.next_action_at is not None and instance.next_action_at <= now:
            try:
                advance(deps, instance_id, actor)
                continue
            except (errors.LeaseHeld, errors.StaleLease):
                pass
        deps.clock.sleep(min(POLL_S, max(0.0, until - time.monotonic())))


def kick(deps: Deps, instance_id: str, actor: str) -> Instance:
    """Do what is due at once, without waiting for more: a request with `?wait=0` still starts its work."""
    try:
        advance(deps, instance_id, actor)
    except (errors.LeaseHeld, errors.StaleLease):
        # Whoever holds the lease sees the poke and looks again.
        pass
    return deps.records.load(Instance, instance_id)
