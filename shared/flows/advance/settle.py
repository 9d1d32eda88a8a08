"""Attempts: those that want no machine are ended until the provider finds nothing; those in doubt are looked up.

Runs in every state. Returns when to look again, AGAIN when an attempt changed in a way the state should see, or
None when every attempt is as it should be.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared import errors
from shared.domain.attempt import Attempt, Outcome, Stage
from shared.flows import bids
from shared.flows.advance.step import AGAIN, Next, Step
from shared.providers.base import MachineStatus, RentedMachine
from shared.store.records import Transaction

LATE = timedelta(minutes=10)
"""After so long an unconfirmed receipt is told to people."""
LOOK_S = 8.0
"""How often a machine that has not registered is looked at."""


def settle(step: Step) -> Next:
    due: list[datetime] = []
    changed = False
    listed: dict[str, dict[str, RentedMachine]] = {}
    for attempt in step.attempts:
        if attempt.next_action_at is not None and attempt.next_action_at > step.now:
            due.append(attempt.next_action_at)
            continue
        try:
            after = _settle_one(step, attempt, listed)
        except errors.ProviderBusy as busy:
            due.append(step.now + timedelta(seconds=max(0.2, busy.retry_after_s)))
            continue
        except errors.OutcomeUnknown:
            due.append(step.after(2))
            continue
        if after is AGAIN:
            changed = True
        elif isinstance(after, datetime):
            due.append(after)
    if changed:
        return AGAIN
    return min(due) if due else None


def _settle_one(step: Step, attempt: Attempt, listed: dict[str, dict[str, RentedMachine]]) -> Next:
    if attempt.stage is Stage.ENDING:
        return _end(step, attempt, listed)
    if attempt.stage is Stage.OPEN:
        return _find(step, attempt, listed) if attempt.asked_at else None
    if attempt.stage is Stage.CREATED:
        return _watch(step, attempt, listed)
    if attempt.machine_id is None:
        return _find(step, attempt, listed)
    return None


def _list(step: Step, provider: str, listed: dict[str, dict[str, RentedMachine]]) -> dict[str, RentedMachine]:
    if provider not in listed:
        listed[provider] = {machine.token: machine for machine in step.provider(provider).list()}
    return listed[provider]


def _close(step: Step, attempt_id: str) -> None:
    """Proven gone: the receipt is confirmed, and what a bid taught is remembered."""

    def apply(tx: Transaction) -> None:
        fresh = tx.load(Attempt, attempt_id)
        closed = fresh.closed(tx.now)
        tx.save(closed)
        if fresh.open:
            bids.note(tx, closed)

    step.deps.records.transact(apply)


def _end(step: Step, attempt: Attempt, listed: dict[str, dict[str, RentedMachine]]) -> Next:
    """Terminate until not found; a receipt is confirmed only then."""
    if attempt.asked_at is None:
        _close(step, attempt.id)
        return AGAIN
    settle_until = (attempt.created_at or attempt.asked_at) + timedelta(seconds=step.deps.settings.settle_s)
    machine_id = attempt.machine_id
    if machine_id is None:
        machine = _list(step, attempt.provider, listed).get(attempt.label)
        if machine is None:
            # The list may lag behind a create whose answer was lost: only after a while is nothing nothing.
            if step.now < settle_until:
                return min(settle_until, step.after(2))
            _close(step, attempt.id)
            return AGAIN
        machine_id = machine.machine_id
        step.change_attempt(attempt.id, lambda fresh, _: _known(fresh, machine))
    elif not attempt.bills_loading and attempt.whole_from is None and not (attempt.receipt and attempt.receipt.tries):
        _whether_it_ran(step, attempt, listed)
    try:
        step.provider(attempt.provider).terminate(machine_id)
    except errors.MachineNotFound:
        asked = attempt.receipt is not None and attempt.receipt.tries > 0
        if not asked and step.now < settle_until:
            # Never yet accepted: a machine this young may merely not be visible.
            return min(settle_until, step.after(2))
        _close(step, attempt.id)
        return AGAIN
    receipt = attempt.receipt
    if receipt is not None and not receipt.alarmed and step.now - receipt.requested_at > LATE:
        step.say(
            "receipt_late",
            f"machine {machine_id} at {attempt.provider} still exists {LATE.seconds // 60} minutes after its end was asked for; "
            "it is terminated again and again",
            attempt_id=attempt.id,
        )
        step.change_attempt(attempt.id, lambda fresh, _: _alarmed(fresh))
    tries = attempt.receipt.tries + 1 if attempt.receipt else 1
    again_at = step.now + timedelta(seconds=min(30.0, 0.5 * 2 ** min(tries - 1, 6)))
    step.change_attempt(attempt.id, lambda fresh, now: _tried(fresh, tries, now, again_at))
    return again_at


def _alarmed(attempt: Attempt) -> Attempt:
    return replace(attempt, receipt=replace(attempt.receipt, alarmed=True)) if attempt.receipt else attempt


def _tried(attempt: Attempt, tries: int, now: datetime, again_at: datetime) -> Attempt:
    """The provider has taken the wish for its end once more."""
    receipt = replace(attempt.receipt, tries=tries, accepted_at=now) if attempt.receipt else None
    return replace(attempt, receipt=receipt, next_action_at=again_at)


def _whether_it_ran(step: Step, attempt: Attempt, listed: dict[str, dict[str, RentedMachine]]) -> None:
    """Before it goes, for the ledger: one that never registered may have run, and be billed whole. In doubt it was."""
    try:
        machine = _list(step, attempt.provider, listed).get(attempt.label)
    except errors.ProviderError:
        machine = None
    if machine is not None and machine.status in (MachineStatus.LOADING, MachineStatus.BROKEN):
        return
    ran_at = machine.ran_at if machine else None
    step.change_attempt(attempt.id, lambda fresh, _: replace(fresh, ran_at=ran_at or fresh.created_at))


def _known(attempt: Attempt, machine: RentedMachine) -> Attempt:
    """The attempt with the machine that bears its label; whatever its stage, the machine is on record now."""
    stage = Stage.CREATED if attempt.stage is Stage.OPEN else attempt.stage
    return replace(
        attempt,
        stage=stage,
        machine_id=machine.machine_id,
        created_at=attempt.created_at or attempt.asked_at,
        ssh_host=machine.ssh_host or attempt.ssh_host,
        ssh_port=machine.ssh_port or attempt.ssh_port,
        ran_at=attempt.ran_at or machine.ran_at,
        next_action_at=None,
    )


def _find(step: Step, attempt: Attempt, listed: dict[str, dict[str, RentedMachine]]) -> Next:
    """A create was sent and its answer is not on record: the label tells what became of it."""
    machine = _list(step, attempt.provider, listed).get(attempt.label)
    if machine is not None:
        step.change_attempt(attempt.id, lambda fresh, _: _known(fresh, machine))
        return AGAIN
    assert attempt.asked_at is not None
    settle_until = attempt.asked_at + timedelta(seconds=step.deps.settings.settle_s)
    if step.now < settle_until or attempt.stage is Stage.ADOPTED:
        return step.after(2)
    step.end_attempt(attempt, Outcome.CANCELLED, "the provider never made the machine")
    return AGAIN


def _really_gone(step: Step, attempt: Attempt) -> bool:
    """A list may leave one out; only the machine's own page proves that it is gone."""
    if attempt.machine_id is None:
        return False
    try:
        step.provider(attempt.provider).get(attempt.machine_id)
    except errors.MachineNotFound:
        return True
    return False


