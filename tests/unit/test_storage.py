"""An instance's objects lie in the bucket that was chosen for it, all its life, and nobody else's keys open it."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.backup import export, import_
from shared import errors, public_address
from shared.bootstrap import build
from shared.domain.instance import State
from shared.domain.storage import StorageProfile
from shared.flows import instances, retention, snapshots, storage
from shared.flows.auth import create_user
from shared.flows.drill import begin
from shared.flows.snapshot_orders import prefix_of
from shared.flows.usage import show
from shared.objects.memory import MemoryObjects
from shared.objects.s3 import S3Objects
from shared.store import codec
from shared.wire.storage import StorageBody
from shared.wire.usage import UsageQuery
from tests.support.names import Names, self_signed
from tests.support.world import World


@pytest.fixture
def world() -> World:
    return World(private_addresses=True)


def body(**changes: object) -> StorageBody:
    given = {"vendor": "s3", "bucket": "mine", "endpoint": "https://127.0.0.1:9", "access_key": "a", "secret_key": "s"}
    return StorageBody.model_validate({**given, **changes})


def test_everything_of_an_instance_goes_to_its_own_bucket_until_nothing_is_left(world: World) -> None:
    world.storage("mine")
    instance = world.hibernated(storage="mine")
    mine = world.buckets["mine"]

    assert world.objects.objects == {} and all(key.startswith(prefix_of(instance.id)) for key in mine.objects)
    assert snapshots.verify(instance, str(instance.snapshot_id), 5, world.deps).problem is None
    urls = snapshots.addresses(instance, str(instance.snapshot_id), [], world.deps).urls
    assert all("memory://get/instances/" in url for url in urls.values())
    assert instances.snapshot_key(instance, world.deps).store.startswith("s3://mine/")
    retention.prune(instance.id, world.deps)
    instances.wake(instance.id, 0, world.user.id, world.deps)
    world.agent(world.created(instance.id)[0]).register()
    instances.destroy(instance.id, 0, world.user.id, world.deps)
    world.settle(instance.id)
    assert mine.objects == {}


def test_the_default_is_for_those_that_name_none(world: World) -> None:
    world.storage("mine")
    storage.make_default("mine", world.user, world.deps)

    assert world.provision(width=1).storage == "mine"
    assert world.provision(width=1, storage="dumont").storage is None
    storage.make_default("dumont", world.user, world.deps)
    assert world.provision(width=1).storage is None
    with pytest.raises(errors.NotFound):
        storage.make_default("nowhere", world.user, world.deps)


def test_what_is_not_there_or_anothers_is_refused_before_anything_is_rented(world: World) -> None:
    bob = create_user("bob@example.com", "correct horse battery", False, world.deps)
    world.storage("theirs", bob.id)

    for name in ("nowhere", "theirs"):
        with pytest.raises(errors.InvalidRequest, match="storage ls"):
            world.provision(storage=name)
    for act in (storage.remove, storage.test, storage.make_default):
        with pytest.raises(errors.NotFound):
            act("theirs", world.user, world.deps)
    assert not world.provider.made
    assert [one.name for one in storage.list_storage(world.user, world.deps).buckets] == []


def test_a_bucket_with_files_is_not_removed_and_one_without_is(world: World) -> None:
    world.storage("mine")
    storage.make_default("mine", world.user, world.deps)
    instance = world.hibernated()
    with pytest.raises(errors.Conflict, match=instance.name):
        storage.remove("mine", world.user, world.deps)
    instances.destroy(instance.id, 0, world.user.id, world.deps)
    world.settle(instance.id)

    user = world.deps.store.get("users", world.user.id)
    assert user is not None
    storage.remove("mine", codec.decode(type(world.user), user.data), world.deps)

    assert world.provision().storage is None, "its default went with it"
    shown = show(UsageQuery(), world.user.id, world.deps)
    assert shown.own_storage == [] and shown.storage.name == "dumont"


def test_one_that_is_chosen_at_that_moment_is_not_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.storage("mine")
    looked = storage._users_of

    def then_chosen(user_id: str, deps: object) -> dict[str, list[str]]:
        found = looked(user_id, world.deps)
        world.provision(storage="mine")
        return found

    monkeypatch.setattr(storage, "_users_of", then_chosen)
    with pytest.raises(errors.StoreConflict):
        storage.remove("mine", world.user, world.deps)
    assert world.deps.records.find(StorageProfile, world.storage_id("mine")) is not None


def test_its_cost_is_the_vendors_and_not_in_our_total(world: World) -> None:
    world.storage("mine")
    instance = world.hibernated(storage="mine")
    world.clock.step(seconds=10 * 86400)

    shown = show(UsageQuery(since=instance.created_at), world.user.id, world.deps)

    assert shown.storage.bytes == 0 and shown.storage.usd == 0
    (own,) = shown.own_storage
    assert (own.name, own.vendor, own.bytes) == ("mine", "wasabi", 10) and own.minimum_days == 90


def test_a_drill_of_it_reads_and_writes_there(world: World) -> None:
    world.storage("mine")
    instance, agent = world.running(storage="mine")
    instances.take_snapshot(instance.id, 0, world.user.id, world.deps)
    agent.take_snapshot()

    copy = begin(instance.id, 0, world.user.id, world.deps).drill

    assert copy is not None and world.instance(copy.copy_id).storage == "mine"


def test_an_import_believes_the_bucket_of_each_instance(world: World, tmp_path: object) -> None:
    world.storage("mine")
    instance, agent = world.running(storage="mine")
    export(world.deps, tmp_path / "file")  # type: ignore[operator]
    instances.take_snapshot(instance.id, 0, world.user.id, world.deps)
    taken = agent.take_snapshot()
    other = World(private_addresses=True)
    other.buckets = world.buckets

    import_(other.deps, tmp_path / "file")  # type: ignore[operator]

    assert other.instance(instance.id).snapshot_id == taken.id


class Deleted(MemoryObjects):
    def delete_prefix(self, prefix: str) -> int:
        raise errors.StorageError("object storage answered NoSuchBucket", transient=False, answered="NoSuchBucket")


def test_the_end_of_an_instance_does_not_wait_for_a_bucket_that_its_owner_deleted(world: World) -> None:
    world.storage("mine")
    instance = world.hibernated(storage="mine")
    world.buckets["mine"] = Deleted()
    instances.destroy(instance.id, 0, world.user.id, world.deps)

    assert world.settle(instance.id).state is State.DESTROYED

    ours = world.hibernated()
    world.objects = Deleted()
    instances.destroy(ours.id, 0, world.user.id, world.deps)
    world.advance(ours.id)
    assert world.instance(ours.id).state is State.DESTROYING, "of ours it is a wrong setting"


@pytest.mark.parametrize(
    "endpoint",
    ["http://s3.example.com", "https://127.0.0.1", "https://10.0.0.8:9000", "https://169.254.169.254",
     "https://[::1]", "https://localhost", "https://user:pass@example.com", "ftp://example.com", "https://no.invalid"],
)  # fmt: skip
def test_endpoints_that_are_not_public_are_refused_and_never_called(endpoint: str) -> None:
    world = World()

    with pytest.raises(errors.InvalidRequest, match="endpoint"):
        storage.save("mine", body(endpoint=endpoint), world.user, world.deps)
    assert world.buckets == {}


def test_an_endpoint_that_became_private_is_not_used() -> None:
    world = World()
    world.storage("mine")
    with pytest.raises(errors.StorageError, match="not a public address"):
        storage.test("mine", world.user, world.deps)
    assert world.buckets == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint": "https://127.0.0.1/bucket"}, "host alone"),
        ({"vendor": "r2", "endpoint": None}, "account's own address"),
    ],
)
def test_bad_places_are_told_plainly(world: World, change: dict[str, object], words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        storage.save("mine", body(**change), world.user, world.deps)


@pytest.mark.parametrize("name", ["dumont", "Upper", "-a", "a_b", "a" * 64])
def test_bad_names_are_refused(world: World, name: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        storage.save(name, body(), world.user, world.deps)


@pytest.mark.parametrize(
    "change",
    [{"bucket": "a/../b"}, {"bucket": "UPPER"}, {"region": "us.evil.com/"}, {"secret_key": ""}, {"vendor": "x"}],
)
def test_what_cannot_be_a_bucket_is_no_request(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        body(**change)


class Forgetful(MemoryObjects):
    """Says it has deleted what is still listed, as a store that is late with its lists does."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def delete_prefix(self, prefix: str) -> int:
        if self.times == 0:
            return super().delete_prefix(prefix)
        self.times -= 1
        return len(self.objects)


