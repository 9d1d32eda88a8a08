"""What every object storage must do. An implementation joins with one fixture, `objects`."""

from __future__ import annotations

import pytest

from shared import errors
from shared.objects.base import ObjectStore

PREFIX = "instances/i-1/"


class ObjectStoreContract:
    def test_an_object_reads_back_whole_and_in_ranges(self, objects: ObjectStore) -> None:
        body = bytes(range(256)) * 1000
        objects.put(PREFIX + "a", body)

        assert objects.get(PREFIX + "a") == body
        assert objects.get(PREFIX + "a", start=5, length=7) == body[5:12]
        assert objects.get(PREFIX + "a", start=255_990) == body[255_990:]
        assert objects.head(PREFIX + "a").size == len(body)

    def test_an_empty_object_is_an_object(self, objects: ObjectStore) -> None:
        objects.put(PREFIX + "empty", b"")

        assert objects.head(PREFIX + "empty").size == 0
        assert objects.get(PREFIX + "empty") == b""

    def test_what_is_not_there_is_not_found(self, objects: ObjectStore) -> None:
        with pytest.raises(errors.ObjectNotFound):
            objects.get(PREFIX + "nowhere")
        with pytest.raises(errors.ObjectNotFound):
            objects.head(PREFIX + "nowhere")

    def test_writing_again_replaces(self, objects: ObjectStore) -> None:
        objects.put(PREFIX + "a", b"one")
        objects.put(PREFIX + "a", b"three")

        assert objects.get(PREFIX + "a") == b"three"

    def test_a_list_is_in_order_and_stays_below_its_prefix(self, objects: ObjectStore) -> None:
        for key in ("instances/i-1/b", "instances/i-1/a/x", "instances/i-1/c", "instances/i-10/z"):
            objects.put(key, b"1")

        assert [item.key for item in objects.list(PREFIX)] == [PREFIX + "a/x", PREFIX + "b", PREFIX + "c"]
        assert list(objects.list("nothing/here/")) == []

    def test_deleting_twice_is_fine(self, objects: ObjectStore) -> None:
        objects.put(PREFIX + "a", b"1")

        objects.delete(PREFIX + "a")
        objects.delete(PREFIX + "a")

        assert list(objects.list(PREFIX)) == []

    def test_deleting_a_prefix_spares_its_neighbours(self, objects: ObjectStore) -> None:
        for key in ("instances/i-1/a", "instances/i-1/b", "instances/i-10/z"):
            objects.put(key, b"1")

        assert objects.delete_prefix(PREFIX) == 2

        assert [item.key for item in objects.list("instances/")] == ["instances/i-10/z"]

    def test_a_short_prefix_is_never_deleted(self, objects: ObjectStore) -> None:
        objects.put(PREFIX + "a", b"1")

        for prefix in ("", "i", "instanc"):
            with pytest.raises(errors.StorageError):
                objects.delete_prefix(prefix)

        assert len(list(objects.list("instances/"))) == 1