def _watch(step: Step, attempt: Attempt, listed: dict[str, dict[str, RentedMachine]]) -> Next:
    """Readiness is the agent's to report; the provider is asked only to learn of failure."""
    assert attempt.asked_at is not None
    limit = attempt.asked_at + timedelta(seconds=step.deps.settings.boot_deadline_s)
    if step.now >= limit:
        step.end_attempt(attempt, Outcome.FAILED, f"not ready within {step.deps.settings.boot_deadline_s:g} s")
        return AGAIN
    ran_at = attempt.ran_at
    looked = (step.now - attempt.asked_at).total_seconds()
    if looked >= LOOK_S * step.deps.settings.time_scale:
        machine = _list(step, attempt.provider, listed).get(attempt.label)
        if machine and machine.status in (MachineStatus.BROKEN, MachineStatus.STOPPED, MachineStatus.OFFLINE):
            step.end_attempt(attempt, Outcome.FAILED, machine.message or f"the machine is {machine.status}")
            return AGAIN
        ran_at = ran_at or (machine.ran_at if machine else None)
        settled_at = (attempt.created_at or attempt.asked_at) + timedelta(seconds=step.deps.settings.settle_s)
        if machine is None and step.now >= settled_at and _really_gone(step, attempt):
            step.end_attempt(attempt, Outcome.FAILED, "the provider no longer has the machine")
            return AGAIN
    again_at = min(limit, step.after(LOOK_S))
    step.change_attempt(
        attempt.id,
        lambda fresh, _: (
            replace(fresh, next_action_at=again_at, ran_at=ran_at) if fresh.stage is Stage.CREATED else fresh
        ),
    )
    return again_at
