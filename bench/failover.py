"""Whatever breaks in a failover, nothing that was saved is lost and nothing is written by two; and a fleet's year of it.

    make bench NAME=failover            SAMPLE=12 lives more years

The product's own flows run against the provider and the storage in memory, with time as a parameter. Files are a chain of
written lines: a snapshot is a link, and both claims are about ancestry. Whoever serves descends from the newest committed
snapshot, else saved lines are lost; every committed snapshot descends from the one before, else two have written. The last part
kills real processes on the local cloud (`bench/failover_killed.py`).
"""

from __future__ import annotations

import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from agent.main import TOLD_AGAIN_S
from bench import failover_killed
from bench.report import finish
from shared import errors
from shared.domain.attempt import Attempt, Stage
from shared.domain.instance import Instance, State
from shared.domain.order import Order
from shared.flows import agents, instances, standby
from shared.flows.advance import advance
from shared.providers.base import Features, MachineStatus
from shared.store.counting import CountingStore
from shared.store.records import Records
from shared.store.sqlite import SqliteStore
from shared.sweeps.machines import machines
from shared.sweeps.retention import retention
from shared.wire import agent as wire
from shared.wire.standby import StandbyBody
from tests.support.crashing import Crash, Fuse
from tests.support.world import FakeAgent, World, an_offer, crash_deps

INTERVAL_S = 30.0
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
TOLD_AGAIN = timedelta(seconds=TOLD_AGAIN_S)
PATIENCE_S = 2400
SAMPLE = int(os.environ.get("SAMPLE", "4"))
"""Instances that each live a year; the fleet's counts are scaled from theirs."""
FLEET, HOURS_A_YEAR, MONTHS = 1000, 8760, 12
# As public reports of Vast.ai's users have them.
HOST_LOSS_PER_HOUR = 0.0035
NEVER_READY = 0.075
BOOT_MEDIAN_S, BOOT_P95_S = 90.0, 360.0
# A Compute Engine machine was measured to start in 9.8 s; the agent's own start is our allowance.
STANDBY_BOOT_S = 20.0
STANDBY_USD_PER_HOUR = 0.0067
# No source gives these: assumptions, named as such in the result.
PREEMPTED_PER_HOUR, API_CUT_PER_HOUR, PROVIDER_DOWN_PER_HOUR = 1 / 240, 1 / 720, 1 / 720
OUTAGE_S, RESTORE_S, SNAPSHOT_S, FOLLOW_S = 300.0, 30.0, 2.0, 2.0
USD_PER_100K = {"reads": 0.03, "writes": 0.09, "deletes": 0.01}
"""Firestore's public list price in one region; `infra/deploy.py` makes its database in one."""
MULTI_REGION = 2.0
FIRESTORE_USD = 2.0
BEFORE = {"reads": 18_184, "writes": 3_106, "deletes": 0}
"""What this bench counted when every snapshot and every following was an order on record."""
GOALS = {
    "lost_saved_lines": 0,
    "two_writers": 0,
    "machines_left": 0,
    "objects_left": 0,
    "stuck": 0,
    "zombie_accepted": 0,
    "wrong_failovers": 0,
    "false_failovers": 0,
    "zombie_refused": 4,
    "crash_phases": ">= 3",
    "rpo_p95_s": "<= interval + 5 s",
    "firestore_usd_per_instance_month": f"<= {FIRESTORE_USD:g}",
    "killed_processes": failover_killed.GOALS,
}


@dataclass(eq=False)
class Line:
    number: int
    at: datetime
    before: Line | None

    def descends(self, other: Line) -> bool:
        one: Line | None = self
        while one is not None and one.number > other.number:
            one = one.before
        return one is other


@dataclass
class Machine:
    agent: FakeAgent
    ready_at: datetime
    files: Line
    never: bool = False
    beat_at: datetime | None = None
    job: tuple[datetime, wire.Order, Line | None] | None = None
    carry: wire.Carry | None = None
    read_at: datetime = BEGINNING
    stopped: bool = False


