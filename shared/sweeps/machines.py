"""Orphans: machines that bear our token and that no attempt wants. They are terminated until they are gone."""

from __future__ import annotations

from datetime import timedelta

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Stage, attempt_of_label
from shared.domain.instance import Instance
from shared.flows import restored
from shared.flows.keys import is_our_attempt
from shared.providers.base import Provider, RentedMachine
from shared.wire.base import Report


class Spared(Exception):
    """No attempt is on record, and yet it may hold the only copy of somebody's work; the message says why."""


def machines(deps: Deps) -> Report:
    """Machines first, attempts second: one rented after the list must not look like an orphan."""
    looked_at = changed = failed = 0
    notes: list[str] = []
    for name, provider in deps.providers().items():
        try:
            rented = provider.list()
        except errors.ProviderError as error:
            failed += 1
            notes.append(f"{name}: {error.message}")
            continue
        for machine in rented:
            looked_at += 1
            try:
                why = _unwanted(deps, machine)
            except Spared as spared:
                failed += 1
                notes.append(f"{name} {machine.machine_id}: spared: {spared}")
                continue
            if why is None:
                continue
            notes.append(f"{name} {machine.machine_id}: {why}")
            if _terminate(provider, machine):
                changed += 1
                _tell(deps, machine, why)
            else:
                failed += 1
    return Report(name="machines", looked_at=looked_at, changed=changed, failed=failed, notes=notes[:50])


def _unwanted(deps: Deps, machine: RentedMachine) -> str | None:
    """Why a machine is an orphan, or None. Only labels that our own key signed are ours to touch."""
    attempt_id = attempt_of_label(machine.token)
    if attempt_id is None or not is_our_attempt(deps.settings, attempt_id):
        return None
    grace = timedelta(seconds=deps.settings.orphan_grace_s)
    if machine.started_at is not None and deps.clock.now() - machine.started_at < grace:
        return None
    attempt = deps.records.find(Attempt, attempt_id)
    if attempt is None:
        spared = restored.why_spared(deps, attempt_id, machine)
        if spared is not None:
            raise Spared(spared)
        return "no attempt is on record"
    if attempt.stage is Stage.CLOSED:
        return "its attempt is closed"
    if attempt.machine_id is not None and attempt.machine_id != machine.machine_id:
        return f"a twin of {attempt.machine_id}"
    return None


def _tell(deps: Deps, machine: RentedMachine, why: str) -> None:
    """Whoever's it was hears of it; of a machine without an attempt nobody knows whose it was."""
    attempt = deps.records.find(Attempt, attempt_of_label(machine.token) or "")
    instance = deps.records.find(Instance, attempt.instance_id) if attempt else None
    if instance is None:
        return
    message = f"machine {machine.machine_id} existed though {why}; it is terminated"
    deps.records.transact(lambda tx: tx.event(instance, "orphan", message, machine_id=machine.machine_id))


def _terminate(provider: Provider, machine: RentedMachine) -> bool:
    try:
        provider.terminate(machine.machine_id)
    except errors.MachineNotFound:
        return True
    except errors.ProviderError:
        # The next sweep finds it again.
        return False
    return True
