"""Everything worth telling is told, in order, signed, again after a failure, and never to a private address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared import errors
from shared.domain.instance import State
from shared.domain.webhook import GIVE_UP_AFTER, TOLD
from shared.flows import webhooks
from shared.sweeps.notify import notify
from shared.wire.webhooks import WebhookBody
from tests.support.world import World


class Receiver:
    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int | Exception] = []

    def post(self, url: str, *, content: bytes, headers: dict[str, str], **_: Any) -> httpx.Response:
        answer = self.statuses.pop(0) if self.statuses else 200
        if isinstance(answer, Exception):
            raise answer
        self.got.append((headers, content))
        return httpx.Response(answer, request=httpx.Request("POST", url))

    @property
    def kinds(self) -> list[str]:
        return [json.loads(body)["kind"] for _, body in self.got]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Receiver:
    made = Receiver()
    monkeypatch.setattr(httpx, "post", made.post)
    return made


@pytest.fixture
def world() -> World:
    return World(private_addresses=True)


def hook(world: World, form: str = "json") -> Any:
    body = WebhookBody.model_validate({"url": "http://127.0.0.1:1/hook", "form": form})
    return webhooks.create(body, world.user.id, world.deps)


def test_what_happens_is_told_once_in_order_and_signed(world: World, receiver: Receiver) -> None:
    made = hook(world)
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
    hook(world)
    world.hibernated()
    receiver.statuses = [httpx.ConnectError("down"), 500]
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
    hook(world)
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
    hook(world, "slack")
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
    ],
)
def test_addresses_that_are_not_public_are_refused(url: str) -> None:
    strict = World()
    with pytest.raises(errors.InvalidRequest, match="url"):
        webhooks.create(WebhookBody(url=url), strict.user.id, strict.deps)


def test_an_address_that_becomes_private_is_not_told(world: World, receiver: Receiver) -> None:
    hook(world)
    world.hibernated()
    strict = World(store=world.store)
    strict.clock = world.clock
    notify(strict.deps)
    assert receiver.got == []
    (shown,) = webhooks.list_webhooks(world.user.id, world.deps).webhooks
    assert "not a public address" in str(shown.deliveries[0].problem) or "https" in str(shown.deliveries[0].problem)


def test_another_users_webhook_cannot_be_deleted(world: World) -> None:
    made = hook(world)
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
    hook(world)
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
    hook(world)
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
    hook(world)
    idle = world.clock.now()
    world.clock.step(seconds=31)
    agent.beat(idle_since=idle, why="idle since then")
    world.settle(instance.id, lambda i: bool(agent.orders("snapshot")))
    agent.take_snapshot()
    world.settle(instance.id)
    notify(world.deps)
    assert receiver.kinds == ["idle_warning", "hibernated"]
