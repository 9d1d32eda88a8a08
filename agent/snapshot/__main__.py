"""Snapshots without a control plane: anyone with the bucket's credentials and the instance's key gets the files back.

    export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…
    python -m agent.snapshot ls      --store s3://BUCKET/instances/i-… --endpoint URL --key-file KEY
    python -m agent.snapshot restore [SNAPSHOT] --to FOLDER …          # the newest when none is named
    python -m agent.snapshot verify  [SNAPSHOT] …                      # every byte is read and checked
    python -m agent.snapshot diff    OLD NEW …
    python -m agent.snapshot extract [SNAPSHOT] --path src/main.py --to FOLDER …
    python -m agent.snapshot save    FOLDER …

The key file holds what `dumont snapshots key INSTANCE` printed: 32 bytes in base64.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import fnmatch
import os
import secrets
import sys
import tempfile
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

from agent.snapshot.bucket import Bucket
from agent.snapshot.compare import changes
from agent.snapshot.errors import SnapshotError
from agent.snapshot.manifest import Reader, chunks_of, path_of
from agent.snapshot.pack import Sealer, expand
from agent.snapshot.restore import restore_below
from agent.snapshot.save import save


def say(text: str) -> None:
    sys.stdout.write(text.encode("utf-8", "replace").decode() + "\n")


def read_key(path: str) -> bytes:
    try:
        key = base64.b64decode(Path(path).read_text().strip(), validate=True)
    except (OSError, binascii.Error) as error:
        raise SnapshotError(f"{path} holds no key: {error}") from error
    if len(key) != 32:
        raise SnapshotError(f"the key in {path} has {len(key)} bytes instead of 32")
    return key


def opened(bucket: Bucket, key: bytes, manifest_key: str) -> Reader:
    return Reader(lambda offset, length: bucket.get(manifest_key, offset, length), key, manifest_key)


def in_order(bucket: Bucket, key: bytes) -> list[str]:
    """Every snapshot's manifest, oldest first.

    Storage tells the time of writing in whole seconds; those of one second are ordered by the time in the manifests.
    """

    def taken(manifest_key: str) -> int:
        try:
            return opened(bucket, key, manifest_key).created_ns
        except SnapshotError:
            # Damage is told by whoever reads this one, not by the listing.
            return 0

    rows = bucket.manifests()
    seconds = Counter(at for _, at, _ in rows)
    ordered = sorted((at, taken(name) if seconds[at] > 1 else 0, name) for name, at, _ in rows)
    return [name for _, _, name in ordered]


def load(bucket: Bucket, key: bytes, name: str | None) -> tuple[str, Reader]:
    """A snapshot's manifest, the newest when none is named. Raises SnapshotError."""
    known = in_order(bucket, key)
    if not known:
        raise SnapshotError("there is no snapshot here; is the prefix right? It ends in instances/i-…")
    manifest_key = f"m/{name}" if name is not None else known[-1]
    if manifest_key not in known:
        raise SnapshotError(f"there is no snapshot {name}; there are {', '.join(k[2:] for k in known)}")
    return manifest_key, opened(bucket, key, manifest_key)


def list_all(bucket: Bucket, key: bytes, given: argparse.Namespace) -> int:
    for manifest_key in in_order(bucket, key):
        manifest = opened(bucket, key, manifest_key)
        at = datetime.fromtimestamp(manifest.created_ns / 1e9, timezone.utc)
        say(f"{manifest.snapshot_id}  {at:%Y-%m-%d %H:%M:%S} UTC  {manifest.counts['files']} files  "
            f"{manifest.counts['bytes']} bytes  {', '.join(manifest.workspace)}")  # fmt: skip
    return 0


def bring_back(bucket: Bucket, key: bytes, given: argparse.Namespace) -> int:
    manifest_key, manifest = load(bucket, key, given.snapshot)
    target = os.path.abspath(given.to)
    total = restore_below(target, key, manifest_key, bucket, given.hot)
    say(f"{manifest.snapshot_id}: {manifest.counts['files']} files, {total} bytes are below {target}")
    return 0


class _Open:
    """The frames of a snapshot, one at a time."""

    def __init__(self, bucket: Bucket, key: bytes, manifest: Reader) -> None:
        self._bucket, self._packs, self.frames = bucket, manifest.packs, manifest.frames()
        self._sealers = [Sealer(key, name) for name, _ in manifest.packs]

    def frame(self, number: int) -> bytes:
        """Raises SnapshotError when it is damaged."""
        pack, offset, length, index, codec, raw_length = self.frames[number]
        sealed = self._bucket.get(self._packs[pack][0], offset, length)
        return bytes(expand(codec, self._sealers[pack].open(index, sealed), raw_length))


