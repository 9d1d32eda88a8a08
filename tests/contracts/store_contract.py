"""What every store must do. An implementation joins with one fixture, `store`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from shared import errors
from shared.store.base import Create, Delete, Put, Replace, Shape, Store
from shared.store.shapes import EVENTS_OF_INSTANCE, EXPIRED_EVENTS, KEYS_OF_USER

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


def rev(store: Store, collection: str, id: str) -> str:
    document = store.get(collection, id)
    assert document is not None
    return document.rev


class StoreContract:
    def test_a_document_reads_back_as_it_was_written(self, store: Store) -> None:
        data = {
            "text": "é @ \U0001f600", "at_sign": "@2026", "number": 3, "ratio": 0.25, "yes": True, "nothing": None,
            "at": NOON, "list": [1, "two", {"three": NOON}], "map": {"a b": {"c": []}}, "empty": "",
        }  # fmt: skip

        store.commit([Create("events", "e1", data)])

        document = store.get("events", "e1")
        assert document is not None
        assert document.data == data
        assert isinstance(document.data["number"], int) and isinstance(document.data["ratio"], float)

    def test_what_is_not_there_is_none(self, store: Store) -> None:
        assert store.get("events", "nowhere") is None

    def test_many_documents_are_read_in_the_order_asked_for(self, store: Store) -> None:
        store.commit([Create("events", f"e{n}", {"n": n}) for n in range(3)])

        found = store.get_many("events", ["e2", "nowhere", "e0", "e2"])

        assert [d.data["n"] if d else None for d in found] == [2, None, 0, 2]
        assert store.get_many("events", []) == []

    def test_creating_what_exists_is_a_conflict(self, store: Store) -> None:
        store.commit([Create("events", "e1", {"n": 1})])

        with pytest.raises(errors.StoreConflict):
            store.commit([Create("events", "e1", {"n": 2})])

    def test_replacing_needs_the_newest_revision(self, store: Store) -> None:
        store.commit([Create("events", "e1", {"n": 1})])
        old = rev(store, "events", "e1")
        store.commit([Replace("events", "e1", {"n": 2}, old)])

        with pytest.raises(errors.StoreConflict):
            store.commit([Replace("events", "e1", {"n": 3}, old)])

        found = store.get("events", "e1")
        assert found is not None and found.data == {"n": 2}

    def test_replacing_removes_fields_that_are_gone(self, store: Store) -> None:
        store.commit([Create("events", "e1", {"n": 1, "old": True})])

        store.commit([Replace("events", "e1", {"n": 1}, rev(store, "events", "e1"))])

        found = store.get("events", "e1")
        assert found is not None and found.data == {"n": 1}

    def test_replacing_what_is_not_there_is_a_conflict(self, store: Store) -> None:
        store.commit([Create("events", "e1", {"n": 1})])
        old = rev(store, "events", "e1")
        store.commit([Delete("events", "e1")])

        with pytest.raises(errors.StoreConflict):
            store.commit([Replace("events", "e1", {"n": 2}, old)])

        assert store.get("events", "e1") is None

    def test_a_write_that_changes_nothing_still_moves_the_revision(self, store: Store) -> None:
        store.commit([Create("events", "e1", {"n": 1})])
        old = rev(store, "events", "e1")
        store.commit([Replace("events", "e1", {"n": 1}, old)])

        with pytest.raises(errors.StoreConflict):
            store.commit([Replace("events", "e1", {"n": 1}, old)])

    def test_commit_answers_the_new_revisions(self, store: Store) -> None:
        first, second = store.commit([Create("events", "e1", {"n": 1}), Put("events", "e2", {"n": 1})])

        assert [first, second] == [rev(store, "events", "e1"), rev(store, "events", "e2")]
        assert store.commit([Delete("events", "e1", first)]) == [""]
        store.commit([Replace("events", "e2", {"n": 2}, second)])

    def test_a_batch_happens_whole_or_not_at_all(self, store: Store) -> None:
        store.commit([Create("events", "taken", {"n": 1})])

        with pytest.raises(errors.StoreConflict):
            store.commit([Create("keys", "k1", {"n": 1}), Put("keys", "k2", {}), Create("events", "taken", {"n": 2})])

        assert store.get("keys", "k1") is None and store.get("keys", "k2") is None

    def test_put_writes_over_anything(self, store: Store) -> None:
        store.commit([Put("events", "e1", {"n": 1})])
        store.commit([Put("events", "e1", {"m": 2})])

        found = store.get("events", "e1")
        assert found is not None and found.data == {"m": 2}

    def test_deleting_what_is_not_there_is_fine_unless_a_revision_was_meant(self, store: Store) -> None:
        store.commit([Delete("events", "nowhere")])
        store.commit([Create("events", "e1", {"n": 1})])
        old = rev(store, "events", "e1")
        store.commit([Put("events", "e1", {"n": 2})])

        with pytest.raises(errors.StoreConflict):
            store.commit([Delete("events", "e1", old)])

    def test_too_many_writes_are_refused(self, store: Store) -> None:
        with pytest.raises(errors.InvalidRequest):
            store.commit([Put("events", f"e{n}", {}) for n in range(401)])

    def test_a_query_pages_in_order_without_gaps(self, store: Store) -> None:
        for n in (3, 1, 4, 1, 5, 9, 2, 6):
            id = f"e{n}-{len(store.query(EVENTS_OF_INSTANCE, {'instance_id': 'i1'}).documents)}"
            store.commit([Create("events", id, {"instance_id": "i1", "at": NOON + timedelta(seconds=n)})])
        store.commit([Create("events", "other", {"instance_id": "i2", "at": NOON})])

        seen: list[str] = []
        cursor = None
        while True:
            page = store.query(EVENTS_OF_INSTANCE, {"instance_id": "i1"}, limit=3, cursor=cursor)
            seen += [d.id for d in page.documents]
            cursor = page.cursor
            if cursor is None:
                break

        assert [id.split("-")[0] for id in seen] == ["e9", "e6", "e5", "e4", "e3", "e2", "e1", "e1"]
        assert len(set(seen)) == 8

    def test_a_range_finds_what_is_due_and_skips_what_has_no_time(self, store: Store) -> None:
        store.commit(
            [
                Create("events", "past", {"expires_at": NOON - timedelta(microseconds=1)}),
                Create("events", "now", {"expires_at": NOON}),
                Create("events", "future", {"expires_at": NOON + timedelta(microseconds=1)}),
                Create("events", "never", {"expires_at": None}),
                Create("events", "bare", {}),
            ]
        )

        assert [d.id for d in store.query(EXPIRED_EVENTS, upto=NOON).documents] == ["past", "now"]
        assert [d.id for d in store.query(EXPIRED_EVENTS).documents] == ["past", "now", "future"]

    def test_a_query_without_an_order_pages_by_id(self, store: Store) -> None:
        store.commit([Create("keys", f"k{n}", {"user_id": "u1"}) for n in range(5)])

        first = store.query(KEYS_OF_USER, {"user_id": "u1"}, limit=3)
        rest = store.query(KEYS_OF_USER, {"user_id": "u1"}, limit=3, cursor=first.cursor)

        assert [d.id for d in [*first.documents, *rest.documents]] == ["k0", "k1", "k2", "k3", "k4"]
        assert rest.cursor is None

    def test_it_names_the_collections_that_hold_something(self, store: Store) -> None:
        assert store.collections() == []
        store.commit([Create("keys", "k1", {}), Create("events", "e1", {}), Create("events", "e2", {})])
        store.commit([Delete("keys", "k1")])

        assert store.collections() == ["events"]

    def test_every_document_of_a_collection_is_paged_by_id_whatever_it_holds(self, store: Store) -> None:
        store.commit([Create("events", f"e{n}", {"n": n} if n % 2 else {}) for n in range(5)])

        first = store.query(Shape("every", "events"), limit=3)
        rest = store.query(Shape("every", "events"), limit=3, cursor=first.cursor)

        assert [d.id for d in [*first.documents, *rest.documents]] == [f"e{n}" for n in range(5)]

    def test_a_foreign_cursor_and_missing_equalities_are_refused(self, store: Store) -> None:
        for cursor in ("nonsense", "", "e30=", "bnVsbA=="):
            with pytest.raises(errors.InvalidRequest):
                store.query(KEYS_OF_USER, {"user_id": "u1"}, cursor=cursor)
        with pytest.raises(errors.InvalidRequest):
            store.query(KEYS_OF_USER, {})
        with pytest.raises(errors.InvalidRequest):
            store.query(Shape("x", "keys"), {"user_id": "u1"})

    def test_sixteen_workers_apply_each_of_their_transitions_exactly_once(self, store: Store) -> None:
        store.commit([Create("instances", "i1", {"count": 0, "done": []})])
        start = threading.Barrier(16)

        def work(worker: int) -> None:
            start.wait()
            for number in range(10):
                while True:
                    document = store.get("instances", "i1")
                    assert document is not None
                    name = f"{worker}-{number}"
                    data = {"count": document.data["count"] + 1, "done": [*document.data["done"], name]}
                    try:
                        store.commit([Replace("instances", "i1", data, document.rev), Create("events", name, {})])
                        break
                    except errors.StoreConflict:
                        continue

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(16)))

        document = store.get("instances", "i1")
        assert document is not None
        assert document.data["count"] == 160
        assert len(set(document.data["done"])) == 160
