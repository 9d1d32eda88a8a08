"""In what two snapshots differ, by what their manifests say of each entry."""

from __future__ import annotations

from typing import Any

from agent.snapshot.manifest import Reader, Row, path_of


def facts(row: Row) -> tuple[Any, ...]:
    """What of an entry is compared: kind, mode, time, size or target."""
    return (row[0].lower(), *(row[2:3] if row[0] == "h" else (row[2], row[5], *row[6:7])))


def changes(old: Reader, new: Reader) -> list[tuple[str, str]]:
    """(mark, path in the workspace) of whatever is no folder and differs: + new, - gone, M changed."""
    before, after = (
        {path_of(folder, row): facts(row) for folder, row in one.entries() if row[0] != "d"} for one in (old, new)
    )
    return [
        ("-" if path not in after else "+" if path not in before else "M", path.partition("/")[2])
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