def test_an_instance_is_destroyed_only_once_its_prefix_lists_nothing(world: World) -> None:
    world.objects = Forgetful(3)
    instance = world.hibernated()
    stored = len(world.objects.objects)
    instances.destroy(instance.id, 0, world.user.id, world.deps)
    assert stored and world.instance(instance.id).state is State.DESTROYING
    assert world.store.get("instance_keys", instance.id) is not None, "its key goes last"

    assert world.settle(instance.id).state is State.DESTROYED
    assert world.objects.objects == {} and world.store.get("instance_keys", instance.id) is None


# Names that lead elsewhere by the next look ----------------------------------------------------------------------------


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


def theirs(endpoint: str) -> S3Objects:
    return S3Objects("mine", endpoint, "us-east-1", "a", "s", public_only=True)


def test_a_bucket_that_becomes_private_after_it_was_judged_is_not_connected_to(names: Names) -> None:
    """Rebinding: by boto3 and by presigned addresses alike, each connection is to what its own look-up said."""
    world = World()
    world.deps = replace(world.deps, bucket=build(world.deps.settings).bucket)
    with socket.create_server(("127.0.0.1", 0)) as beside_us:
        given = body(endpoint=f"https://rebinds.example:{beside_us.getsockname()[1]}", vendor="b2")
        names.answers["rebinds.example"] = [["8.8.8.8"], ["8.8.8.8"], ["127.0.0.1"]]
        with pytest.raises(errors.InvalidRequest, match="step `write` failed: object storage does not answer"):
            storage.save("mine", given, world.user, world.deps)
        assert len(names.asked) > 2 and names.dialled == []
        url = theirs(given.endpoint or "").presign_get("key", timedelta(minutes=5))
        with pytest.raises(errors.StorageError, match="not a public address"):
            storage._call("GET", url, private_ok=False)
        assert names.dialled == [] and nobody_called(beside_us)


