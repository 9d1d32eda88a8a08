"""How benches and smokes end: one JSON line with figures, goals and `ok`, kept in bench/results as well."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

RESULTS = Path(__file__).resolve().parent / "results"


def finish(
    name: str, figures: dict[str, Any], goals: dict[str, Any], ok: bool, last: Collection[str] | None = None
) -> NoReturn:
    """Print and keep the result; exit 0 only when every goal was met. `last`: the last line has `ok` and these figures only."""
    result = {"ok": ok, **figures, "goals": goals}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2))
    if last is not None and "error" not in figures:
        sys.stdout.write(json.dumps({k: v for k, v in result.items() if k not in ("ok", *last)}) + "\n")
        result = {"ok": ok, **{k: figures[k] for k in last}}
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    sys.exit(0 if ok else 1)
