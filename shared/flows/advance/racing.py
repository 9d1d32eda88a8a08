"""Finding a machine, for provision and wake alike: search, open attempts, create; whoever registers first wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Outcome, Stage
from shared.domain.instance import DEFAULT_IMAGE, Instance
from shared.domain.machine_history import PRIOR_RATE
from shared.domain.offer import MachineSpec, Need, Offer, misfit, nearest_misses, rank
from shared.domain.pricing import TotalPrice, total_price
from shared.flows import keys
from shared.flows.advance.step import AGAIN, Moved, Next, Step
from shared.flows.history import Memory, remember
from shared.flows.usage import require_budget
from shared.frozen import dataclass
from shared.providers.base import RentedMachine
from shared.store.records import Transaction
from shared.strategies import STRATEGIES
from shared.strategies.base import Runner, Situation, Strategy

ONSTART = """\
mkdir -p "$HOME/.dumont" && cd "$HOME/.dumont" || exit 1
has() { command -v "$1" >/dev/null; }
has python3 || { has apt-get && apt-get update && apt-get install -y python3; }
has python3 || { has dnf && dnf install -y python3; }
has python3 || { echo "dumont: no python3 in this image; use one that has Python 3.10 or newer" >&2; exit 1; }
get() { python3 -c 'import sys,urllib.request as u
open("agent.pyz.part","wb").write(u.urlopen(sys.argv[1],timeout=60).read())' "$1" || \
curl -fsSL -o agent.pyz.part "$1"; }
until get "$DUMONT_URL/api/v1/agent/bundle" && mv agent.pyz.part agent.pyz; do sleep 2; done
while :; do python3 agent.pyz && exit 0; sleep 2; done
"""
"""Fetches the agent and keeps it running; it ends when the agent ends on purpose. An image without Python gets its own."""


EXPECTED_READY_S = 120.0
"""Of a machine nothing is known about: most that become ready are so by then."""


@dataclass(frozen=True)
class Exhausted:
    """No machine can be had within the limits; why, in words for the user."""

    why: str


def search(deps: Deps, need: Need, image: str = DEFAULT_IMAGE) -> tuple[list[Offer], list[str]]:
    """Every provider's offers for a need, and why a provider could not say.

    Providers of virtual machines run no container: they are asked only when no image was chosen.
    """
    found: list[Offer] = []
    troubles: list[str] = []
    busy: errors.ProviderBusy | None = None
    for name, provider in deps.providers().items():
        if need.providers and name not in need.providers:
            continue
        if need.interruptible and not provider.features.sells_spot:
            continue
        if image != DEFAULT_IMAGE and not provider.features.runs_images:
            troubles.append(f"{name} runs no container images")
            continue
        try:
            found += provider.offers(need)
        except errors.ProviderBusy as error:
            busy = error
            troubles.append(f"{name}: {error.message}")
        except errors.ProviderError as error:
            troubles.append(f"{name}: {error.message}")
    if not found and busy is not None:
        raise busy
    return found, troubles


def price_of(deps: Deps, offer: Offer, memory: Memory, now: datetime, snapshot_gb: float = 0.0) -> TotalPrice:
    """What an offer costs in all for its first hour, failed tries included."""
    known, provider = memory.of(offer), deps.providers().get(offer.provider)
    return total_price(
        offer,
        snapshot_gb=snapshot_gb,
        success_rate=known.rate(now) if known else PRIOR_RATE,
        boot_s=(known.boot_quantile(0.95) if known else None) or EXPECTED_READY_S,
        bills_loading=provider.features.bills_while_loading if provider else True,
    )


def no_offer(need: Need, offers: Sequence[Offer], troubles: Sequence[str]) -> str:
    """The message when nothing fits: what was wanted, what came nearest."""
    what = f"{need.gpu_count}x {need.gpu_name or 'any GPU'}"
    if need.min_vram_gb:
        what += f" of {need.min_vram_gb:g} GB or more"
    parts = [f"no offer fits: {what}, {need.disk_gib:g} GiB of disk, reliability {need.min_reliability:g}"]
    if need.max_usd_per_hour is not None:
        parts[0] += f", at most ${need.max_usd_per_hour}/h"
    near = nearest_misses(offers, need)
    if near:
        parts.append("nearest: " + "; ".join(near))
    parts += troubles
    return ". ".join(parts)


def race(step: Step) -> Next | Exhausted:
    """Keep as many attempts alive as the strategy wants, within the user's limits."""
    instance = step.instance
    alive = [a for a in step.attempts if a.round == instance.round and a.wants_machine]
    unasked = [a for a in alive if a.stage is Stage.OPEN and a.asked_at is None]
    for attempt in unasked:
        if attempt.next_action_at is None or attempt.next_action_at <= step.now:
            return ask(step, attempt)
    strategy = STRATEGIES.get(instance.strategy, STRATEGIES["race"])
    situation = _situation(step, alive)
    if strategy.wanted(situation) and not unasked:
        # One at a time: the provider's pace decides how fast creates go out, and offers are freshest that way.
        opened = _open(step, alive, strategy, situation)
        if isinstance(opened, Attempt):
            return ask(step, opened)
        if not alive:
            return opened
    elif not alive:
        return Exhausted(what_was_tried(step))
    due = [a.next_action_at for a in unasked if a.next_action_at]
    again_s = strategy.look_again_s(situation)
    if again_s is not None:
        due.append(step.now + timedelta(seconds=again_s))
    return min(due, default=None)


def _headroom(step: Step, offer: Offer) -> float | None:
    """None for machines that nobody can take away; 0 where the provider sets the price."""
    if not offer.interruptible:
        return None
    return step.instance.need.bid_headroom if step.provider(offer.provider).features.takes_bids else 0.0


def _situation(step: Step, alive: Sequence[Attempt]) -> Situation:
    runners = [
        Runner(
            age_s=(step.now - attempt.asked_at).total_seconds() if attempt.asked_at else 0.0,
            expected_s=max(0.1, attempt.expected_ready_s * step.deps.settings.time_scale),
            provider=attempt.provider,
        )
        for attempt in alive
    ]
    instance = step.instance
    newest = max(step.attempts, key=lambda a: a.opened_at, default=None)
    return Situation(
        width=instance.width,
        max_attempts=instance.max_attempts,
        opened=instance.opened,
        runners=runners,
        last_provider=instance.last_provider or (newest.provider if newest else None),
    )


def what_was_tried(step: Step) -> str:
    """How each machine of this round went, in words for the user."""
    tried = step.deps.records.attempts_of_round(step.instance.id, step.instance.round)
    ordered = sorted(tried, key=lambda a: a.opened_at)
    reasons = "; ".join(f"host {a.host_id}: {a.why or 'still loading'}" for a in ordered)
    return f"{len(tried)} machines were tried and none became ready ({reasons})"


def _open(step: Step, alive: Sequence[Attempt], strategy: Strategy, situation: Situation) -> Attempt | Exhausted:
    """Write one more attempt down, before any money is spent."""
    instance, deps = step.instance, step.deps
    if instance.opened:
        # Whoever began the race asked for its first machine; since then it may have been used up.
        try:
            require_budget(instance.user_id, deps, instance.id)
        except errors.BudgetReached as reached:
            return Exhausted(reached.message)
    offers, troubles = search(deps, instance.need, instance.spec.image)
    before = deps.records.attempts_of_round(instance.id, instance.round)
    tried = {a.offer_machine_id for a in before}
    hosts = {(a.provider, a.host_id) for a in alive}
    memory = remember(deps, offers, instance.user_id)
    ranked = strategy.order(
        [
            offer
            for offer in rank(
                offers,
                instance.need,
                avoid_machines=tried,
                prefer_host=instance.last_host_id,
                price=lambda o: price_of(deps, o, memory, step.now).total,
            )
            if (offer.provider, offer.host_id) not in hosts and memory.why_not(offer) is None
        ],
        situation,
    )
    if not ranked:
        kept_away = sum(memory.why_not(o) is not None and misfit(o, instance.need) is None for o in offers)
        if kept_away:
            troubles.append(f"{kept_away} fitting machines are kept away from because they failed lately")
        if before:
            return Exhausted(what_was_tried(step) + "; " + no_offer(instance.need, offers, troubles))
        return Exhausted(no_offer(instance.need, offers, troubles))
    offer = ranked[0]
    attempt_id = keys.new_attempt_id(deps.settings)
    known = memory.of(offer)
    expected = (known.boot_quantile(0.75) if known else None) or EXPECTED_READY_S

    def write_down(tx: Transaction, fresh: Instance) -> Attempt:
        attempt = Attempt(
            id=attempt_id,
            instance_id=fresh.id,
            user_id=fresh.user_id,
            round=fresh.round,
            provider=offer.provider,
            offer_id=offer.offer_id,
            offer_machine_id=offer.machine_id,
            host_id=offer.host_id,
            gpu_name=offer.gpu_name,
            gpu_count=offer.gpu_count,
            usd_per_hour=offer.usd_per_hour,
            usd_disk_per_hour=offer.usd_disk_per_hour,
            region=offer.region,
            bid_headroom=_headroom(step, offer),
            bills_loading=step.provider(offer.provider).features.bills_while_loading,
            secret_hash=keys.agent_secret_hash(deps.settings, attempt_id),
            opened_at=tx.now,
            expected_ready_s=expected,
        )
        # On standby the CPU machine serves while a GPU is searched.
        if fresh.attempt_id not in (None, fresh.standby_attempt_id) or fresh.incoming_attempt_id is not None:
            raise Moved(f"instance {fresh.id} has a machine")
        tx.save(attempt)
        tx.save(replace(fresh, opened=fresh.opened + 1, last_provider=offer.provider))
        return attempt

    return step.change(write_down)


def _disk_gib(step: Step, attempt: Attempt) -> float:
    standby = step.instance.standby
    return standby.disk_gib if attempt.is_standby and standby else step.instance.need.disk_gib


def _spec(step: Step, attempt: Attempt) -> MachineSpec:
    instance, settings = step.instance, step.deps.settings
    env = keys.open_env(settings, instance.user_id, instance.spec.env)
    env["DUMONT_URL"] = settings.public_url.rstrip("/")
    if attempt.is_standby:
        env["DUMONT_ROLE"] = attempt.role
    if instance.trace:
        env["DUMONT_TRACE"] = instance.trace
    env["DUMONT_TOKEN"] = keys.agent_token(settings, attempt)
    return MachineSpec(
        image=instance.spec.image,
        disk_gib=_disk_gib(step, attempt),
        onstart=ONSTART,
        env=env,
        ports=instance.spec.ports,
    )


def ask(step: Step, attempt: Attempt) -> Next:
    """Send the create. Whatever happens after `asked_at` is on record is found again by the attempt's label."""

    def asking(fresh: Attempt, now: datetime) -> Attempt:
        if fresh.stage is not Stage.OPEN or fresh.asked_at is not None:
            raise Moved(f"attempt {fresh.id} is {fresh.stage}")
        return replace(fresh, asked_at=now, next_action_at=now + timedelta(seconds=step.deps.settings.settle_s))

    attempt = step.change_attempt(attempt.id, asking)
    offer = Offer(
        provider=attempt.provider,
        offer_id=attempt.offer_id,
        machine_id=attempt.offer_machine_id,
        host_id=attempt.host_id,
        gpu_name=attempt.gpu_name,
        gpu_count=attempt.gpu_count,
        vram_gb=0.0,
        usd_per_hour=attempt.usd_per_hour,
        disk_gib=_disk_gib(step, attempt),
        reliability=0.0,
        region=attempt.region,
        usd_disk_per_hour=attempt.usd_disk_per_hour,
        interruptible=step.instance.need.interruptible,
    )
    try:
        machine = step.provider(attempt.provider).create(offer, _spec(step, attempt), attempt.label)
    except errors.ProviderBusy as busy:
        # Certainly nothing happened: as if it had not been asked.
        again_at = step.now + timedelta(seconds=max(0.2, busy.retry_after_s))
        step.change_attempt(attempt.id, lambda fresh, _: _unasked(fresh, again_at))
        return again_at
    except (errors.NoCapacity, errors.ProviderRejected) as error:
        why = error.message
        # Nothing was rented: close it at once, there is nothing to terminate.
        step.change_attempt(
            attempt.id,
            lambda fresh, now: replace(fresh, asked_at=None).ending(Outcome.CANCELLED, why, now).closed(now),
        )
        step.say("create_refused", f"host {attempt.host_id}: {why}", attempt_id=attempt.id)
        return AGAIN
    except errors.OutcomeUnknown as error:
        step.say("create_unknown", f"host {attempt.host_id}: {error.message}; looking by label", attempt_id=attempt.id)
        step.change_attempt(attempt.id, lambda fresh, _: replace(fresh, next_action_at=step.after(1)))
        return AGAIN
    step.change_attempt(attempt.id, lambda fresh, now: _created(fresh, machine, now))
    return AGAIN


def _unasked(attempt: Attempt, again_at: datetime) -> Attempt:
    if attempt.stage is not Stage.OPEN:
        return attempt
    return replace(attempt, asked_at=None, next_action_at=again_at)


def _created(attempt: Attempt, machine: RentedMachine, now: datetime) -> Attempt:
    """The answer on record. The agent may have registered meanwhile, or the attempt been called off: both stay."""
    stage = Stage.CREATED if attempt.stage is Stage.OPEN else attempt.stage
    due = now if stage is Stage.ENDING else None
    return replace(attempt, stage=stage, machine_id=machine.machine_id, created_at=now, next_action_at=due)


def call_off(step: Step, why: str, outcome: Outcome = Outcome.CANCELLED) -> bool:
    """End every attempt that still wants a machine; whether there was one."""
    wanting = [a for a in step.attempts if a.wants_machine]
    for attempt in wanting:
        step.end_attempt(attempt, outcome, why)
    return bool(wanting)


def let_go(step: Step, attempt: Attempt | None, why: str) -> Next:
    """The adopted machine could not serve: end it and go on with the race."""
    if attempt is not None:
        step.end_attempt(attempt, Outcome.FAILED, why)

    def apply(tx: Transaction, instance: Instance) -> None:
        tx.save(replace(instance, attempt_id=None, machine=None, order_id=None, restoring=False))

    step.change(apply)
    return AGAIN


def gone_silently(step: Step, attempt: Attempt) -> bool:
    """Whether a silent machine is proven gone; silence alone proves nothing."""
    if (
        step.now - step.heard(attempt) < timedelta(seconds=step.deps.settings.silence_after_s)
        or attempt.machine_id is None
    ):
        return False
    try:
        step.provider(attempt.provider).get(attempt.machine_id)
    except errors.MachineNotFound:
        return True
    return False


def look_again(step: Step, deadline: datetime | None) -> datetime:
    """When to look at an adopted machine again that has not said it is done."""
    again_at = step.now + timedelta(seconds=step.deps.settings.silence_after_s)
    return min(again_at, deadline) if deadline else again_at