class Life:
    """One instance with a standby, and every machine that ever was its."""

    def __init__(self, seed: int = 0, real: bool = False, counting: bool = False) -> None:
        inner = SqliteStore(":memory:")
        self.counter = CountingStore(inner)
        self.world = World(offers=24, store=self.counter if counting else inner)
        # The bench's own looks are not the product's: they are not counted.
        self.looks = Records(inner, self.world.clock)
        self.world.uncounted = replace(self.world.deps, store=inner, records=self.looks)
        self.dice, self.real = random.Random(seed), real
        self.world.provider.features = Features(sells_cpu=True)
        cpu = an_offer(90, gpu_count=0, gpu_name="", vram_gb=0, usd_per_hour=Decimal(str(STANDBY_USD_PER_HOUR)))
        self.world.provider.stock += [
            replace(cpu, offer_id=f"z-{z}/e2-small", machine_id=f"z-{z}/e2-small", host_id=f"z-{z}/e2-small")
            for z in "abc"
        ]
        self.root = Line(0, self.world.clock.now(), None)
        self.taken: dict[str, Line] = {}
        self.committed = self.root
        self.fuse: Fuse | None = None
        self.sound = self.world.deps
        self.machines: dict[str, Machine] = {}
        self.cut: set[str] = set()
        self.still = False
        """Nothing changes: snapshots beside the work find nothing to save."""
        self.lost = self.two = self.zombie_accepted = self.zombie_refused = 0
        self.phases: Counter[str] = Counter()
        body: dict[str, Any] = {"idle_policy": {"enabled": False}, "width": 2, "max_attempts": 10}
        self.id = self.world.provision(**body).id
        self.until(lambda i: i.state is State.RUNNING)
        standby.put(StandbyBody(instance=self.id, interval_s=INTERVAL_S), self.world.user.id, self.world.deps)
        self.until(self.follows)

    @property
    def instance(self) -> Instance:
        return self.looks.load(Instance, self.id)

    @staticmethod
    def follows(i: Instance) -> bool:
        return i.state is State.RUNNING and not i.restoring and i.standby_snapshot_id is not None

    def burn(self, fuse: Fuse) -> None:
        self.fuse, self.world.deps = fuse, crash_deps(self.world, fuse)

    def guarded(self, act: Callable[[], Any]) -> Any:
        """What a function answers: a crash is a connection that broke."""
        try:
            return act()
        except Crash:
            assert self.fuse is not None
            self.fuse.dead = False
            self.phases[str(self.instance.state)] += 1
        except (errors.LeaseHeld, errors.StaleLease, errors.Conflict, errors.ProviderError):
            pass
        return None

    def boot_s(self, is_standby: bool) -> float:
        if not self.real:
            return 3.0
        if is_standby:
            return STANDBY_BOOT_S
        return self.dice.lognormvariate(math.log(BOOT_MEDIAN_S), math.log(BOOT_P95_S / BOOT_MEDIAN_S) / 1.645)

    def tick(self, step_s: float = 1.0) -> None:
        self.world.clock.step(seconds=step_s)
        now, alive = self.world.clock.now(), self.world.provider.made
        for attempt in self.looks.open_attempts(self.id):
            if attempt.machine_id is None or attempt.stage not in (Stage.CREATED, Stage.ADOPTED):
                continue
            if attempt.id not in self.machines:
                boot = timedelta(seconds=self.boot_s(attempt.is_standby))
                never = self.real and not attempt.is_standby and self.dice.random() < NEVER_READY
                self.machines[attempt.id] = Machine(self.world.agent(attempt), now + boot, self.root, never)
        labels = {m.machine.token for m in alive.values()}
        for id, machine in list(self.machines.items()):
            if f"dumont-{id}" not in labels:
                del self.machines[id]
            elif not (machine.stopped or machine.never or id in self.cut or now < machine.ready_at):
                self.act(id, machine, now)
        due = self.instance.next_action_at
        if due is not None and due <= now:
            self.guarded(lambda: advance(self.world.deps, self.id))
        self.check()

    def act(self, id: str, machine: Machine, now: datetime) -> None:
        instance = self.instance
        if instance.attempt_id == id and instance.state in (State.RUNNING, State.ON_STANDBY) and not instance.restoring:
            machine.files = Line(machine.files.number + 1, now, machine.files)
        try:
            # As the real agent's: only an order that somebody waits for is followed by a heartbeat at once.
            if machine.beat_at is None:
                answer = self.guarded(lambda: machine.agent.register(gpus=1))
                if answer is not None:
                    self.world.provider.set_status(str(machine.agent.me.machine_id), MachineStatus.RUNNING)
                    machine.stopped, machine.beat_at = not answer.adopted, now
            elif machine.job is not None and now >= machine.job[0]:
                self.guarded(lambda: self.finish(machine))
            elif now >= machine.beat_at:
                if now - machine.read_at > TOLD_AGAIN:
                    machine.read_at, machine.carry = now, None
                beat = self.guarded(lambda: machine.agent.beat(carry=machine.carry))
                if beat is not None:
                    machine.carry = beat.carry
                    machine.beat_at = now + timedelta(seconds=beat.settings.heartbeat_s)
                    self.begin(machine, beat.orders, now)
        except errors.Unauthenticated:
            machine.stopped = True

    def begin(self, machine: Machine, orders: list[wire.Order], now: datetime) -> None:
        work = [o for o in orders if o.kind in ("snapshot", "restore")]
        if machine.job is not None or not work:
            return
        order = work[0]
        if order.kind == "snapshot":
            machine.job = (now + timedelta(seconds=SNAPSHOT_S), order, machine.files)
        else:
            takes = FOLLOW_S if order.payload["follow"] or not self.real else RESTORE_S
            machine.job = (now + timedelta(seconds=takes), order, None)

    def finish(self, machine: Machine) -> None:
        assert machine.job is not None
        _, order, files = machine.job
        stored = self.looks.find(Order, order.id)
        beside = order.payload.get("follow") or order.payload.get("only_changes")
        try:
            if stored is not None and stored.ended:
                pass
            elif files is not None and self.still and order.payload["only_changes"]:
                unchanged = wire.OrderResult(order_id=order.id, state="done", stage="unchanged")
                agents.result(unchanged, machine.agent.me, self.world.deps)
            elif files is not None:
                self.taken[str(order.payload["snapshot_id"])] = files
                machine.agent.take_snapshot(order=order)
            else:
                machine.agent.read(order)
                # The files are there before anybody is told, also when the answer to the telling is lost.
                machine.files = self.taken[str(order.payload["snapshot_id"])]
                done = wire.OrderResult(order_id=order.id, state="done", stage="restored")
                agents.result(done, machine.agent.me, self.world.deps)
        except (errors.Conflict, errors.NotFound):
            # No longer wanted.
            pass
        machine.job = None
        if not beside:
            machine.beat_at = self.world.clock.now()

    def check(self) -> None:
        instance = self.instance
        newest = self.taken.get(instance.snapshot_id or "")
        if newest is not None and newest is not self.committed:
            self.two += not newest.descends(self.committed)
            self.committed = newest
        serving = self.machines.get(instance.attempt_id or "")
        if serving is not None and instance.state in (State.RUNNING, State.ON_STANDBY) and not instance.restoring:
            # A restore's report is one change: its files are there when the instance runs.
            self.lost += not serving.files.descends(self.committed)

    def until(self, done: Callable[[Instance], bool], limit_s: int = PATIENCE_S) -> bool:
        for _ in range(limit_s):
            if done(self.instance):
                return True
            self.tick()
        return False

    def kill(self, attempt_id: str | None) -> None:
        gone = [m for m, made in self.world.provider.made.items() if made.machine.token == f"dumont-{attempt_id}"]
        for machine_id in gone:
            del self.world.provider.made[machine_id]

    def end(self, tally: Tally) -> None:
        """Destroy it; what is left is counted."""
        self.world.deps = self.sound
        for _ in range(60):
            if self.instance.state is not State.DESTROYED:
                self.guarded(lambda: instances.destroy(self.id, 0, self.world.user.id, self.sound))
            self.tick(5)
        for _ in range(3):
            machines(self.sound)
        tally.runs += 1
        tally.lost += self.lost
        tally.two += self.two
        tally.machines += len(self.world.provider.made)
        tally.objects += len(self.world.objects.objects)
        tally.zombie_accepted += self.zombie_accepted
        tally.zombie_refused += self.zombie_refused
        tally.phases.update(self.phases)


