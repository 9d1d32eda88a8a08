"""What the control plane costs in a month: counted operations of the product's own code, at list prices.

    make bench NAME=cost

Days are lived with time as a parameter: the scheduler posts to its functions through the web layer as often as the manifest
says, an instance is woken, works, idles, hibernates by itself and sleeps; its agent beats as often as it is told to. Every
document read, written and deleted is counted where it passes, calls are billed alone in steps of 100 ms. A month is 22 work
days and 8 days of rest, each lived once more than it counts, so that what follows a day later is in it.

Another instance adds what the second one added to the first. What a sweep reads of a fleet is not computed: it is counted with
that fleet in the store.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import jwt

from bench.report import finish
from infra import manifest
from local.scheduler import every_s
from shared import errors
from shared.domain.instance import State
from shared.domain.reference_prices import STORAGE
from shared.flows import instances
from shared.flows.auth import create_key
from shared.store import codec
from shared.store.base import Put
from shared.store.counting import CountingStore
from shared.store.sqlite import SqliteStore
from shared.wire.auth import KeyRequest
from tests.support.http import client
from tests.support.world import FakeAgent, World, an_offer

FLEETS = (1, 100, 10_000)
TICK_FLEETS = (0, 1, 1_000, 10_000, 100_000)
WORK_DAYS, REST_DAYS = 22, 8
WORK_S, IDLE_S, BOOT_S, RESTORE_S = 4 * 3600, 900, 90, 30
RPC_S, PROVIDER_S = 0.010, 0.3
"""What a call waits: for a document's answer, for a provider's. Its own computing is measured here and added."""
WAIT_S = 50.0
"""`dumont wake` holds its request while the machine boots, at most so long at once; it is billed."""
STORED_GB = 5.0
"""Of an instance's snapshots."""
POLL_S, OPEN_S = 10.0, 3600
"""The console, open an hour a day."""
# Google's public list prices, tier 1 and multi-region; Cloudflare R2's.
RUN = {"calls": 0.40 / 1e6, "vcpu_s": 0.000024, "gib_s": 0.0000025}
RUN_FREE = {"calls": 2e6, "vcpu_s": 180_000, "gib_s": 360_000}
FIRESTORE = {"reads": 0.06 / 1e5, "writes": 0.18 / 1e5, "deletes": 0.02 / 1e5}
FIRESTORE_FREE_A_DAY = {"reads": 50_000, "writes": 20_000, "deletes": 20_000}
JOB, JOBS_FREE = 0.10, 3
OBJECTS = {"puts": 4.50 / 1e6, "gets": 0.36 / 1e6}
FAR = datetime.max.replace(tzinfo=UTC)
IMAGE_GB, IMAGES_FREE_GB, IMAGE_USD = 0.1, 0.5, 0.10
"""A function's image in Artifact Registry: an allowance, not measured."""
GOALS = {
    "idle_usd_per_month": "<= 1",
    "reads_a_tick": "the same from 0 to 100,000 instances",
    "grows_evenly": "within 10 %",
}


