"""What functions log while every kind of secret is used, refused and stumbled over: none of them."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr, ValidationError

from shared.flows import keys
from shared.settings import Settings
from shared.store.base import Put
from tests.support.http import client
from tests.support.leaks import Secrets
from tests.support.world import PRIVATE_PEM, World


def fresh() -> str:
    return f"secret-{secrets.token_urlsafe(24)}"


def test_no_line_of_a_functions_log_tells_a_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, known = World(private_addresses=True, tiny_model_path="/opt/tiny_model.py"), Secrets()
    email, password, master = world.user.email, "correct horse battery", world.deps.settings.master_key
    assert master
    known.add("deployment's own secret", master.get_secret_value(), PRIVATE_PEM)

    def ask(function: str, method: str, path: str, body: Any = None, token: str = "", status: int = 0) -> Any:
        response = client(function, world.deps).open(
            f"/api/v1{path}", method=method, json=body, headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        assert response.status_code == status if status else response.status_code < 300, (path, response.text)
        known.add_from(body)
        if status:
            assert not [one for one in known.kinds if one in response.text], "the refusal repeats the secret"
            return None
        known.add_from(response.get_json()["data"])
        return response.get_json()["data"]

    session = ask("auth", "POST", "/auth/login", {"email": email, "password": password})
    session = ask("auth", "POST", "/auth/refresh", {"refresh_token": session["refresh_token"]})
    key = ask("auth", "POST", "/auth/keys", {"name": "for the logs"}, session["access_token"])["key"]
    hook = ask("webhooks", "POST", "/webhooks", {"url": "http://127.0.0.1:9/hook"}, key)
    model = ask(
        "models", "POST", "/models/deploy",
        {"model": "dumont/tiny-bigram", "runtime": "tiny", "hub_token": fresh()}, key,
    )  # fmt: skip
    instance, agent = world.running(env={"HF_TOKEN": fresh()})
    known.add("value of an environment", *keys.open_env(world.deps.settings, world.user.id, instance.spec.env).values())
    machine = f"{agent.attempt_id}.{keys.agent_secret(world.deps.settings, agent.attempt_id)}"
    known.add("machine's token", machine)
    ask("agent", "POST", "/agent/downloads", {"keys": ["m/s-0123456789abcdef"]}, machine)
    path = f"/instances/{instance.id}"
    ask("exec", "POST", f"{path}/exec?wait=0", {"command": ["true"], "env": {"ONCE": fresh()}}, key)
    ask("snapshots", "GET", f"{path}/recovery", None, key)

    bucket = {"vendor": "s3", "bucket": "mine", "endpoint": "http://127.0.0.1:9", "access_key": "AKIA"}
    ask("storage", "PUT", "/settings/storage/mine", {**bucket, "secret_key": fresh(), "region": "?"}, key, 400)
    ask("auth", "POST", "/auth/login", {"email": email, "password": fresh()}, status=401)
    ask("auth", "POST", "/auth/refresh", {"refresh_token": fresh()}, status=401)
    ask("provision", "POST", "/instances/provision", {"env": {"no name": fresh()}}, key, 400)
    ask("provision", "POST", "/instances/provision", {"env": {"LONG": fresh() * 200}}, key, 400)
    ask("exec", "POST", f"{path}/exec", {"command": [], "env": {"ONCE": fresh()}}, key, 400)
    ask("models", "POST", "/models/deploy", {"model": "x/y", "runtime": "none", "hub_token": fresh()}, key, 400)
    for wrong in (fresh(), f"{key}x", f"{session['access_token']}x", f"{machine}x"):
        known.add("refused credential", wrong)
        ask("instances", "GET", "/instances", None, wrong, 401)
        ask("agent", "GET", "/agent/probe", None, wrong, 401)
        ask("models", "GET", f"/models/{model['id']}/v1/models", None, wrong, 401)
    # A bug of ours: its trace is logged, the document it stumbled over is not.
    damaged = world.store.get("webhooks", hook["id"])
    assert damaged
    world.store.commit([Put("webhooks", hook["id"], {**damaged.data, "secret": {"was": hook["secret"]}})])
    ask("webhooks", "GET", "/webhooks", None, key, 500)

    log = tmp_path / "functions.log"
    log.write_text(capsys.readouterr().out)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) > 25 and any("a document is no Webhook" in line["message"] for line in lines)
    assert known.found_in([log]) == []
    assert set(known.kinds.values()) >= {
        "password", "session", "refresh token", "API, model or snapshot key", "webhook's secret", "bucket's key",
        "model hub's token", "value of an environment", "deployment's own secret", "machine's token", "refused credential",
    }  # fmt: skip
    with capsys.disabled():
        print(f"\nsecrets: {known.counts()} in none of {len(lines)} lines")


@pytest.mark.parametrize("secret", ['a+secret/with=odd "letters"', "-----BEGIN KEY-----\n" + "Ab1/" * 16 + "\n-----"])
def test_the_search_finds_a_secret_in_every_form(secret: str, tmp_path: Path) -> None:
    known = Secrets()
    known.add("planted", secret)
    basic = base64.b64encode(b"user:" + secret.encode()).decode()
    for number, text in enumerate((secret, json.dumps({"a": secret}), quote(secret), basic, secret.encode().hex())):
        log = tmp_path / f"{number}.log"
        log.write_text(f"before {text} after")
        assert known.found_in([log]) == [f"{number}.log: planted"], text
    clean = tmp_path / "clean.log"
    clean.write_text("nothing of the kind")
    assert known.found_in([clean]) == []


def test_a_wrong_setting_is_named_without_what_it_is_set_to() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(master_key=SecretStr("a key that nobody may read"), vast_url="https://secret.example")
    assert "DUMONT_STORE" in str(caught.value) and "secret.example" not in str(caught.value)