def verify(bucket: Bucket, key: bytes, given: argparse.Namespace) -> int:
    """Read every frame; each is authenticated. Names what is damaged or missing."""
    _, manifest = load(bucket, key, given.snapshot)
    there, bad = bucket.packs(), 0
    for name, size in manifest.packs:
        if there.get(name) != size:
            bad += 1
            say(f"damaged: {name} is missing or has {there.get(name)} instead of {size} bytes")
    held = _Open(bucket, key, manifest)
    for number in range(len(held.frames)):
        try:
            held.frame(number)
        except SnapshotError as error:
            bad += 1
            say(f"damaged: frame {number} in {manifest.packs[held.frames[number].pack][0]}: {error}")
    rows = sum(1 for _ in manifest.entries())
    manifest.check()
    say(f"{manifest.snapshot_id}: {rows} entries and {len(held.frames)} frames read, {bad} damaged")
    return 1 if bad else 0


def diff(bucket: Bucket, key: bytes, given: argparse.Namespace) -> int:
    old, new = (load(bucket, key, name)[1] for name in (given.snapshot, given.other))
    for mark, path in changes(old, new):
        say(f"{mark} {path}")
    return 0


def extract(bucket: Bucket, key: bytes, given: argparse.Namespace) -> int:
    """Single files, by pattern, without the rest."""
    _, manifest = load(bucket, key, given.snapshot)
    held = _Open(bucket, key, manifest)
    target, found = os.path.abspath(given.to), 0
    for folder, row in manifest.entries():
        relative = path_of(folder, row).partition("/")[2]
        if row[0] not in "fF" or not fnmatch.fnmatchcase(relative, given.path):
            continue
        path = os.path.normpath(os.path.join(target, relative))
        if not path.startswith(target + os.sep):
            raise SnapshotError(f"the snapshot names {relative!r}, which leaves {target}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            if row[0] == "F":
                file.truncate(row[6])
                for at, number in chunks_of(row):
                    file.seek(at)
                    file.write(held.frame(number))
            elif row[9] >= 0:
                file.write(held.frame(row[9])[row[10] : row[10] + row[6]])
        os.utime(path, ns=(row[5], row[5]))
        found += 1
        say(path)
    if not found:
        raise SnapshotError(f"no file matches {given.path!r}")
    return 0


def put_away(bucket: Bucket, key: bytes, given: argparse.Namespace) -> int:
    snapshot_id = f"s-{secrets.token_hex(8)}"
    known = in_order(bucket, key)
    target = Bucket(given.store, given.endpoint, snapshot_id)
    folder = os.path.abspath(given.snapshot)
    if not os.path.isdir(folder):
        raise SnapshotError(f"{folder} is no folder")
    with tempfile.TemporaryDirectory() as state:
        made = save(
            roots=[folder],
            names=[given.name or "/workspace"],
            excludes=given.exclude,
            key=key,
            snapshot_id=snapshot_id,
            parent_key=known[-1] if known else None,
            transport=target,
            state=Path(state),
        )
    say(f"{snapshot_id}: {made['files']} files, {made['bytes']} bytes, {made['stored_bytes']} newly stored")
    for problem in [*made["torn"], *made["unreadable"]]:
        say(f"not whole: {problem}")
    return 1 if made["torn"] or made["unreadable"] else 0


VERBS = {"ls": list_all, "restore": bring_back, "verify": verify, "diff": diff, "extract": extract, "save": put_away}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m agent.snapshot", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=list(VERBS))
    parser.add_argument("snapshot", nargs="?", help="a snapshot's id; for save the folder")
    parser.add_argument("other", nargs="?", help="for diff, the newer one")
    parser.add_argument("--store", required=True, metavar="s3://BUCKET/PREFIX")
    parser.add_argument("--endpoint", help="other than AWS")
    parser.add_argument("--key-file", required=True)
    parser.add_argument("--hot", action="append", default=[], help="restore: a pattern of big files that come first")
    parser.add_argument("--to", default=".")
    parser.add_argument("--path", default="*")
    parser.add_argument("--name", help="for save: what the folder is called in the snapshot")
    parser.add_argument("--exclude", action="append", default=[])
    given = parser.parse_args(argv)
    if (given.verb == "diff" and not given.other) or (given.verb == "save" and not given.snapshot):
        parser.error(f"{given.verb} needs {'two snapshots' if given.verb == 'diff' else 'a folder'}")
    try:
        return VERBS[given.verb](Bucket(given.store, given.endpoint), read_key(given.key_file), given)
    except (SnapshotError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
