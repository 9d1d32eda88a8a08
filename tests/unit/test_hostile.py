"""Whatever strings, sizes, paths and addresses somebody sends: they arrive as data, or are refused, and change nothing else."""

from __future__ import annotations

import gzip
import io
import json
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.orders import Work, run
from agent.snapshot.errors import SnapshotError
from agent.snapshot.manifest import Frames, Writer
from agent.snapshot.pack import PLANES2, ZSTD, expand
from shared import errors
from shared.domain import manifest as form
from shared.domain import models as domain
from shared.domain.models import RUNTIMES
from shared.domain.offer import MachineSpec
from shared.flows import auth, instances, keys, snapshots, storage, webhooks
from shared.flows.snapshot_orders import prefix_of
from shared.providers.base import boot_script
from shared.providers.vast import Vast
from shared.wire.instances import ExecRequest, ProvisionRequest, SshKeysBody
from shared.wire.models import DeployBody
from shared.wire.storage import StorageBody
from shared.wire.webhooks import WebhookBody
from tests.support.http import client, error_of
from tests.support.world import World, an_offer
from tests.unit.test_auth_walk import calls
from tests.unit.test_web import bearer

HOSTILE = [
    "; touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "a\ntouch pwned",
    "a\r\nX-Injected: 1",
    "-rf",
    "--privileged",
    "--entrypoint=sh",
    "' || touch pwned || '",
    '"; touch pwned; "',
    "\\",
    "${HOME}",
    "| & > < * ? ~ !",
    "%s %n {0} {{7*7}}",
    "../../etc/passwd",
    "é\u202e\U0001f600\u0000"[:-1],
    "nul\x00inside",
    " ",
    "</script><script>alert(1)</script>",
    "\x1b]0;title\x07\x1b[2J",
]


@pytest.fixture
def world() -> World:
    return World()


def refused_or(response: Any, field: str) -> bool:
    """Whether it was taken; when not, the field is named and nothing broke."""
    if response.status_code < 400:
        return True
    assert response.status_code == 400, response.text
    assert field in error_of(response)["message"], response.text
    return False


# Strings: in requests to providers, arguments and environments ---------------------------------------------------------


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("field", ["name", "image", "gpu_name", "env", "workspace", "labels", "setup"])
def test_a_hostile_string_of_a_new_instance_reaches_the_provider_as_data_or_is_refused(
    world: World, field: str, hostile: str
) -> None:
    values = {"env": {"A": hostile}, "labels": {"a": hostile}, "workspace": [f"/w/{hostile}"]}
    body = {"gpu_name": "RTX 4090", "width": 1, field: values.get(field, hostile)}

    response = client("provision", world.deps).post(
        "/api/v1/instances/provision?wait=0", json=body, headers=bearer(world)
    )

    if response.status_code == 507:
        # A GPU of that name is nowhere to be had: it was searched for as what it is.
        assert field == "gpu_name"
        return
    if not refused_or(response, field):
        assert field in ("name", "image") or "\x00" in hostile, "only these have a form of their own"
        return
    made = response.get_json()["data"]
    world.advance(made["id"])
    (machine,) = world.provider.made.values()
    default = ProvisionRequest()
    assert machine.spec.image == default.image
    assert machine.spec.env.get("A") == (hostile if field == "env" else None)
    assert all(name == "A" or name.startswith("DUMONT_") for name in machine.spec.env)
    instance = world.instance(made["id"])
    assert instance.labels == (values["labels"] if field == "labels" else {})
    assert list(instance.spec.workspace) == (values["workspace"] if field == "workspace" else ["/workspace"])
    # What the machine is started with is ours, whoever asks.
    assert hostile not in machine.spec.onstart or hostile in (" ", "\\")


@pytest.mark.parametrize(
    "name", ["A=B", "A B", "-p 22:22", "--privileged", "A\n", "1A", "", "DUMONT_TOKEN", "DUMONT_ROOT", "É"]
)
def test_a_name_in_the_environment_is_a_name(world: World, name: str) -> None:
    """Vast.ai reads flags of Docker's from there, and DUMONT_ is the agent's."""
    body = {"gpu_name": "RTX 4090", "env": {name: "1"}}
    for path, function in (("instances/provision", "provision"), ("pools/p", "pools")):
        method = "PUT" if function == "pools" else "POST"
        sent = body if function == "provision" else {"target": 0, **body}
        response = client(function, world.deps).open(f"/api/v1/{path}", method=method, json=sent, headers=bearer(world))
        assert response.status_code == 400 and "env" in error_of(response)["message"]


