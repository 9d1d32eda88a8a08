"""Lay a function out as it is deployed: its `main.py`, `shared/` beside it, and of the lock only what the manifest names.

    python -m infra.stage NAME... | --all [--out build/stage] [--no-bundle]

The agent's stage also holds the agent as one file for every supported Python. Modules are compiled, unchecked: without
compiled modules a cold start takes four times as long.
"""

from __future__ import annotations

import argparse
import compileall
import py_compile
import shutil
import sys
from pathlib import Path

from infra import agent_bundle, lock, manifest
from infra.manifest import ROOT, Function

IGNORED = ".git\n"
"""`.gcloudignore`: without one gcloud leaves out what git ignores, and with it our compiled modules."""


def stage(function: Function, out: Path, bundle: Path | None = None) -> Path:
    """Write the stage afresh; its folder. Raises KeyError when a requirement is not pinned."""
    target = out / function.name
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    shutil.copy(ROOT / "functions" / function.name / "main.py", target / "main.py")
    shutil.copytree(ROOT / "shared", target / "shared", ignore=shutil.ignore_patterns("__pycache__", "fake.py"))
    # With a hash on any line pip wants one on every line, and installs nothing else.
    (target / "requirements.txt").write_text("".join(one.text for one in lock.closure(function.requires)))
    (target / ".gcloudignore").write_text(IGNORED)
    if bundle is not None and function.name == "agent":
        shutil.copy(bundle, target / "agent.pyz")
    compileall.compile_dir(target, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "stage")
    parser.add_argument("--no-bundle", action="store_true", help="leave the agent's file out")
    given = parser.parse_args()
    functions = manifest.load()
    unknown = set(given.names) - set(functions)
    if unknown or not (given.all or given.names):
        parser.error(f"no such function: {', '.join(sorted(unknown))}" if unknown else "name a function, or --all")
    names = list(functions) if given.all else given.names
    bundle = None
    if "agent" in names and not given.no_bundle:
        bundle = agent_bundle.build_for_all()
    for name in names:
        sys.stdout.write(f"{stage(functions[name], given.out, bundle)}\n")


if __name__ == "__main__":
    main()
