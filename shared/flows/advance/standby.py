"""An instance's CPU standby: made while the instance runs, remade when it is lost, following every verified snapshot.

The standby's agent restores each snapshot over the one before and fixes only what differs. Nobody is given the machine
before it is promoted, and it is promoted only when it holds a snapshot whole: half a snapshot is never seen.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared import errors
from shared.domain.attempt import STANDBY, STANDBY_ROUND, Attempt, Outcome, Stage
from shared.domain.instance import Instance, Standby, State
from shared.domain.offer import Need, Offer
from shared.domain.snapshot import Snapshot
from shared.flows import keys
from shared.flows.advance.racing import ask
from shared.flows.advance.step import AGAIN, Moved, Next, Step
from shared.flows.snapshot_orders import following
from shared.providers.base import MachineStatus, Provider
from shared.store.records import Transaction

KEPT_IN = frozenset({State.RUNNING, State.HIBERNATING, State.WAKING, State.FAILING_OVER, State.ON_STANDBY})
HANGS_SILENCES = 10
"""A standby holds nobody's only copy: one that is silent for so many times what makes a machine suspect is remade."""
AGAIN_AFTER_S = 60.0
"""Between two tries to make one."""


def standby_offers(provider: Provider, disk_gib: float, spot: bool) -> list[Offer]:
    """CPU machines that can be standbys. `offer_id` is ZONE/MACHINE_TYPE[/spot]."""
    return [o for o in provider.offers(Need(gpu_count=0, disk_gib=disk_gib, interruptible=spot)) if o.gpu_count == 0]


def machine_type(offer: Offer) -> str:
    return offer.machine_id.partition("/")[2]


def zone(offer: Offer) -> str:
    return offer.machine_id.partition("/")[0]


def keep(step: Step) -> Next:
    """Runs in every state. AGAIN when something changed."""
    instance = step.instance
    mine = [a for a in step.attempts if a.is_standby and a.wants_machine]
    if not _wanted(instance, step.now):
        if mine or instance.standby_attempt_id:
            return _let_go(step, mine)
        return None
    holder = next((a for a in mine if a.id == instance.standby_attempt_id), None)
    if instance.standby_attempt_id and holder is None:
        # On standby the loss is that state's to handle: the standby is the instance's machine there.
        return _forget(step) if instance.attempt_id != instance.standby_attempt_id else None
    if holder is not None:
        heard = step.heard(holder)
        why = _lost(step, holder, heard)
        if why is not None:
            step.say("standby_lost", f"the standby {why}; another is made", attempt_id=holder.id)
            step.end_attempt(holder, Outcome.LOST, f"the standby {why}")
            return AGAIN
        # A follower's signs of life are on record half as often: its look falls together with its instance's.
        look_at = step.ask_after(heard) + timedelta(seconds=2 * step.deps.settings.heartbeat_s)
        # One that is silent and still there is asked after again, not at once.
        look_at = max(look_at, step.now + timedelta(seconds=step.deps.settings.silence_after_s))
        return _earliest(_reserved(instance), _follow(step, holder), look_at)
    for attempt in mine:
        if attempt.stage is Stage.OPEN and attempt.asked_at is None:
            return (
                ask(step, attempt)
                if not attempt.next_action_at or attempt.next_action_at <= step.now
                else attempt.next_action_at
            )
    makes = instance.state is State.RUNNING or instance.preparing
    if mine or not makes or instance.standby is None:
        return _reserved(instance)
    if instance.standby_not_before is not None and instance.standby_not_before > step.now:
        return instance.standby_not_before
    return _make(step, instance.standby)


def _wanted(instance: Instance, now: datetime) -> bool:
    if instance.standby is None:
        return False
    if instance.state is State.HIBERNATED:
        return instance.reserved_until is not None and instance.reserved_until > now
    return instance.state in KEPT_IN


def _reserved(instance: Instance) -> datetime | None:
    return instance.reserved_until if instance.state is State.HIBERNATED else None


def _earliest(*times: Next) -> Next:
    if AGAIN in times:
        return AGAIN
    return min((at for at in times if isinstance(at, datetime)), default=None)


def _let_go(step: Step, mine: list[Attempt]) -> Next:
    for attempt in mine:
        outcome = Outcome.READY if attempt.stage is Stage.ADOPTED else Outcome.CANCELLED
        step.end_attempt(attempt, outcome, "no standby is wanted")
    return _forget(step)


def _forget(step: Step) -> Next:
    def apply(tx: Transaction, instance: Instance) -> None:
        tx.save(instance.without_standby())

    step.change(apply)
    return AGAIN


