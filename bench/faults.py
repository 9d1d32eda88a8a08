"""Provider faults and crashes, many launches each: nothing leaks, nothing is wrongly ended, nothing sticks.

    make bench NAME=faults

Every launch runs the product's own flows, with time as a parameter so that ten-minute deadlines cost nothing: against the
provider in memory that the contract suite holds to the same behaviour as the real ones, and through the real adapters against
the simulators of Vast.ai, TensorDock and Google Compute Engine over HTTP. `make bench NAME=crash` does the same with real
processes on the local cloud.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.report import finish
from shared import errors
from shared.domain.attempt import Attempt, Stage
from shared.domain.instance import RESTING, State
from shared.domain.offer import MachineSpec, Need, Offer
from shared.flows import instances
from shared.flows.advance import advance
from shared.providers import gce, tensordock, vast
from shared.providers.base import Provider, RentedMachine
from shared.providers.fake import FakeProvider
from shared.sweeps.machines import machines
from tests.support.crashing import Crash, Fuse
from tests.support.simulated import TENSORDOCK_TOKEN, VAST_KEY, Simulated, simulators
from tests.support.world import FakeAgent, World, crash_deps

LAUNCHES = 60
HTTP_LAUNCHES = 10
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


class Awkward:
    """A provider whose calls take long, are forgotten, or tell half of the truth."""

    def __init__(self, inner: Provider, world: World) -> None:
        self.name, self.features = inner.name, inner.features
        self.inner, self._world = inner, world
        self.slow_creates = self.half_lists = self.empty_lists = self.ignored_ends = 0
        self.before_create: list[Callable[[Offer], None]] = []

    def offers(self, need: Need) -> Sequence[Offer]:
        return self.inner.offers(need)

    def create(self, offer: Offer, spec: MachineSpec, token: str) -> RentedMachine:
        if self.before_create:
            self.before_create.pop()(offer)
        if self.slow_creates > 0:
            self.slow_creates -= 1
            self._world.clock.step(seconds=30)
        return self.inner.create(offer, spec, token)

    def get(self, machine_id: str) -> RentedMachine:
        return self.inner.get(machine_id)

    def list(self) -> Sequence[RentedMachine]:
        found = self.inner.list()
        if self.half_lists > 0:
            self.half_lists -= 1
            return found[: len(found) // 2]
        if self.empty_lists > 0:
            self.empty_lists -= 1
            return []
        return found

    def terminate(self, machine_id: str) -> None:
        if self.ignored_ends > 0:
            self.ignored_ends -= 1
            self.inner.get(machine_id)
            return
        self.inner.terminate(machine_id)


class Memory:
    """The market in memory."""

    gpu, reported = "RTX 4090", "NVIDIA GeForce RTX 4090"

    def join(self, world: World) -> Awkward:
        self._provider = world.provider
        return Awkward(world.provider, world)

    def alive(self) -> dict[str, str]:
        """Token of each machine that is billed."""
        return {id: one.machine.token for id, one in self._provider.made.items()}

    def kill(self, machine_id: str) -> None:
        self._provider.made.pop(machine_id, None)

    def heal(self) -> None:
        self._provider.fail_next.clear()


@dataclass
class Simulator:
    """A market behind its provider's HTTP API."""

    simulated: Simulated
    provider: Provider
    gpu: str
    reported: str
    sold: list[str] = field(default_factory=list)

    def join(self, world: World) -> Awkward:
        return Awkward(self.provider, world)

    def alive(self) -> dict[str, str]:
        rows = self.simulated.control("GET", "/machines")
        return {
            str(r["id"]): r["label"] for r in rows if r["provider"] == self.provider.name and r["state"] != "destroying"
        }

    def kill(self, machine_id: str) -> None:
        self.simulated.control("POST", f"/machines/{machine_id}/kill")

    def fault(self, endpoint: str, kind: str, count: int) -> None:
        body = {"endpoint": endpoint, "kind": kind, "count": count}
        self.simulated.control("POST", f"/faults?provider={self.provider.name}", body)

    def sell(self, offer: Offer) -> None:
        self.simulated.control("POST", f"/hosts/{offer.machine_id}/sell-out?provider={self.provider.name}")
        self.sold.append(offer.machine_id)

    def heal(self) -> None:
        self.simulated.control("DELETE", "/faults")
        while self.sold:
            self.simulated.control("POST", f"/hosts/{self.sold.pop()}/restock?provider={self.provider.name}")


