"""Every route of the OpenAPI document with every credential that is not its own, and with everybody else's things.

What a route takes is read from the document, so that a new route is walked without being named here; what cannot be
derived (which routes are public, whose thing a parameter names) must be said here, or the walk fails.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from typing import Any

import jwt
import pytest
from werkzeug.test import TestResponse

from infra import manifest, openapi
from local import scheduler
from shared.domain.attempt import Attempt, Outcome
from shared.domain.instance import Instance
from shared.domain.models import Deployment
from shared.domain.snapshot import Snapshot
from shared.domain.user import User
from shared.flows import alerts, auth, instances, keys, machines, models, pools, webhooks
from shared.flows.auth import access_token
from shared.store import codec
from shared.store.base import Put, Shape
from shared.wire.auth import KeyRequest, LoginRequest
from shared.wire.instances import ExecRequest
from shared.wire.machines import BlockBody, PoolBody
from shared.wire.market import AlertBody
from shared.wire.models import DeployBody
from shared.wire.webhooks import WebhookBody
from tests.support.http import client
from tests.support.identity import new_key, trusted
from tests.support.world import PRIVATE_PEM, PUBLIC_PEM, FakeAgent, World

PASSWORD = "correct horse battery"
PUBLIC = {"login", "refreshSession", "logout", "healthz", "agentBundle"}
"""Routes that anybody may call. Whoever adds one says so here, and says why in docs/security.md."""
OPENS = {
    "user": {"a session", "an API key"},
    "agent": {"a machine's token"},
    "model": {"a model's key"},
    "scheduler": {"the scheduler's token"},
}
PASSING = {"throttles", "ticks"}
"""What a refused call may leave: its own count against guessing."""


@dataclass(frozen=True)
class Call:
    id: str
    function: str
    method: str
    path: str
    caller: str
    body: Any
    queries: frozenset[str]

    def url(self, **params: str) -> str:
        return "/api/v1" + re.sub(r"\{(\w+)\}", lambda m: params[m[1]], self.path)


def least(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """The smallest value that a schema lets pass."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    if "anyOf" in schema:
        return None if {"type": "null"} in schema["anyOf"] else least(schema["anyOf"][0], document)
    kind = schema.get("type")
    if kind == "object":
        return {name: least(schema["properties"][name], document) for name in schema.get("required", [])}
    if kind == "array":
        return [least(schema["items"], document)] * schema.get("minItems", 0)
    if kind in ("integer", "number"):
        return max(1, schema.get("minimum", 1))
    if kind == "boolean":
        return False
    if schema.get("format") == "date-time":
        return "2026-01-01T00:00:00Z"
    if schema.get("pattern", "").startswith("^[^@"):
        return "a@example.com"
    return "x" * max(1, schema.get("minLength", 1))


@cache
def calls() -> list[Call]:
    document = openapi.document()
    routes = {route.id: (function.name, route) for function in manifest.load().values() for route in function.routes}
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            function, route = routes[operation["operationId"]]
            content = operation.get("requestBody", {}).get("content", {})
            body = least(content["application/json"]["schema"], document) if content else None
            queries = frozenset(p["name"] for p in operation["parameters"] if p["in"] == "query")
            found.append(Call(route.id, function, method.upper(), path, route.caller, body, queries))
    assert len(found) == len(routes)
    return found


@dataclass(frozen=True)
class Things:
    ids: dict[str, str]
    """By the parameter that names such a thing in paths."""
    agent: FakeAgent
    pending: Snapshot
    model_key: str


