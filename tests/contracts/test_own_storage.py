"""A bucket of a user's own is saved only after it did everything, on a real server; what fails is named with the way out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shared import errors
from shared.bootstrap import build
from shared.deps import Deps
from shared.flows import instances, storage
from shared.store import codec
from shared.wire.storage import StorageBody
from tests.support import quirk_proxy
from tests.support.quirk_proxy import QuirkProxy
from tests.support.s3_server import S3Server
from tests.support.world import World


@pytest.fixture
def world() -> World:
    """Its users' buckets are real."""
    made = World(private_addresses=True)
    made.deps = replace(made.deps, bucket=build(made.deps.settings).bucket)
    return made


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[QuirkProxy]:
    with quirk_proxy.running("b2", s3_server.endpoint) as proxy:
        yield proxy


def body(server: S3Server, **changes: Any) -> StorageBody:
    given = {
        "vendor": "b2",
        "endpoint": server.endpoint,
        "bucket": server.bucket,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
    }
    return StorageBody.model_validate({**given, **changes})


def saved(world: World, name: str) -> bool:
    return world.deps.store.get("storage", world.storage_id(name)) is not None


def test_a_bucket_is_tried_and_saved_and_its_secret_stays_sealed(world: World, s3_server: S3Server) -> None:
    view = storage.save("mine", body(s3_server), world.user, world.deps)

    assert view.own and not view.default and view.access_key == "test…" and view.usd_per_gb_month > 0
    document = world.deps.store.get("storage", world.storage_id("mine"))
    assert document is not None
    told = json.dumps(codec.to_json(document.data)) + view.model_dump_json()
    told += storage.list_storage(world.user, world.deps).model_dump_json()
    assert s3_server.secret_key not in told and s3_server.access_key not in view.model_dump_json()
    assert s3_server.secret_key not in repr(body(s3_server))
    tried = storage.test("mine", world.user, world.deps)
    assert tried.good and [step.step for step in tried.steps] == ["write", "read", "list", "address", "delete"]
    assert not list(s3_server.objects().list(storage.CHECKS)), "nothing is left of it"


@pytest.mark.parametrize(
    ("change", "step", "way_out"),
    [
        ({"secret_key": "wrong"}, "write", "check the secret key"),
        ({"access_key": "nobody"}, "write", "check the access key"),
        ({"bucket": "nowhere-at-all"}, "write", "make the bucket first"),
        ({"endpoint": "http://127.0.0.1:9"}, "write", "does not answer"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_saved(
    world: World, s3_server: S3Server, change: dict[str, str], step: str, way_out: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match=way_out) as caught:
        storage.save("mine", body(s3_server, **change), world.user, world.deps)

    assert caught.value.details["steps"][-1]["step"] == step
    assert not saved(world, "mine")


@pytest.mark.parametrize(
    ("method", "refusal", "step", "way_out"),
    [
        ("DELETE", (403, "AccessDenied"), "delete", "write, read, list and delete"),
        ("GET", (403, "AccessDenied"), "read", "write, read, list and delete"),
        ("PUT", (403, "RequestTimeTooSkewed"), "write", "15 minutes"),
        ("PUT", (301, "PermanentRedirect"), "write", "another region"),
        ("PUT", (403, "QuotaExceeded"), "write", "QuotaExceeded"),
    ],
)
def test_a_key_that_may_not_do_everything_is_refused(
    world: World, s3_server: S3Server, proxy: QuirkProxy, method: str, refusal: tuple[int, str], step: str, way_out: str
) -> None:
    proxy.refuses[method] = refusal

    with pytest.raises(errors.InvalidRequest, match=way_out) as caught:
        storage.save("mine", body(s3_server, endpoint=proxy.endpoint), world.user, world.deps)

    assert caught.value.details["steps"][-1]["step"] == step
    assert not saved(world, "mine")
    s3_server.objects().delete_prefix(storage.CHECKS)


def test_keys_can_be_changed_under_files_and_the_place_cannot(world: World, s3_server: S3Server) -> None:
    storage.save("mine", body(s3_server), world.user, world.deps)
    instance, agent = world.running(storage="mine")
    instances.take_snapshot(instance.id, 0, world.user.id, world.deps)
    agent.take_snapshot()
    assert list(s3_server.objects().list(f"instances/{instance.id}/m/"))

    storage.save("mine", body(s3_server), world.user, world.deps)
    for change in ({"bucket": "another"}, {"endpoint": "http://127.0.0.1:9"}):
        with pytest.raises(errors.Conflict, match=instance.name):
            storage.save("mine", body(s3_server, **change), world.user, world.deps)

    instances.destroy(instance.id, 0, world.user.id, world.deps)
    world.settle(instance.id)
    assert not list(s3_server.objects().list("instances/"))
    storage.remove("mine", world.user, world.deps)
    assert not saved(world, "mine")


def test_the_bootstrap_keeps_one_client_for_each_place(world: World, s3_server: S3Server) -> None:
    deps: Deps = world.deps
    storage.save("mine", body(s3_server), world.user, deps)
    storage.save("again", body(s3_server), world.user, deps)
    a, b = (world.running(storage=name)[0] for name in ("mine", "again"))

    assert storage.objects_of(deps, a) is storage.objects_of(deps, b)
