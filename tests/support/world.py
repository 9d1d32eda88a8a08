"""A whole control plane in memory for tests of flows: fake clock, fake provider, fake agents, real everything else."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from shared import errors
from shared.clock import FakeClock
from shared.deps import Deps
from shared.domain.attempt import Attempt, Stage
from shared.domain.instance import RESTING, Instance, State
from shared.domain.manifest import seal_head
from shared.domain.offer import Offer
from shared.domain.order import Order
from shared.domain.snapshot import Snapshot
from shared.domain.storage import StorageProfile, profile_id
from shared.domain.user import User
from shared.flows import agents, instances, keys, pools
from shared.flows.advance import advance
from shared.flows.auth import create_user
from shared.flows.snapshot_orders import prefix_of, standing
from shared.flows.storage import objects_at
from shared.objects.memory import MemoryObjects
from shared.providers.fake import FakeProvider
from shared.settings import Settings
from shared.store.base import Store
from shared.store.records import Records
from shared.store.shapes import ORDERS_PENDING
from shared.store.sqlite import SqliteStore
from shared.wire import agent as wire
from shared.wire.instances import ProvisionRequest
from tests.support.crashing import CrashingProvider, CrashingStore, Fuse

_KEY = Ed25519PrivateKey.generate()
PRIVATE_PEM = _KEY.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
PUBLIC_PEM = _KEY.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode()


def an_offer(number: int = 1, **changes: Any) -> Offer:
    offer = Offer(
        provider="fake",
        offer_id=f"offer-{number}",
        machine_id=f"machine-{number}",
        host_id=f"host-{number}",
        gpu_name="RTX 4090",
        gpu_count=1,
        vram_gb=24,
        usd_per_hour=Decimal("0.30") + Decimal(number) / 100,
        disk_gib=500,
        reliability=0.99,
        region="US",
        open_ports=100,
    )
    return replace(offer, **changes)


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {
        "env": "local",
        "store": "sqlite::memory:",
        "master_key": SecretStr(base64.b64encode(b"k" * 32).decode()),
        "jwt_private_key": SecretStr(PRIVATE_PEM),
        "jwt_public_keys": PUBLIC_PEM,
        "oidc_audience": "dumont-functions",
        "oidc_email": "scheduler@dumont.local",
        **changes,
    }
    return Settings.model_validate(given)


class World:
    def __init__(self, offers: int = 8, store: Store | None = None, **changes: Any) -> None:
        self.clock = FakeClock()
        self.store: Store = store or SqliteStore(":memory:")
        self.objects = MemoryObjects()
        self.buckets: dict[str, MemoryObjects] = {}
        """Users' own, by name."""
        self.provider = FakeProvider(self.clock, [an_offer(n) for n in range(1, offers + 1)])
        records = Records(self.store, self.clock)
        self.deps = Deps(
            settings=settings(**changes),
            clock=self.clock,
            store=self.store,
            records=records,
            providers=lambda: {self.provider.name: self.provider},
            objects=lambda: self.objects,
            bucket=lambda place: self.buckets.setdefault(place.name, MemoryObjects()),
            agent_of=lambda attempt, secret, works: agents.agent_of(
                self.deps.settings, self.store, records, attempt, secret, works=works
            ),
        )
        self.uncounted: Deps | None = None
        """Of a store that counts, the one below."""
        self._user: User | None = None

    @property
    def looks(self) -> Deps:
        """What the test itself looks at."""
        return self.uncounted or self.deps

    @property
    def user(self) -> User:
        if self._user is None:
            self._user = create_user("ann@example.com", "correct horse battery", False, self.deps)
        return self._user

    def storage_id(self, name: str) -> str:
        return profile_id(self.user.id, name)

    def storage(self, name: str, user_id: str | None = None) -> StorageProfile:
        """A bucket of a user's own, called like its profile, that was tried before."""
        owner = user_id or self.user.id
        id, now = profile_id(owner, name), self.clock.now()
        profile = StorageProfile(
            id=id,
            user_id=owner,
            name=name,
            vendor="wasabi",
            endpoint="https://127.0.0.1:1",
            region="us-east-1",
            bucket=name,
            access_key="AKIA-ann",
            sealed_secret=keys.seal_text(self.deps.settings, keys.STORAGE, id, "the secret key"),
            created_at=now,
            tested_at=now,
        )
        self.deps.records.transact(lambda tx: tx.save(profile))
        return profile

    def provision(self, user_id: str | None = None, **request: Any) -> Instance:
        body = ProvisionRequest.model_validate({"gpu_name": "RTX 4090", **request})
        return pools.provision(body, 0, user_id or self.user.id, self.deps, uuid.uuid4().hex)

    def instance(self, id: str) -> Instance:
        return self.deps.records.load(Instance, id)

    def attempts(self, id: str) -> list[Attempt]:
        return self.deps.records.attempts_of_round(id, self.instance(id).round)

    def advance(self, id: str) -> None:
        """Once, whether due or not."""
        try:
            advance(self.deps, id)
        except errors.LeaseHeld:
            pass

    def settle(self, id: str, until: Callable[[Instance], bool] | None = None, steps: int = 400) -> Instance:
        """Let time pass and due things happen until the instance rests, or `until` holds, with nothing due."""
        for _ in range(steps):
            instance = self.instance(id)
            if until is not None and until(instance):
                return instance
            if until is None and instance.state in RESTING and not self.ending(id):
                return instance
            due = instance.next_action_at
            if due is not None and due > self.clock.now():
                self.clock.step(seconds=min(30.0, (due - self.clock.now()).total_seconds() + 0.001))
            elif due is None:
                self.clock.step(seconds=1)
            self.advance(id)
        raise AssertionError(f"it never settled: {self.instance(id)}")

    def ending(self, id: str) -> list[Attempt]:
        return [a for a in self.deps.records.open_attempts(id) if a.stage is Stage.ENDING]

    def agent(self, attempt: Attempt) -> FakeAgent:
        return FakeAgent(self, attempt.id)

    def created(self, id: str) -> list[Attempt]:
        return [a for a in self.attempts(id) if a.stage is Stage.CREATED]

    def running(self, **request: Any) -> tuple[Instance, FakeAgent]:
        """A running instance and the agent of its machine; its rivals' machines are gone."""
        instance = self.provision(**request)
        self.settle(instance.id, lambda i: bool(self.created(instance.id)))
        agent = self.agent(self.created(instance.id)[0])
        assert agent.register().adopted
        self.settle(instance.id)
        return self.instance(instance.id), agent

    def hibernated(self, **request: Any) -> Instance:
        instance, agent = self.running(**request)
        instances.hibernate(instance.id, 0, self.user.id, self.deps)
        agent.take_snapshot()
        return self.settle(instance.id)