class Everybody:
    """Ann, Bob, an administrator and their things; every kind of credential, good and bad."""

    def __init__(self, settings: dict[str, Any], oidc_key: Any) -> None:
        self.world = World(offers=60, private_addresses=True, tiny_model_path="/opt/tiny_model.py", **settings)
        world, deps = self.world, self.world.deps
        self.ann = world.user
        self.bob = auth.create_user("bob@example.com", PASSWORD, False, deps)
        self.root = auth.create_user("root@example.com", PASSWORD, True, deps)
        gone = auth.create_user("gone@example.com", PASSWORD, False, deps)
        deps.store.commit([Put("users", gone.id, codec.encode(replace(gone, disabled=True)))])
        self.anns, self.ann_agent = world.running()
        bobs = self.things_of(self.bob)
        self.things, self.bobs_agent, self.pending, self.model_key = bobs.ids, bobs.agent, bobs.pending, bobs.model_key
        self.oidc_key = oidc_key
        self.user = self.session(self.ann)
        self.admin = self.session(self.root)
        self.key = auth.create_key(KeyRequest(name="k"), self.ann, deps).key
        # Its use is noted once an hour, a refused one's as well.
        auth.user_of_key(self.key, deps)
        revoked = auth.create_key(KeyRequest(name="old"), self.ann, deps)
        auth.revoke_key(revoked.id, self.ann, deps)
        self.agent = self.machine_token(self.ann_agent.attempt_id)
        ended = next(a for a in world.attempts(self.anns.id) if not a.wants_machine)
        public = PUBLIC_PEM.encode()
        claims = jwt.decode(self.user, options={"verify_signature": False})
        head, body, signature = self.user.split(".")
        unsigned = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
        flipped = "A" if signature[0] != "A" else "B"

        def signed(**changed: Any) -> str:
            return jwt.encode({**claims, **changed}, PRIVATE_PEM, algorithm="EdDSA")

        hmac_head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
        import hmac

        made = hmac.new(public, f"{hmac_head}.{body}".encode(), sha256).digest()
        confused = f"{hmac_head}.{body}.{base64.urlsafe_b64encode(made).decode().rstrip('=')}"
        self.nobodys: dict[str, str | None] = {
            "no credential": None,
            "an empty one": "Bearer ",
            "another scheme": "Basic " + base64.b64encode(b"ann@example.com:" + PASSWORD.encode()).decode(),
            "noise": "Bearer noise",
            "an expired session": f"Bearer {signed(exp=claims['iat'] - 1)}",
            "a forged signature": f"Bearer {head}.{body}.{flipped}{signature[1:]}",
            "another key's session": "Bearer " + jwt.encode(claims, _another_pem(), algorithm="EdDSA"),
            "an unsigned session": f"Bearer {unsigned}.{body}.",
            "the public key as a secret": f"Bearer {confused}",
            "a session for another audience": f"Bearer {signed(aud='another')}",
            "a session of another issuer": f"Bearer {signed(iss='another')}",
            "a session for another use": f"Bearer {signed(use='refresh')}",
            "a stranger's session": f"Bearer {signed(sub='u-nobody')}",
            "a disabled user's session": f"Bearer {self.session(gone)}",
            "a revoked key": f"Bearer {revoked.key}",
            "a key with another secret": f"Bearer {self.key[:-4]}xxxx",
            "a key that never was": f"Bearer dk_0123456789abcdef_{'x' * 43}",
            "an ended machine's token": f"Bearer {self.machine_token(ended.id)}",
            "a machine's id with another's secret": (
                f"Bearer {self.bobs_agent.attempt_id}.{self.machine_token(self.ann_agent.attempt_id).partition('.')[2]}"
            ),
            "half a machine's token": f"Bearer {self.ann_agent.attempt_id}.",
        }
        self.schedulers: dict[str, str] = {
            "a scheduler's token for another audience": self.oidc(aud="another"),
            "a scheduler's token of another issuer": self.oidc(iss="https://accounts.evil"),
            "an expired scheduler's token": self.oidc(exp=1_000_000_000),
            "a scheduler's token without an end": self.oidc(exp=None),
            "another address's token": self.oidc(email="somebody@else"),
            "an unverified address's token": self.oidc(email_verified=False),
            "a token without an address": self.oidc(email=None),
        }
        self.forged_schedulers: dict[str, str] = {
            "a scheduler's token by another key": self.oidc(signer=new_key()),
            "an unsigned scheduler's token": self.oidc(signer=None),
        }

    def things_of(self, user: User) -> Things:
        """One of each thing that a path may name, by its parameter."""
        world, deps = self.world, self.world.deps
        instance, agent = world.running(user_id=user.id)
        instances.take_snapshot(instance.id, 0, user.id, deps)
        snapshot = agent.take_snapshot()
        pending = instances.take_snapshot(instance.id, 0, user.id, deps)
        order = instances.start_exec(instance.id, ExecRequest(command=["true"]), user.id, deps, None)
        hook = webhooks.create(WebhookBody(url="http://127.0.0.1:1/hook"), user.id, deps)
        alert = alerts.create(AlertBody.model_validate({"gpu_name": "H100", "usd_per_gpu_hour": 1}), user.id, deps)
        model = models.deploy(DeployBody(model="dumont/tiny-bigram", runtime="tiny"), user.id, deps, user.id)
        pools.put_pool("bobs-pool", PoolBody(target=0), user.id, deps)
        machines.block("fake-machine-1", BlockBody(why="bob's own reason"), user.id, deps)
        session = auth.login(LoginRequest(email=user.email, password=PASSWORD), "1.2.3.4", deps, "bob's laptop")
        family = jwt.decode(session.access_token, options={"verify_signature": False})["sid"]
        ids = {
            "instance": instance.id,
            "snapshot": snapshot.id,
            "order": order.id,
            "webhook": hook.id,
            "alert": alert.id,
            "model": model.id,
            "pool": "bobs-pool",
            "name": world.storage("bobs-bucket", user.id).name,
            "key": auth.create_key(KeyRequest(name="bob's own key"), user, deps).id,
            "session": str(family),
        }
        return Things(ids, agent, deps.records.load(Snapshot, pending.id), str(model.key))

    def session(self, user: User) -> str:
        return access_token(user.id, "family", self.world.deps.settings, self.world.clock)

    def machine_token(self, attempt_id: str) -> str:
        return f"{attempt_id}.{keys.agent_secret(self.world.deps.settings, attempt_id)}"

    def oidc(self, signer: Any = "own", **changed: Any) -> str:
        claims = {**jwt.decode(scheduler.token(self.oidc_key), options={"verify_signature": False}), **changed}
        claims = {k: v for k, v in claims.items() if v is not None}
        key, algorithm = (self.oidc_key if signer == "own" else signer) or "", "RS256" if signer else "none"
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "local"})

    def wrong_for(self, call: Call) -> dict[str, str | None]:
        """Every credential that must not open a route."""
        good = {
            "a session": f"Bearer {self.user}",
            "an API key": f"Bearer {self.key}",
            "a machine's token": f"Bearer {self.agent}",
            "a model's key": f"Bearer {self.model_key}",
            "the scheduler's token": f"Bearer {self.oidc()}",
        }
        if call.caller == "admin":
            # A good user who is no administrator is refused as well.
            own = {"the scheduler's token", "a machine's token", "a model's key", "a session", "an API key"}
        else:
            own = set(good) - OPENS[call.caller]
        wrong = {**self.nobodys, **{name: good[name] for name in sorted(own)}}
        wrong |= {name: f"Bearer {token}" for name, token in self.schedulers.items()}
        wrong |= {name: f"Bearer {token}" for name, token in self.forged_schedulers.items()}
        return wrong

    def ask(self, call: Call, authorization: str | None, params: dict[str, str], body: Any = None) -> TestResponse:
        headers = {"Authorization": authorization} if authorization is not None else {}
        given = {"json": body if body is not None else call.body} if call.body is not None else {}
        query = {"query_string": "wait=0"} if "wait" in call.queries else {}
        return client(call.function, self.world.deps).open(
            call.url(**params), method=call.method, headers=headers, **given, **query
        )

    def state(self) -> dict[str, Any]:
        """Everything that is stored, but what a refusal may leave."""
        store = self.world.store
        found = {}
        for name in set(store.collections()) - PASSING:
            cursor: str | None = None
            while True:
                page = store.query(Shape("every", name), cursor=cursor)
                found.update({(name, d.id): d.rev for d in page.documents})
                cursor = page.cursor
                if cursor is None:
                    break
        return found