Market = Memory | Simulator
Fault = Callable[[World, random.Random], None]


def fake(world: World) -> FakeProvider:
    """The provider in memory, behind whatever makes it awkward."""
    inner: FakeProvider = vars(world)["provider"].inner
    return inner


def _fail(verb: str, error: errors.Error, times: int = 1) -> Fault:
    def arrange(world: World, dice: random.Random) -> None:
        fake(world).fail_next[verb] += [error] * times

    return arrange


def _lose(times: int) -> Fault:
    def arrange(world: World, dice: random.Random) -> None:
        fake(world).lose_creates = times

    return arrange


def _lag(world: World, dice: random.Random) -> None:
    fake(world).list_lag = timedelta(seconds=20)
    fake(world).lose_creates = dice.randint(0, 1)


def _stubborn(world: World, dice: random.Random) -> None:
    fake(world).stubborn = 10


def _sold_out(world: World, dice: random.Random) -> None:
    real = fake(world).offers
    gone = {offer.offer_id for offer in fake(world).stock[:3]}
    # Still listed, and gone when asked for.
    listed = list(fake(world).stock)
    fake(world).stock = [offer for offer in listed if offer.offer_id not in gone]

    def stale(need: Any) -> Any:
        found = {offer.offer_id: offer for offer in [*real(need), *listed[:3]]}
        return sorted(found.values(), key=lambda offer: offer.usd_per_hour)

    vars(fake(world))["offers"] = stale


def _awkward(**what: int) -> Callable[[World, Any], None]:
    def arrange(world: World, _: Any) -> None:
        for name, value in what.items():
            setattr(world.provider, name, value)

    return arrange


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
    "list_half_of_them": _awkward(half_lists=3),
    "list_empty": _awkward(empty_lists=2),
    "create_slow_30_s": _awkward(slow_creates=2),
    "get_fails": _fail("get", errors.ProviderBusy("500", 1.0), 5),
}


def _http(*faults: tuple[str, str, int]) -> Callable[[World, Simulator], None]:
    def arrange(world: World, market: Simulator) -> None:
        for fault in faults:
            market.fault(*fault)

    return arrange


def _taken(world: World, market: Simulator) -> None:
    """Others rent what was found, before we do."""
    vars(world)["provider"].before_create = [market.sell, market.sell]


HTTP_FAULTS: dict[str, Callable[[World, Simulator], None]] = {
    "none": _http(),
    "create_answer_lost_once": _http(("create", "drop_after", 1)),
    "create_answer_lost_always": _http(("create", "drop_after", 1000)),
    "create_500_after_acting": _http(("create", "500_after", 2)),
    "rate_limited_storm": _http(("create", "429", 6), ("list", "429", 3), ("destroy", "429", 3), ("get", "429", 3)),
    "search_quota": _http(("search", "quota", 3)),
    "search_500": _http(("search", "500", 3)),
    "offer_gone": _taken,
    "delete_fails_10_times": _http(("destroy", "500", 10)),
    "delete_answer_lost": _http(("destroy", "drop_after", 5)),
    "delete_says_yes_and_keeps": _awkward(ignored_ends=4),
    "list_fails": _http(("list", "500", 5)),
    "list_half_of_them": _awkward(half_lists=3),
    "list_empty": _awkward(empty_lists=2),
    "get_fails": _http(("get", "500", 5)),
    "create_slow_30_s": _awkward(slow_creates=2),
}
"""Through the real adapters, over HTTP."""
AGENTS = ("good", "silent_first", "wrong_gpu_first", "dies_after_adoption", "clock_5_min_off")


def act(world: World, market: Market, id: str, manner: str, seen: set[str], tally: Tally) -> None:
    """What agents do now; the first machine of a bad manner misbehaves."""
    alive = market.alive()
    for attempt in world.deps.records.open_attempts(id):
        attempt = world.deps.records.load(Attempt, attempt.id)
        agent = FakeAgent(world, attempt.id)
        if attempt.stage is Stage.CREATED and attempt.machine_id in alive:
            first = not seen or attempt.id in seen
            if first and manner != "good":
                seen.add(attempt.id)
            if first and manner == "silent_first":
                continue
            wrong = first and manner == "wrong_gpu_first"
            skew_s = 300.0 if manner == "clock_5_min_off" else 0.0
            answer = agent.register(name="NVIDIA GeForce RTX 3060" if wrong else market.reported, skew_s=skew_s)
            tally.wrong_machine += int(wrong and answer.adopted)
            if first and manner == "dies_after_adoption" and answer.adopted:
                market.kill(attempt.machine_id)
        elif attempt.stage is Stage.ADOPTED and attempt.machine_id in alive:
            for _ in agent.orders("snapshot"):
                agent.take_snapshot()
            agent.finish("restore", stage="restored")


