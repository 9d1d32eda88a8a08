"""How things look in a terminal: tables, money, durations, and a line that says what is being waited for."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

import click

SPIN = "|/-\\"


def out(data: Any) -> None:
    click.echo(json.dumps(data, ensure_ascii=False))


def money(usd: Any) -> str:
    return f"${float(usd):.3f}/h"


def span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.0f}s" if seconds >= 10 else f"{seconds:.1f}s"
    if seconds < 3600:
        return f"{int(seconds // 60)}m{int(seconds % 60):02d}s"
    if seconds < 86400:
        return f"{int(seconds // 3600)}h{int(seconds % 3600 // 60):02d}m"
    return f"{int(seconds // 86400)}d{int(seconds % 86400 // 3600)}h"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def since(text: str | None) -> str:
    at = moment(text)
    return span((datetime.now(UTC) - at).total_seconds()) if at else "-"


def table(rows: list[list[str]], head: list[str]) -> None:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class Duration(click.ParamType[float]):
    """90s, 3m, 2h, 1d, or plain seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration; use 90s, 3m, 2h or 1d", param, ctx)
        return float(match.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match.group(2)]


class Number(click.types.FloatParamType):
    """A number that is one: JSON has no nan, and no price is infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


class Progress:
    """One line on standard error that says what is waited for; on a terminal only."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._started = time.monotonic()
        self._turn = 0
        self._lines = 0

    def show(self, *lines: str) -> None:
        if not self._on:
            return
        self.clear()
        self._turn += 1
        spent = span(time.monotonic() - self._started)
        shown = [f"{SPIN[self._turn % 4]} {lines[0]}  {spent}", *lines[1:]]
        sys.stderr.write("\n".join(shown))
        sys.stderr.flush()
        self._lines = len(shown)

    def clear(self) -> None:
        if not self._on or not self._lines:
            return
        sys.stderr.write("\r\x1b[K" + "\x1b[1A\x1b[K" * (self._lines - 1))
        sys.stderr.flush()
        self._lines = 0


def lanes(instance: dict[str, Any]) -> list[str]:
    """A race: one line a machine."""
    lines = []
    for attempt in instance["attempts"]:
        if attempt["round"] != max(a["round"] for a in instance["attempts"]):
            continue
        receipt = attempt["receipt"]
        end = ""
        if receipt:
            gone = "gone" if receipt["confirmed_at"] else "ending"
            end = f", {gone}, ${float(receipt['usd']):.4f}"
        what = {"open": "asking", "created": "booting", "adopted": "WINNER"}.get(attempt["stage"], attempt["why"])
        lines.append(
            f"  host {attempt['host_id']:<8} {attempt['gpu_count']}x {attempt['gpu_name']:<12} "
            f"{money(attempt['usd_per_hour'])}  {what}{end}"
        )
    return lines


def clocks(instance: dict[str, Any]) -> dict[str, float | None]:
    """Seconds from asking to the first answer, to usable, to everything restored."""
    times = instance["clocks"]
    asked = moment(times["asked_at"])

    def after(name: str) -> float | None:
        at = moment(times[name])
        return round((at - asked).total_seconds(), 3) if at and asked else None

    return {
        "first_answer_s": after("first_answer_at"),
        "usable_s": after("usable_at"),
        "restored_s": after("restored_at"),
    }


def measured(instance: dict[str, Any]) -> list[str]:
    """The newest failover and drill, as measured."""
    rows = []
    drill = instance.get("drill")
    for label, moments in (("failover", instance.get("failover")), ("drill", drill and drill["failover"])):
        if not moments:
            continue
        spans = (("files served after", "rto_s"), ("a GPU after", "gpu_back_s"), ("at most lost", "rpo_s"))
        words = [f"{what} {moments[name]:.1f} s" for what, name in spans if moments[name] is not None]
        rows.append(f"  {label:<9} {moments['detected_at'][:19].replace('T', ' ')}: {', '.join(words) or 'under way'}")
    if drill and drill["failure"]:
        rows.append(f"  drill     failed: {drill['failure']}")
    return rows