def _another_pem() -> str:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everybody]:
    with trusted(tmp_path_factory.mktemp("identity")) as (settings, key):
        yield Everybody(settings, key)


def say(capsys: pytest.CaptureFixture[str], words: str) -> None:
    with capsys.disabled():
        print(f"\nauth walk: {words}")


def test_no_route_opens_to_a_credential_that_is_not_its_own(
    everybody: Everybody, capsys: pytest.CaptureFixture[str]
) -> None:
    walked, counts, let_in = calls(), Counter[str](), []
    params = {**everybody.things, "machine": "fake-machine-1"}
    before, rented = everybody.state(), len(everybody.world.provider.made)

    for call in walked:
        if call.caller == "public":
            assert call.id in PUBLIC, f"{call.id} is public in the manifest and not in this test"
            continue
        wrong = everybody.wrong_for(call)
        for name, authorization in wrong.items():
            response = everybody.ask(call, authorization, params)
            expected = {401}
            if call.caller == "admin" and name in ("a session", "an API key"):
                expected = {403}
            elif call.caller == "scheduler" and "address" in name:
                expected = {401, 403}
            counts[str(response.status_code)] += 1
            if response.status_code not in expected:
                let_in.append((call.id, name, response.status_code, response.text[:200]))
            if everybody.anns.id in response.text or everybody.things["instance"] in response.text:
                let_in.append((call.id, name, "it tells of an instance", response.text[:200]))

    say(
        capsys,
        f"{len(walked)} routes, {counts.total()} calls with wrong credentials: {dict(counts)}, {len(let_in)} let in",
    )
    assert let_in == []
    assert everybody.state() == before, "a refused call changed something"
    assert len(everybody.world.provider.made) == rented


