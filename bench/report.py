"""How benches and smokes end: one JSON line with figures, goals and `ok`, kept in bench/results as well."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

RESULTS = Path(__file__).resolve().parent / "results"


def finish(name: str, figures: dict[str, Any], goals: dict[str, Any], ok: bool) -> NoReturn:
    """Print and keep the result; exit 0 only when every goal was met."""
    result = {"ok": ok, **figures, "goals": goals}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2))
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    sys.exit(0 if ok else 1)
