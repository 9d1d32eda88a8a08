"""What a user asks of standbys: have one, see how far it is, be rid of it, fail over now."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Outcome
from shared.domain.instance import Action, Instance, Standby, State
from shared.domain.offer import Offer
from shared.domain.order import Pulse
from shared.domain.snapshot import Snapshot
from shared.flows.advance import drive, kick
from shared.flows.advance.standby import machine_type, standby_offers, zone
from shared.flows.usage import require_budget
from shared.providers.base import Provider
from shared.store.records import Transaction
from shared.store.shapes import INSTANCES_OF_USER, SNAPSHOTS_OF_INSTANCE
from shared.wire import standby as wire
from shared.wire.base import Done

HOURS_A_MONTH = 730
GIB = 1 << 30


def _provider(deps: Deps) -> Provider:
    found = next((p for p in deps.providers().values() if p.features.sells_cpu), None)
    if found is None:
        raise errors.ProviderRejected(
            "no provider that sells CPU machines is set: give the control plane a Compute Engine project (DUMONT_GCE_PROJECT)"
        )
    return found


def _choose(body: wire.StandbyBody, instance: Instance, disk_gib: float, deps: Deps) -> Offer:
    provider = _provider(deps)
    offers = standby_offers(provider, disk_gib, body.spot)
    types = sorted({machine_type(o) for o in offers})
    fitting = [o for o in offers if machine_type(o) == body.machine_type]
    if not fitting:
        raise errors.InvalidRequest(f"machine_type: {provider.name} has {', '.join(types)}, not {body.machine_type}")
    if body.zone is not None:
        exact = next((o for o in fitting if zone(o) == body.zone), None)
        if exact is None:
            zones = ", ".join(sorted({zone(o) for o in fitting}))
            raise errors.InvalidRequest(f"zone: {body.zone} is not one of {zones}")
        return exact
    country = instance.machine.region if instance.machine else ""
    return min(fitting, key=lambda o: (o.region != country, o.usd_per_hour, o.offer_id))


def _disk(body: wire.StandbyBody, instance: Instance, deps: Deps) -> float:
    """Raises InvalidRequest when the workspace would not fit."""
    pulse = deps.records.find(Pulse, instance.attempt_id) if instance.attempt_id else None
    snapshot = deps.records.find(Snapshot, instance.snapshot_id) if instance.snapshot_id else None
    # Its machine says what it takes of the disk; a snapshot counts the holes of sparse files as well.
    measured = pulse.workspace_bytes if pulse else None
    used = measured if measured is not None else snapshot.bytes if snapshot else 0
    wanted = body.disk_gib if body.disk_gib is not None else max(10.0, instance.need.disk_gib)
    if wanted * GIB < used * 1.1:
        raise errors.InvalidRequest(
            f"disk_gib: the workspace has {used / GIB:.1f} GiB; {wanted:g} GiB would not hold it with room to spare"
        )
    return wanted


def put(body: wire.StandbyBody, user_id: str, deps: Deps) -> wire.StandbyView:
    """Give a running instance a standby, or change it. Nothing is made for a preview.

    Raises IllegalTransition unless it runs, InvalidRequest for a type, zone or disk that cannot be, BudgetReached.
    """
    instance = _owned(deps, body.instance, user_id)
    instance.require(Action.FAIL_OVER, "a standby")
    offer = _choose(body, instance, disk := _disk(body, instance, deps), deps)
    wanted = Standby(
        machine_type=body.machine_type,
        zone=zone(offer),
        disk_gib=disk,
        spot=body.spot,
        interval_s=body.interval_s,
        usd_per_hour=offer.usd_per_hour,
    )
    if body.preview:
        return view(replace(instance, standby=wanted).without_standby(), deps, preview=True)
    require_budget(user_id, deps, instance.id)

    def apply(tx: Transaction) -> None:
        fresh = tx.load(Instance, instance.id)
        fresh.require(Action.FAIL_OVER, "a standby")
        same = fresh.standby is not None and replace(fresh.standby, interval_s=wanted.interval_s) == wanted
        if not same:
            # Another machine: the old one is let go, the new one is made from nothing.
            for attempt in deps.records.open_attempts(fresh.id):
                if attempt.is_standby and attempt.wants_machine:
                    old = tx.load(Attempt, attempt.id)
                    tx.save(old.ending(Outcome.CANCELLED, "another standby is wanted", tx.now))
            fresh = fresh.without_standby()
        tx.save(
            replace(
                fresh,
                standby=wanted,
                standby_tries=0,
                standby_not_before=None,
                next_action_at=tx.now,
                pokes=fresh.pokes + 1,
            )
        )
        tx.event(
            fresh,
            "standby_wanted",
            f"a {wanted.machine_type} in {wanted.zone} will follow every {wanted.interval_s:g} s",
            user_id,
        )

    deps.records.transact(apply)
    return view(kick(deps, instance.id, user_id), deps)


def remove(instance_id: str, user_id: str, deps: Deps) -> Done:
    """End the standby's machine. Refused while it serves: it holds the only running copy."""
    instance = _owned(deps, instance_id, user_id)

    def apply(tx: Transaction) -> None:
        fresh = tx.load(Instance, instance.id)
        if fresh.standby is None:
            raise errors.NotFound(f"instance {fresh.id} has no standby")
        if fresh.state in (State.ON_STANDBY, State.FAILING_OVER):
            raise errors.Conflict(f"instance {fresh.id} runs on its standby now; wait until a GPU has taken over")
        tx.save(replace(fresh, standby=None, next_action_at=tx.now, pokes=fresh.pokes + 1))
        tx.event(fresh, "standby_unwanted", "its standby was taken away", user_id)

    deps.records.transact(apply)
    kick(deps, instance.id, user_id)
    return Done()


