"""What a machine is told: its settings, and the orders that wait for it."""

from __future__ import annotations

import base64
import uuid
from dataclasses import asdict
from typing import Any, Literal

from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.domain.instance import Instance, State
from shared.domain.order import Order
from shared.flows import keys
from shared.flows.snapshot_orders import ORDERS_KEPT, standing
from shared.store.records import Transaction
from shared.store.shapes import ORDERS_PENDING
from shared.wire import agent as wire


def new_order(tx: Transaction, instance: Instance, attempt_id: str, kind: str, payload: dict[str, Any]) -> Order:
    return Order(
        id=f"o-{uuid.uuid4().hex[:16]}",
        instance_id=instance.id,
        attempt_id=attempt_id,
        kind=kind,
        payload=payload,
        created_at=tx.now,
        expires_at=tx.now + ORDERS_KEPT,
    )


def settings_of(deps: Deps, instance: Instance, attempt: Attempt) -> wire.AgentSettings:
    busy = instance.busy_until is not None and instance.busy_until > deps.clock.now()
    passing = instance.state is not State.RUNNING
    settings = deps.settings
    beat_s = settings.heartbeat_busy_s if busy or passing else settings.heartbeat_s
    save_at = instance.save_at() if instance.attempt_id == attempt.id else None
    if save_at is not None:
        # The heartbeat that begins the snapshot comes when that is due, not up to a heartbeat later.
        beat_s = min(beat_s, max(settings.heartbeat_busy_s, (save_at - deps.clock.now()).total_seconds()))
    return wire.AgentSettings(
        instance_id=instance.id,
        heartbeat_s=beat_s,
        idle=asdict(instance.idle_policy),
        keep_awake_until=instance.keep_awake_until,
        workspace=list(instance.spec.workspace),
        env=keys.open_env(settings, instance.user_id, instance.spec.env),
        adopted_at=attempt.adopted_at or deps.clock.now(),
        work=_work(instance, attempt),
    )


def _work(instance: Instance, attempt: Attempt) -> Literal["runs", "held", "ended"]:
    """A standby's last snapshot is all that the GPU gets, and one that only follows holds nobody's work.

    Until the GPU runs it may have to go on: so long its work is held.
    """
    if not attempt.is_standby:
        return "runs"
    if instance.attempt_id == attempt.id:
        return "held" if instance.state in (State.FAILING_OVER, State.HIBERNATING) else "runs"
    return "held" if instance.state is State.FAILING_OVER else "ended"


def orders_of(deps: Deps, instance: Instance, attempt: Attempt, told: bool = False) -> list[wire.Order]:
    where = {"attempt_id": attempt.id, "state": "pending"}
    pending = [] if told else deps.records.all(Order, ORDERS_PENDING, where)
    given = [(one.id, one.kind, one.payload, one.trace) for one in sorted(pending, key=lambda order: order.created_at)]
    answer = []
    for id, kind, payload, trace in [*given, *((*one, None) for one in standing(instance, attempt.id))]:
        given_out = dict(payload)
        if kind in ("restore", "snapshot"):
            key = keys.data_key(deps, str(given_out.pop("key_of", instance.id)))
            given_out["key"] = base64.b64encode(key).decode()
        elif kind == "exec":
            given_out["env"] = keys.open_env(deps.settings, attempt.user_id, given_out.get("env", {}))
        answer.append(wire.Order.model_validate({"id": id, "kind": kind, "payload": given_out, "trace": trace}))
    return answer
