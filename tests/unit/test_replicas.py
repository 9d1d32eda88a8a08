"""Several servers behind one endpoint: each capped, the least busy asked, one that fails missed by nobody, all put to sleep."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from local import tiny_model
from shared import errors
from shared.domain.instance import Instance, State
from shared.domain.models import Deployment
from shared.flows import instances, models, serving
from shared.flows.usage import set_budget
from shared.store.base import Store, Write
from shared.store.records import Records
from shared.store.shapes import INSTANCES_OF_USER
from shared.sweeps.models import models as sweep
from shared.wire.models import DeployBody
from shared.wire.usage import BudgetBody
from tests.support.crashing import Crash, CrashingStore, Fuse
from tests.support.http import client
from tests.support.world import FakeAgent, World, an_offer, crash_deps
from tests.unit.test_models import deploy

ASK = json.dumps({"model": tiny_model.MODEL, "messages": [{"role": "user", "content": "a machine"}]}).encode()


@dataclass
class Server:
    """A real server of the tiny model on a port of its own, and how often it was asked to complete."""

    http: ThreadingHTTPServer
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def port(self) -> int:
        return int(self.http.server_address[1])

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@contextmanager
def serving_model() -> Iterator[Server]:
    asked: Counter[str] = Counter()

    class Handler(tiny_model.Handler):
        def log_message(self, format: str, *args: Any) -> None:
            asked[self.path.rpartition("/")[2]] += 1

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    server = Server(http, asked)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(serving, "HOLD_S", 0.0)
    return World(offers=24, tiny_model_path="/opt/tiny_model.py")


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving_model()) for _ in range(2)]


def machine_up(world: World, instance_id: str, port: int | None) -> FakeAgent:
    """Its machine is there, the server started; `port` is where it answers from outside."""
    world.settle(instance_id, lambda i: bool(world.created(i.id)))
    agent = world.agent(world.created(instance_id)[0])
    assert agent.register().adopted
    agent.finish("restore", stage="restored")
    agent.finish("setup", exit_code=0)
    world.settle(instance_id)

    def reachable(tx: Any) -> None:
        instance = tx.load(Instance, instance_id)
        assert instance.machine is not None
        machine = replace(instance.machine, ssh_host="127.0.0.1", ports={"8000": port or 1})
        tx.save(replace(instance, machine=machine))

    world.deps.records.transact(reachable)
    return agent


def fresh(world: World, deployment: Deployment) -> Deployment:
    return world.deps.records.load(Deployment, deployment.id)


def looked(world: World, deployment: Deployment) -> Deployment:
    sweep(world.deps)
    return fresh(world, deployment)


def two(world: World, servers: list[Server], **asked: object) -> tuple[str, Deployment, list[FakeAgent]]:
    key, deployment = deploy(world, replicas=2, **asked)
    agents = [
        machine_up(world, one.instance_id, server.port)
        for one, server in zip(deployment.replicas, servers, strict=True)
    ]
    deployment = looked(world, deployment)
    assert deployment.state == "ready" and [one.state for one in deployment.replicas] == ["ready", "ready"]
    for server in servers:
        assert server.asked["completions"] == 1, "one real completion each before it is ready"
        server.asked.clear()
    return key, deployment, agents


def fall_asleep(world: World, deployment: Deployment, agents: list[FakeAgent]) -> None:
    """Of two that sleep after a minute without a request."""
    world.clock.step(seconds=61)
    looked(world, deployment)
    for agent, one in zip(agents, deployment.replicas, strict=True):
        agent.take_snapshot()
        assert world.settle(one.instance_id).state is State.HIBERNATED


def ask(world: World, key: str, deployment: Deployment) -> serving.Upstream:
    return serving.serve(deployment.id, "chat/completions", key, ASK, world.deps)


def states(deployment: Deployment) -> list[str]:
    return [one.state for one in deployment.replicas]


def test_each_replica_is_an_instance_of_its_own_under_the_price_cap(world: World) -> None:
    _, deployment = deploy(world, replicas=3, name="llm", max_usd_per_hour="0.9")
    made = [world.instance(one.instance_id) for one in deployment.replicas]

    assert [one.name for one in made] == ["llm-1", "llm-2", "llm-3"]
    assert {one.need.max_usd_per_hour for one in made} == {Decimal("0.9")}
    assert {one.labels[models.LABEL] for one in made} == {deployment.id}
    shown = models.show(deployment.id, world.user.id, world.deps)
    assert (len(shown.replicas), shown.max_usd_per_hour, shown.state) == (3, Decimal("0.9"), "deploying")


@pytest.mark.parametrize("bad", [0, -1, 9, 1.5, "many"])
def test_no_or_too_many_replicas_are_refused(bad: object) -> None:
    with pytest.raises(ValidationError, match="replicas"):
        DeployBody.model_validate({"model": "dumont/tiny-bigram", "replicas": bad})


def test_whoever_looks_at_a_deployment_moves_its_races_along(world: World) -> None:
    """The provider was busy when it was asked for, and no sweep comes meanwhile."""
    world.provider.fail_next["create"] += [errors.ProviderBusy("slow down", 3)] * 2
    _, deployment = deploy(world, replicas=2)
    assert world.provider.made == {}

    world.clock.step(seconds=4)
    for _ in range(12):
        models.show(deployment.id, world.user.id, world.deps)
        world.clock.step(seconds=1)
    assert [len(world.created(one.instance_id)) for one in deployment.replicas] == [5, 5]


def test_the_first_replica_that_answers_makes_it_ready(world: World, servers: list[Server]) -> None:
    key, deployment = deploy(world, replicas=2)
    machine_up(world, deployment.replicas[0].instance_id, servers[0].port)
    deployment = looked(world, deployment)

    assert (deployment.state, states(deployment)) == ("ready", ["ready", "deploying"])
    assert b"choices" in b"".join(ask(world, key, deployment).stream())


def test_the_least_busy_replica_is_asked(world: World, servers: list[Server]) -> None:
    key, deployment, _ = two(world, servers)
    held = [ask(world, key, deployment) for _ in range(6)]
    assert [server.asked["completions"] for server in servers] == [3, 3]

    # Those of one replica end; the next three go there.
    of_first = [one for one in held if one._instance_id == deployment.replicas[0].instance_id]
    for one in of_first:
        one.close()
    more = [ask(world, key, deployment) for _ in range(3)]
    assert [server.asked["completions"] for server in servers] == [6, 3]
    for one in (*held, *more):
        one.close()
        one.close()
    assert fresh(world, deployment).requests == 9, "closed twice is counted once, unread is counted too"


def test_one_that_cannot_be_reached_is_missed_by_nobody_and_asked_again_once_it_answers(
    world: World, servers: list[Server]
) -> None:
    key, deployment, _ = two(world, servers)
    first = deployment.replicas[0].instance_id
    port = servers[0].port
    servers[0].stop()

    for _ in range(4):
        assert ask(world, key, deployment).status == 200
    assert states(fresh(world, deployment)) == ["waking", "ready"]
    assert servers[1].asked["completions"] == 4

    with serving_model() as again:
        assert again.port != port

        def moved(tx: Any) -> None:
            instance = tx.load(Instance, first)
            tx.save(replace(instance, machine=replace(instance.machine, ports={"8000": again.port})))

        world.deps.records.transact(moved)
        assert states(looked(world, deployment)) == ["ready", "ready"]


def test_when_no_replica_can_be_reached_the_client_is_told_when_to_come_again(
    world: World, servers: list[Server]
) -> None:
    key, deployment, _ = two(world, servers)
    for server in servers:
        server.stop()

    with pytest.raises(errors.ModelNotReady) as caught:
        ask(world, key, deployment)
    assert caught.value.retry_after_s > 0
    answer = client("models", world.deps).post(
        f"/api/v1/models/{deployment.id}/v1/chat/completions", data=ASK, headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert answer.get_json()["error"]["code"] == "model_not_ready"


def test_a_replica_that_never_answers_fails_alone_with_its_last_lines(world: World, servers: list[Server]) -> None:
    key, deployment = deploy(world, replicas=2, idle_after_s=0)
    good, bad = (one.instance_id for one in deployment.replicas)
    machine_up(world, good, servers[0].port)
    agent = machine_up(world, bad, None)
    assert states(looked(world, deployment)) == ["ready", "deploying"]
    world.clock.step(seconds=world.deps.settings.model_ready_s + 1)

    def tail() -> None:
        """The machine follows the order that asks for the server's log."""
        while not (orders := agent.orders("exec")):
            time.sleep(0.01)
        assert orders[0].payload["command"][-1] == "model-server.log"
        agent.finish("exec", exit_code=0, stdout="loading shard 1 of 9\n\nstill loading\n")

    machine = threading.Thread(target=tail)
    machine.start()
    deployment = models.look(deployment, world.deps)
    machine.join()

    assert (deployment.state, states(deployment)) == ("ready", ["ready", "failed"])
    assert deployment.failure is None and "did not answer within 1800 s" in (deployment.replicas[1].failure or "")
    assert deployment.replicas[1].log == ["loading shard 1 of 9", "still loading"]
    world.settle(bad)
    assert world.instance(bad).state is State.DESTROYED and world.instance(good).state is State.RUNNING
    assert ask(world, key, deployment).status == 200