def test_nobody_reaches_anothers_things(everybody: Everybody, capsys: pytest.CaptureFixture[str]) -> None:
    """Each parameter of a path names Bob's thing, the credential is Ann's and good: it does not exist for her."""
    asked, failures = Counter[str](), []
    ann = f"Bearer {everybody.user}"
    before = everybody.state()
    for call in calls():
        if call.caller != "user":
            continue
        names = re.findall(r"\{(\w+)\}", call.path)
        instance_in_body = isinstance(call.body, dict) and "instance" in call.body
        if not names and not instance_in_body:
            continue
        if names == ["machine"] or call.id in ("putPool", "saveStorage"):
            # Each user's own judgement of a machine, own pool and own bucket, by any name: Bob's is another document.
            continue
        body = {**call.body, "instance": everybody.things["instance"]} if instance_in_body else call.body
        response = everybody.ask(call, ann, everybody.things, body)
        asked["another's"] += 1
        if response.status_code != 404 or any(t in response.text for t in ("bob's", everybody.bob.id)):
            failures.append((call.id, response.status_code, response.text[:200]))
        for name in names[1:]:
            # Ann's own instance, with Bob's thing in it.
            response = everybody.ask(call, ann, {**everybody.things, "instance": everybody.anns.id}, body)
            asked["another's in one's own"] += 1
            if response.status_code != 404:
                failures.append((call.id, name, response.status_code, response.text[:200]))

    say(capsys, f"{asked.total()} calls with good credentials for another's things, {len(failures)} let in")
    assert failures == []
    assert everybody.state() == before


def test_no_list_or_sum_holds_anothers_things(everybody: Everybody, capsys: pytest.CaptureFixture[str]) -> None:
    ann, told, listed = f"Bearer {everybody.user}", [], 0
    bobs = {name: id for name, id in everybody.things.items() if name not in ("pool",)}
    bobs |= {"user": everybody.bob.id, "e-mail": everybody.bob.email, "reason": "bob's own reason"}
    for call in calls():
        if call.caller != "user" or call.method != "GET" or "{" in call.path:
            continue
        queries = [""]
        if "instance" in call.queries:
            queries.append(f"?instance={everybody.things['instance']}")
        if call.id == "showMarket":
            queries = ["?gpu_name=H100"]
        for query in queries:
            headers = {"Authorization": ann}
            response = client(call.function, everybody.world.deps).get(call.url() + query, headers=headers)
            listed += 1
            if response.status_code == 404 and query:
                # It names what was asked for, and says that there is no such thing.
                continue
            assert response.status_code == 200, (call.id, response.text)
            told += [(call.id, query, name) for name, id in bobs.items() if id in response.text]

    say(capsys, f"{listed} lists and sums, {len(told)} hold another's things")
    assert told == []


def test_a_machine_reaches_only_its_own_instance(everybody: Everybody, capsys: pytest.CaptureFixture[str]) -> None:
    """Every agent route with a good token of another instance's machine, naming Bob's snapshot, order and objects."""
    pending, bobs = everybody.pending, everybody.things
    foreign: dict[str, tuple[dict[str, Any], set[int]]] = {
        "agentUploads": ({"snapshot_id": pending.id, "count": 1, "manifest": True}, {404}),
        "agentCommitSnapshot": (
            {
                "snapshot_id": pending.id,
                "order_id": pending.order_id,
                "manifest_key": pending.manifest_key,
                "manifest_size": 10,
                "packs": [],
                "files": 1,
                "bytes": 1,
                "stored_bytes": 1,
                "seconds": 1,
            },
            {404},
        ),
        "agentResult": ({"order_id": bobs["order"], "state": "done", "stdout": "forged"}, {404}),
        "agentDownloads": ({"keys": [f"../{bobs['instance']}/m/{bobs['snapshot']}"]}, {400}),
    }
    names_nothing = {"agentProbe", "agentRegister", "agentHeartbeat"}
    """They take no id of anything: who is meant follows from the token."""
    token, failures = f"Bearer {everybody.agent}", []
    before = everybody.state()
    for call in calls():
        if call.caller != "agent" or call.id in names_nothing:
            continue
        body, expected = foreign[call.id]
        response = everybody.ask(call, token, {}, body)
        if response.status_code not in expected:
            failures.append((call.id, response.status_code, response.text[:200]))
    say(capsys, f"{len(foreign)} calls of a machine for another instance's things, {len(failures)} let in")
    assert failures == []
    assert everybody.state() == before

    downloads = next(call for call in calls() if call.id == "agentDownloads")
    answer = everybody.ask(downloads, token, {}, {"keys": [f"m/{bobs['snapshot']}"]}).get_json()
    (url,) = answer["data"]["urls"].values()
    assert f"instances/{everybody.anns.id}/" in url and bobs["instance"] not in url


