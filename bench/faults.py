"""Provider faults and crashes, many launches each: nothing leaks, nothing is wrongly ended, nothing sticks.

    make bench NAME=faults

Every launch runs the product's own flows against the provider that the contract suite holds to the same behaviour as the real
ones, with time as a parameter, so that ten-minute deadlines cost nothing. `make bench NAME=crash` does the same with real
processes on the local cloud.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bench.report import finish
from shared import errors
from shared.domain.attempt import Attempt, Stage
from shared.domain.instance import RESTING, State
from shared.flows import instances
from shared.flows.advance import advance
from shared.sweeps.machines import machines
from tests.support.crashing import Crash, Fuse
from tests.support.world import FakeAgent, World, crash_deps

LAUNCHES = 60
REST_S = 90.0
GOALS = {
    "leaked": 0,
    "wrongly_ended": 0,
    "stuck": 0,
    "wrong_machine": 0,
    "launches": ">= 1000",
    "rest_p95_s": f"<= {REST_S:g}",
}


@dataclass
class Tally:
    launches: int = 0
    successes: int = 0
    leaked: int = 0
    wrongly_ended: int = 0
    stuck: int = 0
    wrong_machine: int = 0
    cents_wasted: float = 0.0
    rests: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        ordered = sorted(self.rests) or [0.0]
        return {
            "launches": self.launches,
            "successes": self.successes,
            "leaked": self.leaked,
            "wrongly_ended": self.wrongly_ended,
            "stuck": self.stuck,
            "wrong_machine": self.wrong_machine,
            "cents_wasted": round(self.cents_wasted, 3),
            "rest_p95_s": round(ordered[int(len(ordered) * 0.95) - 1], 1),
        }


Fault = Callable[[World, random.Random], None]


def _fail(verb: str, error: errors.Error, times: int = 1) -> Fault:
    def arrange(world: World, dice: random.Random) -> None:
        world.provider.fail_next[verb] += [error] * times

    return arrange


def _lose(times: int) -> Fault:
    def arrange(world: World, dice: random.Random) -> None:
        world.provider.lose_creates = times

    return arrange


def _lag(world: World, dice: random.Random) -> None:
    world.provider.list_lag = timedelta(seconds=20)
    world.provider.lose_creates = dice.randint(0, 1)


def _stubborn(world: World, dice: random.Random) -> None:
    world.provider.stubborn = 10


def _sold_out(world: World, dice: random.Random) -> None:
    real = world.provider.offers
    gone = {offer.offer_id for offer in world.provider.stock[:3]}
    # Still listed, and gone when asked for.
    listed = list(world.provider.stock)
    world.provider.stock = [offer for offer in listed if offer.offer_id not in gone]

    def stale(need: Any) -> Any:
        found = {offer.offer_id: offer for offer in [*real(need), *listed[:3]]}
        return sorted(found.values(), key=lambda offer: offer.usd_per_hour)

    vars(world.provider)["offers"] = stale


def _half_list(world: World, dice: random.Random) -> None:
    real, left = world.provider.list, [3]

    def half() -> Any:
        found = list(real())
        if left[0] > 0:
            left[0] -= 1
            return found[: len(found) // 2]
        return found

    world.provider.list = half  # type: ignore[method-assign]


FAULTS: dict[str, Fault] = {
    "none": lambda world, dice: None,
    "create_answer_lost_once": _lose(1),
    "create_answer_lost_always": _lose(1000),
    "create_500_after_acting": _lose(2),
    "rate_limited_storm": _fail("create", errors.ProviderBusy("429", 2.0), 12),
    "search_quota": _fail("offers", errors.ProviderBusy("quota", 30.0), 3),
    "offer_gone": _sold_out,
    "create_refused": _fail("create", errors.ProviderRejected("no credit"), 2),
    "delete_fails_10_times": _fail("terminate", errors.ProviderBusy("500", 1.0), 10),
    "delete_answer_unknown": _fail("terminate", errors.OutcomeUnknown("lost"), 5),
    "delete_says_yes_and_keeps": _stubborn,
    "list_lags_20_s": _lag,
    "list_fails": _fail("list", errors.ProviderBusy("500", 1.0), 5),
    "list_half_of_them": _half_list,
    "get_fails": _fail("get", errors.ProviderBusy("500", 1.0), 5),
}
AGENTS = ("good", "silent_first", "wrong_gpu_first", "dies_after_adoption")


def act(world: World, id: str, manner: str, seen: set[str], tally: Tally) -> None:
    """What agents do now; the first machine of a bad manner misbehaves."""
    for attempt in world.deps.records.open_attempts(id):
        attempt = world.deps.records.load(Attempt, attempt.id)
        agent = FakeAgent(world, attempt.id)
        if attempt.stage is Stage.CREATED and attempt.machine_id in world.provider.made:
            first = not seen or attempt.id in seen
            if first and manner != "good":
                seen.add(attempt.id)
            if first and manner == "silent_first":
                continue
            wrong = first and manner == "wrong_gpu_first"
            answer = agent.register(name="NVIDIA GeForce RTX 3060" if wrong else "NVIDIA GeForce RTX 4090")
            tally.wrong_machine += int(wrong and answer.adopted)
            if first and manner == "dies_after_adoption" and answer.adopted:
                world.provider.made.pop(attempt.machine_id, None)
        elif attempt.stage is Stage.ADOPTED and attempt.machine_id in world.provider.made:
            for _ in agent.orders("snapshot"):
                agent.take_snapshot()
            agent.finish("restore", stage="restored")


def launch(name: str, manner: str, seed: int, tally: Tally, fuse: Fuse | None = None) -> None:
    """Provision, hibernate, wake, destroy under one fault; what is left is counted."""
    dice = random.Random(seed)
    world = World(offers=12, boot_deadline_s=60)
    FAULTS[name](world, dice)
    deps = crash_deps(world, fuse) if fuse else world.deps
    seen: set[str] = set()
    tally.launches += 1

    def ask(call: Callable[[], Any]) -> None:
        try:
            call()
        except Crash:
            assert fuse is not None
            fuse.dead = False
        except errors.Error:
            pass

    def rest(limit_s: float = 1200.0) -> bool:
        begun = world.clock.now()
        while (world.clock.now() - begun).total_seconds() < limit_s:
            instance = world.instance(instance_id)
            if instance.state in RESTING and not world.ending(instance_id):
                tally.rests.append(min(limit_s, (world.clock.now() - begun).total_seconds()))
                return True
            act(world, instance_id, manner, seen, tally)
            due = world.instance(instance_id).next_action_at
            if due is None or due > world.clock.now():
                world.clock.step(seconds=1)
                continue
            try:
                advance(deps, instance_id)
            except Crash:
                assert fuse is not None
                fuse.dead = False
            except errors.LeaseHeld:
                world.clock.step(seconds=1)
        return False

    from shared.wire.instances import ProvisionRequest

    body, key = ProvisionRequest.model_validate({"gpu_name": "RTX 4090", "width": 3}), f"k{seed}"
    made: list[str] = []

    def provision() -> None:
        made.append(instances.provision(body, "race", 0, world.user.id, deps, key).id)

    for _ in range(6):
        ask(provision)
        if made:
            break
        world.clock.step(seconds=31)
    if not made:
        tally.leaked += len(world.provider.made)
        return
    instance_id = made[0]
    if not rest():
        tally.stuck += 1
    if world.instance(instance_id).state is State.RUNNING:
        tally.successes += 1
        ours = world.instance(instance_id).attempt_id
        ask(lambda: instances.hibernate(instance_id, 0, world.user.id, deps))
        machine = next((m for m in world.provider.made.values() if m.machine.token == f"dumont-{ours}"), None)
        if machine is None and world.instance(instance_id).snapshot_id is None and manner != "dies_after_adoption":
            tally.wrongly_ended += 1
        tally.stuck += not rest()
        ask(lambda: instances.wake(instance_id, 0, world.user.id, deps))
        tally.stuck += not rest()
    for _ in range(3):
        ask(lambda: instances.destroy(instance_id, 0, world.user.id, deps))
        if world.instance(instance_id).state is not State.RUNNING:
            break
    tally.stuck += not rest()
    world.clock.step(minutes=5)
    world.provider.fail_next.clear()
    for _ in range(12):
        # Two sweeps at once, as a scheduler that delivers twice would start them.
        machines(world.deps)
        machines(world.deps)
    tally.leaked += len(world.provider.made)
    for attempt in world.attempts(instance_id):
        if attempt.receipt is not None and attempt.adopted_at is None:
            tally.cents_wasted += float(attempt.receipt.usd) * 100


def main() -> None:
    started = time.monotonic()
    tallies: dict[str, Tally] = {}
    for name in FAULTS:
        tally = tallies[name] = Tally()
        for seed in range(LAUNCHES):
            launch(name, AGENTS[seed % len(AGENTS)], seed, tally)
    crash = tallies["killed_at_every_change"] = Tally()
    for after in (False, True):
        at = 0
        while True:
            at += 1
            fuse = Fuse(at, after)
            launch("none", "good", at, crash, fuse)
            if fuse.seen < at:
                break
    total = {
        word: sum(getattr(t, word) for t in tallies.values())
        for word in ("launches", "successes", "leaked", "wrongly_ended", "stuck", "wrong_machine")
    }
    # Machines that never answer are given up at their deadline, which is the fault's own time.
    after_fault = sorted(r for name, t in tallies.items() for r in t.rests)
    p95 = after_fault[int(len(after_fault) * 0.95) - 1]
    figures = {
        **total,
        "rest_p95_s": round(p95, 1),
        "seconds": round(time.monotonic() - started, 1),
        "faults": {name: tally.figures() for name, tally in tallies.items()},
    }
    ok = (
        total["launches"] >= 1000
        and not any(total[word] for word in ("leaked", "wrongly_ended", "stuck", "wrong_machine"))
        and p95 <= REST_S
    )
    finish("faults", figures, GOALS, ok)


if __name__ == "__main__":
    main()