@dataclass
class Tally:
    runs: int = 0
    lost: int = 0
    two: int = 0
    machines: int = 0
    objects: int = 0
    stuck: int = 0
    wrong: int = 0
    zombie_accepted: int = 0
    zombie_refused: int = 0
    phases: Counter[str] = field(default_factory=Counter)


def failed_over(life: Life) -> bool:
    return bool(life.instance.failovers)


def recovered(i: Instance) -> bool:
    return bool(i.failovers) and Life.follows(i)


def api_cut(tally: Tally) -> None:
    """No machine reaches our API for half an hour; the provider says that they run."""
    life = Life()
    life.cut = set(life.machines)
    life.until(lambda i: False, 1800)
    tally.wrong += failed_over(life)
    life.cut = set()
    tally.stuck += not life.until(lambda i: life.follows(i) and i.failure is None)
    tally.wrong += failed_over(life)
    life.end(tally)


def provider_down(tally: Tally) -> None:
    """The host is dead, and its provider does not answer for ten minutes."""
    life = Life()
    life.kill(life.instance.attempt_id)
    for verb in ("get", "list", "offers"):
        life.world.provider.fail_next[verb] = [errors.ProviderBusy("down", 5.0)] * 100_000
    life.until(lambda i: False, 600)
    tally.wrong += failed_over(life)
    life.world.provider.fail_next.clear()
    tally.stuck += not life.until(recovered)
    life.end(tally)