class Meanwhile(CrashingStore):
    """Once, just before a collection is first written, something else happens."""

    def __init__(self, inner: Store, collection: str, act: Callable[[], object]) -> None:
        super().__init__(inner, Fuse(0))
        self._collection, self._acts = collection, [act]

    def commit(self, writes: Sequence[Write]) -> list[str]:
        if self._acts and any(one.collection == self._collection for one in writes):
            self._acts.pop()()
        return super().commit(writes)


def ended(world: World, deployment: Deployment, number: int) -> Deployment:
    """Its instance was destroyed by hand, which one look has seen."""
    instances.destroy(deployment.replicas[number].instance_id, 0, world.user.id, world.deps)
    seen = models.look(fresh(world, deployment), world.deps)
    assert seen.replicas[number].state == "failed"
    return seen


def test_a_replica_that_failed_is_replaced_while_another_serves(world: World, servers: list[Server]) -> None:
    _, deployment, _ = two(world, servers, name="llm", max_usd_per_hour="0.9", idle_after_s=0)
    first, second = (one.instance_id for one in deployment.replicas)
    ended(world, deployment, 1)
    deployment = looked(world, deployment)
    new = deployment.replicas[1]

    assert states(deployment) == ["ready", "deploying"] and new.instance_id not in (first, second)
    before, after = world.instance(second), world.instance(new.instance_id)
    assert (after.name, after.need, after.spec, after.labels) == (before.name, before.need, before.spec, before.labels)
    assert not after.idle_policy.enabled
    (shown,) = models.show(deployment.id, world.user.id, world.deps).replicas[1:]
    assert (shown.renewals, shown.failure) == (1, "its instance was destroyed")
    machine_up(world, new.instance_id, servers[1].port)
    deployment = looked(world, deployment)
    assert states(deployment) == ["ready", "ready"]
    assert (deployment.replicas[1].renewals, deployment.replicas[1].failure) == (0, None)
    models.delete(deployment.id, world.user.id, world.deps)
    for id in (first, second, new.instance_id):
        assert world.settle(id).state is State.DESTROYED
    assert world.provider.made == {}


