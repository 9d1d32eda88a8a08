"""One id finds everything that a request led to: log lines, calls of providers, orders and what machines report."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from shared import errors
from shared.domain.instance import State
from shared.domain.order import Order
from shared.flows import instances
from shared.flows.advance import advance
from shared.logs import TRACE, log, traced, traceparent
from shared.providers import gce
from shared.providers.tensordock import TensorDock
from shared.providers.vast import Vast
from shared.wire.instances import ExecRequest
from tests.support.http import client
from tests.support.world import World

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def world() -> World:
    return World()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    "given",
    [{"traceparent": f"00-{ONE}-{'a' * 16}-01"}, {"X-Cloud-Trace-Context": f"{ONE}/123;o=1"}],
    ids=["w3c", "google"],
)
def test_every_line_of_a_request_names_its_trace_in_the_project(
    world: World, given: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROJECT_ID", "p")

    client("instances", world.deps).get("/api/v1/instances", headers=given)

    assert [one["logging.googleapis.com/trace"] for one in lines(capsys)] == [f"projects/p/traces/{ONE}"]


@pytest.mark.parametrize("given", [{}, {"traceparent": "00-zz"}, {"X-Cloud-Trace-Context": "no"}])
def test_a_request_without_a_trace_gets_one_of_its_own(
    world: World, given: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        client("instances", world.deps).get("/api/v1/instances", headers=given)

    first, second = (one["logging.googleapis.com/trace"] for one in lines(capsys))
    assert len(first) == len(second) == 32 and first != second


def test_what_is_outside_of_requests_bears_none(capsys: pytest.CaptureFixture[str]) -> None:
    with traced(ONE):
        assert traceparent()["traceparent"].split("-")[1] == ONE
    assert traceparent() == {}
    log("INFO", "nobody's")

    assert "logging.googleapis.com/trace" not in lines(capsys)[0]


def test_calls_of_providers_bear_the_trace_and_are_logged_answered_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("traceparent"))
        if request.method == "DELETE":
            raise httpx.ReadTimeout("lost")
        return httpx.Response(404, json={})

    http = httpx.Client(base_url="http://provider", transport=httpx.MockTransport(answer))
    for provider in (Vast(http, "key"), TensorDock(http, "token", "ssh-ed25519 x")):
        with traced(ONE):
            with pytest.raises(errors.MachineNotFound):
                provider.get("7")
            with pytest.raises(errors.OutcomeUnknown):
                provider.terminate("7")
        told = lines(capsys)
        assert [one["message"].split()[-1] for one in told] == ["404", "ReadTimeout"]
        assert {one["logging.googleapis.com/trace"] for one in told} == {ONE}
        assert {one["provider"] for one in told} == {provider.name}
        with pytest.raises(errors.MachineNotFound):
            provider.get("7")
        assert lines(capsys) == [], "what no request asked for is not logged"
    assert [given.split("-")[1] for given in seen if given] == [ONE] * 4


def test_calls_of_googles_compute_bear_the_trace_and_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str | None] = []

    class Compute(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["traceparent"])
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Compute) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        google = gce.connect("p", ["z"], f"http://127.0.0.1:{server.server_port}")
        with traced(ONE), pytest.raises(errors.MachineNotFound):
            google.get("z/m")
        with pytest.raises(errors.MachineNotFound):
            google.get("z/m")
        server.shutdown()

    assert seen[0] is not None and seen[0].split("-")[1] == ONE
    assert seen[1] is None
    (told,) = lines(capsys)
    assert (told["provider"], told["logging.googleapis.com/trace"]) == ("gce", ONE)


def test_whoever_drives_an_instance_on_does_so_for_the_request_that_set_it_in_motion(world: World) -> None:
    asked: list[str | None] = []
    create = world.provider.create
    world.provider.create = lambda *given: (asked.append(TRACE.get()), create(*given))[1]  # type: ignore[method-assign]
    with traced(ONE):
        instance = world.provision(width=1)
    with traced(TWO):
        world.settle(instance.id, lambda _: bool(world.created(instance.id)))

    assert asked == [ONE]
    assert world.instance(instance.id).trace == ONE
    agent = world.agent(world.created(instance.id)[0])
    agent.register()
    world.settle(instance.id)
    with traced(TWO):
        instances.hibernate(instance.id, 0, world.user.id, world.deps)
    assert world.instance(instance.id).trace == TWO
    (order,) = agent.orders("snapshot")
    assert order.trace == TWO


def test_an_instance_that_has_run_for_a_while_moves_for_nobody(world: World) -> None:
    with traced(ONE):
        instance, _ = world.running()
    world.clock.step(seconds=timedelta(minutes=3).total_seconds())
    seen: list[str | None] = []
    load = world.deps.records.open_attempts
    world.deps.records.open_attempts = lambda id: (seen.append(TRACE.get()), load(id))[1]  # type: ignore[method-assign]

    with traced(TWO):
        advance(world.deps, instance.id)

    assert world.instance(instance.id).state is State.RUNNING and set(seen) == {TWO}


def test_an_order_takes_the_trace_to_the_machine(world: World) -> None:
    instance, agent = world.running()
    with traced(ONE):
        order = instances.start_exec(
            instance.id, ExecRequest(command=["true"], timeout_s=5), world.user.id, world.deps, None
        )

    (given,) = (one for one in agent.beat().orders if one.id == order.id)
    assert given.trace == ONE
    assert world.deps.records.load(Order, order.id).trace == ONE
