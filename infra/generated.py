"""What every generator does: write its file, or say whether the file is current."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(files: dict[str, Callable[[], str]], module: str) -> None:
    """Write each file, or, with --check, exit 1 when one is not what it would be."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    check = parser.parse_args().check
    stale = []
    for name, make in files.items():
        path, text = ROOT / name, make()
        if path.exists() and path.read_text() == text:
            continue
        if check:
            stale.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            sys.stdout.write(f"wrote {name}\n")
    if stale:
        raise SystemExit(f"stale: {', '.join(stale)}; run `make docs`")