def list_standbys(user_id: str, deps: Deps) -> wire.StandbyList:
    owned = deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": user_id})
    return wire.StandbyList(
        standbys=[
            view(one, deps)
            for one in owned
            if one.standby and one.state is not State.DESTROYED and one.drill_of is None
        ]
    )


def fail_over(body: wire.FailoverBody, wait_s: float, user_id: str, deps: Deps) -> Instance:
    """Give the machine up now. Raises Conflict when neither a standby nor a snapshot holds the files."""
    instance = _owned(deps, body.instance, user_id)

    def apply(tx: Transaction) -> None:
        fresh = tx.load(Instance, instance.id)
        if fresh.state is State.FAILING_OVER:
            return
        fresh.require(Action.FAIL_OVER, "a failover")
        if fresh.snapshot_id is None and fresh.standby_snapshot_id is None:
            raise errors.Conflict(
                f"instance {fresh.id} has no snapshot yet: its machine holds the only copy; take one first"
            )
        tx.save(replace(fresh, give_up_why=f"failover was {body.why}", next_action_at=tx.now, pokes=fresh.pokes + 1))
        tx.event(fresh, "failover_asked", f"failover was {body.why}", user_id)

    deps.records.transact(apply)
    kick(deps, instance.id, user_id)
    return drive(deps, instance.id, wait_s, user_id)


def _seconds(span: timedelta) -> float:
    return round(max(0.0, span.total_seconds()), 3)


def view(instance: Instance, deps: Deps, *, preview: bool = False) -> wire.StandbyView:
    wanted = instance.standby
    assert wanted is not None
    lag_s, lag_bytes = (None, None) if preview else _lag(instance, deps)
    if preview:
        phase = "preview"
    elif instance.state is State.HIBERNATED and instance.standby_attempt_id is None:
        phase = "off"
    elif instance.standby_attempt_id is None:
        phase = "making"
    elif instance.attempt_id == instance.standby_attempt_id:
        phase = "serving"
    elif instance.standby_snapshot_id is None:
        phase = "filling"
    else:
        phase = "following" if not lag_s else "behind"
    return wire.StandbyView(
        instance_id=instance.id,
        instance_name=instance.name,
        instance_state=instance.state,
        machine_type=wanted.machine_type,
        zone=wanted.zone,
        disk_gib=wanted.disk_gib,
        spot=wanted.spot,
        interval_s=wanted.interval_s,
        usd_per_hour=wanted.usd_per_hour,
        usd_per_month=(wanted.usd_per_hour * HOURS_A_MONTH).quantize(Decimal("0.01")),
        phase=phase,
        machine_id=instance.standby_attempt_id,
        holds_snapshot_id=instance.standby_snapshot_id,
        held_at=instance.standby_at,
        lag_s=lag_s,
        lag_bytes=lag_bytes,
    )


def _lag(instance: Instance, deps: Deps) -> tuple[float | None, int | None]:
    if instance.standby_snapshot_id is None:
        return None, None
    if instance.standby_snapshot_id == instance.snapshot_id:
        return 0.0, 0
    newer, _ = deps.records.query(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": instance.id}, limit=50)
    held = deps.records.find(Snapshot, instance.standby_snapshot_id)
    newest = next((s for s in newer if s.id == instance.snapshot_id), None)
    if held is None or newest is None:
        return None, None
    missed = sum(s.stored_bytes for s in newer if s.state == "verified" and s.created_at > held.created_at)
    return _seconds(newest.created_at - held.created_at), missed


def _owned(deps: Deps, instance_id: str, user_id: str) -> Instance:
    instance = deps.records.find(Instance, instance_id)
    if instance is None or instance.user_id != user_id:
        raise errors.NotFound(f"there is no instance {instance_id}")
    return instance