def back_from_the_dead(tally: Tally) -> None:
    """Silent and called offline; after the promotion it is there again, with a snapshot half uploaded."""
    life = Life()
    life.until(lambda i: any(m.job and m.job[2] for m in life.machines.values()))
    old = str(life.instance.attempt_id)
    machine = life.machines[old]
    made = next(m for m in life.world.provider.made.values() if m.machine.token == f"dumont-{old}")
    made.deletes_left = 40
    life.world.provider.set_status(made.machine.machine_id, MachineStatus.OFFLINE)
    life.cut = {old}
    tally.stuck += not life.until(lambda i: i.state is State.ON_STANDBY)
    life.world.provider.set_status(made.machine.machine_id, MachineStatus.RUNNING)
    assert machine.job is not None
    order = machine.job[1]
    uploads = wire.UploadsRequest(snapshot_id=str(order.payload["snapshot_id"]), count=1, manifest=True)
    secret = FakeAgent(life.world, old)
    stale = replace(life.sound.records.load(Attempt, old), stage=Stage.ADOPTED)
    commit = wire.SnapshotCommit(snapshot_id=uploads.snapshot_id, order_id=order.id, manifest_key="m/s-0123456789abcdef",
                                 manifest_size=1, packs=[], files=0, bytes=0, stored_bytes=0, seconds=0.1)  # fmt: skip
    calls = (
        secret.beat,
        lambda: agents.uploads(uploads, secret.me, life.sound),
        lambda: secret.take_snapshot(order=order),
        # Let in a moment before it was fenced, done after: the commit itself looks again.
        lambda: agents.commit_snapshot(commit, stale, life.sound),
    )
    for call in calls:
        try:
            call()
            life.zombie_accepted += 1
        except (errors.Unauthenticated, errors.Conflict, errors.NotFound):
            life.zombie_refused += 1
    tally.stuck += not life.until(life.follows)
    made.deletes_left = 0
    life.end(tally)


