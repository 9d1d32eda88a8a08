"""Pools of warm machines: keep so many running, hand one out in one compare-and-set, replace what has aged."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial

from shared import errors
from shared.deps import Deps
from shared.domain.instance import ACTIONS, Action, Clocks, IdlePolicy, Instance, Spec, State
from shared.domain.offer import Need
from shared.domain.pool import Pool
from shared.flows import instances, keys, storage
from shared.flows.agents import new_order, with_timer
from shared.flows.usage import require_budget
from shared.store import codec
from shared.store.base import Create, Delete, Put
from shared.store.records import Transaction
from shared.store.shapes import POOLS_OF_USER, SEATS_OF_POOL
from shared.wire import instances as wire
from shared.wire import machines as views
from shared.wire.base import Done

OPENED_AT_ONCE = 5
CLAIMS_KEPT = timedelta(hours=48)
"""The same key gives the same seat for so long."""
LIVE = frozenset(State) - {State.DESTROYING, State.DESTROYED, State.FAILED}


def _id(user_id: str, name: str) -> str:
    return "pool-" + hashlib.sha256(f"{user_id}|{name}".encode()).hexdigest()[:16]


def put_pool(name: str, body: views.PoolBody, user_id: str, deps: Deps) -> views.PoolView:
    """Make or change a pool, and start to fill it. Raises InvalidRequest for what is no name."""
    if not storage.NAME.fullmatch(name):
        raise errors.InvalidRequest("a pool's name has small letters, digits and hyphens, at most 63")
    need = Need(
        gpu_name=body.gpu_name,
        gpu_count=body.gpu_count,
        min_vram_gb=body.min_vram_gb,
        disk_gib=body.disk_gib,
        max_usd_per_hour=body.max_usd_per_hour,
        regions=tuple(body.regions),
        ports=len(body.ports),
    )
    spec = Spec(
        env=keys.seal_env(deps.settings, user_id, body.env), ports=tuple(body.ports), workspace=tuple(body.workspace)
    )
    pool = Pool(
        id=_id(user_id, name),
        user_id=user_id,
        name=name,
        need=need,
        target=body.target,
        created_at=deps.clock.now(),
        max_age_s=body.max_age_s,
        spec=replace(spec, image=body.image) if body.image else spec,
    )
    deps.store.commit([Put("pools", pool.id, codec.encode(pool))])
    refill(pool, deps)
    return view(pool, deps)


def pools_of(user_id: str, deps: Deps) -> list[Pool]:
    return deps.records.all(Pool, POOLS_OF_USER, {"user_id": user_id})


def list_pools(user_id: str, deps: Deps) -> views.PoolList:
    return views.PoolList(pools=[view(pool, deps) for pool in pools_of(user_id, deps)])


def delete_pool(name: str, user_id: str, deps: Deps) -> Done:
    """The pool and its seats; what was claimed from it stays."""
    pool = deps.records.find(Pool, _id(user_id, name))
    if pool is None:
        raise errors.NotFound(f"there is no pool {name}")
    deps.store.commit([Delete("pools", pool.id)])
    for seat in seats(pool, deps):
        instances.destroy(seat.id, 0, user_id, deps)
    return Done()


def seats(pool: Pool, deps: Deps) -> list[Instance]:
    return [i for i in deps.records.all(Instance, SEATS_OF_POOL, {"pool_id": pool.id}) if i.state in LIVE]


def view(pool: Pool, deps: Deps) -> views.PoolView:
    mine = seats(pool, deps)
    rates = [seat.machine.usd_per_hour for seat in mine if seat.machine]
    return views.PoolView(
        name=pool.name,
        gpu_name=pool.need.gpu_name,
        gpu_count=pool.need.gpu_count,
        target=pool.target,
        max_age_s=pool.max_age_s,
        ready=sum(seat.state is State.RUNNING for seat in mine),
        seats=[
            views.SeatView(
                instance_id=seat.id,
                state=seat.state,
                created_at=seat.created_at,
                usd_per_hour=seat.machine.usd_per_hour if seat.machine else None,
            )
            for seat in mine
        ],
        usd_per_hour=sum(rates, Decimal(0)),
    )


def refill(pool: Pool, deps: Deps) -> int:
    """Open seats up to the target and end those that have aged; how many were opened or ended."""
    now, mine, changed = deps.clock.now(), seats(pool, deps), 0
    for seat in mine:
        if seat.state is State.RUNNING and pool.aged_out(seat.created_at, now):
            instances.destroy(seat.id, 0, pool.user_id, deps)
            changed += 1
    for seat in sorted(mine, key=lambda s: s.created_at)[pool.target :]:
        instances.destroy(seat.id, 0, pool.user_id, deps)
        changed += 1
    fresh = [s for s in mine if not pool.aged_out(s.created_at, now)]
    missing = min(OPENED_AT_ONCE, max(0, pool.target - len(fresh)))
    if missing:
        require_budget(pool.user_id, deps)
    place = storage.chosen(None, pool.user_id, deps) if missing else None
    for _ in range(missing):
        deps.records.transact(lambda tx: _open_seat(tx, pool, place, deps))
        changed += 1
    return changed


def _open_seat(tx: Transaction, pool: Pool, place: str | None, deps: Deps) -> None:
    body = wire.ProvisionRequest(idle_policy=wire.IdlePolicyBody(enabled=False), strategy="race", width=2)
    seat_id = f"i-{uuid.uuid4().hex[:16]}"
    instances.open_instance(
        tx,
        body,
        pool.need,
        seat_id,
        pool.user_id,
        deps,
        place=place,
        name=f"seat-{seat_id[2:8]}",
        spec=pool.spec,
        pool_id=pool.id,
    )


def provision(body: wire.ProvisionRequest, wait_s: float, user_id: str, deps: Deps, key: str | None) -> Instance:
    """A new instance by the strategy asked for; `serverless` takes a warm seat where there is one and races otherwise."""
    user = deps.store.get("users", user_id)
    strategy = body.strategy or (str(user.data.get("strategy") or "race") if user else "race")
    if strategy == "serverless":
        require_budget(user_id, deps)
        taken = claim(body, instances.need_of(body), instances.spec_of(body, user_id, deps), user_id, deps, key)
        if taken is not None:
            return taken
    return instances.provision(body, strategy, wait_s, user_id, deps, key)


def claim(
    body: wire.ProvisionRequest, need: Need, spec: Spec, user_id: str, deps: Deps, key: str | None
) -> Instance | None:
    """A warm seat that is what the request asks for, as its instance; None when there is none."""
    claim_id = f"claim-{key or uuid.uuid4().hex}"
    known = deps.store.get("idempotency", claim_id)
    if known is not None:
        return deps.records.load(Instance, str(known.data["instance_id"]))
    place = storage.chosen(body.storage, user_id, deps)
    for pool in pools_of(user_id, deps):
        if not pool.serves(need, spec):
            continue
        for seat in sorted(seats(pool, deps), key=lambda s: s.created_at):
            if seat.state is not State.RUNNING or seat.failure is not None or seat.storage != place:
                continue
            take = partial(_take, seat_id=seat.id, claim_id=claim_id, pool=pool, body=body, spec=spec, user_id=user_id)
            taken = deps.records.transact(take)
            if taken is not None:
                refill(pool, deps)
                return taken
    return None


def _take(
    tx: Transaction, seat_id: str, claim_id: str, pool: Pool, body: wire.ProvisionRequest, spec: Spec, user_id: str
) -> Instance | None:
    seat = tx.load(Instance, seat_id)
    if seat.pool_id != pool.id or seat.state not in ACTIONS[Action.EXEC] or seat.attempt_id is None:
        return None
    taken = replace(
        seat,
        pool_id=None,
        name=body.name or f"gpu-{seat.id[2:8]}",
        spec=replace(spec, env={**pool.spec.env, **spec.env}),
        labels=dict(body.labels),
        idle_policy=IdlePolicy(**body.idle_policy.model_dump()),
        strategy="serverless",
        created_at=tx.now,
        entered_at=tx.now,
        snapshot_every_s=body.snapshot_every_s or 0.0,
        on_loss=body.on_loss,
        pokes=seat.pokes + 1,
        next_action_at=tx.now,
        clocks=Clocks(asked_at=tx.now, first_answer_at=tx.now, usable_at=tx.now, restored_at=tx.now),
    )
    if spec.setup:
        tx.save(new_order(tx, taken, seat.attempt_id, "setup", {"command": spec.setup, "timeout_s": 1800}))
    tx.save(with_timer(taken))
    expires_at = tx.now + CLAIMS_KEPT
    tx.write(Create("idempotency", claim_id, {"instance_id": taken.id, "user_id": user_id, "expires_at": expires_at}))
    tx.event(taken, "claimed", f"taken warm from pool {pool.name}", user_id)
    return taken
