"""JSON lines on standard output, as Cloud Logging reads them: severity, message, trace."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any


def trace_of(headers: Any) -> str | None:
    """The trace id of a request, from W3C's header or Google's older one."""
    given = str(headers.get("traceparent") or "")
    match = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", given)
    if match:
        return match.group(1)
    older = re.match(r"([0-9a-f]{32})", str(headers.get("X-Cloud-Trace-Context") or ""))
    return older.group(1) if older else None


def log(severity: str, message: str, trace: str | None = None, **fields: Any) -> None:
    """One line. Callers never pass credentials."""
    line: dict[str, Any] = {"severity": severity, "message": message, "time": datetime.now(UTC).isoformat(), **fields}
    project = os.environ.get("PROJECT_ID")
    if trace:
        line["logging.googleapis.com/trace"] = f"projects/{project}/traces/{trace}" if project else trace
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()