def launch(
    arrange: Callable[[World, Any], None],
    manner: str,
    seed: int,
    tally: Tally,
    market: Market,
    fuse: Fuse | None = None,
) -> None:
    """Provision, hibernate, wake, destroy under one fault; what is left is counted."""
    dice = random.Random(seed)
    world = World(offers=12, boot_deadline_s=60)
    vars(world)["provider"] = market.join(world)
    arrange(world, dice if isinstance(market, Memory) else market)
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
            act(world, market, instance_id, manner, seen, tally)
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

    body, key = ProvisionRequest.model_validate({"gpu_name": market.gpu, "width": 3}), f"k{seed}"
    made: list[str] = []

    def provision() -> None:
        made.append(instances.provision(body, "race", 0, world.user.id, deps, key).id)

    for _ in range(6):
        ask(provision)
        if made:
            break
        world.clock.step(seconds=31)
    if not made:
        tally.leaked += len(market.alive())
        market.heal()
        return
    instance_id = made[0]
    if not rest():
        tally.stuck += 1
    if world.instance(instance_id).state is State.RUNNING:
        tally.successes += 1
        ours = world.instance(instance_id).attempt_id
        ask(lambda: instances.hibernate(instance_id, 0, world.user.id, deps))
        machine = f"dumont-{ours}" in market.alive().values()
        if not machine and world.instance(instance_id).snapshot_id is None and manner != "dies_after_adoption":
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
    market.heal()
    for _ in range(12):
        # Two sweeps at once, as a scheduler that delivers twice would start them.
        machines(world.deps)
        machines(world.deps)
    left = market.alive()
    tally.leaked += len(left)
    for id in left:
        # Counted; the next launch starts without it.
        with contextlib.suppress(errors.Error):
            world.provider.terminate(id)
    for attempt in world.attempts(instance_id):
        if attempt.receipt is not None and attempt.adopted_at is None:
            tally.cents_wasted += float(attempt.receipt.usd) * 100


def crashes(market: Market, tally: Tally, stride: int) -> None:
    """The process dies before, and after, every `stride`-th call that changes something outside it."""
    for after in (False, True):
        at = 1
        while True:
            fuse = Fuse(at, after)
            launch(lambda world, _: None, "good", at, tally, market, fuse)
            if fuse.seen < at:
                break
            at += stride


@contextlib.contextmanager
def simulated_markets() -> Iterator[list[Simulator]]:
    changes = {"boot_s": [0, 0.01], "destroy_s": 0, "hosts": 200, "processes": False}
    with tempfile.TemporaryDirectory() as folder, simulators(Path(folder), **changes) as running:
        zones = ["us-central1-a", "us-central1-b", "us-east1-b", "europe-west3-a"]
        yield [
            Simulator(running, vast.connect(running.vast_url, VAST_KEY), "RTX 4090", "NVIDIA GeForce RTX 4090"),
            Simulator(
                running,
                tensordock.connect(running.tensordock_url, TENSORDOCK_TOKEN, "ssh-ed25519 AAAA"),
                "RTX 3090",
                "NVIDIA GeForce RTX 3090",
            ),
            Simulator(running, gce.connect("dumont-bench", zones, running.gce_url), "L4", "NVIDIA L4"),
        ]


def main() -> None:
    started = time.monotonic()
    tallies: dict[str, Tally] = {}
    for name, fault in FAULTS.items():
        tally = tallies[f"memory/{name}"] = Tally()
        for seed in range(LAUNCHES):
            launch(fault, AGENTS[seed % len(AGENTS)], seed, tally, Memory())
    crashes(Memory(), tallies.setdefault("memory/killed_at_every_change", Tally()), 1)
    with simulated_markets() as markets:
        for market in markets:
            for name, arrange in HTTP_FAULTS.items():
                tally = tallies[f"{market.provider.name}/{name}"] = Tally()
                for seed in range(HTTP_LAUNCHES):
                    launch(arrange, AGENTS[seed % len(AGENTS)], seed, tally, market)
            crashes(market, tallies.setdefault(f"{market.provider.name}/killed_at_every_5th_change", Tally()), 5)
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
