"""A store that counts what is asked of it: for tests and benches of how much work a sweep does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from shared.store.base import Delete, Document, Page, Shape, Store, Write


class CountingStore:
    """`calls` counts by verb, `documents` what queries read, `reads` every document asked for by whatever verb."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.documents = 0
        self.reads = 0
        self.writes = 0
        self.deletes = 0

    def get(self, collection: str, id: str) -> Document | None:
        self.calls["get"] += 1
        self.reads += 1
        return self.inner.get(collection, id)

    def get_many(self, collection: str, ids: Sequence[str]) -> list[Document | None]:
        self.calls["get_many"] += 1
        self.reads += len(ids)
        return self.inner.get_many(collection, ids)

    def commit(self, writes: Sequence[Write]) -> list[str]:
        self.calls["commit"] += 1
        for write in writes:
            self.deletes += isinstance(write, Delete)
            self.writes += not isinstance(write, Delete)
        return self.inner.commit(writes)

    def query(
        self,
        shape: Shape,
        equal: Mapping[str, Any] | None = None,
        *,
        upto: Any = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        self.calls["query"] += 1
        page = self.inner.query(shape, equal, upto=upto, limit=limit, cursor=cursor)
        self.documents += len(page.documents)
        # A query that finds nothing is billed as one read; one more document than a page tells that there are more.
        self.reads += max(1, len(page.documents) + (page.cursor is not None))
        return page

    def collections(self) -> list[str]:
        self.calls["collections"] += 1
        return self.inner.collections()

    def close(self) -> None:
        self.inner.close()
