"""What the console weighs, gzipped: what a browser loads first, in all for each page as the first one, and altogether.

make bench NAME=console
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from bench.report import finish

DIST = Path(__file__).resolve().parent.parent / "frontend" / "dist"
GOALS = {"entry_kb": "<= 120", "first_route_kb": "<= 150", "largest_lazy_kb": "<= 60", "total_kb": "<= 400"}


def closure(manifest: dict[str, Any], name: str, seen: set[str]) -> set[str]:
    """Files that a chunk needs at once: its own, its static imports', their styles."""
    if name in seen:
        return set()
    seen.add(name)
    chunk = manifest[name]
    files = {chunk["file"], *chunk.get("css", [])}
    for other in chunk.get("imports", []):
        files |= closure(manifest, other, seen)
    return files


def weight(files: set[str]) -> float:
    return sum(len(gzip.compress((DIST / name).read_bytes(), 9)) for name in files) / 1000


def main() -> None:
    manifest: dict[str, Any] = json.loads((DIST / ".vite" / "manifest.json").read_text())
    entry = next(name for name, chunk in manifest.items() if chunk.get("isEntry"))
    loaded = closure(manifest, entry, set())
    lazy = {name: closure(manifest, name, set()) for name, chunk in manifest.items() if chunk.get("isDynamicEntry")}
    shell = next(files for name, files in lazy.items() if name.endswith("/shell.tsx"))
    # What a page brings in later by itself (charts, the palette) is not needed for its first picture.
    routes = {
        Path(name).stem.removesuffix("-page"): round(
            weight(loaded | files | (shell if "login" not in name else set())), 1
        )
        for name, files in lazy.items()
        if name.endswith("-page.tsx")
    }
    pieces = {Path(name).stem: round(weight(files - loaded), 1) for name, files in lazy.items()}
    everything = {chunk["file"] for chunk in manifest.values()} | {
        c for m in manifest.values() for c in m.get("css", [])
    }
    figures: dict[str, Any] = {
        "entry_kb": round(weight(loaded), 1),
        "first_route_kb": max(routes.values()),
        "largest_lazy_kb": max(pieces.values()),
        "total_kb": round(weight(everything), 1),
        "routes_kb": routes,
        "pieces_kb": pieces,
    }
    ok = (
        figures["entry_kb"] <= 120
        and figures["first_route_kb"] <= 150
        and figures["largest_lazy_kb"] <= 60
        and figures["total_kb"] <= 400
    )
    finish("console", figures, GOALS, ok)


if __name__ == "__main__":
    main()
