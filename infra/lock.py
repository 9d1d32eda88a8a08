"""`requirements.lock`: what `requirements.txt` pins with everything that it needs in turn, each with its hashes.

    python -m infra.lock [--check]

A function is deployed with its part of this file, and `make setup` installs all of it: what runs is what was tested. `--check`
asks nobody: it compares the two files, and what is installed here.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.manifest import ROOT

REQUIREMENTS = ROOT / "requirements.txt"
LOCK = ROOT / "requirements.lock"


@dataclass(frozen=True)
class Locked:
    name: str
    version: str
    text: str
    """As pip reads it, hashes and marker included."""
    needed_by: frozenset[str]


def pins() -> dict[str, str]:
    """Package -> its pinned line in requirements.txt."""
    lines = [line.split("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines()]
    return {re.split(r"[=\[<>~!]", line)[0]: line for line in lines if line}


@cache
def locked() -> dict[str, Locked]:
    """Every package of the lock by its name."""
    found = {}
    for block in re.split(r"^(?=[a-z0-9])", LOCK.read_text(), flags=re.M):
        match = re.match(r"([a-z0-9-]+)==([\w.]+)", block)
        if match:
            code, _, comment = block.partition("    # via")
            parents = frozenset(word for word in re.findall(r"[\w-]+", comment) if word != match[1])
            found[match[1]] = Locked(match[1], match[2], code.rstrip(" \\\n") + "\n", parents)
    return found


def closure(names: Sequence[str]) -> list[Locked]:
    """These packages and whatever they need. Raises KeyError when one is not pinned."""
    known, wanted, open_ = locked(), set[str](), [pins()[name].partition("==")[0] for name in names]
    while open_:
        name = open_.pop()
        if name not in wanted:
            wanted.add(name)
            open_ += [one.name for one in known.values() if name in one.needed_by]
    return [known[name] for name in sorted(wanted)]


def problems() -> list[str]:
    known = locked()
    wrong = [
        f"{line} is not what the lock has"
        for name, line in pins().items()
        if name not in known or f"{name}=={known[name].version}" != line
    ]
    for one in known.values():
        if "--hash=sha256:" not in one.text:
            wrong.append(f"{one.name} has no hash")
        try:
            here = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            # For another Python or another system.
            continue
        if here != one.version:
            wrong.append(f"{one.name} {here} is installed, {one.version} is locked: make setup")
    return wrong


def main() -> None:
    if "--check" in sys.argv[1:]:
        wrong = problems()
        sys.exit("\n".join(wrong) if wrong else 0)
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "pip", "compile", str(REQUIREMENTS), "--generate-hashes", "--universal", "--python-version", "3.11",
         "--no-header", "-q", "-o", str(LOCK)],
        check=True, cwd=ROOT,
    )  # fmt: skip


if __name__ == "__main__":
    main()