@dataclass
class FakeAgent:
    """A machine's agent that does what it is told, through the same flows as the real one."""

    world: World
    attempt_id: str

    @property
    def me(self) -> Attempt:
        secret = keys.agent_secret(self.world.deps.settings, self.attempt_id)
        deps = self.world.deps
        return agents.agent_of(deps.settings, self.world.store, deps.records, self.attempt_id, secret)

    def register(
        self,
        gpus: int = 1,
        name: str = "NVIDIA GeForce RTX 4090",
        problems: list[str] | None = None,
        skew_s: float = 0.0,
    ) -> Any:
        body = wire.Register(
            gpus=[wire.Gpu(index=n, name=name, memory_total_mb=24564) for n in range(gpus)],
            disk_free_bytes=10**11,
            disk_write_mb_s=900,
            agent_version="1",
            ready_at=self.world.clock.now() + timedelta(seconds=skew_s),
            problems=problems or [],
        )
        return agents.register(body, self.me, self.world.deps)

    def beat(
        self,
        idle_since: datetime | None = None,
        why: str = "active: GPU 0 at 80 %",
        carry: wire.Carry | None = None,
        **measured: int,
    ) -> wire.HeartbeatAnswer:
        at = self.world.clock.now()
        body = wire.Heartbeat(at=at, gpus=[], idle_since=idle_since, why=why, carry=carry, **measured)
        return agents.heartbeat(body, self.me, self.world.deps)

    def orders(self, kind: str) -> list[Order]:
        pending = self.world.deps.records.all(
            Order, ORDERS_PENDING, {"attempt_id": self.attempt_id, "state": "pending"}
        )
        given = standing(self.world.instance(self.instance_id), self.attempt_id)
        told = [self._order(*one) for one in given]
        return [order for order in [*pending, *told] if order.kind == kind]

    @property
    def instance_id(self) -> str:
        return self.world.looks.records.load(Attempt, self.attempt_id).instance_id

    def _order(self, id: str, kind: str, payload: dict[str, Any]) -> Order:
        """As the machine has it: what a heartbeat told it, on record or not."""
        now = self.world.clock.now()
        return Order(id, self.instance_id, self.attempt_id, kind, payload, created_at=now, expires_at=now)

    def read(self, order: Order | wire.Order) -> None:
        """The addresses of what a restore reads: the manifest, then the packs."""
        key = str(order.payload["manifest_key"])
        for keys_ in ([key], [f"p/{'0' * 12}/0-{'0' * 16}"]):
            agents.downloads(wire.DownloadsRequest(keys=keys_), self.me, self.world.deps)

    def take_snapshot(
        self, damage: bool = False, order: Order | wire.Order | None = None, unreadable: Sequence[str] = ()
    ) -> Snapshot:
        """Follow a snapshot order, by default the pending one: one pack, then the manifest, then the commit."""
        order = order or self.orders("snapshot")[0]
        deps, looks, id = self.world.deps, self.world.looks, str(order.payload["snapshot_id"])
        uploads = agents.uploads(wire.UploadsRequest(snapshot_id=id, count=1, manifest=True), self.me, deps)
        assert uploads.manifest is not None
        instance_id, manifest_key = self.instance_id, uploads.manifest.key
        prefix, pack = prefix_of(instance_id), uploads.uploads[0].key
        objects = objects_at(looks, instance_id)
        objects.put(prefix + pack, b"x" * (9 if damage else 10))
        head = {"format": 1, "snapshot_id": id, "packs": [[pack, 10]], "sections": []}
        manifest = seal_head(head, keys.data_key(looks, instance_id), manifest_key, bytes(16))
        objects.put(prefix + manifest_key, manifest)
        body = wire.SnapshotCommit(
            snapshot_id=id,
            order_id=order.id,
            manifest_key=manifest_key,
            manifest_size=len(manifest),
            packs=[wire.PackRef(key=pack, size=10)],
            files=3,
            bytes=10,
            stored_bytes=10,
            seconds=0.1,
            unreadable=list(unreadable),
        )
        agents.commit_snapshot(body, self.me, deps)
        return looks.records.load(Snapshot, id)

    def finish(self, kind: str, state: str = "done", **result: Any) -> None:
        for order in self.orders(kind):
            body = wire.OrderResult.model_validate({"order_id": order.id, "state": state, **result})
            agents.result(body, self.me, self.world.deps)


def crash_deps(world: World, fuse: Fuse) -> Deps:
    """The world's dependencies in a process that dies when the fuse burns."""
    store = CrashingStore(world.store, fuse)
    provider = CrashingProvider(world.provider, fuse)
    return replace(
        world.deps, store=store, records=Records(store, world.clock), providers=lambda: {provider.name: provider}
    )


def later(clock: FakeClock, **delta: float) -> datetime:
    return clock.now() + timedelta(**delta)


__all__ = ["PUBLIC_PEM", "FakeAgent", "Offer", "State", "World", "an_offer", "later", "settings"]