def broken_again(tally: Tally, which: str) -> None:
    """From the host's death until the standby follows again, something more is lost: once in every second of it."""
    at = 0
    while True:
        life = Life()
        life.kill(life.instance.attempt_id)
        for _ in range(at):
            life.tick()
        now = life.instance
        if at > 5 and life.follows(now) and failed_over(life):
            break
        if which in ("standby", "both"):
            life.kill(now.standby_attempt_id)
        if which in ("gpu", "both"):
            attempts = life.sound.records.open_attempts(life.id)
            for attempt in attempts:
                if not attempt.is_standby and attempt.stage is Stage.ADOPTED:
                    life.kill(attempt.id)
        ended = life.until(lambda i: i.state is State.HIBERNATED or recovered(i))
        if life.instance.state is State.HIBERNATED:
            # Two losses within five minutes: a person is asked, and wakes it.
            instances.wake(life.id, 0, life.world.user.id, life.sound)
            ended = life.until(life.follows)
        tally.stuck += not ended
        life.end(tally)
        at += 1


def crashes(tally: Tally) -> None:
    """The process dies before, and after, every stored change and every call to the provider."""
    for after in (False, True):
        at = 1
        while True:
            life = Life()
            life.kill(life.instance.attempt_id)
            life.burn(fuse := Fuse(at, after))
            tally.stuck += not life.until(recovered)
            seen = fuse.seen
            life.end(tally)
            if seen < at:
                break
            at += 1


@dataclass
class Year:
    losses: int = 0
    false: int = 0
    asked: int = 0
    remade: int = 0
    outages: int = 0
    lost: int = 0
    two: int = 0
    stuck: int = 0
    hours: float = 0.0
    rto: list[float] = field(default_factory=list)
    rpo: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)


def operations(life: Life, act: Callable[[], Any]) -> dict[str, int]:
    before = {kind: int(getattr(life.counter, kind)) for kind in USD_PER_100K}
    act()
    return {kind: int(getattr(life.counter, kind)) - before[kind] for kind in USD_PER_100K}


def an_hour(life: Life, still: bool) -> dict[str, int]:
    """Of an instance whose files change all the time, or never, with what retention does afterwards."""
    life.still = still

    def live() -> None:
        life.until(lambda i: False, 3600)
        # Old ones are looked at once a day: here at once, so that each hour bears its own.
        life.looks.transact(lambda tx: tx.save(replace(tx.load(Instance, life.id), prune_at=tx.now)))
        retention(life.world.deps)

    return operations(life, live)


def firestore(failovers_a_month: float) -> dict[str, Any]:
    """Documents read and written by one instance with a standby."""
    life = Life(counting=True)
    # The first is warm-up: afterwards there are old snapshots to give up.
    an_hour(life, still=False)
    hours = {"an_hour_of_change": an_hour(life, still=False), "an_hour_of_rest": an_hour(life, still=True)}
    life.still = False
    life.kill(life.instance.attempt_id)
    one = operations(life, lambda: life.until(lambda i: failed_over(life) and life.follows(i)))

    def month(hour: dict[str, int], times: float = 1.0) -> float:
        ops = {kind: hour[kind] * 730 + one[kind] * failovers_a_month for kind in USD_PER_100K}
        return round(times * sum(ops[kind] / 100_000 * price for kind, price in USD_PER_100K.items()), 2)

    changing = month(hours["an_hour_of_change"])
    return {
        **hours,
        "a_failover": one,
        "usd_per_instance_month": changing,
        "usd_per_instance_month_at_rest": month(hours["an_hour_of_rest"]),
        "usd_per_instance_month_multi_region": month(hours["an_hour_of_change"], MULTI_REGION),
        "usd_fleet_year": round(changing * FLEET * MONTHS),
        "before": {
            "an_hour_of_change": BEFORE,
            "usd_per_instance_month": month(BEFORE),
            "what": "an order on record for each snapshot and each following, every snapshot read for each commit, "
            "the lease taken for each of them, four documents read by a heartbeat; without retention",
        },
        "price": "public list price of one region, as the deployment makes it: $0.03, $0.09, $0.01 per 100,000 reads, writes, "
        "deletes; the sweep's own query, one for the whole fleet, is not in it",
    }


