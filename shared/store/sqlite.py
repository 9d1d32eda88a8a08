"""The store on SQLite: one file, write-ahead log, any number of threads and processes; `:memory:` in unit tests.

Times are stored as text that sorts: `@2026-11-23T03:00:00.000000Z`; text that begins with `@` is escaped by doubling.
Every `Shape` has its expression index, so that a due-query over a large fleet is a scan of the due ones only.
"""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from shared import errors
from shared.store import codec
from shared.store.base import Create, Data, Delete, Document, Page, Put, Replace, Shape, Write
from shared.store.shapes import SHAPES

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    collection TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (collection, id)
) WITHOUT ROWID
"""
BUSY_S = 20.0
MAX_WRITES = 400


class SqliteStore:
    def __init__(self, path: str) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        # A database in memory lives in its one connection, which threads then share in turn.
        self._shared = self._connect() if path == ":memory:" else None
        self._turn = threading.RLock()
        with self._turn:
            self._prepare(self._connection())

    def get(self, collection: str, id: str) -> Document | None:
        row = self._read("SELECT id, rev, data FROM documents WHERE collection = ? AND id = ?", (collection, id))
        return _document(collection, row[0]) if row else None

    def get_many(self, collection: str, ids: Sequence[str]) -> list[Document | None]:
        found: dict[str, Document] = {}
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            marks = ", ".join("?" * len(some))
            rows = self._read(
                f"SELECT id, rev, data FROM documents WHERE collection = ? AND id IN ({marks})", (collection, *some)
            )
            found.update((row[0], _document(collection, row)) for row in rows)
        return [found.get(id) for id in ids]

    def commit(self, writes: Sequence[Write]) -> list[str]:
        if len(writes) > MAX_WRITES:
            raise errors.InvalidRequest(f"{len(writes)} writes in one batch; at most {MAX_WRITES}")
        texts = [None if isinstance(write, Delete) else _dump(write.data) for write in writes]
        with self._turn if self._shared is not None else _FREE:
            connection = self._connection()
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise errors.Unavailable(f"the store is busy: {error}") from error
            try:
                revs = [_apply(connection, write, text) for write, text in zip(writes, texts, strict=True)]
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        return revs

    def query(
        self,
        shape: Shape,
        equal: Mapping[str, Any] | None = None,
        *,
        upto: Any = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        equal = dict(equal or {})
        if set(equal) != set(shape.equal):
            raise errors.InvalidRequest(f"query {shape.name} needs exactly {', '.join(shape.equal) or 'nothing'}")
        where, values = [f"collection = '{shape.collection}'"], []
        for name in shape.equal:
            where.append(f"{_field(name)} = ?")
            values.append(_leaf(equal[name]))
        order, backwards = "id", shape.descending
        if shape.order_by:
            order = _field(shape.order_by)
            where.append(f"{order} IS NOT NULL")
            if upto is not None:
                where.append(f"{order} <= ?")
                values.append(_leaf(upto))
        if cursor is not None:
            at, last_id = _open_cursor(cursor)
            compare = "<" if backwards else ">"
            where.append(f"({order}, id) {compare} (?, ?)" if shape.order_by else f"id {compare} ?")
            values += [at, last_id] if shape.order_by else [last_id]
        direction = "DESC" if backwards else "ASC"
        ordering = f"{order} {direction}, id {direction}" if shape.order_by else f"id {direction}"
        rows = self._read(
            f"SELECT id, rev, data{', ' + order if shape.order_by else ''} FROM documents "
            f"WHERE {' AND '.join(where)} ORDER BY {ordering} LIMIT ?",
            (*values, limit + 1),
        )
        following = None
        if len(rows) > limit:
            rows = rows[:limit]
            last = rows[-1]
            following = _seal_cursor(last[3] if shape.order_by else None, last[0])
        return Page([_document(shape.collection, row) for row in rows], following)

    def collections(self) -> list[str]:
        return [row[0] for row in self._read("SELECT DISTINCT collection FROM documents ORDER BY collection", ())]

    def close(self) -> None:
        with self._guard:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")
        with self._guard:
            self._connections.append(connection)
        return connection

    def _connection(self) -> sqlite3.Connection:
        if self._shared is not None:
            return self._shared
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._connect()
        return found

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Table and indexes; a store that has them already is only looked at."""
        have = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        missing = [shape for shape in SHAPES if f"shape_{shape.name}" not in have]
        if not missing:
            return
        if self._path != ":memory:":
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(SCHEMA)
        for shape in missing:
            names = [*shape.equal, *([shape.order_by] if shape.order_by else [])]
            columns = ", ".join([_field(name) for name in names] + ["id"])
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS shape_{shape.name} ON documents ({columns}) "
                f"WHERE collection = '{shape.collection}'"
                + (f" AND {_field(shape.order_by)} IS NOT NULL" if shape.order_by else "")
            )

    def _read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        with self._turn if self._shared is not None else _FREE:
            try:
                return self._connection().execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                raise errors.Unavailable(f"the store does not answer: {error}") from error


class _Free:
    """No turn to wait for: each thread has a connection of its own."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_FREE = _Free()


def _apply(connection: sqlite3.Connection, write: Write, text: str | None) -> str:
    key = (write.collection, write.id)
    if isinstance(write, Create):
        try:
            connection.execute("INSERT INTO documents VALUES (?, ?, 1, ?)", (*key, text))
        except sqlite3.IntegrityError as error:
            raise errors.StoreConflict(f"{write.collection}/{write.id} exists") from error
        return "1"
    if isinstance(write, Replace):
        done = connection.execute(
            "UPDATE documents SET rev = rev + 1, data = ? WHERE collection = ? AND id = ? AND rev = ?",
            (text, *key, int(write.rev)),
        )
        if done.rowcount != 1:
            raise errors.StoreConflict(f"{write.collection}/{write.id} changed meanwhile")
        return str(int(write.rev) + 1)
    if isinstance(write, Put):
        row = connection.execute(
            "INSERT INTO documents VALUES (?, ?, 1, ?) ON CONFLICT (collection, id) "
            "DO UPDATE SET rev = rev + 1, data = excluded.data RETURNING rev",
            (*key, text),
        ).fetchone()
        return str(row[0])
    if write.rev is None:
        connection.execute("DELETE FROM documents WHERE collection = ? AND id = ?", key)
        return ""
    done = connection.execute(
        "DELETE FROM documents WHERE collection = ? AND id = ? AND rev = ?", (*key, int(write.rev))
    )
    if done.rowcount != 1:
        raise errors.StoreConflict(f"{write.collection}/{write.id} changed meanwhile")
    return ""


def _field(name: str) -> str:
    return f"json_extract(data, '$.{name}')"


def _document(collection: str, row: Sequence[Any]) -> Document:
    return Document(collection, row[0], str(row[1]), _load(row[2]))


def _leaf(value: Any) -> Any:
    """A value as SQLite compares it: times and text as they are stored, truth as 0 and 1."""
    encoded = codec.to_json(value)
    return int(encoded) if isinstance(encoded, bool) else encoded


def _dump(data: Data) -> str:
    return json.dumps(codec.to_json(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _load(text: str) -> Data:
    data = codec.from_json(json.loads(text))
    assert isinstance(data, dict)
    return data


def _seal_cursor(at: Any, id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([at, id]).encode()).decode()


def _open_cursor(cursor: str) -> tuple[Any, str]:
    try:
        at, id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError, TypeError) as error:
        raise errors.InvalidRequest("cursor is not one of ours") from error
    return at, str(id)