class Counted:
    """Passes calls on to something, and counts them by name."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def counted(*given: Any, **named: Any) -> Any:
            self.calls[name] += 1
            return found(*given, **named)

        return counted


@dataclass
class Day:
    """What was counted between its beginning and its end."""

    counted: dict[str, float]

    def minus(self, other: Day) -> Day:
        return Day(added(self.counted, other.counted, -1))

    def times(self, n: float) -> dict[str, float]:
        return {name: value * n for name, value in self.counted.items()}


class Month:
    def __init__(self, fleet: int) -> None:
        self.store = CountingStore(SqliteStore(":memory:"))
        self.world = World(offers=60, store=self.store, oidc_mode="iam", sweep_budget_s=50)
        self.world.provider.stock = [an_offer(n) for n in range(1, 60)]
        self.provider, self.objects = Counted(self.world.provider), Counted(self.world.objects)
        self.world.deps = replace(
            self.world.deps, providers=lambda: {"fake": self.provider}, objects=lambda: self.objects
        )
        self.functions = manifest.load()
        self.http = {one.name: client(one.name, self.world.deps) for one in self.functions.values() if one.schedule}
        self.due = {name: self.world.clock.now() for name in self.http}
        self.key = create_key(KeyRequest(name="bench"), self.world.user, self.world.deps).key
        self.billed: defaultdict[str, float] = defaultdict(float)
        self.spent_s = 0.0
        self.machines: dict[str, FakeAgent] = {}
        self.beat_at, self.idle_from = FAR, FAR
        # Whatever waits inside a call, the others' time goes on meanwhile.
        self.world.clock.sleep = self.others_go_on  # type: ignore[method-assign]
        self.ids = [self._made() for _ in range(fleet)]

    def _made(self) -> str:
        return self.world.hibernated(width=5, strategy="race").id

    def call(self, function: str, act: Callable[[], Any], held_s: float = 0.0) -> Any:
        """One request to a function: what it answers, and what it is billed."""
        rpcs, asked = self.store.calls.total(), self.provider.calls.total()
        clock, cpu, before = self.world.clock.now(), time.process_time(), self.spent_s
        answer = act()
        spent = (
            time.process_time() - cpu
            + (self.store.calls.total() - rpcs) * RPC_S
            + (self.provider.calls.total() - asked) * PROVIDER_S
        )  # fmt: skip
        # Calls that came while this one waited are billed by themselves.
        own, self.spent_s = spent - (self.spent_s - before), before + spent
        seconds = own + (self.world.clock.now() - clock).total_seconds() + held_s
        billed = math.ceil(seconds * 10) / 10
        self.billed["calls"] += 1
        self.billed["vcpu_s"] += billed
        self.billed["gib_s"] += billed * self.functions[function].memory_mib / 1024
        return answer

    def others_go_on(self, seconds: float) -> None:
        """Heartbeats of this time."""
        end = self.world.clock.now() + timedelta(seconds=seconds)
        while self.beat_at <= end:
            self.until(self.beat_at)
            self.beat()
        self.until(end)

    def until(self, at: datetime) -> None:
        self.world.clock.step(seconds=max(0.0, (at - self.world.clock.now()).total_seconds()))

    def pass_time(self, seconds: float) -> None:
        """The scheduler's posts of this time, and heartbeats between them."""
        end = self.world.clock.now() + timedelta(seconds=seconds)
        while (name := min(self.due, key=lambda one: self.due[one])) and self.due[name] <= end:
            self.others_go_on((self.due[name] - self.world.clock.now()).total_seconds())
            self.post(name)
        self.others_go_on((end - self.world.clock.now()).total_seconds())

    def post(self, name: str) -> None:
        function = self.functions[name]
        self.due[name] += timedelta(seconds=every_s(str(function.schedule)))
        claims = {"iss": "https://accounts.google.com", "aud": "dumont-functions", "sub": "1", "iat": int(time.time()),
                  "exp": int(time.time()) + 600, "email": "scheduler@dumont.local", "email_verified": True}  # fmt: skip
        # Cloud Run has checked the signature and taken it off.
        headers = {"Authorization": "Bearer " + jwt.encode(claims, "x" * 32, algorithm="HS256")}
        path = "/api/v1" + function.routes[0].path
        answer = self.call(name, lambda: self.http[name].post(path, headers=headers))
        assert answer.status_code == 200, answer.text

    def work(self) -> None:
        """Each instance is woken, works, idles until it hibernates."""
        world = self.world
        started = world.clock.now()
        for id in self.ids:
            self.call("wake", partial(instances.wake, id, 0, world.user.id, world.deps), held_s=WAIT_S)
        while not all(world.created(id) for id in self.ids):
            self.pass_time(10)
        self.pass_time(max(0.0, BOOT_S - (world.clock.now() - started).total_seconds()))
        for id in self.ids:
            for attempt in world.created(id):
                agent = world.agent(attempt)
                if self.call("agent", agent.register).adopted:
                    self.machines[id] = agent
                    break
        self.beat_at = world.clock.now()
        self.pass_time(RESTORE_S)
        for agent in self.machines.values():
            self.call("agent", partial(agent.finish, "restore", stage="usable"))
            self.call("agent", partial(agent.finish, "restore"))
        self.idle_from = world.clock.now() + timedelta(seconds=WORK_S)
        self.pass_time(WORK_S + IDLE_S)
        assert all(world.instance(id).state is State.HIBERNATED for id in self.ids), "it never went to sleep"
        assert not self.machines

    def beat(self) -> None:
        """Everybody's heartbeat, and what was ordered by it."""
        now, pause = self.world.clock.now(), 10.0
        idle_since = self.idle_from if now >= self.idle_from else None
        why = "idle: nothing runs" if idle_since else "active: GPU 0 at 80 %"
        for id, agent in list(self.machines.items()):
            try:
                answer = self.call("agent", partial(agent.beat, idle_since=idle_since, why=why))
            except errors.Unauthenticated:
                # Saved and let go: the agent stops.
                del self.machines[id]
                continue
            pause = min(pause, answer.settings.heartbeat_s)
            if any(order.kind == "snapshot" for order in answer.orders):
                # Addresses and the commit are two calls of one act here.
                self.billed["calls"] += 1
                self.call("agent", agent.take_snapshot)
        self.beat_at = now + timedelta(seconds=pause) if self.machines else FAR

    def day(self, works: bool) -> Day:
        before = self.counted()
        begun = self.world.clock.now()
        if works and self.ids:
            self.work()
        self.pass_time(86_400 - (self.world.clock.now() - begun).total_seconds())
        return self.counted().minus(before)

    def counted(self) -> Day:
        objects = self.objects.calls
        return Day(
            {
                **self.billed,
                "reads": self.store.reads,
                "writes": self.store.writes,
                "deletes": self.store.deletes,
                "puts": objects["put"] + objects["list"],
                "gets": objects["get"] + objects["head"],
            }
        )


