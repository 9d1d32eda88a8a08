"""`infra/firestore.indexes.json`: the composite indexes that our queries need, no more; expiry and exemptions.

    python -m infra.indexes [--check]

Firestore indexes every single field by itself and answers a query of equalities alone by merging those. A composite
index is needed as soon as equalities meet an order (https://firebase.google.com/docs/firestore/query-data/index-overview).
"""

from __future__ import annotations

import json
from typing import Any

from infra import generated
from shared.store.base import Shape
from shared.store.shapes import SHAPES
from shared.sweeps.records import EXPIRED

FILE = "infra/firestore.indexes.json"
EXPIRING = tuple(shape.collection for shape in EXPIRED)
"""Collections whose documents Firestore may delete once `expires_at` is past."""
UNINDEXED = {
    "instances": ("need", "spec", "labels", "lease", "clocks", "idleness", "idle_policy", "machine", "last_machine"),
    "attempts": ("receipt", "pauses"),
    "orders": ("payload", "result"),
    "events": ("details", "message"),
    "pulses": ("gpus", "why", "vetoes", "minute"),
    "metrics": ("minutes",),
    "kept": ("stretches",),
    "snapshots": ("torn", "unreadable"),
}
"""Fields nobody queries: an index entry for each would be written at every change."""


def needed(shape: Shape) -> dict[str, Any] | None:
    """The composite index of a shape; None when single-field indexes do."""
    if shape.order_by is None or not shape.equal:
        return None
    way = "DESCENDING" if shape.descending else "ASCENDING"
    fields = [{"fieldPath": name, "order": "ASCENDING"} for name in shape.equal]
    return {
        "collectionGroup": shape.collection,
        "queryScope": "COLLECTION",
        "fields": [*fields, {"fieldPath": shape.order_by, "order": way}],
    }


def document() -> dict[str, Any]:
    indexes: list[dict[str, Any]] = []
    for shape in SHAPES:
        index = needed(shape)
        if index is not None and index not in indexes:
            indexes.append(index)
    queried = {(s.collection, name) for s in SHAPES for name in (*s.equal, s.order_by)}
    overrides: list[dict[str, Any]] = []
    for collection in EXPIRING:
        keep = (collection, "expires_at") in queried
        indexed = [{"order": "ASCENDING", "queryScope": "COLLECTION"}] if keep else []
        overrides.append({"collectionGroup": collection, "fieldPath": "expires_at", "ttl": True, "indexes": indexed})
    for collection, names in UNINDEXED.items():
        overrides += [{"collectionGroup": collection, "fieldPath": name, "indexes": []} for name in names]
    return {"indexes": indexes, "fieldOverrides": overrides}


def text() -> str:
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    generated.run({FILE: text}, "infra.indexes")