@pytest.mark.parametrize("name", ["Prod", "a" * 64, "-a", "a-", "a_b", "-"])
def test_a_pools_name_is_a_name_before_anything_is_kept_or_rented(world: World, name: str) -> None:
    http = client("pools", world.deps)
    response = http.put(f"/api/v1/pools/{name}", json={"gpu_name": "RTX 4090"}, headers=bearer(world))

    assert response.status_code == 400 and "pool's name" in error_of(response)["message"]
    listed = http.get("/api/v1/pools", headers=bearer(world))
    assert (listed.status_code, listed.get_json()["data"]) == (200, {"pools": []})


@pytest.mark.parametrize("hostile", [one for one in HOSTILE if "\x00" not in one])
def test_a_virtual_machines_start_script_sets_hostile_values_and_runs_nothing_of_them(
    hostile: str, tmp_path: Path
) -> None:
    show = f"{sys.executable} -c 'import json,os; print(json.dumps(os.environ[\"A\"]))'"
    spec = MachineSpec(image="x", disk_gib=8, onstart=show, env={"A": hostile, "DUMONT_ROOT": "x"}, ports=())

    done = subprocess.run(["bash", "-c", boot_script(spec)], cwd=tmp_path, capture_output=True, text=True, timeout=30)

    assert json.loads(done.stdout) == hostile and done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hostile", [one for one in HOSTILE if "\x00" not in one])
def test_vast_is_asked_in_json_that_says_exactly_what_was_given(hostile: str) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"success": True, "new_contract": 7})

    vast = Vast(httpx.Client(transport=httpx.MockTransport(answer), base_url="https://vast"), "key")
    vast.create(
        an_offer(), MachineSpec(image=hostile, disk_gib=8, onstart="start", env={"A": hostile}, ports=()), "label"
    )

    body = json.loads(sent[0].content)
    assert (body["image"], body["env"], body["onstart"]) == (hostile, {"A": hostile}, "start")
    assert sent[0].url.path == "/api/v0/asks/offer-1/" and "x-injected" not in sent[0].headers


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_commands_words_input_and_environment_arrive_in_the_agents_process_as_they_are(
    world: World, hostile: str, tmp_path: Path
) -> None:
    instance, agent = world.running()
    show = "import json,os,sys; print(json.dumps([sys.argv[1], os.environ['A'], sys.stdin.read()]))"
    body = {"command": [sys.executable, "-c", show, hostile], "env": {"A": hostile}, "stdin": hostile}
    url = f"/api/v1/instances/{instance.id}/exec?wait=0"

    if "\x00" in hostile:
        for field in ("command", "env"):
            bad = {"command": ["true"], "env": {}, field: body[field]}
            assert not refused_or(client("exec", world.deps).post(url, json=bad, headers=bearer(world)), field)
        return
    response = client("exec", world.deps).post(url, json=body, headers=bearer(world))
    assert response.status_code < 300, response.text
    (order,) = [o for o in agent.beat().orders if o.kind == "exec"]
    payload = order.payload
    done = run(payload["command"], payload["stdin"], str(tmp_path), payload["env"], 30, Work(shared_host=True))

    assert json.loads(done["stdout"]) == [hostile, hostile, hostile]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_models_id_is_one_word_of_its_servers_command(world: World, hostile: str) -> None:
    with pytest.raises(ValueError, match="model"):
        DeployBody(model=hostile, params_b=1)
    # Were it taken, it would still be one word: no shell reads the list.
    for runtime in RUNTIMES.values():
        words = domain.words_of(runtime, hostile, 4096, 1, "fp16")
        assert len(words) == len(domain.words_of(runtime, "x", 4096, 1, "fp16"))


@pytest.mark.parametrize(
    "key",
    [
        'command="touch pwned" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA',
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA a\nssh-rsa AAAAB3NzaC1yc2EAAAAD b",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA a\rcommand=x",
        "-ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
        "ssh-ed25519 $(touch pwned)AAAAAAAAAAAAA",
    ],
)
def test_an_ssh_key_is_one_line_without_options(world: World, key: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="ssh_keys"):
        auth.set_ssh_keys(SshKeysBody(ssh_keys=[key]), world.user, world.deps)


