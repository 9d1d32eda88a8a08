"""The store on Firestore: compare-and-set by each document's update time, never a transaction.

Transactions lock and give up under contention; a write with a precondition does not. Every write bumps `_rev`, because
a write that changes nothing keeps the old update time, and a second holder of the same revision would be accepted.
Two writes are repeated here and nowhere else: ABORTED (somebody's transaction was in the way, nothing was written) and,
for reads, an answer that never came. A commit whose answer was lost is `Unavailable`: its caller reads again.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.api_core import exceptions
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from shared import errors
from shared.store.base import Create, Data, Delete, Document, Page, Put, Replace, Shape, Write

T = TypeVar("T")
MAX_WRITES = 400
TRIES = 8
TIMEOUT_S = 15.0
REV = "_rev"


def connect(project: str, database: str = "(default)") -> FirestoreStore:
    """Honours FIRESTORE_EMULATOR_HOST."""
    return FirestoreStore(firestore.Client(project=project, database=database))


class FirestoreStore:
    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, collection: str, id: str) -> Document | None:
        reference = self._client.collection(collection).document(id)
        snapshot = _answered(lambda: reference.get(retry=None, timeout=TIMEOUT_S), acts=False)
        return _document(collection, snapshot) if snapshot.exists else None

    def get_many(self, collection: str, ids: Sequence[str]) -> list[Document | None]:
        if not ids:
            return []
        references = [self._client.collection(collection).document(id) for id in dict.fromkeys(ids)]
        snapshots = _answered(lambda: list(self._client.get_all(references, retry=None, timeout=TIMEOUT_S)), acts=False)
        found = {s.id: _document(collection, s) for s in snapshots if s.exists}
        return [found.get(id) for id in ids]

    def commit(self, writes: Sequence[Write]) -> list[str]:
        if len(writes) > MAX_WRITES:
            raise errors.InvalidRequest(f"{len(writes)} writes in one batch; at most {MAX_WRITES}")
        if not writes:
            return []
        # The client repeats a commit on UNAVAILABLE by itself, which would turn a Create that did happen into a
        # conflict: so it is told not to, and an answer that was lost is reported as such.
        results = _answered(lambda: self._batch(writes).commit(retry=None, timeout=TIMEOUT_S), acts=True)
        return [
            "" if isinstance(write, Delete) else _rev(result.update_time)
            for write, result in zip(writes, results, strict=True)
        ]

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
        query = self._client.collection(shape.collection)
        for name in shape.equal:
            query = query.where(filter=FieldFilter(name, "==", equal[name]))
        way = firestore.Query.DESCENDING if shape.descending else firestore.Query.ASCENDING
        if shape.order_by:
            # Firestore orders None before everything; a range leaves it out.
            query = query.where(filter=FieldFilter(shape.order_by, ">", LOWEST))
            if upto is not None:
                query = query.where(filter=FieldFilter(shape.order_by, "<=", upto))
            query = query.order_by(shape.order_by, direction=way)
        query = query.order_by("__name__", direction=way)
        if cursor is not None:
            at, last_id = _open_cursor(cursor)
            reference = self._client.collection(shape.collection).document(last_id)
            start = {"__name__": reference}
            if shape.order_by:
                start[shape.order_by] = at
            query = query.start_after(start)
        wanted = query.limit(limit + 1)
        found = _answered(lambda: list(wanted.stream(retry=None, timeout=TIMEOUT_S)), acts=False)
        documents = [_document(shape.collection, snapshot) for snapshot in found[:limit]]
        following = None
        if len(found) > limit:
            last = documents[-1]
            following = _seal_cursor(last.data[shape.order_by] if shape.order_by else None, last.id)
        return Page(documents, following)

    def collections(self) -> list[str]:
        found = _answered(lambda: list(self._client.collections(retry=None, timeout=TIMEOUT_S)), acts=False)
        return sorted(collection.id for collection in found)

    def close(self) -> None:
        self._client.close()

    def _batch(self, writes: Sequence[Write]) -> Any:
        batch = self._client.batch()
        for write in writes:
            reference = self._client.collection(write.collection).document(write.id)
            if isinstance(write, Create):
                batch.create(reference, _stored(write.data))
            elif isinstance(write, Replace):
                batch.set(reference, _stored(write.data))
                _with_precondition(batch, write.rev)
            elif isinstance(write, Put):
                batch.set(reference, _stored(write.data))
            else:
                batch.delete(reference)
                if write.rev is not None:
                    _with_precondition(batch, write.rev)
        return batch


def _with_precondition(batch: Any, rev: str) -> None:
    """The newest write of the batch only if its document still has `rev`. `set` has no option for it; the wire has."""
    stamp = DatetimeWithNanoseconds.from_rfc3339(rev).timestamp_pb()  # type: ignore[no-untyped-call]
    batch._write_pbs[-1]._pb.current_document.update_time.CopyFrom(stamp)


def _answered(call: Callable[[], T], *, acts: bool) -> T:
    """The one retry around every call. Raises StoreConflict and Unavailable."""
    for attempt in range(TRIES):
        last = attempt == TRIES - 1
        try:
            return call()
        except (exceptions.FailedPrecondition, exceptions.AlreadyExists, exceptions.NotFound) as error:
            if "index" in str(error):
                raise errors.Unavailable(f"Firestore has no index for a query: {error.message}") from error
            raise errors.StoreConflict(str(error.message)) from error
        except exceptions.Aborted as error:
            if last:
                raise errors.Unavailable("the store is busy; ask again") from error
        except (
            exceptions.ServiceUnavailable,
            exceptions.DeadlineExceeded,
            exceptions.ResourceExhausted,
            exceptions.InternalServerError,
            exceptions.RetryError,
            exceptions.Cancelled,
        ) as error:
            # A quota's refusal never acted.
            if last or (acts and not isinstance(error, exceptions.ResourceExhausted)):
                raise errors.Unavailable(f"the store does not answer: {type(error).__name__}") from error
        time.sleep(random.uniform(0, 0.05 * 2**attempt))
    raise AssertionError("unreachable")


def _stored(data: Data) -> Data:
    return {**data, REV: uuid.uuid4().hex}


def _document(collection: str, snapshot: Any) -> Document:
    data = {name: _plain(value) for name, value in snapshot.to_dict().items() if name != REV}
    return Document(collection, snapshot.id, _rev(snapshot.update_time), data)


def _plain(value: Any) -> Any:
    """Values as they were stored: the client's own datetimes carry nanoseconds, ours do not."""
    if isinstance(value, datetime):
        return datetime(*value.utctimetuple()[:6], value.microsecond, UTC)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def _rev(update_time: DatetimeWithNanoseconds) -> str:
    """The whole nanoseconds: two writes within a microsecond must differ."""
    text: str = update_time.rfc3339()  # type: ignore[no-untyped-call]
    return text


LOWEST = datetime(1, 1, 1, tzinfo=UTC)
"""Below every value of an ordered field: every shape orders by a time."""


def _seal_cursor(at: Any, id: str) -> str:
    text = at.isoformat() if isinstance(at, datetime) else at
    return base64.urlsafe_b64encode(json.dumps([text, id]).encode()).decode()


def _open_cursor(cursor: str) -> tuple[datetime | None, str]:
    try:
        at, id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return (datetime.fromisoformat(at) if at is not None else None), str(id)
    except (binascii.Error, ValueError, TypeError) as error:
        raise errors.InvalidRequest("cursor is not one of ours") from error
