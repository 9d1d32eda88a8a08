"""No log and no console tells a secret: neither what is used well nor what is refused."""

from __future__ import annotations

import os
import secrets

import httpx
import pytest

from local.embedded import Embedded
from tests.e2e.conftest import SECRETS, ApiClient, ApiError, Terminal, check_secrets

pytestmark = pytest.mark.skipif("DUMONT_API_URL" in os.environ, reason="a real deployment's logs are elsewhere")


def fresh() -> str:
    return f"secret-{secrets.token_urlsafe(24)}"


def test_every_kind_of_secret_is_used_and_refused_and_no_log_tells_one(
    api_client: ApiClient, local: Embedded, dumont: Terminal
) -> None:
    demo, s3 = local.state["demo"], local.state["s3"]
    session = api_client.call("POST", "/auth/login", {"email": demo["email"], "password": demo["password"]})
    session = api_client.call("POST", "/auth/refresh", {"refresh_token": session["refresh_token"]})
    key = api_client.call("POST", "/auth/keys", {"name": "for the logs"})
    hook = api_client.call("POST", "/webhooks", {"url": "http://127.0.0.1:9/hook"})
    bucket = {"vendor": "s3", "bucket": s3["bucket"], "endpoint": s3["endpoint"], "access_key": s3["access_key"]}
    api_client.call("PUT", "/settings/storage/logged", {**bucket, "secret_key": s3["secret_key"]})
    model = api_client.call(
        "POST", "/models/deploy", {"model": "dumont/tiny-bigram", "runtime": "tiny", "hub_token": fresh()}
    )
    asked = {"gpu_name": api_client.gpu, "width": 1, "env": {"HF_TOKEN": fresh()}, "storage": "logged"}
    made = api_client.until(api_client.call("POST", "/instances/provision", asked)["id"], "running")
    path = f"/instances/{made['id']}"
    order = api_client.call(
        "POST", f"{path}/exec?wait=30", {"command": ["sh", "-c", 'test -n "$ONCE"'], "env": {"ONCE": fresh()}}
    )
    assert order["exit_code"] == 0
    snapshot = api_client.call("POST", f"{path}/snapshots?wait=50")
    api_client.call("POST", f"{path}/snapshots/{snapshot['id']}/addresses", {})
    api_client.call("GET", f"{path}/recovery")

    # The same, wrong: what is refused is written down more willingly.
    refusals = (
        ("POST", "/auth/login", {"email": demo["email"], "password": fresh()}),
        ("POST", "/auth/refresh", {"refresh_token": fresh()}),
        ("POST", "/auth/users", {"email": "no address", "password": fresh()}),
        ("PUT", "/settings/storage/refused", {**bucket, "secret_key": fresh()}),
        ("PUT", "/settings/storage/unreachable", {**bucket, "endpoint": "http://127.0.0.1:9", "secret_key": fresh()}),
        ("POST", "/models/deploy", {"model": "dumont/tiny-bigram", "runtime": "none", "hub_token": fresh()}),
        ("POST", "/instances/provision", {**asked, "env": {"not a name": fresh()}}),
        ("POST", "/instances/provision", {**asked, "env": {"LONG": fresh() * 200}}),
        ("POST", f"{path}/exec", {"command": [], "env": {"ONCE": fresh()}}),
    )
    for method, where, body in refusals:
        with pytest.raises(ApiError) as caught:
            api_client.call(method, where, body)
        assert caught.value.status < 500, where
        SECRETS.add_from(body)
        assert not [one for one in SECRETS.kinds if one in str(caught.value)], (where, "the refusal repeats the secret")
    for wrong in (fresh(), session["access_token"] + "x", key["key"] + "x", f"{made['attempts'][0]['id']}.{fresh()}"):
        SECRETS.add("refused credential", wrong)
        for route in ("/instances", "/agent/probe", f"/models/{model['id']}/v1/models"):
            answer = httpx.get(f"{api_client.url}/api/v1{route}", headers={"Authorization": f"Bearer {wrong}"})
            assert answer.status_code == 401 and wrong not in answer.text
    dumont("storage", "ls")
    dumont("models", "ls")

    # While its machines are there, whose logs go with them.
    assert list(local.folder.rglob("onstart.log"))
    kinds = check_secrets(local)

    api_client.call("DELETE", f"/models/{model['id']}")
    api_client.call("DELETE", f"{path}/destroy?wait=50")
    api_client.until(made["id"], "destroyed")
    api_client.call("DELETE", f"/webhooks/{hook['id']}")
    api_client.call("DELETE", f"/auth/keys/{key['id']}")
    api_client.call("DELETE", "/settings/storage/logged")
    assert set(kinds) >= {
        "password", "session", "refresh token", "API, model or snapshot key", "API key", "webhook's secret",
        "bucket's key", "model hub's token", "value of an environment", "signature of an address",
        "deployment's own secret", "machine's token", "refused credential",
    }  # fmt: skip
