"""What a user asks of one instance: provision, wake, hibernate, destroy, edit, exec, snapshot."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.domain.budget import USED_UP
from shared.domain.instance import Action, Clocks, IdlePolicy, Instance, Source, Spec, State
from shared.domain.offer import Need, misfit
from shared.domain.order import Order
from shared.domain.retention import Rules
from shared.domain.snapshot import Snapshot
from shared.flows import keys, storage
from shared.flows.advance import POLL_S, drive, kick
from shared.flows.advance.racing import no_offer, search
from shared.flows.agents import new_order, with_timer
from shared.flows.snapshot_orders import order_snapshot, prefix_of
from shared.flows.usage import require_budget
from shared.store.records import Transaction
from shared.wire import instances as wire

SNAPSHOT_EVERY_S = 600.0
"""Of machines that may be interrupted."""
BUSY_FOR = timedelta(minutes=2)
"""After a command the agent asks for orders often for this long."""


def need_of(body: wire.ProvisionRequest) -> Need:
    return Need(
        gpu_name=body.gpu_name,
        gpu_count=body.gpu_count,
        min_vram_gb=body.min_vram_gb,
        disk_gib=body.disk_gib,
        max_usd_per_hour=body.max_usd_per_hour,
        min_reliability=body.min_reliability,
        regions=tuple(body.regions),
        providers=tuple(body.providers),
        ports=len(body.ports),
        interruptible=body.interruptible,
        bid_headroom=body.bid_headroom,
    )


def id_of(key: str) -> str:
    """The instance that a provision with this key makes."""
    return "i-" + hashlib.sha256(key.encode()).hexdigest()[:16]


def provision(
    body: wire.ProvisionRequest, strategy: str, wait_s: float, user_id: str, deps: Deps, key: str | None
) -> Instance:
    """A new instance; the same key gives the same one. Raises NoCapacity before anything is stored or spent."""
    instance_id = id_of(key or uuid.uuid4().hex)
    if deps.records.find(Instance, instance_id) is None:
        require_budget(user_id, deps)
        place = storage.chosen(body.storage, user_id, deps)
        need = need_of(body)
        check_market(deps, need, body.image)
        open_once(
            deps,
            instance_id,
            lambda tx: open_instance(tx, body, need, instance_id, user_id, deps, place=place, strategy=strategy),
        )
    kick(deps, instance_id, user_id)
    return drive(deps, instance_id, wait_s, user_id)


def open_once(deps: Deps, instance_id: str, begin: Callable[[Transaction], None]) -> None:
    """The batch that makes an instance, which a request with the same key may have made meanwhile."""
    try:
        deps.records.transact(begin)
    except errors.Unavailable:
        # The same key at the same moment: the other request made it.
        if deps.records.find(Instance, instance_id) is None:
            raise


def check_market(deps: Deps, need: Need, image: str) -> None:
    try:
        offers, troubles = search(deps, need, image)
    except errors.ProviderBusy:
        # The market cannot be asked now; the instance will ask again.
        return
    if any(misfit(offer, need) is None for offer in offers):
        return
    asked = [name for name in deps.providers() if name in (need.providers or deps.providers())]
    if len(troubles) == len(asked):
        raise errors.ProviderRejected("; ".join(troubles))
    # Providers filter too: what came nearest shows only in a wider search.
    wide = Need(gpu_name=need.gpu_name, gpu_count=need.gpu_count, min_reliability=0, providers=need.providers)
    try:
        offers = [*offers, *search(deps, wide, image)[0]]
    except errors.ProviderBusy:
        # The message is the poorer for it, no more.
        pass
    raise errors.NoCapacity(no_offer(need, offers, troubles))


def spec_of(body: wire.ProvisionRequest, user_id: str, deps: Deps) -> Spec:
    return Spec(
        image=body.image,
        env=keys.seal_env(deps.settings, user_id, body.env),
        ports=tuple(body.ports),
        workspace=tuple(body.workspace),
        excludes=tuple(body.excludes),
        hot=tuple(body.hot),
        setup=body.setup,
    )


def open_instance(
    tx: Transaction,
    body: wire.ProvisionRequest,
    need: Need,
    instance_id: str,
    user_id: str,
    deps: Deps,
    *,
    place: str | None,
    name: str | None = None,
    spec: Spec | None = None,
    strategy: str = "race",
    pool_id: str | None = None,
    source: Source | None = None,
) -> None:
    """A new instance, its data key and its first event; one that exists stays as it is. `place`: its storage."""
    if tx.find(Instance, instance_id) is not None:
        return
    storage.claim(tx, user_id, place)
    every = body.snapshot_every_s
    instance = Instance(
        id=instance_id,
        user_id=user_id,
        name=name or body.name or f"gpu-{instance_id[2:8]}",
        state=State.PROVISIONING,
        need=need,
        spec=spec or spec_of(body, user_id, deps),
        storage=place,
        created_at=tx.now,
        entered_at=tx.now,
        idle_policy=IdlePolicy(**body.idle_policy.model_dump()),
        labels=dict(body.labels),
        strategy=strategy,
        width=body.width,
        max_attempts=body.max_attempts,
        round=1,
        next_action_at=tx.now,
        clocks=Clocks(asked_at=tx.now),
        pool_id=pool_id,
        source=source,
        snapshot_every_s=every if every is not None else (SNAPSHOT_EVERY_S if need.interruptible else 0.0),
        on_loss=body.on_loss,
    )
    tx.save(instance)
    tx.write(keys.new_data_key(deps.settings, instance_id))
    tx.event(instance, "provisioning", "asked for", user_id)


def wake(instance_id: str, wait_s: float, user_id: str, deps: Deps) -> Instance:
    """Raises IllegalTransition unless it is hibernated, BudgetReached; one that is waking already just goes on."""
    known = deps.records.load(Instance, instance_id)
    if known.state is State.HIBERNATED:
        require_budget(known.user_id, deps, instance_id)

    def begin(tx: Transaction) -> None:
        instance = tx.load(Instance, instance_id)
        if instance.state is State.WAKING:
            return
        instance.require(Action.WAKE)
        if instance.snapshot_id is None:
            raise errors.Conflict(
                f"no whole snapshot of instance {instance.id} is left; its events say what was damaged"
            )
        tx.save(
            replace(
                instance.enter(State.WAKING, tx.now),
                round=instance.round + 1,
                opened=0,
                next_action_at=tx.now,
                pokes=instance.pokes + 1,
                clocks=Clocks(asked_at=tx.now),
                failure=None,
                order_id=None,
                attempt_id=None,
                restoring=False,
                half_restored_id=None,
                keep_awake_until=None,
            )
        )
        tx.event(instance, "waking", "wake was asked for", user_id)

    deps.records.transact(begin)
    kick(deps, instance_id, user_id)
    return drive(deps, instance_id, wait_s, user_id)


def hibernate(instance_id: str, wait_s: float, user_id: str, deps: Deps, reason: str = "asked") -> Instance:
    """Raises IllegalTransition unless it runs or its standby serves; one that is hibernating already just goes on."""

    def begin(tx: Transaction) -> None:
        instance = tx.load(Instance, instance_id)
        if instance.state is State.HIBERNATING:
            return
        instance.require(Action.HIBERNATE)
        if instance.restoring:
            raise errors.Conflict(f"instance {instance.id} is still restoring its files; wait until they are back")
        tx.save(
            replace(
                instance.enter(State.HIBERNATING, tx.now),
                next_action_at=tx.now,
                pokes=instance.pokes + 1,
                hibernate_reason=reason,
                order_id=None,
                hibernate_at=None,
                # A GPU that was to take over from the standby is not wanted any more.
                incoming_attempt_id=None,
            )
        )
        message = "the month's budget is used up" if reason == USED_UP else "hibernation was asked for"
        tx.event(instance, "hibernating", message, user_id)

    deps.records.transact(begin)
    kick(deps, instance_id, user_id)
    return drive(deps, instance_id, wait_s, user_id)


def destroy(instance_id: str, wait_s: float, user_id: str, deps: Deps) -> Instance:
    """Works from every state; one that is destroyed stays so."""

    def begin(tx: Transaction) -> None:
        instance = tx.load(Instance, instance_id)
        if instance.state in (State.DESTROYING, State.DESTROYED):
            return
        instance.require(Action.DESTROY)
        tx.save(
            replace(
                instance.enter(State.DESTROYING, tx.now),
                next_action_at=tx.now,
                pokes=instance.pokes + 1,
                hibernate_at=None,
            )
        )
        tx.event(instance, "destroying", "destruction was asked for", user_id)

    deps.records.transact(begin)
    kick(deps, instance_id, user_id)
    return drive(deps, instance_id, wait_s, user_id)


def edit(instance_id: str, body: wire.Patch, user_id: str, deps: Deps) -> Instance:
    """Name, labels, policy, keep-awake; the timer follows at once."""

    def apply(tx: Transaction) -> Instance:
        instance = tx.load(Instance, instance_id)
        instance.require(Action.EDIT)
        changed = replace(
            instance,
            name=body.name or instance.name,
            labels=dict(body.labels) if body.labels is not None else instance.labels,
            snapshot_every_s=instance.snapshot_every_s if body.snapshot_every_s is None else body.snapshot_every_s,
            on_loss=body.on_loss or instance.on_loss,
            idle_policy=IdlePolicy(**body.idle_policy.model_dump()) if body.idle_policy else instance.idle_policy,
            spec=replace(
                instance.spec,
                hot=instance.spec.hot if body.hot is None else tuple(body.hot),
                excludes=instance.spec.excludes if body.excludes is None else tuple(body.excludes),
            ),
            retention=Rules(**body.retention.model_dump()) if body.retention else instance.retention,
            prune_at=tx.now if body.retention and instance.snapshot_id else instance.prune_at,
        )
        if body.keep_awake_s is not None:
            instance.require(Action.KEEP_AWAKE)
            until = tx.now + timedelta(seconds=body.keep_awake_s) if body.keep_awake_s else None
            changed = replace(changed, keep_awake_until=until)
            tx.event(
                changed, "keep_awake", f"kept awake until {until:%H:%M:%S} UTC" if until else "may sleep again", user_id
            )
        changed = with_timer(changed)
        tx.save(replace(changed, pokes=instance.pokes + 1))
        return changed

    return deps.records.transact(apply)


def start_exec(instance_id: str, body: wire.ExecRequest, user_id: str, deps: Deps, key: str | None) -> Order:
    """Order a command; the same key orders it once."""
    order_id = "o-" + hashlib.sha256((key or uuid.uuid4().hex).encode()).hexdigest()[:16]

    def apply(tx: Transaction) -> Order:
        known = tx.find(Order, order_id)
        if known is not None:
            return known
        instance = tx.load(Instance, instance_id)
        instance.require(Action.EXEC)
        assert instance.attempt_id is not None
        payload = {**body.model_dump(), "env": keys.seal_env(deps.settings, instance.user_id, body.env)}
        order = replace(new_order(tx, instance, instance.attempt_id, "exec", payload), id=order_id)
        tx.save(order)
        if instance.busy_until is None or instance.busy_until < tx.now + BUSY_FOR / 2:
            tx.save(replace(instance, busy_until=tx.now + BUSY_FOR))
        return order

    return deps.records.transact(apply)


def wait_exec(instance_id: str, order_id: str, wait_s: float, deps: Deps) -> Order:
    """The order as it is once it ended, or when the wait is over."""
    until = time.monotonic() + wait_s
    while True:
        order = deps.records.find(Order, order_id)
        if order is None or order.instance_id != instance_id or order.kind != "exec":
            raise errors.NotFound(f"instance {instance_id} has no command {order_id}")
        if order.ended or time.monotonic() >= until:
            return order
        attempt = deps.records.find(Attempt, order.attempt_id)
        if attempt is None or not attempt.wants_machine:
            raise errors.Conflict(f"the machine that was to run command {order_id} is gone")
        deps.clock.sleep(POLL_S)


def exec_view(order: Order) -> wire.ExecView:
    state = "running" if order.started and not order.ended else order.state
    return wire.ExecView(
        id=order.id,
        state=state,
        exit_code=order.exit_code,
        stdout=order.stdout,
        stderr=order.stderr,
        truncated=order.truncated,
        error=order.error,
    )


def snapshot_key(instance: Instance, deps: Deps) -> wire.RecoveryView:
    """Its owner may always leave, and take the files along. Told of in the instance's events."""
    key = keys.data_key(deps, instance.id)
    deps.records.transact(
        lambda tx: tx.event(instance, "key_shown", "the key of its snapshots was shown", instance.user_id)
    )
    bucket, endpoint = storage.location(deps, instance)
    return wire.RecoveryView(
        instance_id=instance.id,
        store=f"s3://{bucket}/{prefix_of(instance.id).rstrip('/')}",
        endpoint=endpoint,
        key=base64.b64encode(key).decode(),
    )


def take_snapshot(instance_id: str, wait_s: float, user_id: str, deps: Deps) -> Snapshot:
    """Order a snapshot of a running instance and wait for it to be verified."""

    def apply(tx: Transaction) -> str:
        instance = tx.load(Instance, instance_id)
        instance.require(Action.SNAPSHOT)
        assert instance.attempt_id is not None
        if instance.restoring:
            # What is not back yet would be missing in it.
            raise errors.Conflict(f"instance {instance.id} is still restoring its files; wait until they are back")
        order = order_snapshot(tx, instance, tx.load(Attempt, instance.attempt_id), final=False)
        tx.save(replace(instance, busy_until=tx.now + BUSY_FOR))
        return str(order.payload["snapshot_id"])

    snapshot_id = deps.records.transact(apply)
    until = time.monotonic() + wait_s
    while True:
        snapshot = deps.records.load(Snapshot, snapshot_id)
        if snapshot.state != "pending" or time.monotonic() >= until:
            return snapshot
        deps.clock.sleep(POLL_S)


def wait_rest(instance_id: str, wait_s: float, deps: Deps) -> Instance:
    return drive(deps, instance_id, wait_s)
