"""What a snapshot is: entries, and where each one's bytes lie; encoded as a sealed head and sealed sections.

Always whole, never a chain: a restore needs exactly one manifest. The head (`shared.domain.snapshot`) names every pack
and every section's length, so the control plane can check a snapshot without reading its entries.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agent.snapshot.errors import SnapshotError
from agent.snapshot.pack import Sealer, compress, expand
from shared.domain.snapshot import PREFIX, SALT, head_length, read_head, salt_of, salted, seal_head
from shared.errors import StorageError

FORMAT = 1
SECTION = 20_000
"""Entries in a section."""


@dataclass
class Manifest:
    """`frames`: (pack number, offset, sealed length, frame number, codec, raw length)."""

    snapshot_id: str
    created_ns: int
    workspace: list[str]
    packs: list[tuple[str, int]] = field(default_factory=list)
    frames: list[list[int]] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    """Chunk id -> index of its frame."""
    entries: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def encode(manifest: Manifest, key: bytes, name: str) -> bytes:
    """The object that is written under `name`, last of all."""
    salt = os.urandom(SALT)
    sealer = Sealer(key, salted(name, salt))
    sections: list[list[Any]] = []
    bodies: list[bytes] = []

    def add(kind: str, rows: list[Any]) -> None:
        raw = json.dumps(rows, separators=(",", ":")).encode()
        codec, payload = compress(raw)
        sealed = sealer.seal(len(bodies) + 1, payload)
        sections.append([kind, len(sealed), codec, len(raw)])
        bodies.append(sealed)

    for kind, rows in (("frames", manifest.frames), ("entries", manifest.entries), ("ids", list(manifest.ids.items()))):
        for start in range(0, len(rows), SECTION):
            add(kind, rows[start : start + SECTION])
    head = {
        "format": FORMAT,
        "snapshot_id": manifest.snapshot_id,
        "created_ns": manifest.created_ns,
        "workspace": manifest.workspace,
        "packs": manifest.packs,
        "sections": sections,
        "counts": manifest.counts,
    }
    return seal_head(head, key, name, salt) + b"".join(bodies)


def decode(read: Callable[[int, int], bytes], key: bytes, name: str) -> Manifest:
    """A manifest from storage; `read(offset, length)`. Raises SnapshotError when it is damaged, foreign or too new."""
    try:
        length = head_length(read(0, PREFIX))
        prefix = read(0, length)
        head = read_head(prefix, key, name)
    except StorageError as error:
        raise SnapshotError(error.message) from error
    if head.fields.get("format") != FORMAT:
        raise SnapshotError(f"manifest format {head.fields.get('format')} is of a newer version; update the agent")
    manifest = Manifest(
        snapshot_id=head.snapshot_id,
        created_ns=int(head.fields["created_ns"]),
        workspace=list(head.fields["workspace"]),
        packs=[(str(k), int(v)) for k, v in head.fields["packs"]],
        counts=dict(head.fields["counts"]),
    )
    for kind, rows in _sections(read, length, head.fields["sections"], Sealer(key, salted(name, salt_of(prefix)))):
        if kind == "frames":
            manifest.frames += rows
        elif kind == "entries":
            manifest.entries += rows
        elif kind == "ids":
            manifest.ids.update((str(k), int(v)) for k, v in rows)
    return manifest


def _sections(
    read: Callable[[int, int], bytes], offset: int, sections: list[list[Any]], sealer: Sealer
) -> Iterator[tuple[str, list[Any]]]:
    for number, (kind, length, codec, raw_length) in enumerate(sections, 1):
        sealed = read(offset, length)
        offset += length
        rows = json.loads(expand(codec, sealer.open(number, sealed), raw_length))
        yield str(kind), rows
