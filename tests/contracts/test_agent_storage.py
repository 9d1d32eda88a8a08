"""The agent's own code and the control plane's flows at a real S3 server: what a machine may, and what trouble becomes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.api import Refused, Stopped
from agent.orders import Orders
from agent.settings import Settings
from shared import errors
from shared.domain.event import Event
from shared.domain.instance import Instance, State
from shared.domain.snapshot import Snapshot
from shared.flows import agents, instances, keys
from shared.flows.snapshot_orders import prefix_of
from shared.objects.retrying import Retrying
from shared.objects.s3 import S3Objects
from shared.store.base import Put
from shared.store.shapes import EVENTS_OF_INSTANCE, SNAPSHOTS_OF_INSTANCE
from shared.wire import agent as wire
from tests.support import quirk_proxy
from tests.support.quirk_proxy import QuirkProxy, Refusal
from tests.support.s3_server import S3Server
from tests.support.world import FakeAgent, World


class Machine:
    """The agent's real orders, on a disk of its own, with our flows for an API."""

    def __init__(self, world: World, agent: FakeAgent, folder: Path) -> None:
        self.world, self.agent = world, agent
        settings = Settings(url="", token="", home=folder, root=str(folder / "root"))
        settings.state.mkdir(parents=True)
        self.workspace = folder / "root" / "workspace"
        self.workspace.mkdir(parents=True)
        self.orders = Orders(settings, self, lambda: None)  # type: ignore[arg-type]

    def traced(self, trace: str | None) -> Machine:
        return self

    def post(self, path: str, body: dict[str, Any], tries: int | None = 8) -> dict[str, Any]:
        handlers: dict[str, tuple[Any, Any]] = {
            "/agent/uploads": (wire.UploadsRequest, agents.uploads),
            "/agent/downloads": (wire.DownloadsRequest, agents.downloads),
            "/agent/snapshots": (wire.SnapshotCommit, agents.commit_snapshot),
            "/agent/results": (wire.OrderResult, agents.result),
        }
        model, flow = handlers[path]
        try:
            answer: dict[str, Any] = flow(model.model_validate(body), self.agent.me, self.world.deps).model_dump()
        except errors.Unauthenticated as stopped:
            raise Stopped(stopped.message) from stopped
        except errors.Error as error:
            raise Refused(error.message) from error
        return answer

    def work(self) -> None:
        """Follow everything that is ordered, to its end."""
        self.orders.give([order.model_dump() for order in self.agent.beat().orders])
        until = time.monotonic() + 60
        while self.orders.running():
            assert time.monotonic() < until, self.orders.running()
            time.sleep(0.01)


class Place:
    """A world whose storage is a real server, perhaps behind a proxy that refuses."""

    def __init__(self, server: S3Server, folder: Path, endpoint: str | None = None, bucket: str | None = None) -> None:
        self.server, self.folder = server, folder
        self.world = World(offers=20, presign_s=60)
        self.bucket = bucket or server.bucket
        objects = S3Objects(self.bucket, endpoint or server.endpoint, "us-east-1", server.access_key, server.secret_key)
        # Patience with storage is tried elsewhere.
        self.objects = Retrying(objects, sleep=lambda s: None)
        self.world.deps = replace(self.world.deps, objects=lambda: self.objects)

    def running(self, **request: Any) -> tuple[Instance, Machine]:
        instance, agent = self.world.running(width=1, **request)
        return instance, Machine(self.world, agent, self.folder / agent.attempt_id)

    def woken(self, id: str) -> Machine:
        instances.wake(id, 0, self.world.user.id, self.world.deps)
        return self.next_machine(id)

    def next_machine(self, id: str) -> Machine:
        self.world.settle(id, lambda i: bool(self.world.created(id)))
        agent = self.world.agent(self.world.created(id)[0])
        assert agent.register().adopted
        return Machine(self.world, agent, self.folder / agent.attempt_id)

    def hibernate(self, id: str) -> None:
        instances.hibernate(id, 0, self.world.user.id, self.world.deps)

    def told(self, id: str) -> str:
        return "\n".join(
            f"{e.kind}: {e.message}"
            for e in self.world.deps.records.all(Event, EVENTS_OF_INSTANCE, {"instance_id": id})
        )

    def newest(self, id: str) -> Snapshot:
        return self.world.deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": id})[0]

    def kept(self, id: str) -> bool:
        """Whether the instance's machine is there and wanted."""
        self.world.settle(id, steps=40)
        instance = self.world.instance(id)
        attempt = next((a for a in self.world.attempts(id) if a.id == instance.attempt_id), None)
        return (
            instance.state is State.RUNNING
            and attempt is not None
            and attempt.wants_machine
            and attempt.machine_id in {m.machine_id for m in self.world.provider.list()}
        )


