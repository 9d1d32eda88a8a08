"""JSON lines on standard output, as Cloud Logging reads them: severity, message, and the trace of the request behind them.

One id finds everything that a request led to: it goes to providers with each call and to machines with their orders, machines
bring it back with what they report, and an instance that is set in motion keeps it for whoever drives it on.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

TRACE: ContextVar[str | None] = ContextVar("trace", default=None)
"""Of the request that is being answered."""


def trace_of(headers: Any) -> str | None:
    """The trace id of a request, from W3C's header or Google's older one."""
    given = str(headers.get("traceparent") or "")
    match = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", given)
    if match:
        return match.group(1)
    older = re.match(r"([0-9a-f]{32})", str(headers.get("X-Cloud-Trace-Context") or ""))
    return older.group(1) if older else None


@contextmanager
def traced(trace: str | None) -> Iterator[None]:
    """What is logged, ordered and asked of providers within belongs to this trace; None changes nothing."""
    before = TRACE.set(trace or TRACE.get())
    try:
        yield
    finally:
        TRACE.reset(before)


def traceparent() -> dict[str, str]:
    """The header that hands the trace on."""
    trace = TRACE.get()
    return {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"} if trace else {}


def log(severity: str, message: str, **fields: Any) -> None:
    """One line. Callers never pass credentials."""
    line: dict[str, Any] = {"severity": severity, "message": message, "time": datetime.now(UTC).isoformat(), **fields}
    trace, project = TRACE.get(), os.environ.get("PROJECT_ID")
    if trace:
        line["logging.googleapis.com/trace"] = f"projects/{project}/traces/{trace}" if project else trace
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()


class Asked:
    """A call of somebody else's API while it is made."""

    status: int | None = None


@contextmanager
def asking(whom: str, what: str) -> Iterator[Asked]:
    """Logs a call of somebody else's API, answered or not, when it is made for a request."""
    asked, started, problem = Asked(), time.perf_counter(), None
    try:
        yield asked
    except Exception as error:
        problem = type(error).__name__
        raise
    finally:
        if TRACE.get() is not None:
            ms = round((time.perf_counter() - started) * 1000, 1)
            log("WARNING" if problem else "INFO", f"{whom} {what} {problem or asked.status}", provider=whom, ms=ms)
