"""What one step of `advance` is given, and the few things all steps do."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Outcome
from shared.domain.instance import Instance, State
from shared.domain.lease import Lease
from shared.domain.order import Pulse
from shared.flows.history import note
from shared.frozen import dataclass
from shared.providers.base import Provider
from shared.store.records import Transaction

T = TypeVar("T")


class Again(enum.Enum):
    AGAIN = "again"


AGAIN = Again.AGAIN
"""Something changed: look again at once."""
Next = datetime | Again | None
"""When to look again; None when nothing is due."""


class Moved(errors.Conflict):
    """The instance's state changed under this step; the step's premise is void."""

    code = "moved"


@dataclass(frozen=True)
class Step:
    deps: Deps
    instance: Instance
    lease: Lease
    attempts: Sequence[Attempt]
    """Open ones, of every round."""
    actor: str

    @property
    def now(self) -> datetime:
        return self.deps.clock.now()

    def after(self, seconds: float) -> datetime:
        """A moment from now, in scaled time."""
        return self.now + timedelta(seconds=seconds * self.deps.settings.time_scale)

    def heard(self, attempt: Attempt) -> datetime:
        """A machine's last sign of life."""
        pulse = self.deps.records.find(Pulse, attempt.id)
        return max(filter(None, (pulse.at if pulse else None, attempt.adopted_at)), default=self.instance.entered_at)

    def ask_after(self, heard: datetime) -> datetime:
        """When to look again whether a machine that was heard then has gone silent."""
        settings = self.deps.settings
        return heard + timedelta(seconds=max(settings.silence_after_s, 5 * settings.heartbeat_s))

    def provider(self, name: str) -> Provider:
        provider = self.deps.providers().get(name)
        if provider is None:
            raise errors.ProviderRejected(f"no credentials for provider {name} are set")
        return provider

    def change(self, fn: Callable[[Transaction, Instance], T]) -> T:
        """Change the instance under the lease, provided it is still in the state this step saw."""

        def apply(tx: Transaction) -> T:
            instance = tx.load(Instance, self.instance.id)
            if (instance.state, instance.round) != (self.instance.state, self.instance.round):
                raise Moved(f"instance {instance.id} is {instance.state} now")
            return fn(tx, instance)

        return self.deps.records.transact(apply, self.lease)

    def change_attempt(self, attempt_id: str, fn: Callable[[Attempt, datetime], Attempt]) -> Attempt:
        def apply(tx: Transaction) -> Attempt:
            changed = fn(tx.load(Attempt, attempt_id), tx.now)
            tx.save(changed)
            return changed

        return self.deps.records.transact(apply)

    def end_attempt(self, attempt: Attempt, outcome: Outcome, why: str) -> None:
        """From now on the attempt wants no machine, and its token is void."""

        def apply(tx: Transaction) -> None:
            fresh = tx.load(Attempt, attempt.id)
            ended = fresh.ending(outcome, why, tx.now)
            if ended == fresh:
                return
            instance = tx.load(Instance, attempt.instance_id)
            tx.save(ended)
            if outcome in (Outcome.FAILED, Outcome.LOST) and not attempt.is_standby:
                note(tx, ended, outcome, why, was_ready=fresh.outcome is Outcome.READY)
            tx.event(
                instance,
                "attempt_ended",
                f"{'standby' if attempt.is_standby else attempt.gpu_name} on host {attempt.host_id}: {why}",
                self.actor,
                attempt_id=attempt.id,
                outcome=str(outcome),
            )

        self.deps.records.transact(apply)

    def say(self, kind: str, message: str, **details: Any) -> None:
        self.deps.records.transact(lambda tx: tx.event(self.instance, kind, message, self.actor, **details))

    def enter(self, state: State, kind: str, message: str, **changes: Any) -> None:
        """Enter the next state, with its event in the same batch."""

        def apply(tx: Transaction, instance: Instance) -> None:
            tx.save(replace(instance.enter(state, tx.now), **changes))
            tx.event(instance, kind, message, self.actor)

        self.change(apply)