def nobody_called(listener: socket.socket) -> bool:
    listener.settimeout(0.05)
    try:
        listener.accept()
    except TimeoutError:
        return True
    return False


def test_a_buckets_next_address_is_tried_and_no_more_than_three(names: Names) -> None:
    names.answers["far.example"] = [["8.8.8.8", "2606:4700::1", "8.8.4.4", "1.1.1.1"]]

    with pytest.raises(errors.StorageError, match="EndpointConnectionError"):
        theirs("https://far.example").get("key")

    assert names.dialled == ["8.8.8.8", "2606:4700::1", "8.8.4.4"]


def test_a_buckets_certificate_must_be_the_names(names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_address, "is_public", lambda _: True)
    names.answers["bucket.example"] = [["127.0.0.1"]]
    with self_signed("bucket.example", tmp_path) as (port, asked), pytest.raises(errors.StorageError, match="SSLError"):
        theirs(f"https://bucket.example:{port}").get("key")
    assert (names.dialled, asked) == (["127.0.0.1"], ["bucket.example"])


def test_a_proxy_of_our_environment_is_not_asked_for_users_buckets(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    names.answers["far.example"] = [["8.8.8.8"]]

    with pytest.raises(errors.StorageError):
        theirs("https://far.example").get("key")

    assert names.dialled == ["8.8.8.8"]
