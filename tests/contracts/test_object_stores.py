"""Both object storages keep the contract; S3 on a real server."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta

import pytest

from shared import errors
from shared.objects.base import ObjectStore
from shared.objects.memory import MemoryObjects
from shared.objects.retrying import Retrying
from shared.objects.s3 import S3Objects
from tests.contracts.object_store_contract import PREFIX, ObjectStoreContract
from tests.support.s3_server import S3Server


class TestMemory(ObjectStoreContract):
    @pytest.fixture
    def objects(self) -> ObjectStore:
        return MemoryObjects()


class TestS3(ObjectStoreContract):
    @pytest.fixture
    def objects(self, s3_server: S3Server) -> Iterator[ObjectStore]:
        objects = s3_server.objects()
        yield objects
        objects.delete_prefix("instances/")

    def test_a_presigned_address_writes_and_reads_exactly_its_object(self, objects: S3Objects) -> None:
        write = objects.presign_put(PREFIX + "a", timedelta(minutes=5))
        urllib.request.urlopen(urllib.request.Request(write, data=b"0123456789", method="PUT")).read()

        read = objects.presign_get(PREFIX + "a", timedelta(minutes=5))
        ranged = urllib.request.Request(read, headers={"Range": "bytes=2-4"})
        assert urllib.request.urlopen(ranged).read() == b"234"
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(read.replace("i-1/a", "i-1/b"))
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(urllib.request.Request(read, data=b"x", method="PUT"))


def test_wrong_credentials_are_a_storage_error_that_does_not_pass(s3_server: S3Server) -> None:
    stranger = S3Objects(s3_server.bucket, s3_server.endpoint, "us-east-1", "nobody", "nothing")

    with pytest.raises(errors.StorageError) as caught:
        stranger.put(PREFIX + "a", b"x")

    assert not caught.value.details["transient"]


def test_a_server_that_is_not_there_is_transient() -> None:
    nowhere = S3Objects("b", "http://127.0.0.1:9", "us-east-1", "a", "b")

    with pytest.raises(errors.StorageError) as caught:
        nowhere.head("instances/x")

    assert caught.value.details["transient"]


class _Flaky(MemoryObjects):
    def __init__(self, failures: int, transient: bool) -> None:
        super().__init__()
        self.failures, self.transient, self.calls = failures, transient, 0

    def put(self, key: str, body: bytes) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise errors.StorageError("503", transient=self.transient)
        super().put(key, body)


def test_transient_trouble_is_tried_again_and_other_trouble_is_not() -> None:
    flaky, broken = _Flaky(3, transient=True), _Flaky(3, transient=False)

    Retrying(flaky, sleep=lambda s: None).put("k", b"v")
    with pytest.raises(errors.StorageError):
        Retrying(broken, sleep=lambda s: None).put("k", b"v")

    assert flaky.objects == {"k": b"v"} and flaky.calls == 4
    assert broken.calls == 1


def test_patience_ends() -> None:
    flaky = _Flaky(9, transient=True)

    with pytest.raises(errors.StorageError):
        Retrying(flaky, tries=4, sleep=lambda s: None).put("k", b"v")

    assert flaky.calls == 4