def lived(fleet: int) -> tuple[Day, Day]:
    """A work day and a day of rest, after one of each has passed."""
    month = Month(fleet)
    month.day(works=True)
    work = month.day(works=True)
    month.day(works=False)
    rest = month.day(works=False)
    return work, rest


def of_month(work: Day, rest: Day) -> dict[str, float]:
    return added(work.times(WORK_DAYS), rest.counted, REST_DAYS)


def added(one: dict[str, float], other: dict[str, float], n: float) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) * n for name in {*one, *other}}


def bill(month: dict[str, float], fleet: int) -> dict[str, Any]:
    """USD of a month, after the free tiers and without them."""
    jobs = sum(one.schedule is not None for one in manifest.load().values())
    images_gb = IMAGE_GB * len(manifest.load())
    per_day = WORK_DAYS + REST_DAYS

    def over(name: str, free: float) -> float:
        return max(0.0, month.get(name, 0.0) - free)

    parts = {
        "functions": sum(over(name, RUN_FREE[name]) * usd for name, usd in RUN.items()),
        "firestore": sum(over(name, FIRESTORE_FREE_A_DAY[name] * per_day) * usd for name, usd in FIRESTORE.items()),
        "scheduler": max(0, jobs - JOBS_FREE) * JOB,
        "images": max(0.0, images_gb - IMAGES_FREE_GB) * IMAGE_USD,
        "snapshots_stored": fleet * STORED_GB * float(STORAGE["r2"].usd_per_gb_month),
        "snapshots_calls": sum(month.get(name, 0.0) * usd for name, usd in OBJECTS.items()),
    }
    without_free = (
        sum(month.get(name, 0.0) * usd for name, usd in {**RUN, **FIRESTORE, **OBJECTS}.items())
        + jobs * JOB + images_gb * IMAGE_USD + parts["snapshots_stored"]
    )  # fmt: skip
    return {
        "usd": round(sum(parts.values()), 2),
        "usd_without_free_tiers": round(without_free, 2),
        "parts_usd": {name: round(usd, 2) for name, usd in parts.items()},
        "counted": {name: round(value) for name, value in sorted(month.items())},
    }


def polled() -> dict[str, float]:
    """A user's console, an hour a day: its list of ten instances each ten seconds."""
    month = Month(0)
    for _ in range(10):
        month.ids.append(month._made())
    http, headers = client("instances", month.world.deps), {"Authorization": f"Bearer {month.key}"}
    before = month.counted()
    answer = month.call("instances", lambda: http.get("/api/v1/instances", headers=headers))
    assert answer.status_code == 200, answer.text
    return month.counted().minus(before).times(OPEN_S / POLL_S * (WORK_DAYS + REST_DAYS))


