"""What stands between HTTP and a flow: bad input is a clear 4xx, never a 500; credentials and idempotency."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jwt
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from local import scheduler
from shared import errors
from shared.flows.auth import access_token
from shared.settings import load as load_settings
from shared.store.base import Store
from shared.web.errors import STATUS, status_of
from tests.support.http import client, error_of
from tests.support.identity import new_key, trusted
from tests.support.world import World

PROVISION = "/api/v1/instances/provision?wait=0"


@pytest.fixture
def world() -> World:
    return World()


def bearer(world: World) -> dict[str, str]:
    token = access_token(world.user.id, "family", world.deps.settings, world.deps.clock)
    return {"Authorization": f"Bearer {token}"}


def provision(world: World, data: bytes | str, **headers: str) -> Any:
    given_headers = {"Content-Type": "application/json", **bearer(world), **headers}
    return client("provision", world.deps).post(PROVISION, data=data, headers=given_headers)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"[]", 400, "JSON object"),
        (b"null", 400, "JSON object"),
        (b'"text"', 400, "JSON object"),
        (b"\xff\xfe", 400, "UTF-8"),
        (b'{"gpu_count": NaN}', 400, "NaN"),
        (b'{"gpu_count": Infinity}', 400, "Infinity"),
        (b'{"gpu_count": "many"}', 400, "gpu_count"),
        (b'{"gpu_count": "2"}', 400, "gpu_count"),
        (b'{"gpu_count": true}', 400, "gpu_count"),
        (b'{"gpu_count": 1.5}', 400, "gpu_count"),
        (b'{"interruptible": 1}', 400, "interruptible"),
        (b'{"idle_policy": {"disk_mb_s": 1e999}}', 400, "too large"),
        (b'{"name": "\\udc00"}', 400, "surrogate"),
        (b'{"gpu_count": 0}', 400, "gpu_count"),
        (b'{"gpu_count": 1e999}', 400, "too large"),
        (b'{"gpu_count": 10000000000000000000000000000000}', 400, "gpu_count"),
        (b'{"unknown": 1}', 400, "unknown"),
        (b'{"max_usd_per_hour": -1}', 400, "max_usd_per_hour"),
        (b'{"max_usd_per_hour": "NaN"}', 400, "max_usd_per_hour"),
        (b'{"name": "Bad Name"}', 400, "name"),
        (b'{"workspace": ["relative"]}', 400, "workspace"),
        (b'{"env": {"1BAD": "x"}}', 400, "env"),
        (b'{"idle_policy": {"idle_after_s": -5}}', 400, "idle_policy"),
        (b"[" * 100_000, 400, "nested"),
        (b'{"env":' * 100 + b"{}" + b"}" * 100, 400, "nested"),
        (b'{"setup": "' + b"x" * (1 << 20) + b'"}', 413, "bytes"),
    ],
)
def test_a_bad_body_is_refused_with_its_reason(world: World, body: bytes, status: int, words: str) -> None:
    response = provision(world, body)

    assert response.status_code == status
    assert words in error_of(response)["message"]
    assert world.provider.made == {}


def test_a_wrong_content_type_method_and_path_are_told(world: World) -> None:
    functions = client("provision", world.deps)
    headers = bearer(world)

    assert functions.post(PROVISION, data="{}", headers={**headers, "Content-Type": "text/plain"}).status_code == 415
    wrong = functions.get(PROVISION, headers=headers)
    assert wrong.status_code == 405 and wrong.headers["Allow"] == "POST"
    assert functions.post("/api/v1/instances/provision/x", headers=headers).status_code == 404


@pytest.mark.parametrize(
    "query", ["wait=x", "wait=-1", "wait=51", "wait=1&wait=2", "nonsense=1", "wait=nan", "wait=inf"]
)
def test_a_bad_query_is_refused(world: World, query: str) -> None:
    response = client("provision", world.deps).post(
        f"/api/v1/instances/provision?{query}", json={}, headers=bearer(world)
    )

    assert response.status_code == 400


@pytest.mark.parametrize("key", ["has space", "x" * 201, "", "tab\there"])
def test_a_bad_idempotency_key_is_refused(world: World, key: str) -> None:
    assert provision(world, b"{}", **{"Idempotency-Key": key}).status_code == 400


def test_the_same_key_gives_the_same_instance_and_another_body_is_refused(world: World) -> None:
    one = provision(world, b'{"gpu_name": "RTX 4090"}', **{"Idempotency-Key": "k1"})
    two = provision(world, b'{"gpu_name": "RTX 4090"}', **{"Idempotency-Key": "k1"})
    other = provision(world, b'{"gpu_name": "RTX 3090"}', **{"Idempotency-Key": "k1"})

    assert one.status_code == two.status_code == 201
    assert one.get_json()["data"]["id"] == two.get_json()["data"]["id"]
    assert other.status_code == 409 and error_of(other)["code"] == "idempotency_conflict"


def test_nothing_to_rent_is_507_with_what_came_nearest(world: World) -> None:
    response = provision(world, b'{"gpu_name": "RTX 4090", "max_usd_per_hour": 0.01}')

    assert response.status_code == 507
    assert "nearest: 1x RTX 4090" in error_of(response)["message"]


def test_every_answer_forbids_caching_and_carries_its_request_id(world: World) -> None:
    good, bad = provision(world, b"{}"), provision(world, b"{")

    for response in (good, bad):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Request-Id"].startswith("r-")
    assert bad.headers["X-Request-Id"] == error_of(bad)["request_id"]


def test_a_bug_is_a_500_that_names_only_its_request(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the database password is hunter2")

    world.provider.offers = explode  # type: ignore[assignment,method-assign]
    response = provision(world, b"{}")

    assert response.status_code == 500
    assert "hunter2" not in response.text
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(
        error_of(response)["request_id"] == line.get("request_id") and "hunter2" in line["message"] for line in lines
    )


def test_a_wait_header_tells_when_to_come_back(world: World) -> None:
    world.provider.fail_next["offers"] += [errors.ProviderRejected("bad key")]

    response = provision(world, b"{}")

    assert response.status_code == 502 and "bad key" in error_of(response)["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ["name", "gpu_name", "gpu_count", "disk_gib", "max_usd_per_hour", "regions", "env", "ports", "workspace",
          "setup", "labels", "idle_policy", "width", "excludes", "image"]  # fmt: skip


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_no_body_ever_breaks_the_server(body: dict[str, Any]) -> None:
    world = World(offers=1)

    response = provision(world, json.dumps(body))

    assert response.status_code in (201, 400, 507), response.text


# Scheduler ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scheduled(tmp_path: Path) -> Iterator[tuple[World, Any]]:
    """A world that trusts the key whose public half is served on loopback."""
    with trusted(tmp_path) as (settings, key):
        yield World(**settings), key


def tick(world: World, token: str) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    return client("idle_check", world.deps).post("/api/v1/internal/idle_check", headers=headers)


def test_the_schedulers_own_token_runs_a_sweep(scheduled: tuple[World, Any]) -> None:
    world, key = scheduled

    response = tick(world, scheduler.token(key))

    assert response.status_code == 200
    assert response.get_json()["data"]["name"] == "motion"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"aud": "another"}, 401),
        ({"iss": "https://accounts.evil"}, 401),
        ({"exp": 1_000_000_000}, 401),
        ({"exp": None}, 401),
        ({"email": "somebody@else"}, 403),
        ({"email_verified": False}, 403),
        ({"email_verified": "true"}, 403),
    ],
)
def test_anyone_elses_token_does_not(scheduled: tuple[World, Any], change: dict[str, Any], status: int) -> None:
    world, key = scheduled
    claims = {**jwt.decode(scheduler.token(key), options={"verify_signature": False}), **change}
    claims = {k: v for k, v in claims.items() if v is not None}

    response = tick(world, jwt.encode(claims, key, algorithm="RS256", headers={"kid": "local"}))

    assert response.status_code == status, response.text


def test_a_token_of_another_key_or_no_algorithm_does_not_pass(scheduled: tuple[World, Any]) -> None:
    world, key = scheduled
    claims = jwt.decode(scheduler.token(key), options={"verify_signature": False})
    other = new_key()

    assert tick(world, jwt.encode(claims, other, algorithm="RS256", headers={"kid": "local"})).status_code == 401
    assert tick(world, jwt.encode(claims, "", algorithm="none", headers={"kid": "local"})).status_code == 401


def test_without_an_expected_identity_nobody_is_the_scheduler(scheduled: tuple[World, Any]) -> None:
    _, key = scheduled
    closed = World(oidc_email="", oidc_audience="")

    assert tick(closed, scheduler.token(key)).status_code == 401


# Agents ---------------------------------------------------------------------------------------------------------------


def test_an_agents_token_dies_with_its_attempt(world: World) -> None:
    instance, agent = world.running()
    from shared.flows import instances, keys

    token = f"{agent.attempt_id}.{keys.agent_secret(world.deps.settings, agent.attempt_id)}"
    instances.destroy(instance.id, 0, world.user.id, world.deps)

    response = client("agent", world.deps).post(
        "/api/v1/agent/heartbeat", json={}, headers={"Authorization": f"Bearer {token}"}
    )

    assert response.status_code == 401
    assert error_of(response)["details"]["stop"] is True


def test_an_agent_reaches_only_its_own_instances_objects(world: World) -> None:
    _, agent = world.running()
    from shared.flows import keys

    token = f"{agent.attempt_id}.{keys.agent_secret(world.deps.settings, agent.attempt_id)}"
    for key in ("../i-other/m/s-0123456789abcdef", "m/../../x", "p/x", "/etc/passwd", "m/s-0123456789abcdef/.."):
        response = client("agent", world.deps).post(
            "/api/v1/agent/downloads", json={"keys": [key]}, headers={"Authorization": f"Bearer {token}"}
        )
        assert response.status_code == 400 and "keys" in error_of(response)["message"]


# The error tree -------------------------------------------------------------------------------------------------------


def classes(root: type[errors.Error] = errors.Error) -> list[type[errors.Error]]:
    own = [cls for cls in root.__subclasses__() if cls.__module__ == "shared.errors"]
    return own + [found for cls in own for found in classes(cls)]


def test_every_error_has_a_code_of_its_own_a_status_and_a_line_in_the_tree() -> None:
    codes = [cls.code for cls in classes()]

    assert len(codes) == len(set(codes))
    for cls in classes():
        assert any(base in STATUS for base in cls.__mro__ if base is not errors.Error), cls
        assert cls.__name__ in (errors.__doc__ or "")


def test_only_our_own_faults_are_500() -> None:
    assert status_of(errors.Error("x")) == 500
    assert all(STATUS[cls] != 500 for cls in STATUS if cls is not errors.Error)


# Starting -------------------------------------------------------------------------------------------------------------


def test_a_revision_is_ready_once_it_has_read_its_database_and_says_no_more(world: World) -> None:
    asked = client("usage", world.deps)
    assert (asked.get("/ready").status_code, asked.get("/health").status_code) == (200, 200)

    class Gone:
        def get(self, collection: str, id: str) -> Any:
            raise errors.Unavailable("no route to 10.0.0.7")

    asked = client("usage", replace(world.deps, store=cast("Store", Gone())))
    refused = asked.get("/ready")
    assert refused.status_code == 503 and "10.0.0.7" not in refused.text
    assert asked.get("/health").status_code == 200, "alive, and not ready"


def test_settings_are_read_by_their_names_and_what_is_given_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMONT_ENV", "local")
    monkeypatch.setenv("DUMONT_HEARTBEAT_S", "2.5")
    monkeypatch.setenv("DUMONT_SOMETHING_ELSE", "another program's")
    found = load_settings(store="sqlite::memory:")

    assert (found.env, found.heartbeat_s, found.store, found.lease_s) == ("local", 2.5, "sqlite::memory:", 20)
    monkeypatch.setenv("DUMONT_TRUSTED_HOPS", "many")
    with pytest.raises(ValueError, match="trusted_hops"):
        load_settings()