# Addresses -------------------------------------------------------------------------------------------------------------

PRIVATE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "0", "0.0.0.0", "localhost",
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376",
    "224.0.0.1", "255.255.255.255", "198.18.0.1",
    "[::1]", "[::]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]", "[fe80::1]", "[fd00:ec2::254]", "[ff02::1]",
]  # fmt: skip
TRICKS = [
    "https://8.8.8.8@169.254.169.254", "https://8.8.8.8:443@127.0.0.1", "https://169.254.169.254#@8.8.8.8",
    "https://127.0.0.1?@8.8.8.8", "https://8.8.8.8\\@127.0.0.1", "https://127.0.0.1\t", "https://１２７.0.0.1", "https://127。0。0。1",
    "http://8.8.8.8", "gopher://8.8.8.8", "file:///etc/passwd", "https:127.0.0.1", "//127.0.0.1", "https://", "https://[::1",
]  # fmt: skip


@pytest.mark.parametrize("url", [*(f"https://{host}" for host in PRIVATE), *TRICKS])
def test_no_writing_of_a_private_address_is_called(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks' and storages': each is refused before anything is connected to."""
    world = World()
    user = world.user
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was called"))

    with pytest.raises(errors.InvalidRequest, match="url"):
        webhooks.create(WebhookBody(url=f"{url}/hook"), user.id, world.deps)
    for vendor in ("s3", "r2", "b2", "wasabi"):
        body = {"vendor": vendor, "bucket": "mine", "endpoint": url, "access_key": "a", "secret_key": "b"}
        with pytest.raises(errors.InvalidRequest, match="endpoint"):
            storage.save("mine", StorageBody.model_validate(body), user, world.deps)


def test_images_and_models_are_fetched_by_machines_and_never_by_us(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever host an image's name has: it is the rented machine's network that it is looked for in."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was called"))
    for image in ("169.254.169.254/latest/meta-data", "localhost:5000/x", "10.0.0.1/x@sha256:" + "0" * 64):
        body = ProvisionRequest(gpu_name="RTX 4090", image=image, width=1)
        made = instances.provision(body, "race", 0, world.user.id, world.deps, image)
        world.advance(made.id)
    assert {machine.spec.image.partition("/")[0] for machine in world.provider.made.values()} == {
        "169.254.169.254", "localhost:5000", "10.0.0.1",
    }  # fmt: skip


# Sizes -----------------------------------------------------------------------------------------------------------------


class Endless(io.RawIOBase):
    """A body that never ends; counts what was read of it."""

    def __init__(self, piece: bytes = b"x") -> None:
        self.piece, self.given = piece, 0

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        room[:] = (self.piece * (len(room) // len(self.piece) + 1))[: len(room)]
        self.given += len(room)
        return len(room)


def send(world: World, stream: Any, **headers: str) -> Any:
    length = headers.pop("Content-Length", None)
    ends = {"wsgi.input_terminated": True} if length is None else {"CONTENT_LENGTH": length}
    environ = {"wsgi.input": stream, **ends}
    sent = {**bearer(world), "Content-Type": "application/json", **headers}
    return client("provision", world.deps).post("/api/v1/instances/provision", headers=sent, environ_overrides=environ)


def test_a_body_without_end_is_read_to_its_limit_and_no_further(world: World) -> None:
    stream = Endless()
    response = send(world, io.BufferedReader(stream), **{"Transfer-Encoding": "chunked"})

    assert response.status_code == 413
    assert stream.given < 3 << 20


@pytest.mark.parametrize("length", ["99999999999999999999", "1048577"])
def test_a_length_beyond_the_limit_is_refused_unread(world: World, length: str) -> None:
    stream = Endless()

    assert send(world, io.BufferedReader(stream), **{"Content-Length": length}).status_code == 413
    assert stream.given == 0


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "0x10", "+5", "1, 1"])
def test_a_length_that_is_none_is_no_way_in(world: World, length: str) -> None:
    response = send(world, io.BytesIO(b'{"gpu_name": "RTX 4090"}'), **{"Content-Length": length})

    assert response.status_code in (400, 413)
    assert world.provider.made == {}


def test_a_body_shorter_than_it_says_is_no_request(world: World) -> None:
    response = send(world, io.BytesIO(b'{"gpu_name": "RTX'), **{"Content-Length": "24"})

    assert response.status_code == 400 and world.provider.made == {}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_nothing_that_expands_is_taken(world: World, coding: str) -> None:
    bomb = gzip.compress(bytes(100 << 20), 9)
    assert len(bomb) < 1 << 20
    started = time.monotonic()

    response = send(world, io.BytesIO(bomb), **{"Content-Length": str(len(bomb)), "Content-Encoding": coding})

    assert response.status_code == 415 and time.monotonic() - started < 2


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"a":' * 150_000,
        b'{"env": ' + b"[" * 400 + b"]" * 400 + b"}",
        b'{"ports": [' + b"1," * 500_000 + b"1]}",
        b'{"ports": [' + b"[],".join([b""] * 300_000) + b"1]}",
        b'{"gpu_count": ' + b"9" * 1_000_000 + b"}",
        b'{"gpu_count": 1e' + b"9" * 1000 + b"}",
        b'{"env": {' + b",".join(b'"A%d": ""' % n for n in range(60_000)) + b"}}",
        b'{"name": "' + b"\\u0041" * 170_000 + b'"}',
        b'{"gpu_name": "A", ' * 1 + b'"gpu_name": ["B"]}',
        b"\xff\xfe{\x00}\x00",
        b"{} {}",
        b"",
    ],
    ids=lambda body: body[:12].decode("latin-1"),
)
def test_a_body_that_is_deep_wide_or_huge_is_refused_at_once(world: World, body: bytes) -> None:
    assert len(body) <= 1 << 20
    started = time.process_time()

    response = send(world, io.BytesIO(body), **{"Content-Length": str(len(body))})

    assert response.status_code == 400 and len(response.data) < 4000
    assert time.process_time() - started < 3
    assert world.provider.made == {}


def test_a_models_config_of_huge_numbers_is_refused(world: World) -> None:
    for number in (10**400, 1e308, -1, "9" * 5000):
        config = {"num_hidden_layers": number, "num_attention_heads": 8, "hidden_size": 4096}
        body = {"model": "x/y-7b", "config": config, "preview": True}
        response = client("models", world.deps).post("/api/v1/models/deploy", json=body, headers=bearer(world))
        assert response.status_code == 400, (number, response.text)


# Paths -----------------------------------------------------------------------------------------------------------------

PATHS = [
    "..", ".", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "a%2fb", "..;", "%00", "a%00b", "%0a", "a%0d%0aX:1", "%c3%a9",
    "%ff", "*", "$(id)", "a" * 101, "a" * 5000, "%25%32%65", "~root", "a b", "'", "\\..\\",
]  # fmt: skip


def test_no_path_parameter_takes_what_is_not_an_id(world: World) -> None:
    """Each parameter of each route, with a good credential of a user's: nothing is found, and nothing changes."""
    world.running()
    before = len(world.provider.made), world.store.get("users", world.user.id)
    tried = 0
    for call in calls():
        names = [part for part in call.path.split("/") if part.startswith("{")]
        for name in names:
            for bad in PATHS:
                path = "/".join(
                    bad if part == name else "x" if part in names else part for part in call.path.split("/")
                )
                response = client(call.function, world.deps).open(
                    f"/api/v1{path}", method=call.method, json=call.body, headers=bearer(world)
                )
                tried += 1
                assert response.status_code in (400, 401, 404, 405), (call.id, bad, response.status_code)
    assert tried > 800
    assert (len(world.provider.made), world.store.get("users", world.user.id)) == before


# What a malicious host may upload ------------------------------------------------------------------------------------------


def sealed(head: bytes, key: bytes, name: str) -> bytes:
    salt, under = bytes(16), form.salted(name, bytes(16))
    text = AESGCM(form.object_key(key, under)).encrypt(form.nonce(0), head, form.associated(under, 0))
    return form.MAGIC + salt + len(text).to_bytes(4, "big") + text


class Counting:
    """Objects that say how much was read of them."""

    def __init__(self, objects: Any) -> None:
        self.objects, self.read = objects, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        found: bytes = self.objects.get(key, start=start, length=length)
        self.read += len(found)
        return found


def bomb(key: bytes, name: str) -> bytes:
    return sealed(zlib.compress(b'{"snapshot_id":"' + b"a" * (100 << 20) + b'"}', 9), key, name)


def endless(key: bytes, name: str) -> bytes:
    return sealed(b"", key, name)[: form.PREFIX - 4] + b"\xff\xff\xff\xff" + bytes(8 << 20)


def trailing(key: bytes, name: str) -> bytes:
    return sealed(zlib.compress(b'{"snapshot_id": "another", "packs": []}'), key, name) + bytes(32 << 20)


def nonsense(key: bytes, name: str) -> bytes:
    return sealed(zlib.compress(b'{"snapshot_id": 1, "packs": {"a": []}}'), key, name)


@pytest.mark.parametrize("made", [bomb, endless, trailing, nonsense])
def test_a_manifest_of_a_hosts_making_is_refused_without_being_read_or_expanded_whole(
    world: World, made: Callable[[bytes, str], bytes]
) -> None:
    instance, agent = world.running()
    instances.take_snapshot(instance.id, 0, world.user.id, world.deps)
    (order,) = agent.orders("snapshot")
    counting = Counting(world.objects)
    world.deps = replace(world.deps, objects=lambda: counting)  # type: ignore[arg-type,return-value]
    key, prefix = keys.data_key(world.deps, instance.id), prefix_of(instance.id)
    put = world.objects.put

    def instead(at: str, body: bytes) -> None:
        put(at, made(key, at.removeprefix(prefix)) if "/m/" in at else body)

    world.objects.put = instead  # type: ignore[method-assign]
    taken = agent.take_snapshot(order=order)

    assert taken.state == "failed" and taken.problem
    assert counting.read <= 2 * form.READ_AHEAD
    assert world.instance(instance.id).snapshot_id is None


def test_a_commit_that_names_too_much_is_refused(world: World) -> None:
    _, agent = world.running()
    token = f"{agent.attempt_id}.{keys.agent_secret(world.deps.settings, agent.attempt_id)}"
    body = {
        "snapshot_id": "s", "order_id": "o", "manifest_key": "m", "manifest_size": 1, "files": 1, "bytes": 1,
        "stored_bytes": 1, "seconds": 1, "packs": [],
    }  # fmt: skip
    pack = {"key": "p/" + "0" * 12 + "/1-" + "0" * 16, "size": 1}
    for change, status in (
        ({"packs": [pack] * 200_001}, (400, 413)),
        ({"packs": [{**pack, "key": "../../x"}]}, (400,)),
        ({"manifest_size": 1 << 40}, (400,)),
        ({"files": 1 << 60}, (400,)),
        ({"torn": ["x" * 40_000]}, (400,)),
        ({"torn": ["x" * 30_000] * 1000}, (413,)),
    ):
        response = client("agent", world.deps).post(
            "/api/v1/agent/snapshots", json={**body, **change}, headers={"Authorization": f"Bearer {token}"}
        )
        assert response.status_code in status, (list(change), response.status_code, response.text[:300])


def sections(world: World, rows: list[Any], expanded: bytes | None = None) -> Iterator[str]:
    """Problems that a check finds in a manifest whose frames are these."""
    instance, agent = world.running()
    instances.take_snapshot(instance.id, 0, world.user.id, world.deps)
    taken = agent.take_snapshot()
    key = keys.data_key(world.deps, instance.id)
    frames = Frames()
    writer = Writer(key, taken.manifest_key)
    for _ in rows:
        frames.add([0, 0, 1, 1, 0, 1])
    frames.rows = lambda start, end: rows[start:end]  # type: ignore[method-assign]
    prefix = prefix_of(instance.id)
    pack = next(iter(world.objects.list(prefix + "p/"))).key.removeprefix(prefix)
    body = writer.finish(frames, {}, snapshot_id=taken.id, packs=[[pack, 10]])
    world.objects.put(prefix + taken.manifest_key, body)
    found = snapshots.check(taken, world.deps, sample=8)
    yield str(found.problem)


@pytest.mark.parametrize(
    "row", [[99, 0, 1, 1], [-1, 0, 1, 1], [0, -5, 1, 1], [0, "x", 1, 1], [0], None, {}, [[], 0, 1, 1], [True, 0, 1, 1]]
)
def test_a_manifest_whose_places_make_no_sense_is_damaged_and_breaks_nothing(world: World, row: Any) -> None:
    assert list(sections(world, [row])) == ["its manifest makes no sense"]


def test_a_section_that_grows_without_end_is_damaged(world: World) -> None:
    assert list(sections(world, [[0, 0, 1, 1, "a" * (20 << 20)]])) == ["its manifest makes no sense"]


@pytest.mark.parametrize("raw_length", [10, 1 << 20, -1, 1 << 60])
def test_a_frame_expands_to_what_it_says_at_most(raw_length: int) -> None:
    """On the next machine, and on that of the owner who pulls a snapshot."""
    from agent.snapshot.pack import zstd

    payload = zstd.compress(bytes(64 << 20))
    planes = len(payload).to_bytes(4, "little") + payload
    for codec, body in ((ZSTD, payload), (PLANES2, planes * 2)):
        with pytest.raises(SnapshotError):
            expand(codec, body, raw_length)


@pytest.mark.parametrize(
    "rows",
    [
        [["d", "0/..", 0o755, 0, 0, 0], ["f", "x", 0o644, 0, 0, 0, 0, 1, 1, -1, 0]],
        [["d", "0/", 0o755, 0, 0, 0], ["f", "../x", 0o644, 0, 0, 0, 0, 1, 1, -1, 0]],
        [["d", "0/", 0o755, 0, 0, 0], ["f", "..", 0o644, 0, 0, 0, 0, 1, 1, -1, 0]],
        [["d", "0/", 0o755, 0, 0, 0], ["d", "0/a/../../x", 0o755, 0, 0, 0]],
        [["d", "0//etc", 0o755, 0, 0, 0], ["f", "x", 0o644, 0, 0, 0, 0, 1, 1, -1, 0]],
        [["d", "0/", 0o755, 0, 0, 0], ["h", "x", "0/../outside/secret"]],
        [["d", "0/", 0o755, 0, 0, 0], ["l", "way", 0o777, 0, 0, 0, ".."], ["h", "x", "0/way/outside/secret"]],
        [["d", "0/", 0o755, 0, 0, 0], ["l", "way", 0o777, 0, 0, 0, "../outside"], ["F", "way", 0o644, 0, 0, 0, 0, 1, 1, []]],
        [["d", "7/", 0o755, 0, 0, 0]],
        [["d", "-1/", 0o755, 0, 0, 0]],
    ],
)  # fmt: skip
def test_no_manifest_writes_or_reads_outside_its_workspace(rows: list[Any], tmp_path: Path) -> None:
    from agent.snapshot.restore import restore_below

    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    target = tmp_path / "to"
    target.mkdir()
    key, writer = b"k" * 32, Writer(b"k" * 32, "m/evil")
    writer.entries(rows)
    manifest = writer.finish(
        Frames(), {}, snapshot_id="evil", created_ns=0, workspace=["/workspace"], packs=[],
        counts={"files": 1, "directories": 1, "bytes": 0},
    )  # fmt: skip

    class Source:
        def get(self, key: str, offset: int, length: int) -> bytes:
            return manifest[offset : offset + length]

        def know(self, keys: list[str]) -> None: ...

        def url(self, key: str, fresh: bool = False) -> str:
            raise AssertionError(key)

    with suppress(SnapshotError, OSError, IndexError):
        restore_below(str(target), key, "m/evil", Source())
    assert sorted(path.name for path in tmp_path.rglob("*") if not path.is_relative_to(target)) == [
        "outside",
        "secret",
    ]
    for path in target.rglob("*"):
        assert path.is_symlink() or not path.is_file() or path.read_bytes() != b"secret"


def test_hidden_input_never_stands_in_an_error() -> None:
    """Of a request, and of a document that does not fit its record."""
    from shared.domain.webhook import Webhook
    from shared.store import codec

    with pytest.raises(ValueError) as caught:
        ExecRequest.model_validate({"command": "secret-word", "env": {"A": ["secret-word"]}})
    assert "secret-word" not in str(caught.value)
    with pytest.raises(ValueError) as caught:
        codec.decode(Webhook, {"id": ["secret-word"], "secret": {"a": "secret-word"}})
    assert "secret-word" not in str(caught.value)
