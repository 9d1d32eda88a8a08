"""A price alert is told once when a sample falls under its limit, to its own user, and never of what was not sampled."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from shared import errors
from shared.domain.alert import MOST
from shared.domain.event import Event
from shared.flows import alerts
from shared.store.shapes import EVENTS_OF_USER
from shared.sweeps.market import sample
from shared.wire.market import AlertBody
from tests.support.http import client, error_of
from tests.support.world import World, an_offer
from tests.unit.test_web import bearer


@pytest.fixture
def world() -> World:
    return World(offers=0)


def alert(world: World, usd: str = "0.30", **more: Any) -> str:
    body = AlertBody.model_validate({"gpu_name": "RTX 4070", "usd_per_gpu_hour": usd, **more})
    return alerts.create(body, world.user.id, world.deps).id


def ask(world: World, usd: str | None, gpus: int = 2) -> None:
    """The market asks so much per GPU; then a sample is taken."""
    price = Decimal(usd) * gpus if usd else None
    world.provider.stock = (
        [an_offer(1, gpu_name="RTX 4070", gpu_count=gpus, usd_per_hour=price)] if price is not None else []
    )
    sample(world.deps)
    world.clock.step(minutes=10)


def told(world: World) -> list[Event]:
    events = world.deps.records.all(Event, EVENTS_OF_USER, {"user_id": world.user.id})
    return [event for event in events if event.kind == "price_alert"]


def test_a_price_is_told_of_when_it_falls_under_the_limit_and_not_again_while_it_stays_there(world: World) -> None:
    alert(world)
    ask(world, "0.35")
    assert told(world) == []
    for _ in range(12):
        ask(world, "0.25")

    (event,) = told(world)
    assert "RTX 4070" in event.message and "$0.2500" in event.message and event.details["provider"] == "fake"
    (shown,) = alerts.list_alerts(world.user.id, world.deps).alerts
    assert (shown.met, shown.lowest_usd_per_gpu_hour, shown.cheapest_at) == (True, 0.25, "fake")


def test_it_is_told_of_again_after_it_had_risen_and_an_hour_is_over(world: World) -> None:
    alert(world)
    for usd in ("0.25", "0.35", "0.25", "0.35"):
        ask(world, usd)
    assert len(told(world)) == 1, "up and down within the hour"
    world.clock.step(hours=1)
    ask(world, "0.25")
    assert len(told(world)) == 2


def test_nothing_offered_is_not_under_any_limit(world: World) -> None:
    alert(world)
    ask(world, "0.25")
    ask(world, None)
    (shown,) = alerts.list_alerts(world.user.id, world.deps).alerts
    assert not shown.met and shown.lowest_usd_per_gpu_hour is None


def test_the_limit_itself_another_kind_and_another_provider_are_not_told_of(world: World) -> None:
    alert(world, "0.25")
    alert(world, interruptible=True)
    alert(world, provider="vast")
    ask(world, "0.25")
    assert told(world) == []


def test_a_crash_at_any_write_tells_once(world: World) -> None:
    from tests.support.crashing import Crash, Fuse
    from tests.support.world import crash_deps

    alert(world)
    world.provider.stock = [an_offer(1, gpu_name="RTX 4070", usd_per_hour=Decimal("0.2"))]
    for number in range(1, 40):
        try:
            sample(crash_deps(world, Fuse(number)))
        except Crash:
            continue
    sample(world.deps)
    assert len(told(world)) == 1


def test_another_users_alert_is_not_mine_and_there_is_a_most(world: World) -> None:
    id = alert(world)
    assert alerts.list_alerts("u-other", world.deps).alerts == []
    with pytest.raises(errors.NotFound):
        alerts.delete(id, "u-other", world.deps)
    alerts.delete(id, world.user.id, world.deps)
    ask(world, "0.25")
    assert told(world) == []
    for _ in range(MOST):
        alert(world)
    with pytest.raises(errors.Conflict):
        alert(world)


@pytest.mark.parametrize("bad", [0, -1, "NaN", "Infinity", 1001, None, "cheap"])
def test_absurd_limits_are_refused(bad: object) -> None:
    with pytest.raises(ValidationError):
        AlertBody.model_validate({"gpu_name": "L4", "usd_per_gpu_hour": bad})


def test_over_http_a_rule_is_made_listed_and_deleted(world: World) -> None:
    functions, headers = client("market", world.deps), bearer(world)
    made = functions.post("/api/v1/spot/alerts", json={"gpu_name": "L4", "usd_per_gpu_hour": "0.4"}, headers=headers)
    assert made.status_code == 201
    id = made.get_json()["data"]["id"]
    listed = functions.get("/api/v1/spot/alerts", headers=headers).get_json()["data"]["alerts"]
    assert [one["id"] for one in listed] == [id]
    assert functions.delete(f"/api/v1/spot/alerts/{id}", headers=headers).status_code == 200
    gone = functions.delete(f"/api/v1/spot/alerts/{id}", headers=headers)
    assert gone.status_code == 404 and id in error_of(gone)["message"]
