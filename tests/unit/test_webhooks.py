"""Everything worth telling is told, in order, signed, again after a failure, and never to a private address."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared import errors, public_address
from shared.deps import Deps
from shared.domain.instance import State
from shared.domain.webhook import GIVE_UP_AFTER, TOLD
from shared.flows import webhooks
from shared.sweeps.notify import notify
from shared.wire.webhooks import WebhookBody
from tests.support.names import Names, self_signed
from tests.support.world import World


class Receiver:
    """Somebody's HTTP server. A status of 0 breaks the connection off instead of an answer."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.answer_headers: dict[str, str] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if status == 0:
                    return
                receiver.got.append((dict(self.headers.items()), body))
                self.send_response(status)
                for name, value in {"Content-Length": "0", **receiver.answer_headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def kinds(self) -> list[str]:
        return [json.loads(body)["kind"] for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@pytest.fixture
def world() -> World:
    return World(private_addresses=True)


def strict(world: World) -> Deps:
    """As deployed: no private addresses."""
    return replace(world.deps, settings=World().deps.settings)


def hook(world: World, receiver: Receiver, form: str = "json", host: str = "127.0.0.1") -> Any:
    body = WebhookBody.model_validate({"url": f"http://{host}:{receiver.port}/hook", "form": form})
    return webhooks.create(body, world.user.id, world.deps)


def test_what_happens_is_told_once_in_order_and_signed(world: World, receiver: Receiver) -> None:
    made = hook(world, receiver)
    world.hibernated()
    notify(world.deps)
    notify(world.deps)

    assert receiver.kinds == ["running", "hibernated"]
    headers, body = receiver.got[0]
    at = int(headers["X-Dumont-Signature"].partition(",")[0].removeprefix("t="))
    assert headers["X-Dumont-Signature"] == webhooks.signature(made.secret, at, body)
    (shown,) = webhooks.list_webhooks(world.user.id, world.deps).webhooks
    assert [d.status for d in shown.deliveries] == [200, 200] and "secret" not in shown.model_dump()


def test_a_receiver_that_fails_is_told_again_later_and_nothing_is_skipped(world: World, receiver: Receiver) -> None:
    hook(world, receiver)
    world.hibernated()
    receiver.statuses = [0, 500]
    notify(world.deps)
    notify(world.deps)
    assert receiver.got == [], "not before its time"
    world.clock.step(seconds=11)
    notify(world.deps)
    assert len(receiver.got) == 1, "answered 500"
    world.clock.step(seconds=30)
    notify(world.deps)
    assert receiver.kinds == ["running", "running", "hibernated"]


def test_an_event_that_is_never_taken_is_given_up_and_the_next_is_told(world: World, receiver: Receiver) -> None:
    hook(world, receiver)
    world.hibernated()
    receiver.statuses = [500] * GIVE_UP_AFTER
    for _ in range(GIVE_UP_AFTER):
        notify(world.deps)
        world.clock.step(hours=2)
    notify(world.deps)
    assert receiver.kinds[-1] == "hibernated"
    (shown,) = webhooks.list_webhooks(world.user.id, world.deps).webhooks
    assert any("given up" in str(d.problem) for d in shown.deliveries)


def test_slack_gets_a_text_without_its_own_marks(world: World, receiver: Receiver) -> None:
    hook(world, receiver, "slack")
    world.hibernated(name="box")
    notify(world.deps)
    text = json.loads(receiver.got[0][1])["text"]
    assert set(json.loads(receiver.got[0][1])) == {"text"} and "<" not in text


def test_only_ones_own_events_are_told(world: World, receiver: Receiver) -> None:
    webhooks.create(WebhookBody(url="http://127.0.0.1:1/x"), "u-other", world.deps)
    world.hibernated()
    notify(world.deps)
    assert receiver.got == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/computeMetadata/v1/",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://0/x",
        "https://user:word@8.8.8.8/x",
        "ftp://8.8.8.8/x",
        "https:///x",
        "https://224.0.0.1/x",
        "https://100.64.0.1/x",
        "https://[::127.0.0.1]/x",
        "https://[64:ff9b::10.0.0.1]/x",
        "https://[2002:a00:1::]/x",
        "https://[fd20:ce::254]/x",
        "https://[fe80::1]/x",
        "https://[::1",
        "https://8.8.8.8\n/x",
        "https://8.8.8.8\\@127.0.0.1/x",
    ],
)
def test_addresses_that_are_not_public_are_refused(url: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="url"):
        webhooks.create(WebhookBody(url=url), "u-ann", World().deps)


def test_an_address_that_becomes_private_is_not_told(world: World, receiver: Receiver) -> None:
    hook(world, receiver)
    world.hibernated()
    notify(strict(world))
    assert receiver.got == []
    (shown,) = webhooks.list_webhooks(world.user.id, world.deps).webhooks
    assert "not a public address" in str(shown.deliveries[0].problem) or "https" in str(shown.deliveries[0].problem)


def test_a_name_that_leads_elsewhere_by_the_next_look_is_never_followed(
    world: World, receiver: Receiver, names: Names
) -> None:
    """Rebinding: public while it is checked, our own machine a moment later."""
    deps = strict(world)
    url = f"https://rebinds.example:{receiver.port}/x"
    names.answers["rebinds.example"] = [["8.8.8.8"], ["2606:4700::1", "8.8.4.4"], ["127.0.0.1"]]
    webhooks.create(WebhookBody(url=url), world.user.id, deps)
    world.hibernated()
    notify(deps)

    assert names.dialled == ["2606:4700::1", "8.8.4.4"], "what one look-up said, and was checked"
    assert len(names.asked) == 2 and receiver.got == []
    world.clock.step(hours=1)
    notify(deps)
    assert len(names.dialled) == 2, "it is private now: nothing is dialled"
    (shown,) = webhooks.list_webhooks(world.user.id, world.deps).webhooks
    assert "127.0.0.1, which is not a public address" in str(shown.deliveries[0].problem)