def test_what_fails_again_is_replaced_later_each_time_and_not_for_ever(world: World, servers: list[Server]) -> None:
    _, deployment, _ = two(world, servers, idle_after_s=0)
    began, times = world.clock.now(), []
    for _ in range(60 * 2):
        deployment = looked(world, deployment)
        if deployment.replicas[1].state == "deploying":
            times.append((world.clock.now() - began).total_seconds() / 60)
            ended(world, deployment, 1)
        elif deployment.replicas[1].state == "ready":
            ended(world, deployment, 1)
            continue
        world.clock.step(seconds=30)

    assert times == [0, 1, 3, 7, 15]
    assert deployment.replicas[1].failure and states(deployment) == ["ready", "failed"]


@pytest.mark.parametrize("why", ["market", "budget"])
def test_a_replacement_that_is_refused_costs_nothing_and_is_tried_again(
    world: World, servers: list[Server], why: str
) -> None:
    _, deployment, _ = two(world, servers, idle_after_s=0)
    stock = world.provider.stock
    if why == "market":
        world.provider.stock = []
    else:
        set_budget(BudgetBody(usd_per_month=Decimal(0)), world.user.id, world.deps)
    ended(world, deployment, 1)
    creates = len(world.provider.creates)
    for _ in range(40):
        deployment = looked(world, deployment)
        world.clock.step(minutes=2)
    assert states(deployment) == ["ready", "failed"] and len(world.provider.creates) == creates
    assert ("budget" if why == "budget" else "offer") in (deployment.replicas[1].failure or "")

    world.provider.stock = stock
    set_budget(BudgetBody(usd_per_month=None), world.user.id, world.deps)
    world.clock.step(minutes=10)
    assert states(looked(world, deployment)) == ["ready", "deploying"]