def _lost(step: Step, holder: Attempt, heard: datetime) -> str | None:
    """Why it is to be remade. A silent standby is asked after at the provider, as any machine is."""
    silent = step.now - heard >= timedelta(seconds=step.deps.settings.silence_after_s)
    if silent and holder.machine_id is not None:
        try:
            status = step.provider(holder.provider).get(holder.machine_id).status
        except errors.MachineNotFound:
            return "is gone"
        if status in (MachineStatus.STOPPED, MachineStatus.BROKEN):
            return f"is {status}"
    return _hangs(step, silent)


def _hangs(step: Step, silent: bool) -> str | None:
    """Its machine runs and nothing is heard of it. An outage of ours would silence the instance's machine as well."""
    instance, silence = step.instance, timedelta(seconds=step.deps.settings.silence_after_s)
    serving = next((a for a in step.attempts if a.id == instance.attempt_id and not a.is_standby), None)
    alone = silent and serving is not None and step.now - step.heard(serving) < silence
    since = (instance.standby_silent_since or step.now) if alone else None
    if since != instance.standby_silent_since:
        step.change(lambda tx, fresh: tx.save(replace(fresh, standby_silent_since=since)))
    if since is not None and step.now - since >= HANGS_SILENCES * silence:
        return f"has been silent for {HANGS_SILENCES * silence.total_seconds():.0f} s, while its instance's machine is heard"
    return None


def _make(step: Step, wanted: Standby) -> Next:
    provider = next((p for p in step.deps.providers().values() if p.features.sells_cpu), None)
    if provider is None:
        raise errors.ProviderRejected("no provider that sells CPU machines is set; a standby needs Compute Engine")
    fitting = [
        o for o in standby_offers(provider, wanted.disk_gib, wanted.spot) if machine_type(o) == wanted.machine_type
    ]
    if not fitting:
        raise errors.ProviderRejected(f"{provider.name} has no machine type {wanted.machine_type}")
    # The zone asked for first; when it has no room, the next time another.
    fitting.sort(key=lambda offer: (zone(offer) != wanted.zone, offer.offer_id))
    offer = fitting[step.instance.standby_tries % len(fitting)]
    attempt_id = keys.new_attempt_id(step.deps.settings)

    def write_down(tx: Transaction, fresh: Instance) -> Attempt:
        if fresh.standby != wanted:
            raise Moved(f"another standby of instance {fresh.id} is wanted now")
        attempt = Attempt(
            id=attempt_id,
            instance_id=fresh.id,
            user_id=fresh.user_id,
            round=STANDBY_ROUND,
            role=STANDBY,
            provider=offer.provider,
            offer_id=offer.offer_id,
            offer_machine_id=offer.machine_id,
            host_id=offer.host_id,
            gpu_name=machine_type(offer),
            gpu_count=0,
            usd_per_hour=offer.usd_per_hour,
            usd_disk_per_hour=offer.usd_disk_per_hour,
            region=offer.region,
            secret_hash=keys.agent_secret_hash(step.deps.settings, attempt_id),
            opened_at=tx.now,
        )
        tx.save(attempt)
        tx.save(
            replace(
                fresh,
                standby_tries=fresh.standby_tries + 1,
                standby_not_before=step.after(AGAIN_AFTER_S),
            )
        )
        return attempt

    return ask(step, step.change(write_down))


def _follow(step: Step, holder: Attempt) -> Next:
    """The newest verified snapshot is ordered from the standby; commits do that too, without waiting for this."""
    instance = step.instance
    if following(instance) is instance:
        return None
    if instance.standby_retry_at is not None and instance.standby_retry_at > step.now:
        return instance.standby_retry_at
    if ahead(step):
        # An older one would take files away.
        return None
    step.change(lambda tx, fresh: tx.save(following(fresh)))
    return AGAIN


def ahead(step: Step) -> bool:
    """Whether the standby holds newer files than storage does whole: what it took over was damaged there since."""
    instance = step.instance
    if instance.standby_snapshot_id in (None, instance.snapshot_id):
        return False
    held = step.deps.records.find(Snapshot, str(instance.standby_snapshot_id))
    newest = step.deps.records.find(Snapshot, instance.snapshot_id) if instance.snapshot_id else None
    return held is not None and held.state == "damaged" and (newest is None or newest.created_at < held.created_at)


def holds_newest(step: Step) -> bool:
    instance = step.instance
    if instance.standby_attempt_id is None or instance.standby_snapshot_id is None:
        return False
    return instance.standby_snapshot_id == instance.snapshot_id or ahead(step)
