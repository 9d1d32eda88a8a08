"""Tree to entries, in a fixed order, skipping what settings exclude.

A folder comes before what is in it, its files before its folders, names in ascending order: two scans of a tree, and the
manifest between them, can be read side by side. Paths are `<root number>/<relative path>`; bytes that are not UTF-8 travel
as surrogates, so every name round-trips.
"""

from __future__ import annotations

import fnmatch
import operator
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shared.domain.manifest import NO_FILE

KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}
KIND_BITS = 0o170000
"""Of a mode: `stat.S_IFMT` without a call."""
NAME = operator.attrgetter("name")
NONE: dict[str, str] = {}


class Found(NamedTuple):
    path: str
    """In the snapshot."""
    place: str
    """On this machine."""
    name: str
    kind: str
    """d, f, l, p; s for what is skipped (sockets, devices)."""
    stat: os.stat_result


def order_of(folder: str) -> tuple[str, ...]:
    """What folders are ordered by."""
    return tuple(folder.split("/"))


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
    """Every entry below the roots. What cannot be read goes into `problems`."""
    for number, root in enumerate(roots):
        try:
            top = os.stat(root)
        except OSError as error:
            problems.append(f"{root}: {error.strerror}")
            continue
        stack = [Found(f"{number}/", root, "", "d", top)]
        while stack:
            folder = stack.pop()
            try:
                opened = _open(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                # It is there, and what is in it cannot be seen: the folder alone is kept, and told.
                problems.append(f"{folder.place}: {error.strerror}")
                yield folder
                continue
            yield folder
            try:
                inner: list[Found] = []
                for found in _listed(folder, opened, excludes, problems):
                    if found.kind == "d":
                        inner.append(found)
                    else:
                        yield found
            finally:
                os.close(opened)
            stack.extend(reversed(inner))


def _open(folder: Found) -> int:
    """Never what a link in its place leads to, unless it is a root. Raises OSError."""
    return os.open(folder.place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if folder.name else 0))


def _listed(folder: Found, opened: int, excludes: Sequence[str], problems: list[str]) -> Iterator[Found]:
    """What is in a folder, by name."""
    base = folder.path + "/" if folder.name else folder.path
    below = folder.place.rstrip("/") + "/"
    try:
        with os.scandir(opened) as entries:
            listed = sorted(entries, key=NAME)
    except OSError as error:
        problems.append(f"{folder.place}: {error.strerror}")
        return
    for entry in listed:
        name = entry.name
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"{below}{name}: {error.strerror}")
            continue
        kind = KINDS.get(facts.st_mode & KIND_BITS, "s")
        path = base + name
        if excludes and excluded(path.partition("/")[2], kind == "d", excludes):
            continue
        if name.endswith(".dumont-part"):
            continue
        if kind == "s":
            problems.append(f"{below}{name}: {NO_FILE}")
        else:
            yield Found(path, below + name, name, kind, facts)


def xattrs(place: str | int) -> dict[str, str]:
    """The user's extended attributes, as hexadecimal; none where the file system has none. A link's own, not its target's."""
    follow = isinstance(place, int)
    try:
        names = os.listxattr(place, follow_symlinks=follow)
        if not names:
            return NONE
        mine = [name for name in names if name.startswith("user.")]
        return {name: os.getxattr(place, name, follow_symlinks=follow).hex() for name in mine}
    except OSError:
        return NONE


def data_ranges(path: str, facts: os.stat_result) -> list[tuple[int, int]]:
    """Where a file has data, as (offset, length); holes are not read. Raises OSError."""
    size = facts.st_size
    if facts.st_blocks * 512 >= size:
        return [(0, size)]
    ranges: list[tuple[int, int]] = []
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
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
    finally:
        os.close(descriptor)
    return ranges