@pytest.mark.parametrize("at", range(1, 14))
def test_a_replacement_that_is_killed_leaves_no_instance_that_no_deployment_knows_of(
    world: World, servers: list[Server], at: int
) -> None:
    _, deployment, _ = two(world, servers, idle_after_s=0)
    seen = ended(world, deployment, 1)
    with suppress(Crash):
        models.renew(seen, crash_deps(world, Fuse(at)))
    owned = {one.id for one in world.deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": world.user.id})}
    known = {one.instance_id for one in fresh(world, deployment).replicas}
    assert known <= owned <= known | {seen.replicas[1].instance_id}
    assert states(looked(world, deployment)) == ["ready", "deploying"]


def test_one_that_is_replaced_while_its_deployment_is_deleted_goes_too(world: World, servers: list[Server]) -> None:
    _, deployment, _ = two(world, servers, idle_after_s=0)
    seen = ended(world, deployment, 1)
    store = Meanwhile(world.store, "models", lambda: models.renew(seen, world.deps))
    deps = replace(world.deps, store=store, records=Records(store, world.clock))
    models.delete(deployment.id, world.user.id, deps)
    gone = fresh(world, deployment)
    assert gone.state == "deleted" and gone.replicas[1].instance_id != seen.replicas[1].instance_id
    for one in gone.replicas:
        assert world.settle(one.instance_id).state is State.DESTROYED
    assert world.provider.made == {}


def test_only_when_all_have_failed_has_the_deployment_and_it_keeps_no_machine(world: World) -> None:
    _, deployment = deploy(world, replicas=2)
    for one in deployment.replicas:
        world.settle(one.instance_id, lambda i: bool(world.created(i.id)))
        agent = world.agent(world.created(one.instance_id)[0])
        agent.register()
        agent.finish("setup", exit_code=3, stdout="loading\nValueError: no such model\n")
        world.settle(one.instance_id)
        deployment = looked(world, deployment)

    assert deployment.state == "failed" and deployment.failure == "the server did not start"
    assert deployment.log[-1] == "ValueError: no such model"
    shown = models.show(deployment.id, world.user.id, world.deps)
    assert [one.log[-1] for one in shown.replicas] == ["ValueError: no such model"] * 2
    for one in deployment.replicas:
        world.settle(one.instance_id)
    assert world.provider.made == {}


def test_all_sleep_without_requests_and_one_request_wakes_all(world: World, servers: list[Server]) -> None:
    key, deployment, agents = two(world, servers, idle_after_s=60)
    world.clock.step(seconds=59)
    assert states(looked(world, deployment)) == ["ready", "ready"]
    world.clock.step(seconds=2)
    assert states(looked(world, deployment)) == ["asleep", "asleep"]
    for agent, one in zip(agents, deployment.replicas, strict=True):
        agent.take_snapshot()
        assert world.settle(one.instance_id).state is State.HIBERNATED
    assert world.provider.made == {}

    with pytest.raises(errors.ModelNotReady):
        ask(world, key, deployment)
    assert fresh(world, deployment).state == "waking"
    for one, server in zip(deployment.replicas, servers, strict=True):
        assert world.instance(one.instance_id).state is State.WAKING
        machine_up(world, one.instance_id, server.port)
    assert ask(world, key, deployment).status == 200
    assert states(looked(world, deployment)) == ["ready", "ready"]


def test_a_used_up_budget_wakes_none_and_says_so(world: World, servers: list[Server]) -> None:
    key, deployment, agents = two(world, servers, idle_after_s=60)
    fall_asleep(world, deployment, agents)
    set_budget(BudgetBody(usd_per_month=Decimal(0)), world.user.id, world.deps)

    with pytest.raises(errors.BudgetReached):
        ask(world, key, deployment)
    assert states(fresh(world, deployment)) == ["asleep", "asleep"]


def test_one_that_was_woken_by_hand_sleeps_again(world: World, servers: list[Server]) -> None:
    _, deployment, agents = two(world, servers, idle_after_s=60)
    fall_asleep(world, deployment, agents)
    first = deployment.replicas[0].instance_id
    instances.wake(first, 0, world.user.id, world.deps)
    machine_up(world, first, servers[0].port)
    assert states(looked(world, deployment)) == ["ready", "asleep"]
    world.clock.step(seconds=61)
    assert states(looked(world, deployment)) == ["asleep", "asleep"]


def test_a_long_answer_keeps_the_model_awake(world: World, servers: list[Server]) -> None:
    key, deployment, _ = two(world, servers, idle_after_s=60)
    body = json.dumps({**json.loads(ASK), "stream": True, "max_tokens": 40}).encode()
    pieces = serving.serve(deployment.id, "chat/completions", key, body, world.deps).stream()
    for _ in range(5):
        next(pieces)
        world.clock.step(seconds=40)
        next(pieces)
        assert looked(world, deployment).state == "ready"
    pieces.close()  # type: ignore[attr-defined]
    assert fresh(world, deployment).requests == 1


def test_deleting_ends_every_replica(world: World, servers: list[Server]) -> None:
    key, deployment, _ = two(world, servers)
    models.delete(deployment.id, world.user.id, world.deps)
    for one in deployment.replicas:
        assert world.settle(one.instance_id).state is State.DESTROYED
    assert world.provider.made == {}
    with pytest.raises(errors.Unauthenticated):
        ask(world, key, deployment)


def test_when_one_replica_is_refused_none_is_rented(world: World) -> None:
    """The market has room for one race and no more."""
    world.provider.stock = [an_offer(n) for n in range(1, 4)]
    with pytest.raises(errors.NoCapacity):
        deploy(world, replicas=2)

    for one in world.deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": world.user.id}):
        world.settle(one.id)
        assert world.instance(one.id).state is State.DESTROYED
    assert world.provider.made == {}
    assert models.list_models(world.user.id, world.deps).deployments == []


@pytest.mark.parametrize("at", range(1, 40, 3))
@pytest.mark.parametrize("again", [True, False])
def test_a_deploy_that_is_killed_leaves_no_machine_that_no_deployment_knows_of(at: int, again: bool) -> None:
    world = World(offers=24, tiny_model_path="/opt/tiny_model.py")
    user = world.user
    body = DeployBody(model="dumont/tiny-bigram", runtime="tiny", replicas=2)
    with suppress(Crash):
        models.deploy(body, user.id, crash_deps(world, Fuse(at)), "key-1")
    if again:
        models.deploy(body, user.id, world.deps, "key-1")
    world.clock.step(seconds=200)
    sweep(world.deps)
    found = models.list_models(user.id, world.deps).deployments
    known = {one.instance_id for deployment in found for one in deployment.replicas}
    owned = world.deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": user.id})

    assert {one.id for one in owned} <= known
    if again:
        assert [len(one.replicas) for one in found] == [2] and len(owned) == 2
    for deployment in found:
        models.delete(deployment.id, user.id, world.deps)
    for one in owned:
        assert world.settle(one.id).state is State.DESTROYED
    assert world.provider.made == {}
    assert timedelta(seconds=200) > models.ASKED_FOR
