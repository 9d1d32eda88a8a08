"""Run one bench or smoke by its name.

make smoke            the main job
make smoke NAME=x     bench/smoke_x.py
make bench NAME=x     bench/x.py
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OWN = {"run", "report", "check", "engine", "copying", "ledger", "light_s3", "workspaces", "__init__"}


def main() -> None:
    kind, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    module = f"smoke_{name}" if kind == "smoke" and name else name or kind
    if module in OWN or not (HERE / f"{module}.py").exists():
        known = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in OWN)
        sys.exit(f"there is no {kind} {name!r}; there are: {', '.join(known)}")
    importlib.import_module(f"bench.{module}").main()


if __name__ == "__main__":
    main()
