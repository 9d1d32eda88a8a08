"""What the console weighs: what a browser loads first, per page, and in all, gzipped.

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
    pages = {}
    for name, chunk in manifest.items():
        if chunk.get("isDynamicEntry"):
            pages[Path(name).stem] = round(weight(closure(manifest, name, set()) - loaded), 1)
    everything = {chunk["file"] for chunk in manifest.values()} | {
        c for m in manifest.values() for c in m.get("css", [])
    }
    figures: dict[str, Any] = {
        "entry_kb": round(weight(loaded), 1),
        # The list of instances comes with the entry; the page with the heaviest rest stands for any other first page.
        "first_route_kb": round(weight(loaded) + max(pages.values()), 1),
        "largest_lazy_kb": max(pages.values()),
        "total_kb": round(weight(everything), 1),
        "pages_kb": pages,
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
