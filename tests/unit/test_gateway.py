"""Requests that end together are counted in few writes, none is lost, and a failing store loses counts rather than answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import errors
from shared.domain.models import Deployment
from shared.flows.serving import Tally, Used
from shared.store.counting import CountingStore
from shared.store.records import Records
from shared.store.sqlite import SqliteStore
from tests.support.world import World
from tests.unit.test_models import deploy


@pytest.fixture
def world() -> World:
    return World(store=CountingStore(SqliteStore(":memory:")), tiny_model_path="/opt/tiny_model.py")


def test_fifty_requests_that_end_at_once_are_all_counted_in_fewer_writes(world: World) -> None:
    _, deployment = deploy(world)
    assert isinstance(world.store, CountingStore)
    tally, before, together = Tally(), world.store.calls["commit"], threading.Barrier(50)

    def end(_: int) -> None:
        together.wait()
        tally.add(deployment.id, Used(1, 2, 3), world.deps)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(end, range(50)))

    found = world.deps.records.load(Deployment, deployment.id)
    assert (found.requests, found.prompt_tokens, found.completion_tokens) == (50, 100, 150)
    assert world.store.calls["commit"] - before <= 50
    assert found.last_request_at == world.clock.now()


def test_a_store_that_fails_loses_a_count_and_the_next_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, deployment = deploy(world)
    tally, real = Tally(), Records.transact
    failures = [errors.Unavailable("down"), RuntimeError("a bug")]

    def transact(self: Records, *given: object, **more: object) -> object:
        if failures:
            raise failures.pop(0)
        return real(self, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Records, "transact", transact)
    tally.add(deployment.id, Used(1), world.deps)
    with pytest.raises(RuntimeError):
        tally.add(deployment.id, Used(1), world.deps)
    tally.add(deployment.id, Used(1), world.deps)

    assert world.deps.records.load(Deployment, deployment.id).requests == 1
