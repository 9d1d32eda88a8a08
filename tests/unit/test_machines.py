"""Machine history, strategies, total prices, pools."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared import errors
from shared.domain.attempt import Attempt, Outcome, Stage
from shared.domain.instance import State
from shared.domain.machine_history import Blame, MachineHistory, failure_class, history_id
from shared.domain.pricing import total_price
from shared.flows import instances, machines, offers, pools
from shared.flows.auth import create_user
from shared.providers.base import MachineStatus
from shared.providers.fake import FakeProvider
from shared.strategies import STRATEGIES
from shared.strategies.base import Runner, Situation
from shared.wire import machines as wire
from shared.wire.instances import ProvisionRequest
from tests.support.world import World, an_offer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def history(**changes: object) -> MachineHistory:
    return replace(
        MachineHistory("fake-m", "fake", "m", "h", "RTX 4090", "US", NOON),
        **changes,  # type: ignore[arg-type]
    )


# History --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "kind", "blame"),
    [
        ("Error response from daemon: OCI runtime create failed", "container", Blame.HARD),
        ("0 of 1 GPUs are there", "gpu", Blame.HARD),
        ("unfit: rented RTX 4090, found NVIDIA GeForce RTX 3060", "gpu", Blame.HARD),
        ("write /var/lib/docker/tmp: no space left on device", "disk", Blame.HARD),
        ("not ready within 600 s", "never_ready", Blame.SOFT),
        ("the provider no longer has the machine", "lost", Blame.SOFT),
        ("manifest for x/y unknown: manifest unknown", "image", Blame.NONE),
        ("toomanyrequests: You have reached your pull rate limit", "image", Blame.NONE),
        ("the machine was interrupted: another's bid was higher", "interrupted", Blame.NONE),
        ("restore failed: MemoryError", "other", Blame.NONE),
    ],
)
def test_only_what_is_on_the_list_blames_the_host(why: str, kind: str, blame: Blame) -> None:
    assert failure_class(why) == (kind, blame)


def test_one_bad_try_rests_the_machine_and_does_not_ban_it() -> None:
    once = history().noted(Outcome.FAILED, "not ready within 600 s", NOON)

    assert once.blocked(NOON + timedelta(minutes=29)) and not once.blocked(NOON + timedelta(minutes=31))
    assert once.bans == 0 and once.rate(NOON) > 0.5


def test_a_machine_that_keeps_failing_rests_twice_as_long_each_time() -> None:
    bad, now, rests = history(), NOON, []
    for _ in range(6):
        bad = bad.noted(Outcome.FAILED, "not ready within 600 s", now)
        assert bad.blocked_until is not None
        rests.append(bad.blocked_until - now)
        now = bad.blocked_until

    assert rests[0] == timedelta(minutes=30)
    assert rests[3] == 2 * rests[2] and rests[5] == 2 * rests[4]


def test_deterministic_failures_rest_longer_than_transient_ones() -> None:
    hard = history().noted(Outcome.FAILED, "OCI runtime create failed", NOON)
    soft = history().noted(Outcome.FAILED, "not ready within 9 s", NOON)

    assert hard.blocked_until is not None and soft.blocked_until is not None
    assert hard.blocked_until > soft.blocked_until


def test_race_losers_and_users_faults_change_nothing() -> None:
    before = history(ready=3.0, counted=3)

    assert before.noted(Outcome.CANCELLED, "another machine was first", NOON) == before
    after = before.noted(Outcome.FAILED, "pull access denied", NOON)
    assert (after.ready, after.bad, after.counted, after.blocked_until) == (3.0, 0.0, 3, None)


def test_recent_tries_weigh_more_and_few_good_ones_do_not_beat_many() -> None:
    old = history(bad=10.0, counted=10)
    few, many = history(ready=3.0, counted=3), history(ready=480.0, bad=20.0, counted=500)

    assert old.rate(NOON + timedelta(days=60)) > old.rate(NOON) + 0.3
    assert few.interval(NOON)[0] < many.interval(NOON)[0]


def test_an_attempt_counts_once_even_when_it_was_lost_later() -> None:
    served = history().noted(Outcome.READY, "", NOON, boot_s=40)
    lost = served.noted(Outcome.LOST, "the provider no longer has the machine", NOON, was_ready=True)

    assert (lost.ready, lost.bad, lost.counted) == (0.0, 1.0, 1)
    assert lost.boots == (40,)


def test_flows_write_each_outcome_once_and_a_failed_machine_is_not_tried_again() -> None:
    world = World(offers=2)
    first = world.provision(width=1)
    world.settle(first.id, lambda i: bool(world.created(first.id)))
    bad = world.created(first.id)[0]
    world.provider.set_status(bad.machine_id or "", MachineStatus.BROKEN, "OCI runtime create failed")
    world.settle(first.id, lambda i: any(a.id != bad.id for a in world.created(first.id)))
    world.agent(world.created(first.id)[0]).register()
    world.settle(first.id)

    listed = {m.machine_id: m for m in machines.list_history(wire.HistoryQuery(), world.deps).machines}
    assert listed[bad.offer_machine_id].blocked and listed[bad.offer_machine_id].recent[0].kind == "container"
    good = next(m for id, m in listed.items() if id != bad.offer_machine_id)
    assert good.counted == 1 and good.recent[0].outcome == "ready" and good.boot_p50_s is not None
    with pytest.raises(errors.NoCapacity):
        world.provider.stock = [o for o in world.provider.stock if o.machine_id == bad.offer_machine_id]
        second = world.provision(width=1)
        failed = world.settle(second.id)
        assert failed.failure is not None
        raise errors.NoCapacity(failed.failure)


def test_a_loser_of_a_race_has_no_history() -> None:
    world = World()
    instance, agent = world.running(width=3)
    listed = machines.list_history(wire.HistoryQuery(), world.deps).machines

    winner = world.deps.records.load(Attempt, agent.attempt_id)
    assert [m.machine_id for m in listed] == [winner.offer_machine_id]
    assert instance.state is State.RUNNING


def test_a_user_may_keep_a_machine_away_or_allow_one_that_failed_and_others_are_not_asked() -> None:
    world = World(offers=2)
    machine = history_id("fake", "machine-1")
    machines.block(machine, wire.BlockBody(why="noisy"), world.user.id, world.deps)
    found = offers.list_offers(wire.OffersQuery(all=True), world.user.id, world.deps)
    bob = create_user("bob@example.com", "correct horse battery", False, world.deps)

    assert next(o for o in found.offers if o.machine_id == "machine-1").why_not == "you blocked it: noisy"
    assert offers.list_offers(wire.OffersQuery(), bob.id, world.deps).fitting == 2
    instance = world.provision(width=2)
    world.settle(instance.id, lambda i: bool(world.created(i.id)))
    assert {a.offer_machine_id for a in world.attempts(instance.id)} == {"machine-2"}

    machines.unblock(machine, world.user.id, world.deps)
    assert offers.list_offers(wire.OffersQuery(), world.user.id, world.deps).fitting == 1, "the other is rented"
    with pytest.raises(errors.NotFound):
        machines.unblock(machine, world.user.id, world.deps)


def test_history_moves_to_another_deployment_and_newer_knowledge_stays() -> None:
    one, two = World(), World()
    one.running(width=1)
    lines = machines.export(wire.HistoryQuery(), one.deps).lines

    assert machines.import_lines(wire.ImportBody(lines=lines), two.deps).imported == 1
    assert machines.import_lines(wire.ImportBody(lines=lines), two.deps).imported == 0
    for bad in ("{", "[]", json.dumps({"id": 1}), '{"id": "x"}'):
        with pytest.raises(errors.InvalidRequest):
            machines.import_lines(wire.ImportBody(lines=[bad]), two.deps)


def test_a_receipt_that_stays_open_is_shown_and_an_alarm_is_raised() -> None:
    world = World()
    world.provider.stubborn = 10**6
    instance = world.provision(width=2)
    world.settle(instance.id, lambda i: len(world.created(i.id)) == 2)
    world.agent(world.created(instance.id)[0]).register()
    for _ in range(30):
        world.clock.step(minutes=1)
        world.advance(instance.id)

    receipts = machines.open_receipts(world.user.id, world.deps).receipts
    assert len(receipts) == 1 and receipts[0].late and receipts[0].tries > 3
    from shared.domain.event import Event
    from shared.store.shapes import EVENTS_OF_INSTANCE

    kinds = [e.kind for e in world.deps.records.all(Event, EVENTS_OF_INSTANCE, {"instance_id": instance.id})]
    assert kinds.count("receipt_late") == 1


# Prices and offers ------------------------------------------------------------------------------------------------


def test_the_total_price_has_its_parts() -> None:
    offer = an_offer(
        1, usd_per_hour=Decimal("0.40"), usd_disk_per_hour=Decimal("0.04"), usd_per_gb_down=Decimal("0.01")
    )

    price = total_price(offer, snapshot_gb=2, success_rate=0.5, boot_s=360)

    assert price.gpu == Decimal("0.36") and price.disk == Decimal("0.04")
    assert price.transfer == Decimal("0.10")
    assert price.dud == Decimal("0.14"), "one failed try: its transfer and a tenth of an hour"
    assert price.total == Decimal("0.64")


def test_a_machine_that_often_fails_costs_more_in_all_and_comes_later() -> None:
    world = World(offers=0)
    world.provider.stock = [an_offer(1), an_offer(2, usd_per_hour=Decimal("0.32"))]
    shaky = history(
        id=history_id("fake", "machine-1"), machine_id="machine-1", ready=1.0, bad=4.0, counted=5, boots=(300.0,),
        updated_at=world.clock.now(),
    )  # fmt: skip
    world.deps.records.transact(lambda tx: tx.save(shaky))

    found = offers.list_offers(wire.OffersQuery(), world.user.id, world.deps).offers

    assert [o.machine_id for o in found] == ["machine-2", "machine-1"]
    assert found[1].price.dud > found[0].price.dud and found[1].rate is not None and found[1].rate < 0.5


def test_offers_that_do_not_fit_say_why() -> None:
    world = World(offers=2)
    query = wire.OffersQuery(gpu_name="H100", all=True)

    found = offers.list_offers(query, world.user.id, world.deps)

    assert found.fitting == 0 and all(o.why_not == "GPU is RTX 4090" for o in found.offers)


def test_providers_of_virtual_machines_are_not_asked_when_an_image_was_chosen() -> None:
    from shared.providers.base import Features

    world = World()
    world.provider.features = Features(runs_images=False)

    with pytest.raises(errors.ProviderRejected, match="no container images"):
        world.provision(image="me/mine:1")

    # Where another runs images and has none that fits, that is the reason; each GPU is named once.
    other = FakeProvider(world.clock, [an_offer(1), an_offer(2)])
    deps = replace(world.deps, providers=lambda: {world.provider.name: world.provider, "other": other})
    body = ProvisionRequest(image="me/mine:1", gpu_count=4, min_vram_gb=52)
    with pytest.raises(errors.NoCapacity) as caught:
        instances.provision(body, "race", 0, world.user.id, deps, None)
    assert "4x any GPU of 52 GB or more" in caught.value.message
    assert caught.value.message.count("1x RTX 4090") == 1


# Strategies -----------------------------------------------------------------------------------------------------------


def situation(ages: list[float], **changes: int) -> Situation:
    given = {"width": 5, "max_attempts": 10, "opened": len(ages), **changes}
    return Situation(runners=[Runner(age, 100.0) for age in ages], **given)


def test_a_race_fills_its_width_within_the_limits() -> None:
    race = STRATEGIES["race"]

    assert race.wanted(situation([])) == 5
    assert race.wanted(situation([1, 1])) == 3
    assert race.wanted(situation([1], opened=9)) == 1
    assert race.wanted(situation([], opened=10)) == 0


@pytest.mark.parametrize("name", ["round_robin", "coldstart"])
def test_one_at_a_time_asks_again_only_after_a_failure(name: str) -> None:
    strategy = STRATEGIES[name]

    assert strategy.wanted(situation([])) == 1
    assert strategy.wanted(situation([500])) == 0
    assert strategy.wanted(situation([], opened=10)) == 0


def test_round_robin_takes_the_next_from_another_provider() -> None:
    offered = [an_offer(1, provider="a"), an_offer(2, provider="a"), an_offer(3, provider="b")]
    last = replace(situation([]), last_provider="a")

    assert STRATEGIES["round_robin"].order(offered, last)[0].provider == "b"


def test_auto_starts_small_and_adds_when_the_leader_is_late() -> None:
    auto = STRATEGIES["auto"]

    assert auto.wanted(situation([])) == 2
    assert auto.wanted(situation([99, 99])) == 0
    assert auto.look_again_s(situation([99, 90])) == pytest.approx(1)
    assert auto.wanted(situation([101, 101])) == 1
    assert auto.wanted(situation([350, 350, 200, 100, 1])) == 0, "never beyond the width"


def test_auto_adds_a_machine_by_itself_when_time_passes() -> None:
    world = World(time_scale=0.1)
    instance = world.provision(strategy="auto")
    world.settle(instance.id, lambda i: len(world.created(i.id)) == 2)
    for _ in range(8):
        world.clock.step(seconds=2)
        world.advance(instance.id)

    assert len([a for a in world.attempts(instance.id) if a.stage is Stage.CREATED]) >= 3


def test_a_users_default_strategy_is_taken() -> None:
    from shared.flows.auth import set_defaults

    world = World()
    set_defaults(wire.DefaultsBody(strategy="coldstart"), world.user, world.deps)
    instance = world.provision()
    world.settle(instance.id, lambda i: bool(world.created(i.id)))

    assert world.instance(instance.id).strategy == "coldstart"
    assert len(world.attempts(instance.id)) == 1


# Pools ----------------------------------------------------------------------------------------------------------------


def warm(world: World, target: int = 2) -> None:
    pools.put_pool("fast", wire.PoolBody(gpu_name="RTX 4090", target=target), world.user.id, world.deps)
    for seat in pools.seats(pools.pools_of(world.user.id, world.deps)[0], world.deps):
        world.settle(seat.id, lambda i: bool(world.created(i.id)))
        world.agent(world.created(seat.id)[0]).register()
        world.settle(seat.id)


def seat_ids(world: World) -> set[str]:
    return {s.id for s in pools.seats(pools.pools_of(world.user.id, world.deps)[0], world.deps)}


def test_a_pool_fills_to_its_target_and_a_claim_is_running_at_once() -> None:
    world = World()
    warm(world)
    before, now = seat_ids(world), world.clock.now()

    taken = world.provision(strategy="serverless", name="mine")

    assert taken.state is State.RUNNING and taken.id in before and taken.pool_id is None
    assert world.clock.now() == now
    assert len(seat_ids(world) - before) == 1, "the seat is replaced"
    view = pools.list_pools(world.user.id, world.deps).pools[0]
    assert view.ready == 1 and view.usd_per_hour > 0


def test_two_claims_never_get_the_same_seat_and_the_same_key_gets_the_same() -> None:
    from shared.wire.instances import ProvisionRequest

    world = World(offers=20)
    warm(world, 2)
    body = ProvisionRequest.model_validate({"gpu_name": "RTX 4090", "strategy": "serverless"})

    one = pools.provision(body, 0, world.user.id, world.deps, "k1")
    again = pools.provision(body, 0, world.user.id, world.deps, "k1")
    two = pools.provision(body, 0, world.user.id, world.deps, "k2")
    three = pools.provision(body, 0, world.user.id, world.deps, "k3")

    assert one.id == again.id != two.id
    assert three.state is State.PROVISIONING, "no seat is warm: it races"


@pytest.mark.parametrize("request_", [{"gpu_name": "RTX 3090"}, {"disk_gib": 400}, {"ports": [80]}, {"gpu_count": 2}])
def test_a_seat_that_is_not_what_is_asked_for_is_left(request_: dict[str, object]) -> None:
    from shared.flows.instances import need_of, spec_of
    from shared.wire.instances import ProvisionRequest

    world = World()
    warm(world, 1)
    body = ProvisionRequest.model_validate({"strategy": "serverless", **request_})

    assert (
        pools.claim(body, need_of(body), spec_of(body, world.user.id, world.deps), world.user.id, world.deps, "k")
        is None
    )


def test_aged_seats_are_replaced_and_a_deleted_pool_leaves_nothing() -> None:
    world = World(offers=20)
    warm(world, 1)
    (old,) = seat_ids(world)
    world.clock.step(hours=7)

    from shared.sweeps.pool import pool as sweep

    sweep(world.deps)
    world.settle(old, lambda i: i.state is State.DESTROYED)
    assert old not in seat_ids(world)

    mine = seat_ids(world)
    pools.delete_pool("fast", world.user.id, world.deps)
    for id in mine:
        world.settle(id, lambda i: i.state is State.DESTROYED)
    assert world.provider.made == {}
    with pytest.raises(errors.NotFound):
        pools.delete_pool("fast", world.user.id, world.deps)