def test_one_private_address_among_public_ones_is_enough_to_refuse(world: World, names: Names) -> None:
    names.answers["both.example"] = [["8.8.8.8", "10.0.0.1"]]
    with pytest.raises(errors.InvalidRequest, match=r"10\.0\.0\.1, which is not"):
        webhooks.create(WebhookBody(url="https://both.example/x"), world.user.id, strict(world))


def test_the_receiver_is_called_by_its_name_at_the_next_address_when_one_is_out_of_reach(
    world: World, receiver: Receiver, names: Names
) -> None:
    names.answers["hook.example"] = [["10.9.9.9", "127.0.0.1"]]
    hook(world, receiver, host="hook.example")
    world.running()
    notify(world.deps)
    assert names.dialled == ["10.9.9.9", "127.0.0.1"]
    assert receiver.got[0][0]["Host"] == f"hook.example:{receiver.port}" and receiver.kinds == ["running"]


def test_tls_asks_for_the_certificate_of_the_name_and_takes_no_other(names: Names, tmp_path: Path) -> None:
    names.answers["hook.example"] = [["127.0.0.1"]]
    with self_signed("hook.example", tmp_path) as (port, asked):
        url = f"https://hook.example:{port}/x"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            public_address.ask("POST", "url", url, b"{}", {}, True)
    assert asked == ["hook.example"]


def test_a_redirect_is_not_followed(world: World, receiver: Receiver) -> None:
    receiver.statuses = [307]
    receiver.answer_headers = {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"}
    hook(world, receiver)
    world.running()
    notify(world.deps)
    assert len(receiver.got) == 1
    (shown,) = webhooks.list_webhooks(world.user.id, world.deps).webhooks
    assert shown.deliveries[0].problem == "answered 307"


def test_a_receiver_that_answers_a_byte_now_and_then_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_address, "WHOLE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"H")
                    time.sleep(0.05)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        started = time.monotonic()
        with pytest.raises(httpx.HTTPError):
            public_address.ask("POST", "url", f"http://127.0.0.1:{listener.getsockname()[1]}/x", b"{}", {}, True)
        assert time.monotonic() - started < 2
        thread.join(5)


def test_another_users_webhook_cannot_be_deleted(world: World, receiver: Receiver) -> None:
    made = hook(world, receiver)
    with pytest.raises(errors.NotFound):
        webhooks.delete(made.id, "u-other", world.deps)
    webhooks.delete(made.id, world.user.id, world.deps)
    assert webhooks.list_webhooks(world.user.id, world.deps).webhooks == []


def test_the_kinds_that_are_told_are_kinds_that_exist() -> None:
    code = "".join(p.read_text() for p in Path("shared").rglob("*.py") if p.name != "webhook.py")
    assert {kind for kind in TOLD if f'"{kind}"' not in code} - set(State) == set()


@pytest.mark.parametrize("offset_s", [0, 15, 30, 45, 59])
def test_an_instance_that_is_about_to_sleep_warns_once_and_a_minute_before(
    world: World, receiver: Receiver, offset_s: int
) -> None:
    """Whenever the minute's sweeps come: the agent beats each ten seconds, sweeps drive what is due and tell."""
    instance, agent = world.running()
    hook(world, receiver)
    idle = world.clock.now()
    told_at: list[Any] = []
    slept_at = None
    for second in range(400):
        world.clock.step(seconds=1)
        if second % 10 == 0:
            agent.beat(idle_since=idle, why="idle since then")
        if second % 60 == offset_s:
            world.advance(instance.id)
            before = len(receiver.got)
            notify(world.deps)
            told_at += [world.clock.now() for _ in receiver.kinds[before:] if receiver.kinds[-1] == "idle_warning"]
        if world.instance(instance.id).state is State.HIBERNATING:
            slept_at = world.clock.now()
            break
    assert slept_at is not None and receiver.kinds.count("idle_warning") == len(told_at) == 1
    assert (slept_at - told_at[0]).total_seconds() >= 60
    assert (slept_at - idle).total_seconds() <= 180 + 60 + 11, "nothing was put off"


def test_use_after_a_warning_puts_sleep_off_and_the_next_rest_is_warned_of_again(
    world: World, receiver: Receiver
) -> None:
    instance, agent = world.running()
    hook(world, receiver)
    for _ in range(2):
        idle = world.clock.now()
        for _ in range(15):
            world.clock.step(seconds=10)
            agent.beat(idle_since=idle, why="idle since then")
            world.advance(instance.id)
        world.clock.step(seconds=10)
        agent.beat()
        assert world.instance(instance.id).warned_for is None
    notify(world.deps)
    assert world.instance(instance.id).state is State.RUNNING
    assert receiver.kinds.count("idle_warning") == 2


def test_an_instance_that_sleeps_after_seconds_is_warned_of_before_it_does(world: World, receiver: Receiver) -> None:
    instance, agent = world.running(idle_policy={"idle_after_s": 30})
    hook(world, receiver)
    idle = world.clock.now()
    world.clock.step(seconds=31)
    agent.beat(idle_since=idle, why="idle since then")
    world.settle(instance.id, lambda i: bool(agent.orders("snapshot")))
    agent.take_snapshot()
    world.settle(instance.id)
    notify(world.deps)
    assert receiver.kinds == ["idle_warning", "hibernated"]
