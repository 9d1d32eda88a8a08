"""What is stored is sealed, for its purpose and its place; keys are rotated while everything goes on; old forms are read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from infra import keys as command
from infra.backup import every
from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.domain.instance import Instance
from shared.domain.keyring import SEALED, Keyring, derived
from shared.domain.models import Deployment
from shared.domain.storage import StorageProfile
from shared.domain.webhook import Webhook
from shared.flows import instances, keys, models, pools, serving, webhooks
from shared.flows.agents import heartbeat
from shared.store.base import Put
from shared.wire.instances import ExecRequest
from shared.wire.machines import PoolBody
from shared.wire.models import DeployBody
from shared.wire.webhooks import WebhookBody
from tests.support.http import client
from tests.support.world import FakeAgent, World
from tests.unit.test_web import bearer

OLD, NEW = b"k" * 32, b"n" * 32
ENV = {"HF_TOKEN": "hf_secret-of-the-user", "EMPTY": "", "SPACES": "  two\nlines  "}


def text(*masters: bytes) -> SecretStr:
    return SecretStr(",".join(base64.b64encode(master).decode() for master in masters))


def with_keys(world: World, *masters: bytes) -> Deps:
    """The same database in a process with other keys."""
    world.deps = replace(world.deps, settings=world.deps.settings.model_copy(update={"master_key": text(*masters)}))
    return world.deps


def stored(world: World) -> str:
    """The whole database as text."""
    return "\n".join(
        json.dumps(data, default=str) for name in world.store.collections() for _, data in every(world.store, name)
    )


@pytest.fixture
def world() -> World:
    return World(offers=30, private_addresses=True, tiny_model_path="/opt/tiny_model.py")


def hook(world: World) -> Any:
    return webhooks.create(WebhookBody(url="http://127.0.0.1:1/hook"), world.user.id, world.deps)


def test_rfc_5869s_own_vector_is_met() -> None:
    # Test case 1 has another salt: the construction is checked with it, the salt of ours beside.
    extracted = hmac.new(bytes(range(13)), b"\x0b" * 22, hashlib.sha256).digest()
    assert extracted.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    for purpose in ("attempt", "id", ""):
        assert derived(OLD, purpose) == HKDF(SHA256(), 32, b"dumont-keyring-1", purpose.encode()).derive(OLD)


@given(st.binary(max_size=200), st.text(max_size=20), st.text(max_size=20))
def test_what_is_sealed_opens_for_its_purpose_and_place_alone(plain: bytes, purpose: str, place: str) -> None:
    ring = Keyring((OLD,))
    sealed = ring.seal(purpose, place, plain)

    assert ring.open(purpose, place, sealed) == plain
    for other_purpose, other_place in ((purpose + "x", place), (purpose, place + "x")):
        with pytest.raises(errors.Unavailable, match="does not open"):
            ring.open(other_purpose, other_place, sealed)
    with pytest.raises(errors.Unavailable, match="was sealed by"):
        Keyring((NEW,)).open(purpose, place, sealed)


def test_what_was_changed_does_not_open() -> None:
    ring = Keyring((OLD,))
    sealed = ring.seal("p", "x", b"secret")
    head, data = sealed.rsplit(".", 1)
    for at in range(0, len(data) - 1, 7):
        changed = data[:at] + ("A" if data[at] != "A" else "B") + data[at + 1 :]
        with pytest.raises(errors.Unavailable):
            ring.open("p", "x", f"{head}.{changed}")


@pytest.mark.parametrize("given", ["", "short", "a" * 44, f"{text(OLD).get_secret_value()},", "=" * 44])
def test_what_is_no_key_is_refused_without_being_shown(given: str) -> None:
    with pytest.raises(errors.Unavailable) as caught:
        Keyring.parse(given)
    assert not given or given not in caught.value.message


def test_no_two_purposes_share_a_key() -> None:
    names = [keys.ATTEMPT, keys.AGENT, keys.MODEL, keys.DATA_KEY, keys.WEBHOOK, keys.ENV, "id"]
    assert len({derived(OLD, name) for name in names} | {OLD}) == len(names) + 1


# At rest and in answers ----------------------------------------------------------------------------------------------


def test_nothing_that_opens_something_lies_in_the_database_in_the_clear(world: World) -> None:
    made = hook(world)
    instance, agent = world.running(env=ENV)
    pools.put_pool("warm", PoolBody(target=0, env={"POOLS": "pool-secret-of-the-user"}), world.user.id, world.deps)
    models.deploy(
        DeployBody(model="dumont/tiny-bigram", runtime="tiny", hub_token="hub-secret-of-the-user"),
        world.user.id, world.deps, "key",
    )  # fmt: skip
    command_env = ExecRequest(command=["true"], env={"ONCE": "exec-secret-of-the-user"})
    instances.start_exec(instance.id, command_env, world.user.id, world.deps, None)
    data_key = keys.data_key(world.deps, instance.id)

    whole = stored(world)

    for secret in (made.secret, ENV["HF_TOKEN"], "pool-secret", "hub-secret", "exec-secret"):
        assert secret not in whole, secret
    for form in (data_key.hex(), base64.b64encode(data_key).decode(), base64.urlsafe_b64encode(data_key).decode()):
        assert form not in whole
    assert keys.agent_secret(world.deps.settings, agent.attempt_id) not in whole
    # The machine gets them as they were given.
    assert instance.machine
    assert world.provider.made[instance.machine.machine_id].spec.env.items() >= ENV.items()
    answer = agent.beat()
    assert answer.settings.env == ENV
    assert [o.payload["env"] for o in answer.orders if o.kind == "exec"] == [{"ONCE": "exec-secret-of-the-user"}]


def test_no_answer_gives_a_secret_back(world: World) -> None:
    """Each GET of the API, after the one answer that shows a secret once."""
    from tests.unit.test_auth_walk import calls

    made = hook(world)
    instance, _ = world.running(env=ENV)
    listed = client("instances", world.deps).get(f"/api/v1/instances/{instance.id}", headers=bearer(world)).get_json()
    assert listed["data"]["spec"]["env"] == dict.fromkeys(ENV, "")

    asked = 0
    for call in calls():
        if call.method != "GET" or call.caller != "user" or re_params(call.path) - {"instance", "webhook"}:
            continue
        if call.id == "snapshotKey":
            # Their key is the owner's to take along; its events say that it was shown.
            continue
        url = call.url(instance=instance.id, webhook=made.id) + ("?gpu_name=H100" if call.id == "showMarket" else "")
        response = client(call.function, world.deps).get(url, headers=bearer(world))
        asked += 1
        assert response.status_code == 200, (call.id, response.text)
        assert made.secret not in response.text and ENV["HF_TOKEN"] not in response.text, call.id
        assert not SEALED.search(response.text), call.id
    assert asked > 20


def re_params(path: str) -> set[str]:
    return {part[1:-1] for part in path.split("/") if part.startswith("{")}


# Rotation ------------------------------------------------------------------------------------------------------------


def test_keys_are_rotated_while_machines_run_models_serve_and_hooks_are_told(world: World) -> None:
    made = hook(world)
    instance, agent = world.running(env=ENV)
    data_key = keys.data_key(world.deps, instance.id)
    model = models.deploy(DeployBody(model="dumont/tiny-bigram", runtime="tiny"), world.user.id, world.deps, "key")
    server = keys.model_secret(world.deps.settings, model.id, "server")[0]
    bucket = world.storage("mine")
    token = keys.agent_secret(world.deps.settings, agent.attempt_id)
    opened = replace(agent.me, id=agent.attempt_id)

    deps = with_keys(world, NEW, OLD)
    before = command.status(deps)
    newest, oldest = before["keys"]
    assert not before["older_may_go"] and set(before["rests_on_older"]) == {oldest}
    assert before["sealed"]["webhooks"] == {oldest: 1} and before["sealed"]["instances"][oldest] >= len(ENV)

    assert sum(command.reseal(deps).values()) >= 4
    assert command.reseal(deps) == {}, "there is nothing left to do"
    after = command.status(deps)
    assert {key for counts in after["sealed"].values() for key in counts} == {newest}
    # What lives bears the older key's mark until it ends.
    assert set(after["rests_on_older"]) == {oldest} and not after["older_may_go"]

    assert keys.data_key(deps, instance.id) == data_key
    record = deps.records.load(Webhook, made.id)
    assert keys.open_text(deps.settings, keys.WEBHOOK, record.id, record.secret) == made.secret
    assert keys.open_env(deps.settings, world.user.id, world.instance(instance.id).spec.env) == ENV
    profile = deps.records.load(StorageProfile, bucket.id)
    assert keys.opened(deps.settings, keys.STORAGE, profile.id, profile.sealed_secret) == b"the secret key"
    assert deps.agent_of(agent.attempt_id, token, True).id == opened.id
    assert keys.agent_token(deps.settings, opened) == f"{opened.id}.{token}"
    assert keys.is_our_attempt(deps.settings, agent.attempt_id) and keys.is_our_agent(deps.settings, opened.id, token)
    deployment = deps.records.load(Deployment, model.id)
    assert models.server_key(deployment, deps) == {"Authorization": f"Bearer {server}"}
    assert serving.authorized(model.id, str(model.key), deps).id == model.id
    again = models.deploy(DeployBody(model="dumont/tiny-bigram", runtime="tiny"), world.user.id, deps, "key")
    assert again.key == model.key, "the same request shows the same key after a rotation as well"

    # Everything that bears it ends, and the older key may go.
    models.delete(model.id, world.user.id, deps)
    for one in deps.records.all(Instance, keys_shape(), {"user_id": world.user.id}):
        instances.destroy(one.id, 0, world.user.id, deps)
        world.settle(one.id)
    ended = command.status(deps)
    assert ended["older_may_go"] and ended["rests_on_older"] == {}
    alone = with_keys(world, NEW)
    second, fresh = world.running()
    assert FakeAgent(world, fresh.attempt_id).me.instance_id == second.id
    assert keys.data_key(alone, second.id) and command.status(alone)["older_may_go"]


def keys_shape() -> Any:
    from shared.store.shapes import INSTANCES_OF_USER

    return INSTANCES_OF_USER


def test_a_create_that_waited_through_a_rotation_is_sent_with_the_token_on_record(world: World) -> None:
    old = keys.new_attempt_id(world.deps.settings)
    expected = keys.agent_secret(world.deps.settings, old)
    hashed = keys.agent_secret_hash(world.deps.settings, old)

    settings = with_keys(world, NEW, OLD).settings

    assert keys.agent_secret(settings, old, hashed) == expected
    assert keys.agent_secret(settings, old) != expected


def test_without_the_key_that_sealed_it_nothing_opens_and_the_answer_says_which_is_missing(world: World) -> None:
    instance, agent = world.running(env=ENV)
    attempt = agent.me
    deps = with_keys(world, NEW)

    with pytest.raises(errors.Unavailable, match=Keyring((OLD,)).ids[0]):
        keys.data_key(deps, instance.id)
    with pytest.raises(errors.Unavailable):
        from shared.wire.agent import Heartbeat

        heartbeat(Heartbeat(at=world.clock.now(), gpus=[], idle_since=None, why=""), attempt, deps)
    assert not keys.is_our_attempt(deps.settings, agent.attempt_id)


def test_a_sealed_value_moved_to_another_user_or_hook_does_not_open(world: World) -> None:
    settings = world.deps.settings
    sealed = keys.seal_env(settings, "u-ann", ENV)
    with pytest.raises(errors.Unavailable):
        keys.open_env(settings, "u-bob", sealed)
    one = keys.seal_text(settings, keys.WEBHOOK, "w-1", "secret")
    with pytest.raises(errors.Unavailable):
        keys.open_text(settings, keys.WEBHOOK, "w-2", one)


# Old forms -----------------------------------------------------------------------------------------------------------


def test_what_an_earlier_version_stored_is_read_and_sealed_anew(world: World) -> None:
    """Wrapped by the master key itself, secrets in the clear, labels and tokens without a purpose."""
    settings = world.deps.settings
    made = hook(world)
    instance, _ = world.running(env=ENV)
    plain = b"d" * 32
    wrapped = base64.b64encode(b"n" * 12 + AESGCM(OLD).encrypt(b"n" * 12, plain, instance.id.encode())).decode()
    record = world.store.get("instances", instance.id)
    webhook = world.store.get("webhooks", made.id)
    assert record and webhook
    world.store.commit(
        [
            Put("instance_keys", instance.id, {"wrapped": wrapped}),
            Put("webhooks", made.id, {**webhook.data, "secret": "in-the-clear"}),
            Put("instances", instance.id, {**record.data, "spec": {**record.data["spec"], "env": ENV}}),
        ]
    )

    def mac(text: str) -> str:
        return hmac.new(OLD, text.encode(), hashlib.sha256).hexdigest()

    body = "ab" * 10
    attempt_id = body + mac(f"attempt|{body}")[:8]

    assert keys.data_key(world.deps, instance.id) == plain
    assert keys.is_our_attempt(settings, attempt_id)
    assert keys.is_our_agent(settings, attempt_id, mac(f"agent|{attempt_id}"))
    assert not keys.is_our_agent(settings, attempt_id, mac(f"agent|{attempt_id}")[:-1] + "x")
    secret_hash = hashlib.sha256(mac(f"agent|{attempt_id}").encode()).hexdigest()
    assert keys.agent_secret(settings, attempt_id, secret_hash) == mac(f"agent|{attempt_id}")
    status = command.status(world.deps)
    assert status["sealed"]["instance_keys"]["old form"] == 1 and not status["older_may_go"]

    command.reseal(world.deps)

    whole = stored(world)
    assert "in-the-clear" not in whole and ENV["HF_TOKEN"] not in whole and wrapped not in whole
    assert keys.data_key(world.deps, instance.id) == plain
    assert keys.open_env(settings, world.user.id, world.instance(instance.id).spec.env) == ENV
    assert command.status(world.deps)["older_may_go"]
    assert isinstance(world.deps.records.find(Attempt, world.attempts(instance.id)[0].id), Attempt)


def test_resealing_does_not_overwrite_what_is_written_meanwhile(world: World) -> None:
    instance, _ = world.running(env=ENV)
    deps = with_keys(world, NEW, OLD)
    inner, raced = world.store, []

    class Racing:
        """Somebody renames the instance between the command's read and its write."""

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def commit(self, writes: list[Any]) -> list[str]:
            if writes[0].collection == "instances" and not raced:
                raced.append(1)
                deps.records.transact(lambda tx: tx.save(replace(tx.load(Instance, instance.id), name="renamed")))
            return inner.commit(writes)

    command.reseal(replace(deps, store=Racing()))  # type: ignore[arg-type]

    assert raced and world.instance(instance.id).name == "renamed"
    assert command.status(deps)["sealed"]["instances"] == {command.status(deps)["keys"][0]: len(ENV)}


def test_the_command_shows_ids_and_no_key(world: World, tmp_path: Any) -> None:
    import subprocess
    import sys

    secret = text(NEW, OLD).get_secret_value()
    env = {"PATH": "/usr/bin:/bin", "DUMONT_MASTER_KEY": secret, "DUMONT_STORE": f"sqlite:{tmp_path / 'x.db'}"}
    done = subprocess.run(
        [sys.executable, "-m", "infra.keys", "status"], capture_output=True, text=True, env=env, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["keys"] == list(Keyring((NEW, OLD)).ids)
    assert not any(part in done.stdout + done.stderr for part in secret.split(","))
