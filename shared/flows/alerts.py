"""Price alerts: kept per user, compared with every sample of their GPU, told of by webhooks."""

from __future__ import annotations

import uuid

from shared import errors
from shared.deps import Deps
from shared.domain.alert import MOST, PriceAlert
from shared.domain.offer import normal_gpu
from shared.store.records import Transaction
from shared.store.shapes import ALERTS, ALERTS_OF_GPU, ALERTS_OF_USER
from shared.wire import market as wire
from shared.wire.base import Done


def create(body: wire.AlertBody, user_id: str, deps: Deps) -> wire.AlertView:
    """Raises Conflict beyond the most that one user may have."""
    if len(deps.records.all(PriceAlert, ALERTS_OF_USER, {"user_id": user_id})) >= MOST:
        raise errors.Conflict(f"{MOST} price alerts are the most; delete one first")
    alert = PriceAlert(
        id=f"pa-{uuid.uuid4().hex[:12]}",
        user_id=user_id,
        gpu_key=normal_gpu(body.gpu_name),
        gpu_name=body.gpu_name,
        interruptible=body.interruptible,
        usd_per_gpu_hour=float(body.usd_per_gpu_hour),
        created_at=deps.clock.now(),
        provider=body.provider,
    )
    deps.records.transact(lambda tx: tx.save(alert))
    return view(alert)


def delete(id: str, user_id: str, deps: Deps) -> Done:
    def apply(tx: Transaction) -> None:
        alert = tx.find(PriceAlert, id)
        if alert is None or alert.user_id != user_id:
            raise errors.NotFound(f"there is no price alert {id}")
        tx.delete(PriceAlert, alert.id)

    deps.records.transact(apply)
    return Done()


def list_alerts(user_id: str, deps: Deps) -> wire.AlertList:
    found = deps.records.all(PriceAlert, ALERTS_OF_USER, {"user_id": user_id})
    return wire.AlertList(alerts=[view(one) for one in sorted(found, key=lambda a: a.created_at)])


def view(alert: PriceAlert) -> wire.AlertView:
    return wire.AlertView(
        id=alert.id,
        gpu_name=alert.gpu_name,
        interruptible=alert.interruptible,
        provider=alert.provider,
        usd_per_gpu_hour=alert.usd_per_gpu_hour,
        created_at=alert.created_at,
        met=bool(alert.below),
        lowest_usd_per_gpu_hour=min(alert.below.values(), default=None),
        cheapest_at=min(alert.below, key=lambda name: alert.below[name], default=None),
        seen_at=alert.seen_at,
        told_at=alert.told_at,
    )


def wanted(deps: Deps) -> list[tuple[str, bool]]:
    """GPUs and kinds that somebody has an alert for, in a fixed order."""
    return sorted({(alert.gpu_key, alert.interruptible) for alert in deps.records.all(PriceAlert, ALERTS, {})})


def judge(gpu: str, interruptible: bool, provider: str, lowest: float | None, deps: Deps) -> int:
    """Compare a sample with every alert on its GPU; how many were told of. The event is in the batch that remembers it."""
    told = 0
    which = {"gpu_key": normal_gpu(gpu), "interruptible": interruptible}

    def apply(tx: Transaction, id: str) -> bool:
        alert = tx.find(PriceAlert, id)
        if alert is None:
            return False
        judged, tell = alert.judged(provider, lowest, tx.now)
        tx.save(judged)
        if tell:
            kind = "interruptible" if interruptible else "on demand"
            tx.user_event(
                alert.user_id,
                "price_alert",
                f"{alert.gpu_name}, {kind}, is offered for ${lowest:.4f} an hour and GPU at {provider}, "
                f"under your ${alert.usd_per_gpu_hour:.4f}",
                alert_id=alert.id,
                provider=provider,
                usd_per_gpu_hour=lowest,
            )
        return tell

    for alert in deps.records.all(PriceAlert, ALERTS_OF_GPU, which):
        if alert.provider in (None, provider):
            told += deps.records.transact(lambda tx, id=alert.id: apply(tx, id))  # type: ignore[misc]
    return told
