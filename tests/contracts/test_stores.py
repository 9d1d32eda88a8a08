"""Both stores keep the store's contract; Firestore on Google's emulator."""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import errors
from shared.store.base import Create, Replace, Store
from shared.store.sqlite import SqliteStore
from tests.contracts.store_contract import StoreContract


class TestSqliteInMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = SqliteStore(":memory:")
        yield store
        store.close()


class TestSqliteOnDisk(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore(str(tmp_path / "store.db"))
        yield store
        store.close()


class TestFirestore(StoreContract):
    @pytest.fixture
    def store(self, firestore_emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
        from shared.store.firestore import connect

        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_emulator)
        # A project of its own is a database of its own.
        store = connect(f"test-{uuid.uuid4().hex[:12]}")
        yield store
        store.close()


def _increment(path: str, times: int) -> None:
    store = SqliteStore(path)
    for _ in range(times):
        while True:
            document = store.get("instances", "i1")
            assert document is not None
            try:
                store.commit([Replace("instances", "i1", {"n": document.data["n"] + 1}, document.rev)])
                break
            except errors.StoreConflict:
                continue
    store.close()


def test_processes_share_one_sqlite_file_without_losing_a_write(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = SqliteStore(path)
    store.commit([Create("instances", "i1", {"n": 0})])
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_increment, args=(path, 25)) for _ in range(4)]

    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    document = store.get("instances", "i1")
    assert document is not None and document.data["n"] == 100
