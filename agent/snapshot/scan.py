"""Tree to entries, in a fixed order, skipping what settings exclude.

Paths are `<root number>/<relative path>`; bytes that are not UTF-8 travel as surrogates, so every name round-trips.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    path: str
    """In the snapshot."""
    place: str
    """On this machine."""
    kind: str
    """d, f, l, p; s for what is skipped (sockets, devices)."""
    stat: os.stat_result


def excluded(relative: str, is_dir: bool, patterns: Sequence[str]) -> bool:
    """gitignore-like: against the path and the last name; a trailing slash means folders only."""
    name = relative.rpartition("/")[2]
    for pattern in patterns:
        if pattern.endswith("/"):
            if not is_dir:
                continue
            pattern = pattern.rstrip("/")
        pattern = pattern.lstrip("/")
        if fnmatch.fnmatchcase(relative, pattern) or fnmatch.fnmatchcase(name, pattern):
            return True
    return False


def scan(roots: Sequence[str], excludes: Sequence[str], problems: list[str]) -> Iterator[Found]:
    """Every entry below the roots, folders before what is in them. What cannot be read goes into `problems`."""
    for number, root in enumerate(roots):
        try:
            top = os.stat(root)
        except OSError as error:
            problems.append(f"{root}: {error.strerror}")
            continue
        yield Found(f"{number}/", root, "d", top)
        stack = [("", root)]
        while stack:
            relative, place = stack.pop()
            try:
                with os.scandir(place) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.append(f"{place}: {error.strerror}")
                continue
            for entry in listed:
                below = f"{relative}/{entry.name}" if relative else entry.name
                try:
                    facts = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    problems.append(f"{entry.path}: {error.strerror}")
                    continue
                kind = _kind(facts.st_mode)
                if excluded(below, kind == "d", excludes) or entry.name.endswith(".dumont-part"):
                    continue
                if kind == "s":
                    problems.append(f"{entry.path}: sockets and devices are not saved")
                    continue
                yield Found(f"{number}/{below}", entry.path, kind, facts)
                if kind == "d":
                    stack.append((below, entry.path))


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "d"
    if stat.S_ISREG(mode):
        return "f"
    if stat.S_ISLNK(mode):
        return "l"
    return "p" if stat.S_ISFIFO(mode) else "s"


def xattrs(place: str) -> dict[str, str]:
    """The user's extended attributes, as hexadecimal; none where the file system has none."""
    try:
        names = [n for n in os.listxattr(place, follow_symlinks=False) if n.startswith("user.")]
        return {name: os.getxattr(place, name, follow_symlinks=False).hex() for name in names}
    except OSError:
        return {}


def data_ranges(descriptor: int, size: int) -> list[tuple[int, int]]:
    """Where a file has data, as (offset, length); holes are not read."""
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            end = min(size, os.lseek(descriptor, start, os.SEEK_HOLE))
        except OSError:
            # No data up to the end.
            break
        if start >= size:
            break
        ranges.append((start, end - start))
        at = end
    return ranges


Entry = dict[str, Any]
