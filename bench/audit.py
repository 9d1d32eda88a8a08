"""What the package indexes know against the packages that are installed: findings fail unless they are explained here.

make audit

An index that does not tell what it knows is no clean bill: then it says `answered: false` and fails as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench.report import finish
from local.embedded import ROOT

EXPLAINED: dict[str, str] = {}
"""Advisories that do not concern us, and why; docs/security.md lists them."""


def python() -> dict[str, Any]:
    """Of everything in the lock, which is what is deployed, and of what it is built and tested with."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    try:
        rows = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return {"answered": False, "packages": 0, "findings": [], "why": done.stderr.strip()[-300:]}
    unknown = [row["name"] for row in rows if "skip_reason" in row]
    found = [f"{row['name']} {row['version']}: {one['id']}" for row in rows for one in row.get("vulns", [])]
    why = f"the index tells nothing of {len(unknown)} packages" if unknown else ""
    return {"answered": not unknown, "packages": len(rows), "findings": found, "why": why}


def npm() -> dict[str, Any]:
    done = subprocess.run(["npm", "audit", "--json"], cwd=ROOT / "frontend", capture_output=True, text=True)
    try:
        told = json.loads(done.stdout)
        found = [
            f"{name} {one['range']}: {via.get('url')}"
            for name, one in told["vulnerabilities"].items()
            for via in one["via"]
            if isinstance(via, dict)
        ]
        return {
            "answered": True,
            "packages": told["metadata"]["dependencies"]["total"],
            "findings": sorted(set(found)),
            "why": "",
        }
    except (ValueError, KeyError):
        return {"answered": False, "packages": 0, "findings": [], "why": (done.stderr or done.stdout).strip()[:300]}


def main() -> None:
    figures = {"python": python(), "npm": npm()}
    open_ = [
        one for told in figures.values() for one in told["findings"] if not any(known in one for known in EXPLAINED)
    ]
    answered = all(told["answered"] for told in figures.values())
    finish("audit", {**figures, "unexplained": open_}, {"unexplained": 0, "answered": True}, answered and not open_)


if __name__ == "__main__":
    main()