def settled(before: tuple[datetime, ...]) -> Callable[[Instance], bool]:
    """The standby serves, a person is asked, or a failover since those of `before` is over."""
    return lambda i: i.state in (State.ON_STANDBY, State.HIBERNATED) or (i.failovers != before and Life.follows(i))


def live_a_year(seed: int, year: Year) -> None:
    """From event to event: nothing is computed in between but that time passes; each is lived second by second."""
    dice, life = random.Random(seed), Life(seed, real=True)
    started, end = life.world.clock.now(), life.world.clock.now() + timedelta(hours=HOURS_A_YEAR)
    rates = {"loss": HOST_LOSS_PER_HOUR, "preempted": PREEMPTED_PER_HOUR, "api": API_CUT_PER_HOUR,
             "provider": PROVIDER_DOWN_PER_HOUR}  # fmt: skip
    while life.world.clock.now() < end:
        wait = dice.expovariate(sum(rates.values()))
        event = dice.choices(list(rates), list(rates.values()))[0]
        life.world.clock.step(hours=wait)
        for machine in sorted(life.machines.values(), key=lambda m: m.agent.attempt_id != life.instance.attempt_id):
            life.guarded(machine.agent.beat)
        for _ in range(60 + dice.randrange(60)):
            life.tick()
        before, at = life.instance.failovers, life.world.clock.now()
        if event == "loss":
            year.losses += 1
            serving = life.machines.get(str(life.instance.attempt_id))
            newest = serving.files.at if serving else at
            life.kill(life.instance.attempt_id)
            ok = life.until(settled(before))
            if life.instance.state is State.HIBERNATED:
                year.asked += 1
                instances.wake(life.id, 0, life.world.user.id, life.sound)
            elif ok:
                year.rto.append((life.world.clock.now() - at).total_seconds())
                year.rpo.append(max(0.0, (newest - life.committed.at).total_seconds()))
            if life.until(life.follows, 14400):
                year.back.append((life.world.clock.now() - at).total_seconds())
            else:
                year.stuck += 1
            continue
        if event == "preempted":
            year.remade += 1
            life.kill(life.instance.standby_attempt_id)
        else:
            year.outages += 1
            if event == "api":
                life.cut = set(life.machines)
            else:
                life.world.provider.fail_next["get"] = [errors.ProviderBusy("down", 5.0)] * 1000
        life.until(lambda i: False, int(OUTAGE_S))
        life.cut = set()
        life.world.provider.fail_next.clear()
        year.stuck += not life.until(life.follows, 14400)
        year.false += life.instance.failovers[-1:] != before[-1:]
    year.hours += (life.world.clock.now() - started).total_seconds() / 3600
    year.lost += life.lost
    year.two += life.two


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values) or [0.0]
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * q))], 1)


