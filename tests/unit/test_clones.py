"""A clone begins with another's files and ends with nothing in common with it; until then the other keeps them."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from shared import errors
from shared.domain.instance import Instance, State
from shared.domain.snapshot import Snapshot
from shared.flows import agents, clones, instances, keys, retention, snapshots
from shared.flows.snapshot_orders import prefix_of
from shared.store.shapes import SNAPSHOTS_OF_INSTANCE
from shared.wire.agent import DownloadsRequest, UploadsRequest
from shared.wire.instances import CloneBody, Patch, RetentionBody
from tests.support.crashing import Crash, Fuse
from tests.support.world import FakeAgent, World, crash_deps


class Pair:
    """An original with two snapshots, asleep, and a clone of the older one."""

    def __init__(self, **changes: object) -> None:
        self.world = World(private_addresses=True)
        self.deps = self.world.deps
        instance, agent = self.world.running(width=1)
        instances.take_snapshot(instance.id, 0, self.world.user.id, self.deps)
        self.older = agent.take_snapshot()
        self.world.clock.step(seconds=60)
        instances.hibernate(instance.id, 0, self.world.user.id, self.deps)
        agent.take_snapshot()
        self.original = self.world.settle(instance.id)
        self.changes = changes

    def clone(self, key: str | None = None) -> Instance:
        body = CloneBody.model_validate({"name": "twin", **self.changes})
        return clones.clone(self.original, self.older.id, body, 0, self.deps, key)

    def machine(self, clone: Instance) -> FakeAgent:
        self.world.settle(clone.id, lambda i: bool(self.world.created(clone.id)))
        agent = self.world.agent(self.world.created(clone.id)[0])
        assert agent.register().adopted
        return agent

    def all(self, id: str) -> list[Snapshot]:
        return self.deps.records.all(Snapshot, SNAPSHOTS_OF_INSTANCE, {"instance_id": id})

    def drop_old(self) -> None:
        rules = Patch(retention=RetentionBody(last=1, hourly=0, daily=0, weekly=0))
        instances.edit(self.original.id, rules, self.world.user.id, self.deps)
        retention.prune(self.original.id, self.deps)


def test_a_clone_reads_its_original_once_and_then_stands_by_itself() -> None:
    pair = Pair()
    clone = pair.clone()
    agent = pair.machine(clone)
    (order,) = agent.beat().orders
    theirs = base64.b64encode(keys.data_key(pair.deps, pair.original.id)).decode()

    assert order.payload["manifest_key"] == pair.older.manifest_key and order.payload["key"] == theirs
    assert "key_of" not in order.payload
    asked = DownloadsRequest(keys=[pair.older.manifest_key])
    (url,) = agents.downloads(asked, agent.me, pair.deps).urls.values()
    assert prefix_of(pair.original.id) in url
    agent.finish("restore", "running", stage="usable")
    assert pair.world.instance(clone.id).state is State.RUNNING and pair.world.instance(clone.id).restoring
    with pytest.raises(errors.Conflict, match="restoring"):
        instances.take_snapshot(clone.id, 0, pair.world.user.id, pair.deps)
    agent.finish("restore", stage="restored")

    own = pair.world.instance(clone.id)
    assert own.source is None and not own.restoring and own.snapshot_id is None
    (save,) = [one for one in agent.beat().orders if one.kind == "snapshot"]
    assert save.payload["parent_manifest_key"] is None
    assert save.payload["key"] == base64.b64encode(keys.data_key(pair.deps, clone.id)).decode() != theirs
    agent.take_snapshot()
    assert pair.world.instance(clone.id).snapshot_id == save.payload["snapshot_id"]
    (url,) = agents.downloads(asked, agent.me, pair.deps).urls.values()
    assert prefix_of(clone.id) in url, "its machine reads nothing of the original any more"
    instances.destroy(pair.original.id, 0, pair.world.user.id, pair.deps)
    pair.world.settle(pair.original.id)
    assert snapshots.check(pair.all(clone.id)[0], pair.deps).problem is None


def test_its_machine_writes_below_its_own_prefix_only() -> None:
    pair = Pair()
    clone = pair.clone()
    agent = pair.machine(clone)

    with pytest.raises(errors.NotFound):
        agents.uploads(UploadsRequest(snapshot_id=pair.older.id, count=1), agent.me, pair.deps)
    agent.finish("restore")
    (order,) = agent.orders("snapshot")
    written = agents.uploads(
        UploadsRequest(snapshot_id=order.payload["snapshot_id"], count=2, manifest=True), agent.me, pair.deps
    )
    assert all(prefix_of(clone.id) in one.url for one in written.uploads)


def test_what_a_clone_reads_stays_until_it_has_it() -> None:
    pair = Pair()
    clone = pair.clone()
    pair.drop_old()
    assert pair.older.id in [one.id for one in pair.all(pair.original.id)]
    with pytest.raises(errors.Conflict, match="restored"):
        retention.remove(pair.original.id, pair.older.id, pair.deps)

    pair.machine(clone).finish("restore")
    retention.prune(pair.original.id, pair.deps)

    assert pair.older.id not in [one.id for one in pair.all(pair.original.id)]


def test_one_that_is_cloned_at_that_moment_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for give_up in ("remove", "rules"):
        pair = Pair()
        looked = retention._busy

        def then_cloned(deps: object, instance: Instance, looked=looked, pair=pair) -> frozenset[str]:  # type: ignore[no-untyped-def]
            found: frozenset[str] = looked(pair.deps, instance)
            pair.clone()
            return found

        with monkeypatch.context() as patched:
            patched.setattr(retention, "_busy", then_cloned)
            if give_up == "rules":
                pair.drop_old()
            else:
                with pytest.raises(errors.Conflict, match="ask again"):
                    retention.remove(pair.original.id, pair.older.id, pair.deps)
        assert {one.id: one.state for one in pair.all(pair.original.id)}[pair.older.id] == "verified", give_up


def test_an_original_that_is_destroyed_ends_once_its_clone_has_the_files() -> None:
    pair = Pair()
    clone = pair.clone()
    agent = pair.machine(clone)
    instances.destroy(pair.original.id, 0, pair.world.user.id, pair.deps)
    for _ in range(5):
        pair.world.clock.step(seconds=10)
        pair.world.advance(pair.original.id)
    waiting = pair.world.instance(pair.original.id)
    assert waiting.state is State.DESTROYING and "twin" in (waiting.failure or "")
    with pytest.raises(errors.Conflict):
        pair.clone()

    agent.finish("restore")

    assert pair.world.settle(pair.original.id).state is State.DESTROYED
    assert not [key for key in pair.world.objects.objects if pair.original.id in key]


def test_a_clone_that_ends_sooner_lets_its_original_go() -> None:
    pair = Pair()
    clone = pair.clone()
    instances.destroy(clone.id, 0, pair.world.user.id, pair.deps)
    pair.world.settle(clone.id)

    pair.drop_old()

    assert len(pair.all(pair.original.id)) == 1


def test_a_restore_that_fails_goes_on_elsewhere_and_behind_an_instance_in_use_once_more() -> None:
    pair = Pair()
    clone = pair.clone()
    first = pair.machine(clone)
    first.finish("restore", "failed", error="OSError: no space left")
    pair.world.settle(clone.id, lambda i: len(pair.world.created(clone.id)) == 1 and i.attempt_id is None)
    again = pair.world.agent(pair.world.created(clone.id)[-1])
    assert again.attempt_id != first.attempt_id and again.register().adopted
    again.finish("restore", "running", stage="usable")
    again.finish("restore", "failed", error="storage answered 503")
    assert "not every file is back yet" in (pair.world.instance(clone.id).failure or "")
    assert not again.orders("restore")

    pair.world.clock.step(seconds=31)
    again.beat()
    pair.world.advance(clone.id)

    (order,) = again.orders("restore")
    assert order.payload["snapshot_id"] == pair.older.id
    again.finish("restore")
    done = pair.world.instance(clone.id)
    assert (done.failure, done.restoring, done.source) == (None, False, None)


def test_a_clone_may_lie_in_another_bucket() -> None:
    pair = Pair(storage="mine")
    pair.world.storage("mine")
    clone = pair.clone()
    agent = pair.machine(clone)
    agent.finish("restore")
    agent.take_snapshot()

    mine = pair.world.buckets["mine"].objects
    assert mine and all(key.startswith(prefix_of(clone.id)) for key in mine)
    assert all(pair.original.id in key for key in pair.world.objects.objects)


def test_the_same_key_clones_once_and_the_rest_is_as_asked() -> None:
    pair = Pair(disk_gib=100, max_usd_per_hour="0.5")
    one, two = pair.clone("key"), pair.clone("key")

    assert one.id == two.id and (one.name, one.need.disk_gib) == ("twin", 100)
    assert one.spec == pair.original.spec and one.labels == {}


def test_what_cannot_be_cloned_rents_nothing() -> None:
    pair = Pair()
    made = len(pair.world.provider.made)
    pair.deps.records.transact(lambda tx: tx.save(replace(tx.load(Snapshot, pair.older.id), state="damaged")))
    with pytest.raises(errors.Conflict, match="damaged"):
        pair.clone()
    with pytest.raises(errors.NotFound):
        clones.clone(pair.original, "s-none", CloneBody(), 0, pair.deps, None)
    with pytest.raises(errors.NoCapacity):
        clones.clone(pair.original, pair.older.id, CloneBody(gpu_name="none such"), 0, pair.deps, None)
    with pytest.raises(errors.InvalidRequest):
        clones.clone(pair.original, pair.older.id, CloneBody(storage="nowhere"), 0, pair.deps, None)
    assert len(pair.world.provider.made) == made


@pytest.mark.parametrize("after", [False, True])
def test_the_process_may_die_at_any_change_while_it_is_cloned(after: bool) -> None:
    at = 0
    while True:
        at += 1
        pair = Pair()
        fuse = Fuse(at, after=after)
        try:
            clones.clone(pair.original, pair.older.id, CloneBody(name="twin"), 0, crash_deps(pair.world, fuse), "key")
        except Crash:
            # Until then the lease is the dead process's.
            pair.world.clock.step(seconds=pair.deps.settings.lease_s + 1)
        clone = pair.clone("key")
        pair.machine(clone).finish("restore")
        assert pair.world.settle(clone.id).state is State.RUNNING, at
        for id in (clone.id, pair.original.id):
            instances.destroy(id, 0, pair.world.user.id, pair.deps)
            pair.world.settle(id)
        assert pair.world.objects.objects == {} and not pair.world.provider.list(), at
        if not fuse.dead:
            break
    assert at > 3
