"""The one S3 adapter keeps the contract with each vendor's refusals between it and a real server."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared import errors
from shared.objects.base import ObjectStore
from shared.objects.retrying import Retrying
from shared.objects.s3 import S3Objects
from shared.objects.vendors import VENDORS, Vendor
from tests.contracts.object_store_contract import PREFIX, ObjectStoreContract
from tests.support import quirk_proxy
from tests.support.quirk_proxy import QuirkProxy
from tests.support.s3_server import S3Server


def reached(proxy: QuirkProxy, server: S3Server, vendor: Vendor) -> S3Objects:
    return S3Objects(server.bucket, proxy.endpoint, "us-east-1", server.access_key, server.secret_key, vendor)


@pytest.mark.parametrize("proxy", list(VENDORS), indirect=True)
class TestVendors(ObjectStoreContract):
    @pytest.fixture
    def proxy(self, request: pytest.FixtureRequest, s3_server: S3Server) -> Iterator[QuirkProxy]:
        with quirk_proxy.running(request.param, s3_server.endpoint) as proxy:
            yield proxy

    @pytest.fixture
    def objects(self, proxy: QuirkProxy, s3_server: S3Server) -> Iterator[ObjectStore]:
        yield Retrying(reached(proxy, s3_server, VENDORS[proxy.vendor]), sleep=proxy.sleep)
        s3_server.objects().delete_prefix("instances/")

    def test_an_address_needs_no_header_that_the_vendor_would_refuse(
        self, proxy: QuirkProxy, objects: ObjectStore
    ) -> None:
        write, read = (give(PREFIX + "a", timedelta(minutes=5)) for give in (objects.presign_put, objects.presign_get))
        urllib.request.urlopen(urllib.request.Request(write, data=b"sealed", method="PUT"), timeout=30).read()

        assert urllib.request.urlopen(read, timeout=30).read() == b"sealed"
        assert not proxy.refused


def test_every_refusal_that_passes_is_met_and_outlasted(s3_server: S3Server) -> None:
    for vendor, code in (("s3", "SlowDown"), ("r2", "TooManyRequests"), ("wasabi", "RequestRateLimitExceeded")):
        with quirk_proxy.running(vendor, s3_server.endpoint) as proxy:
            objects = Retrying(reached(proxy, s3_server, VENDORS[vendor]), sleep=proxy.sleep)
            for number in range(6):
                objects.put(PREFIX + "a", b"%d" % number)
            assert objects.get(PREFIX + "a") == b"5" and proxy.refused[code] > 0, vendor
            objects.delete_prefix(PREFIX)


def test_b2_would_refuse_what_others_take(s3_server: S3Server) -> None:
    with quirk_proxy.running("b2", s3_server.endpoint) as proxy:
        as_s3, as_b2 = (reached(proxy, s3_server, VENDORS[name]) for name in ("s3", "b2"))
        as_b2.put(PREFIX + "a", b"1")
        with pytest.raises(errors.StorageError) as caught:
            as_s3.delete_prefix(PREFIX)
        assert not caught.value.details["transient"] and proxy.refused["InvalidArgument"] == 1
        assert as_b2.delete_prefix(PREFIX) == 1


def test_where_versions_are_kept_deleting_leaves_none(s3_server: S3Server) -> None:
    client: Any = s3_server.objects()._client
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    secrets = (s3_server.access_key, s3_server.secret_key)
    plain, objects = (
        S3Objects("versioned", s3_server.endpoint, "us-east-1", *secrets, VENDORS[name]) for name in ("s3", "b2")
    )

    def left() -> int:
        page = client.list_object_versions(Bucket="versioned")
        return len([*page.get("Versions", []), *page.get("DeleteMarkers", [])])

    for key in ("a", "a", "ab", "b"):
        objects.put(PREFIX + key, b"1")
    plain.delete(PREFIX + "b")
    assert left() == 5, "the server keeps versions and marks"
    objects.delete(PREFIX + "a")
    assert [item.key for item in objects.list(PREFIX)] == [PREFIX + "ab"] and left() == 3
    assert objects.delete_prefix(PREFIX) == 1
    assert left() == 0