def ticks(state: State) -> dict[str, dict[int, int]]:
    """Documents that each scheduled function reads at a tick, by how many instances there are in that state."""
    month = Month(0)
    one = month.world.instance(month.world.running()[0].id if state is State.RUNNING else month._made())
    attempt = month.store.get("attempts", one.attempt_id) if one.attempt_id else None
    month.world.provider.made.clear()
    month.store.commit(
        [Put("instances", one.id, codec.encode(replace(one, state=State.DESTROYED, next_action_at=None)))]
    )
    # What a long work day leaves: a timer that is far away.
    later = month.world.clock.now() + timedelta(days=30) if state is State.RUNNING else None
    found: dict[str, dict[int, int]] = {name: {} for name in month.http}
    there = 0
    for fleet in TICK_FLEETS:
        while there < fleet:
            ids = [f"i-{n:06d}" for n in range(there, min(fleet, there + 400))]
            month.store.inner.commit(
                [
                    Put("instances", id, codec.encode(replace(one, id=id, next_action_at=later, prune_at=None)))
                    for id in ids
                ]
            )
            if attempt is not None:
                month.store.inner.commit(
                    [Put("attempts", f"a-{id}", {**attempt.data, "instance_id": id}) for id in ids]
                )
            there += len(ids)
        for name in month.http:
            before = month.store.reads
            month.post(name)
            found[name][fleet] = month.store.reads - before
    return found


def main() -> None:
    started = time.monotonic()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        # Every call logs its line, as in the cloud.
        idle, first, second = (of_month(*lived(n)) for n in (0, 1, 2))
        console = polled()
        read = {str(state): ticks(state) for state in (State.HIBERNATED, State.RUNNING)}
    own, again = added(first, idle, -1), added(second, first, -1)
    uneven = max(abs(again[name] - own[name]) / own[name] for name in ("reads", "writes", "calls") if own.get(name))
    bills = {0: bill(idle, 0)}
    for fleet in FLEETS:
        month = added(added(idle, own, 1), again, fleet - 1)
        bills[fleet] = bill(added(month, console, math.ceil(fleet / 10)), fleet)
        sys.stdout.write(f"{fleet} instances: ${bills[fleet]['usd']}\n")
    flat = all(len(set(by.values())) == 1 for functions in read.values() for by in functions.values())
    figures = {
        "idle_usd_per_month": bills[0]["usd"],
        "idle_usd_without_free_tiers": bills[0]["usd_without_free_tiers"],
        "usd_per_month": {str(fleet): one["usd"] for fleet, one in bills.items()},
        "usd_per_instance_month": {str(f): round(one["usd"] / f, 3) for f, one in bills.items() if f},
        "reads_a_tick": {
            state: {name: sorted(set(by.values())) for name, by in functions.items()}
            for state, functions in read.items()
        },
        "reads_flat_to": max(TICK_FLEETS) if flat else 0,
        "another_instance_differs_by": round(uneven, 3),
        "an_instances_month": {name: round(value) for name, value in sorted(again.items())},
        "bills": {str(fleet): one for fleet, one in bills.items()},
        "assumed": f"an instance works {WORK_S / 3600:g} h on each of {WORK_DAYS} days (5 machines race, one wins) and keeps "
        f"{STORED_GB:g} GB; a console is open 1 h a day for each ten instances; a document's answer takes {RPC_S * 1000:g} ms, a "
        f"provider's {PROVIDER_S * 1000:g} ms; calls are billed alone in steps of 100 ms, though a function serves many at once; "
        f"images {IMAGE_GB:g} GB each; agents' own transfers to storage and the GPUs are not in it",
        "prices": "public list prices: Cloud Run tier 1, Firestore multi-region, Cloudflare R2; free tiers taken off where said",
        "seconds": round(time.monotonic() - started, 1),
    }
    ok = bills[0]["usd"] <= 1 and flat and uneven <= 0.1
    finish("cost", figures, GOALS, ok)


if __name__ == "__main__":
    main()