@pytest.fixture
def place(s3_server: S3Server, tmp_path: Path) -> Iterator[Place]:
    yield Place(s3_server, tmp_path)
    s3_server.objects().delete_prefix("instances/")


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[QuirkProxy]:
    with quirk_proxy.running("b2", s3_server.endpoint) as proxy:
        yield proxy


def status(method: str, url: str, body: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def test_files_go_from_one_machine_to_the_next(place: Place) -> None:
    instance, machine = place.running()
    (machine.workspace / "deep").mkdir()
    (machine.workspace / "deep" / "note").write_text("kept")
    place.hibernate(instance.id)
    machine.work()
    assert place.world.settle(instance.id).state is State.HIBERNATED

    other = place.woken(instance.id)
    other.work()

    assert (other.workspace / "deep" / "note").read_text() == "kept"
    woken = place.world.instance(instance.id)
    assert woken.state is State.RUNNING and not woken.restoring


# What a machine's token opens ----------------------------------------------------------------------------------------


def test_an_address_opens_its_one_object_in_its_one_way(place: Place) -> None:
    instance, machine = place.running()
    place.hibernate(instance.id)
    (order,) = machine.agent.orders("snapshot")
    request = {"snapshot_id": order.payload["snapshot_id"], "count": 2, "manifest": True}
    first, second = machine.post("/agent/uploads", request)["uploads"]
    assert status("PUT", first["url"], b"sealed")[0] == 200

    parts = urllib.parse.urlsplit(first["url"])
    path_of = {name: urllib.parse.urlsplit(one["url"]).path for name, one in (("own", first), ("second", second))}
    strangers = {
        "another object of its own": path_of["second"],
        "another instance's": path_of["own"].replace(instance.id, "i-0000000000000000"),
        "the bucket": f"/{place.bucket}",
        "the bucket's list": f"/{place.bucket}/",
    }
    for what, path in strangers.items():
        for method in ("GET", "PUT", "DELETE"):
            url = urllib.parse.urlunsplit(parts._replace(path=path))
            assert status(method, url, b"x" if method == "PUT" else None)[0] == 403, (what, method)
    listing = urllib.parse.urlunsplit(parts._replace(path=f"/{place.bucket}", query="list-type=2&" + parts.query))
    assert status("GET", listing)[0] == 403
    for method in ("GET", "DELETE", "HEAD"):
        assert status(method, first["url"])[0] == 403, f"an address to write does not {method}"
    read = machine.post("/agent/downloads", {"keys": [first["key"]]})["urls"][first["key"]]
    assert status("GET", read) == (200, "sealed")
    for method in ("PUT", "DELETE"):
        assert status(method, read, b"x" if method == "PUT" else None)[0] == 403
    longer = read.replace("X-Amz-Expires=60", "X-Amz-Expires=604800")
    assert longer != read and status("GET", longer)[0] == 403, "nor does it live longer than it was made for"


def test_an_expired_address_opens_nothing(place: Place) -> None:
    place.world.deps = replace(place.world.deps, settings=place.world.deps.settings.model_copy(update={"presign_s": 1}))
    instance, machine = place.running()
    place.hibernate(instance.id)
    (order,) = machine.agent.orders("snapshot")
    answer = machine.post("/agent/uploads", {"snapshot_id": order.payload["snapshot_id"], "count": 1})
    time.sleep(2.1)

    code, words = status("PUT", answer["uploads"][0]["url"], b"late")

    assert code == 403 and "expired" in words
    assert not list(place.objects.list(prefix_of(instance.id)))


def test_a_token_reaches_no_other_instance_and_dies_with_its_attempt(place: Place) -> None:
    theirs, other = place.running()
    (other.workspace / "secret").write_text("theirs")
    place.hibernate(theirs.id)
    other.work()
    place.world.settle(theirs.id)
    stored = [item.key.removeprefix(prefix_of(theirs.id)) for item in place.objects.list(prefix_of(theirs.id))]
    instance, machine = place.running()

    urls = machine.post("/agent/downloads", {"keys": stored})["urls"]
    assert all(status("GET", url)[0] == 404 for url in urls.values()), "names of another's objects name nothing here"
    with pytest.raises(Refused, match="no snapshot"):
        machine.post("/agent/uploads", {"snapshot_id": place.newest(theirs.id).id, "count": 1})
    instances.destroy(instance.id, 0, place.world.user.id, place.world.deps)
    for path, body in (("/agent/downloads", {"keys": stored}), ("/agent/uploads", {"snapshot_id": "s-1", "count": 1})):
        with pytest.raises(Stopped):
            machine.post(path, body)


# Trouble: a clear word in the events, the machine kept, nothing lost --------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((403, "QuotaExceeded"), "the bucket is full"),
        ((403, "RequestTimeTooSkewed"), "15 minutes"),
        ((404, "NoSuchBucket"), "make the bucket first"),
    ],
)
def test_storage_that_refuses_keeps_the_machine_and_the_next_try_saves(
    s3_server: S3Server, proxy: QuirkProxy, tmp_path: Path, refusal: Refusal, words: str
) -> None:
    place = Place(s3_server, tmp_path, proxy.endpoint)
    instance, machine = place.running()
    (machine.workspace / "work").write_bytes(os.urandom(100_000))
    proxy.refuses["PUT"] = refusal
    place.hibernate(instance.id)
    machine.work()

    assert place.kept(instance.id)
    assert words in (place.world.instance(instance.id).failure or "")
    assert f"snapshot_failed: snapshot {place.newest(instance.id).id}" in place.told(instance.id)
    assert "hibernate_failed" in place.told(instance.id) and refusal[1] in place.told(instance.id)

    proxy.refuses.clear()
    place.hibernate(instance.id)
    machine.work()
    assert place.world.settle(instance.id).state is State.HIBERNATED
    other = place.woken(instance.id)
    other.work()
    assert (other.workspace / "work").read_bytes() == (machine.workspace / "work").read_bytes()
    s3_server.objects().delete_prefix("instances/")


