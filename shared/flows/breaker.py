"""Asking the circuit breaker before a failover that nobody asked for, and closing it again."""

from __future__ import annotations

from shared.deps import Deps
from shared.domain.breaker import WINDOW, Breaker
from shared.store.records import Transaction
from shared.wire.base import Done
from shared.wire.standby import BreakerView

ID = Breaker().id


def admit(what: str, deps: Deps) -> str | None:
    """Why this failover must not begin by itself; None when it may, and is counted."""
    limit = deps.settings.failovers_at_once

    def ask(tx: Transaction) -> Breaker:
        known = tx.find(Breaker, ID) or Breaker()
        now = known.admit(what, tx.now, limit)
        if now != known:
            tx.save(now)
        return now

    if deps.records.transact(ask).opened_at is None:
        return None
    return (
        f"more than {limit} instances would have failed over within {WINDOW.seconds // 60} minutes, which stops all that would "
        "begin by themselves until an administrator has looked (`dumont standby breaker --close`); `dumont failover` does it "
        "for this instance"
    )


def show(deps: Deps) -> BreakerView:
    known = deps.records.find(Breaker, ID) or Breaker()
    now = deps.clock.now()
    return BreakerView(
        open=known.opened_at is not None,
        opened_at=known.opened_at,
        recent=sum(now - at < WINDOW for at in known.recent.values()),
        limit=deps.settings.failovers_at_once,
        within_s=WINDOW.total_seconds(),
    )


def close(deps: Deps) -> Done:
    """From here on it counts from nothing; what was held goes on within a look at its machine."""

    def apply(tx: Transaction) -> None:
        if tx.find(Breaker, ID) is not None:
            tx.save(Breaker())

    deps.records.transact(apply)
    return Done()
