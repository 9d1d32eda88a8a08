"""The document store's contract: what flows may ask of SQLite and Firestore alike.

Documents are JSON-like dicts whose leaves are str, int, float, bool, None or an aware UTC `datetime`; at most
1 MiB each. Decimals, enums and durations are encoded above (`codec.py`). A write is a compare-and-set on the
document's revision; a batch of writes over several documents happens whole or not at all.

Queries exist only as named `Shape`s (`shapes.py`), so that the indexes each needs can be computed and checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from shared.frozen import dataclass

Data = dict[str, Any]


@dataclass(frozen=True)
class Document:
    """`rev` is opaque and changes at every write, even one that changes nothing else."""

    collection: str
    id: str
    rev: str
    data: Data


@dataclass(frozen=True)
class Create:
    """Fails with StoreConflict when the document exists."""

    collection: str
    id: str
    data: Data


@dataclass(frozen=True)
class Replace:
    """Fails with StoreConflict unless the document still has `rev`."""

    collection: str
    id: str
    data: Data
    rev: str


@dataclass(frozen=True)
class Put:
    """Writes whatever was there before; only for documents that a single writer owns."""

    collection: str
    id: str
    data: Data


@dataclass(frozen=True)
class Delete:
    """With `rev`, fails with StoreConflict unless the document still has it; without, absent is fine."""

    collection: str
    id: str
    rev: str | None = None


Write = Create | Replace | Put | Delete


@dataclass(frozen=True)
class Shape:
    """One kind of query: equalities, then at most one range and order field.

    `upto`: with a bound, only documents whose `order_by` is <= it. Documents that lack `order_by` (or hold
    None there) are never found by a shape that orders.
    """

    name: str
    collection: str
    equal: tuple[str, ...] = ()
    order_by: str | None = None
    descending: bool = False


@dataclass(frozen=True)
class Page:
    documents: Sequence[Document]
    cursor: str | None = field(default=None)
    """Pass it back for the next page; None at the end."""


class Store(Protocol):
    def get(self, collection: str, id: str) -> Document | None:
        """The document, or None."""

    def get_many(self, collection: str, ids: Sequence[str]) -> list[Document | None]:
        """Each document or None, in the order asked for; one round trip."""

    def commit(self, writes: Sequence[Write]) -> list[str]:
        """Apply all writes or none; the new revisions in order ("" for a delete).

        At most 400 writes. Raises StoreConflict when any precondition fails, Unavailable when the store
        does not answer (then the outcome is unknown: read before writing again).
        """

    def query(
        self,
        shape: Shape,
        equal: Mapping[str, Any] | None = None,
        *,
        upto: Any = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Documents of one shape. `equal` must name exactly the shape's fields.

        Ordered by the shape's field, then by id. A cursor that is not ours raises InvalidRequest.
        """

    def collections(self) -> list[str]:
        """The names of all collections that hold a document, sorted; for export."""

    def close(self) -> None: ...