@pytest.mark.parametrize("mode", ["verify", "iam"])
def test_scheduled_functions_open_to_the_scheduler_alone_in_both_modes(
    everybody: Everybody, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind Cloud Run's own check the signature is gone already; every claim is looked at all the same."""
    deps = everybody.world.deps
    deps = replace(deps, settings=deps.settings.model_copy(update={"oidc_mode": mode}))
    wrong = everybody.schedulers | (everybody.forged_schedulers if mode == "verify" else {})
    scheduled = [call for call in calls() if call.caller == "scheduler"]
    refused = 0
    for call in scheduled:
        functions = client(call.function, deps)
        for name, token in wrong.items():
            response = functions.post(call.url(), headers={"Authorization": f"Bearer {token}"})
            assert response.status_code in (401, 403), (call.id, name, response.text)
            refused += 1
        nobody = replace(deps, settings=deps.settings.model_copy(update={"oidc_email": ""}))
        headers = {"Authorization": f"Bearer {everybody.oidc()}"}
        assert client(call.function, nobody).post(call.url(), headers=headers).status_code == 401
        assert client(call.function, deps).post(call.url(), headers=headers).status_code == 200
    say(capsys, f"{len(scheduled)} scheduled functions in mode {mode}: {refused} calls refused, their own let in")


def test_a_models_endpoint_opens_to_its_own_key_alone(everybody: Everybody) -> None:
    world = everybody.world
    body = DeployBody(model="dumont/tiny-bigram", runtime="tiny")
    other = models.deploy(body, everybody.ann.id, world.deps, "anns")
    gone = models.deploy(body, everybody.ann.id, world.deps, "gone")
    models.delete(gone.id, everybody.ann.id, world.deps)
    assert world.deps.records.load(Deployment, gone.id).state == "deleted"

    for call in calls():
        if call.caller == "model":
            for params, key in ((everybody.things["model"], other.key), (gone.id, gone.key), ("x", other.key)):
                assert everybody.ask(call, f"Bearer {key}", {"model": params}).status_code == 401, call.id


def test_a_token_that_is_used_after_its_machine_ended_is_refused_and_logged(
    everybody: Everybody, capsys: pytest.CaptureFixture[str]
) -> None:
    instance, agent = everybody.world.running()
    token = everybody.machine_token(agent.attempt_id)
    attempt = agent.me
    everybody.world.deps.records.transact(
        lambda tx: tx.save(tx.load(Attempt, attempt.id).ending(Outcome.CANCELLED, "its host is a thief", tx.now))
    )
    capsys.readouterr()

    heartbeat = next(call for call in calls() if call.id == "agentHeartbeat")
    response = everybody.ask(heartbeat, f"Bearer {token}", {})

    assert response.status_code == 401 and response.get_json()["error"]["details"]["stop"] is True
    (line,) = [json.loads(one) for one in capsys.readouterr().out.splitlines()]
    assert line["error"] == "unauthenticated" and line["severity"] == "NOTICE"
    assert line["attempt_id"] == attempt.id and "its host is a thief" in line["reason"]
    assert token.partition(".")[2] not in json.dumps(line)
    assert everybody.world.deps.records.load(Instance, instance.id).id == instance.id


def test_every_answer_bears_the_headers_and_opens_itself_to_no_other_origin(everybody: Everybody) -> None:
    from shared.web.endpoint import HEADERS

    params = {**everybody.things, "machine": "fake-machine-1"}
    hostile = {"Origin": "https://evil.example", "Access-Control-Request-Method": "DELETE"}
    for call in calls():
        functions = client(call.function, everybody.world.deps)
        url = call.url(**params)
        refused = functions.open(url, method=call.method, headers=hostile)
        preflight = functions.options(url, headers=hostile)
        assert preflight.status_code == 405, call.id
        for response in (refused, preflight):
            assert {name: response.headers.get(name) for name in HEADERS} == HEADERS, call.id
            assert not [name for name, _ in response.headers if name.lower().startswith("access-control")], call.id
            assert "Set-Cookie" not in response.headers
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'none'")
    assert "max-age=31536000" in HEADERS["Strict-Transport-Security"]