def test_a_bucket_that_was_deleted_keeps_the_machine(s3_server: S3Server, tmp_path: Path) -> None:
    client: Any = s3_server.objects()._client
    client.create_bucket(Bucket="short-lived")
    place = Place(s3_server, tmp_path, bucket="short-lived")
    instance, machine = place.running()
    (machine.workspace / "work").write_text("only here")
    client.delete_bucket(Bucket="short-lived")
    place.hibernate(instance.id)
    machine.work()

    assert place.kept(instance.id) and "NoSuchBucket" in place.told(instance.id)

    client.create_bucket(Bucket="short-lived")
    place.hibernate(instance.id)
    machine.work()
    assert place.world.settle(instance.id).state is State.HIBERNATED
    place.objects.delete_prefix("instances/")
    client.delete_bucket(Bucket="short-lived")


def test_a_workspace_that_vanished_is_not_saved_over_the_last_one(place: Place) -> None:
    instance, machine = place.running()
    (machine.workspace / "work").write_text("precious")
    instances.take_snapshot(instance.id, 0, place.world.user.id, place.world.deps)
    machine.work()
    good = place.world.instance(instance.id).snapshot_id
    (machine.workspace / "work").unlink()
    machine.workspace.rmdir()
    place.hibernate(instance.id)
    machine.work()

    assert place.kept(instance.id) and str(machine.workspace) in place.told(instance.id)
    assert place.world.instance(instance.id).snapshot_id == good


