"""The control plane's data as JSON Lines: out of one database, into another, of either kind.

    python -m infra.backup export FILE [--store S]
    python -m infra.backup import FILE [--store S] [--into-existing] [--without-storage]
    python -m infra.backup strays [--store S] [--end ATTEMPT]

Settings are the functions' own (DUMONT_*): the store, and for an import the master key and object storage. Secrets are not in the
file, but what they protect is: keep it as private as the database. docs/runbook.md says when to do what, and what becomes of
changes that were made after an export.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared import errors
from shared.bootstrap import build
from shared.deps import Deps
from shared.flows import restored
from shared.settings import load
from shared.store import codec
from shared.store.base import Create, Data, Put, Shape, Store

FORMAT = 1
FIRST = ("instances",)
"""Read first: what an instance refers to is then read later than the instance, and so is there."""
LAST = ("attempts", "instances")
"""Written last: the sweeps see an instance only when everything it refers to is there."""
PASSING = ("meta", "strays", "paces", "throttles", "ticks")
"""True of one database at one time."""
PEOPLES = ("users", "instances", "attempts")
"""What makes a database somebody's; prices and the like gather by themselves in an empty one."""
BATCH = 100


def export(deps: Deps, path: Path) -> Counter[str]:
    """Write a file whole or not at all; how many documents of each collection."""
    store, counts = deps.store, Counter[str]()
    part = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:

        def line(value: Any) -> None:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"
            digest.update(text.encode())
            file.write(text)

        line({"dumont_export": FORMAT, "at": deps.clock.now().isoformat()})
        names = [name for name in store.collections() if name not in PASSING]
        for name in sorted(names, key=lambda name: (name not in FIRST, name)):
            for id, data in every(store, name):
                line({"c": name, "id": id, "d": codec.to_json(data)})
                counts[name] += 1
        file.write(json.dumps({"end": counts.total(), "sha256": digest.hexdigest()}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return counts


def every(store: Store, collection: str) -> Iterator[tuple[str, Data]]:
    shape, cursor = Shape("every", collection), None
    while True:
        page = store.query(shape, limit=BATCH, cursor=cursor)
        yield from ((d.id, d.data) for d in page.documents)
        cursor = page.cursor
        if cursor is None:
            return


def check(path: Path) -> tuple[str, list[str]]:
    """The file's digest and its collections. Raises InvalidRequest when it is not a whole export."""
    digest, names, count = hashlib.sha256(), set(), 0
    last: dict[str, Any] = {}
    with open(path, encoding="utf-8") as file:
        for number, text in enumerate(file):
            try:
                last = json.loads(text)
                if number == 0 and last["dumont_export"] != FORMAT:
                    raise errors.InvalidRequest(f"an export of format {last['dumont_export']}; this reads {FORMAT}")
                if number and "end" not in last:
                    names.add(str(last["c"]))
                    count += 1
            except (ValueError, KeyError, TypeError) as error:
                raise errors.InvalidRequest(f"line {number + 1} is not of an export") from error
            if "end" not in last:
                digest.update(text.encode())
    if last.get("end") != count or last.get("sha256") != digest.hexdigest():
        raise errors.InvalidRequest("the export is cut off or was changed")
    return digest.hexdigest(), sorted(names)


def lines(path: Path, collection: str) -> Iterator[tuple[str, Data]]:
    with open(path, encoding="utf-8") as file:
        for text in file:
            row = json.loads(text)
            if row.get("c") == collection:
                yield str(row["id"]), codec.from_json(row["d"])


def import_(deps: Deps, path: Path, *, into_existing: bool = False, storage: bool = True) -> Counter[str]:
    """Add what is missing, never overwrite: begun again after a crash it goes on. How many were written, by collection."""
    digest, names = check(path)
    store = deps.store
    mark = store.get(restored.META, restored.MARK)
    resumes = mark is not None and mark.data["sha256"] == digest
    if resumes and mark is not None and mark.data["state"] == "whole" and not into_existing:
        # Done already; what was deleted since stays deleted.
        return Counter()
    held = [name for name in store.collections() if name in PEOPLES]
    if held and not resumes and not into_existing:
        raise errors.Conflict(f"the database is not empty ({', '.join(held)}); --into-existing adds what is missing")
    data = {"state": "importing", "sha256": digest, "at": deps.clock.now()}
    if not resumes:
        store.commit([Put(restored.META, restored.MARK, data)])
    counts: Counter[str] = Counter()
    for name in [*(n for n in names if n not in LAST), *LAST]:
        if name == "instances" and storage:
            counts.update(_instances(deps, path))
            continue
        batch: list[Create] = []
        for id, document in lines(path, name):
            batch.append(Create(name, id, document))
            if len(batch) == BATCH:
                counts[name] += _add(store, batch)
                batch = []
        counts[name] += _add(store, batch)
    store.commit([Put(restored.META, restored.MARK, {**data, "state": "whole", "at": deps.clock.now()})])
    return counts


def _instances(deps: Deps, path: Path) -> Counter[str]:
    """Each with its snapshots as storage has them, in one batch: nothing acts on an older belief."""
    counts: Counter[str] = Counter()
    by_instance: dict[str, list[Data]] = {}
    for _, data in lines(path, "snapshots"):
        by_instance.setdefault(str(data["instance_id"]), []).append(data)
    for id, document in lines(path, "instances"):
        if deps.store.get("instances", id) is not None:
            continue
        snapshots: dict[str, Data] = {}
        if deps.store.get("instance_keys", id) is not None:
            found = restored.reconcile(deps, document, by_instance.get(id, []))
            document, snapshots = found.instance, found.snapshots
        puts = [Put("snapshots", snapshot_id, data) for snapshot_id, data in snapshots.items()]
        for start in range(0, len(puts), 300):
            deps.store.commit(puts[start : start + 300])
        counts["instances"] += _add(deps.store, [Create("instances", id, document)])
        counts["snapshots taken from storage"] += len(puts)
    return counts


def _add(store: Store, batch: list[Create]) -> int:
    """Create what is not there; how many."""
    if not batch:
        return 0
    try:
        store.commit(batch)
        return len(batch)
    except errors.StoreConflict:
        there = store.get_many(batch[0].collection, [c.id for c in batch])
        missing = [c for c, document in zip(batch, there, strict=True) if document is None]
        store.commit(missing)
        return len(missing)


def strays(deps: Deps) -> list[dict[str, Any]]:
    found = []
    for id, data in every(deps.store, restored.STRAYS):
        found.append({"attempt": id, "heard_at": data["at"].isoformat(), "let_go": bool(data.get("ended_at"))})
    return found


def dependencies(store: str | None) -> Deps:
    # `local` here only says that this process needs none of the functions' credentials for callers.
    return build(load(env="local", **({"store": store} if store else {})))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("export", "import", "strays"))
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--store", help="sqlite:PATH or firestore:PROJECT; default: DUMONT_STORE")
    parser.add_argument(
        "--into-existing", action="store_true", help="add what is missing to a database that is not empty"
    )
    parser.add_argument("--without-storage", action="store_true", help="believe the file, do not look at snapshots")
    parser.add_argument("--end", metavar="ATTEMPT", help="a stray whose machine may be ended")
    given = parser.parse_args()
    if given.action != "strays" and given.file is None:
        parser.error("name the file")
    deps = dependencies(given.store)
    try:
        if given.action == "export":
            answer: Any = dict(export(deps, given.file))
        elif given.action == "import":
            answer = dict(
                import_(deps, given.file, into_existing=given.into_existing, storage=not given.without_storage)
            )
        else:
            if given.end:
                restored.let_go(deps.store, deps.clock.now(), given.end)
            answer = strays(deps)
    except (errors.Error, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        deps.store.close()
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