def fleet_year() -> dict[str, Any]:
    year = Year()
    for seed in range(SAMPLE):
        live_a_year(seed, year)
    scale = FLEET * HOURS_A_YEAR / year.hours
    return {
        "instances": FLEET,
        "instance_years_lived": round(year.hours / HOURS_A_YEAR, 2),
        "scaled": f"counts are of {SAMPLE} instances that each lived a year, times {scale:.1f}; quantiles are unscaled",
        "losses": round(year.losses * scale),
        "failovers": round(len(year.rto) * scale),
        "failovers_seen": len(year.rto),
        "a_person_was_asked": round(year.asked * scale),
        "standbys_remade": round(year.remade * scale),
        "outages": round(year.outages * scale),
        "false_failovers": year.false,
        "rto_p50_s": quantile(year.rto, 0.5),
        "rto_p95_s": quantile(year.rto, 0.95),
        "gpu_back_p50_s": quantile(year.back, 0.5),
        "gpu_back_p95_s": quantile(year.back, 0.95),
        "rpo_p50_s": quantile(year.rpo, 0.5),
        "rpo_p95_s": quantile(year.rpo, 0.95),
        "standby_usd_per_instance_month": round(STANDBY_USD_PER_HOUR * 730, 2),
        "firestore": firestore(len(year.rto) / year.hours * 730),
        "lost_saved_lines": year.lost,
        "two_writers": year.two,
        "stuck": year.stuck,
        "sources": "host loss, boots and creates that never run: Vast.ai field reports (suggested defaults: 0.2-0.5 %/h, "
        "median 90 s, P95 6 min, 5-10 %); standby's start: 9.8 s measured on Compute Engine",
        "assumed": f"standby preempted each 240 h, our API cut and the provider's down each 720 h for {OUTAGE_S:g} s, "
        f"snapshot {SNAPSHOT_S:g} s, follow {FOLLOW_S:g} s, restore {RESTORE_S:g} s, "
        f"e2-small spot at ${STANDBY_USD_PER_HOUR}/h without disk",
    }


def main() -> None:
    started = time.monotonic()
    acts: dict[str, Callable[[Tally], None]] = {
        "our_api_cut_from_the_agent": api_cut,
        "provider_api_down": provider_down,
        "back_from_the_dead": back_from_the_dead,
        "standby_preempted_at_every_second": lambda t: broken_again(t, "standby"),
        "gpu_lost_at_every_second": lambda t: broken_again(t, "gpu"),
        "both_lost_at_every_second": lambda t: broken_again(t, "both"),
        "killed_at_every_change": crashes,
    }
    tallies: dict[str, Tally] = {}
    for name, act in acts.items():
        act(tallies.setdefault(name, Tally()))
        sys.stdout.write(f"{name}: { {k: v for k, v in vars(tallies[name]).items() if v} }\n")
        sys.stdout.flush()
    year = fleet_year()
    killed, killed_ok = failover_killed.measure()

    def total(word: str) -> int:
        return sum(int(getattr(t, word)) for t in tallies.values())

    figures = {
        "runs": total("runs"),
        "lost_saved_lines": total("lost") + year["lost_saved_lines"],
        "two_writers": total("two") + year["two_writers"],
        "machines_left": total("machines"),
        "objects_left": total("objects"),
        "stuck": total("stuck") + year["stuck"],
        "wrong_failovers": total("wrong"),
        "false_failovers": year["false_failovers"],
        "zombie_accepted": total("zombie_accepted"),
        "zombie_refused": total("zombie_refused"),
        "crash_phases": dict(tallies["killed_at_every_change"].phases),
        "rpo_p95_s": year["rpo_p95_s"],
        "firestore_usd_per_instance_month": year["firestore"]["usd_per_instance_month"],
        "seconds": round(time.monotonic() - started, 1),
        "killed_processes": killed,
        "scenarios": {name: tally.runs for name, tally in tallies.items()},
        "year": year,
    }
    zeros = [word for word, goal in GOALS.items() if goal == 0]
    ok = (
        not any(figures[word] for word in zeros)
        and killed_ok
        and figures["zombie_refused"] == 4
        and len(figures["crash_phases"]) >= 3
        and year["rpo_p95_s"] <= INTERVAL_S + 5
        and figures["firestore_usd_per_instance_month"] <= FIRESTORE_USD
    )
    finish("failover", figures, GOALS, ok)


if __name__ == "__main__":
    main()