@pytest.mark.parametrize(("change", "words"), [("newer", "newer version|cannot read"), ("other key", "damaged|key")])
def test_a_manifest_that_cannot_be_opened_leaves_the_instance_asleep_with_its_snapshot(
    place: Place, change: str, words: str
) -> None:
    instance, machine = place.running(max_attempts=2)
    (machine.workspace / "work").write_text("precious")
    place.hibernate(instance.id)
    machine.work()
    place.world.settle(instance.id)
    snapshot = place.newest(instance.id)
    where = prefix_of(instance.id) + snapshot.manifest_key
    whole, kept_key = place.objects.get(where), place.world.store.get("instance_keys", instance.id)
    if change == "newer":
        place.objects.put(where, b"DMF9" + whole[4:])
    else:
        made = keys.new_data_key(place.world.deps.settings, instance.id)
        place.world.store.commit([Put("instance_keys", instance.id, made.data)])
    place.woken(instance.id).work()
    place.next_machine(instance.id).work()
    place.world.settle(instance.id)

    asleep = place.world.instance(instance.id)
    assert asleep.state is State.HIBERNATED and asleep.snapshot_id == snapshot.id
    assert re.search(f"restore_failed: .*({words})", place.told(instance.id)), place.told(instance.id)
    assert not place.world.provider.list(), "nothing is paid for"

    place.objects.put(where, whole)
    assert kept_key is not None
    place.world.store.commit([Put("instance_keys", instance.id, kept_key.data)])
    other = place.woken(instance.id)
    other.work()
    assert (other.workspace / "work").read_text() == "precious"


UNREADABLE = """
import json, sys
from pathlib import Path
from agent.snapshot.save import save

class Nowhere:
    plain_addresses, packs = False, 0
    def new_pack(self):
        self.packs += 1
        return f"p/{self.packs}", ""
    def manifest_address(self):
        return "m/1", ""
    def put(self, key, url, body): ...
    def get(self, key, offset, length): ...

state = Path(sys.argv[1], "state")
saved = save([sys.argv[1]], ["/workspace"], ["state"], bytes(32), "s-1", None, Nowhere(), state)
print(json.dumps(saved["unreadable"]))
"""


def _no_exceptions() -> None:
    """Root reads everything; without these two capabilities it reads what its files' modes allow."""
    import ctypes

    drop, read_anything, search_anything = 24, 1, 2
    for capability in (read_anything, search_anything):
        ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


def test_a_file_that_cannot_be_read_is_named_and_keeps_the_machine(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    (folder / "state").mkdir(parents=True)
    (folder / "fine").write_text("fine")
    (folder / "shut").write_text("shut")
    (folder / "shut").chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", UNREADABLE, str(folder)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, preexec_fn=_no_exceptions,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    unreadable = json.loads(done.stdout)
    assert unreadable == [f"{folder}/shut: Permission denied"]

    instance, machine = place.running()
    place.hibernate(instance.id)
    taken = machine.agent.take_snapshot(
        unreadable=(*unreadable, "/workspace/x.sock: sockets and devices are not saved")
    )
    assert taken.state == "verified"
    assert place.kept(instance.id)
    failure = place.world.instance(instance.id).failure or ""
    assert "shut: Permission denied" in failure and "snapshots exclude" in failure and "x.sock" not in failure

    place.hibernate(instance.id)
    machine.agent.take_snapshot(unreadable=("/workspace/x.sock: sockets and devices are not saved",))
    assert place.world.settle(instance.id).state is State.HIBERNATED, "what is no file holds nothing up"


def test_a_disk_that_is_really_full_is_told_and_the_rest_comes_once_there_is_room(place: Place) -> None:
    instance, machine = place.running()
    (machine.workspace / "big").write_bytes(os.urandom(6 << 20))
    (machine.workspace / "small").write_text("small")
    place.hibernate(instance.id)
    machine.work()
    place.world.settle(instance.id)
    tight = place.woken(instance.id)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tight.workspace)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"NOT TESTED: a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        tight.work()
        assert "No space left on device" in place.told(instance.id)
        assert not (tight.workspace / "big").exists(), "nothing looks whole that is not"
        assert (tight.workspace / "small").read_text() == "small"
        tried = place.world.instance(instance.id)
        assert tried.restoring and "not every file is back yet" in (tried.failure or "")
        with pytest.raises(errors.Conflict, match="restoring"):
            place.hibernate(instance.id)
        subprocess.run(["mount", "-o", "remount,size=64m", str(tight.workspace)], check=True)
        place.world.clock.step(seconds=31)
        tight.work()
        place.world.advance(instance.id)
        tight.work()
        assert (tight.workspace / "big").read_bytes() == (machine.workspace / "big").read_bytes()
        done = place.world.instance(instance.id)
        assert (done.failure, done.restoring) == (None, False)
    finally:
        subprocess.run(["umount", str(tight.workspace)], check=True)
