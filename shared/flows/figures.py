"""What an operator's Prometheus asks for, from a bounded number of reads whatever the size of the fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

from shared.deps import Deps
from shared.domain.attempt import Attempt, Stage
from shared.store.shapes import CLOSED_ATTEMPTS, EVERY_OPEN_ATTEMPT, STRAYS, TICKS

WINDOW = timedelta(hours=24)
READ = 500
"""At most so many open and so many closed attempts; `dumont_metrics_truncated` says when there were more."""

HELP: dict[str, tuple[str, str]] = {
    "dumont_attempts_open": ("gauge", "Attempts whose machine is not proven gone, by stage"),
    "dumont_attempts_closed_24h": ("gauge", "Attempts closed in the last 24 hours, by provider and outcome"),
    "dumont_receipts_open": ("gauge", "Machines whose end was asked for and is not proven"),
    "dumont_receipt_oldest_seconds": ("gauge", "Age of the oldest such receipt"),
    "dumont_ready_seconds": ("gauge", "From asking for a machine to its adoption, over 24 hours, by quantile"),
    "dumont_races_24h": ("gauge", "Rounds in which machines raced, over 24 hours, by result"),
    "dumont_spend_usd_per_hour": ("gauge", "Rate of all machines that exist"),
    "dumont_spend_usd_24h": ("gauge", "Upper bound of what machines cost in the last 24 hours"),
    "dumont_strays": ("gauge", "Working machines that no record knows of"),
    "dumont_tick_age_seconds": ("gauge", "Since a scheduled function last ended, by sweep"),
    "dumont_tick_looked_at": ("gauge", "What the last run looked at, by sweep"),
    "dumont_tick_failed": ("gauge", "What the last run could not do, by sweep"),
    "dumont_metrics_truncated": ("gauge", "1 when there was more than one answer reads"),
}


def text(deps: Deps) -> str:
    """The exposition format, version 0.0.4."""
    now = deps.clock.now()
    open_, more_open = deps.records.query(Attempt, EVERY_OPEN_ATTEMPT, {"open": True}, limit=READ)
    closed, more_closed = deps.records.query(Attempt, CLOSED_ATTEMPTS, limit=READ)
    recent = [a for a in closed if a.closed_at is not None and now - a.closed_at <= WINDOW]
    truncated = more_open is not None or (more_closed is not None and len(recent) == len(closed))
    rows: list[tuple[str, dict[str, str], float]] = []

    stages = Counter(a.stage.value for a in open_)
    rows += [("dumont_attempts_open", {"stage": s.value}, stages[s.value]) for s in Stage if s is not Stage.CLOSED]
    outcomes = Counter((a.provider, a.outcome.value if a.outcome else "none") for a in recent)
    rows += [
        ("dumont_attempts_closed_24h", {"provider": provider, "outcome": outcome}, count)
        for (provider, outcome), count in sorted(outcomes.items())
    ]
    ending = [a.receipt for a in open_ if a.stage is Stage.ENDING and a.receipt is not None]
    oldest = max(((now - r.requested_at).total_seconds() for r in ending), default=0.0)
    rows += [("dumont_receipts_open", {}, len(ending)), ("dumont_receipt_oldest_seconds", {}, oldest)]
    both = [*open_, *recent]
    ready = sorted(
        (a.adopted_at - a.asked_at).total_seconds()
        for a in both
        if a.adopted_at is not None and a.asked_at is not None and now - a.adopted_at <= WINDOW
    )
    rows += [("dumont_ready_seconds", {"quantile": str(q)}, _quantile(ready, q)) for q in (0.5, 0.95) if ready]
    races = Counter(_results(a for a in both if not a.is_standby and now - a.opened_at <= WINDOW))
    rows += [("dumont_races_24h", {"result": result}, races[result]) for result in ("won", "lost", "running")]
    exist = [a for a in open_ if a.created_at is not None]
    rate = sum((a.usd_per_hour for a in exist), Decimal(0))
    before = now - WINDOW
    day = sum((a.usd_until(now) - a.usd_until(before) for a in exist), Decimal(0))
    day += sum((a.usd_until(a.closed_at) - a.usd_until(before) for a in recent if a.closed_at is not None), Decimal(0))
    rows += [("dumont_spend_usd_per_hour", {}, float(rate)), ("dumont_spend_usd_24h", {}, float(day))]
    strays = deps.store.query(STRAYS, limit=100).documents
    rows.append(("dumont_strays", {}, sum("ended_at" not in stray.data for stray in strays)))
    for tick in deps.store.query(TICKS, limit=50).documents:
        labels = {"sweep": tick.id}
        rows.append(("dumont_tick_age_seconds", labels, (now - tick.data["at"]).total_seconds()))
        rows.append(("dumont_tick_looked_at", labels, tick.data["looked_at"]))
        rows.append(("dumont_tick_failed", labels, tick.data["failed"]))
    rows.append(("dumont_metrics_truncated", {}, int(truncated)))
    return _exposition(rows)


def _results(attempts: Iterable[Attempt]) -> list[str]:
    """What each round came to: won once a machine was adopted, running while one is wanted, else lost."""
    rounds: dict[tuple[str, int], list[Attempt]] = {}
    for attempt in attempts:
        rounds.setdefault((attempt.instance_id, attempt.round), []).append(attempt)
    return [
        "won"
        if any(a.adopted_at is not None for a in members)
        else "running"
        if any(a.wants_machine for a in members)
        else "lost"
        for members in rounds.values()
    ]


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _exposition(rows: list[tuple[str, dict[str, str], float]]) -> str:
    lines: list[str] = []
    for name, (kind, words) in HELP.items():
        lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
        for row, labels, value in rows:
            if row == name:
                inside = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels.items())
                lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
