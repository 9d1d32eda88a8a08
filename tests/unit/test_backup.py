"""The control plane's data out of one database and into another; what becomes of machines and snapshots meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra import backup
from shared import errors
from shared.deps import Deps
from shared.domain.instance import State
from shared.domain.offer import MachineSpec
from shared.domain.snapshot import Snapshot
from shared.flows import instances, keys, restored
from shared.flows.agents import agent_of
from shared.store.base import Create, Store
from shared.store.records import Records
from shared.store.sqlite import SqliteStore
from shared.sweeps.machines import machines
from tests.support.crashing import Crash, CrashingStore, Fuse
from tests.support.world import World


def with_store(world: World, store: Store) -> Deps:
    """The world with another database: an empty one is a lost one."""
    world.store = store
    records = Records(store, world.clock)
    world.deps = replace(
        world.deps,
        store=store,
        records=records,
        agent_of=lambda id, secret, works: agent_of(world.deps.settings, store, records, id, secret, works=works),
    )
    return world.deps


def everything(store: Store) -> dict[tuple[str, str], object]:
    """As it was, but for the step that instances' counts of orders make at a restore."""
    names = [name for name in store.collections() if name not in backup.PASSING]
    found = {(name, id): data for name in names for id, data in backup.every(store, name)}
    for (name, _), data in found.items():
        if name == "instances":
            data["orders"] = data.get("orders", 0) % restored.ORDERS_FORGOTTEN
    return dict(found)


def test_every_document_comes_back_as_it_was(tmp_path: Path) -> None:
    world = World()
    world.running()
    world.hibernated()
    before = everything(world.store)

    counts = backup.export(world.deps, tmp_path / "x")
    backup.import_(with_store(world, SqliteStore(":memory:")), tmp_path / "x")

    assert everything(world.store) == before
    assert counts.total() == len(before) and counts["instances"] == 2
    assert (tmp_path / "x").stat().st_mode & 0o077 == 0


def test_firestore_takes_what_sqlite_gave_and_gives_it_back(
    tmp_path: Path, firestore_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.store.firestore import connect

    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_emulator)
    world = World()
    world.hibernated()
    before = everything(world.store)
    backup.export(world.deps, tmp_path / "x")
    deps = with_store(world, connect(f"backup-{id(world)}"))

    backup.import_(deps, tmp_path / "x")
    backup.export(deps, tmp_path / "y")
    backup.import_(with_store(world, SqliteStore(":memory:")), tmp_path / "y")

    assert everything(world.store) == before
    deps.store.close()


def test_a_database_that_holds_something_is_refused_unless_told_and_nothing_is_overwritten(tmp_path: Path) -> None:
    world = World()
    world.running()
    backup.export(world.deps, tmp_path / "x")
    deps = with_store(world, SqliteStore(":memory:"))
    user_id = next(id for id, _ in backup.lines(tmp_path / "x", "users"))
    world.store.commit([Create("users", user_id, {"mine": True})])

    with pytest.raises(errors.Conflict, match="users"):
        backup.import_(deps, tmp_path / "x")
    assert world.store.collections() == ["users"]
    backup.import_(deps, tmp_path / "x", into_existing=True)

    kept = world.store.get("users", user_id)
    assert kept is not None and kept.data == {"mine": True}
    assert world.store.collections().count("instances") == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other"])
def test_a_file_that_is_not_a_whole_export_writes_nothing(tmp_path: Path, damage: str) -> None:
    world = World()
    world.hibernated()
    file = tmp_path / "x"
    backup.export(world.deps, file)
    text = file.read_text()
    lines = text.splitlines(keepends=True)
    file.write_text(
        {"cut": "".join(lines[:-2]), "changed": text.replace("RTX 4090", "RTX 3090"), "empty": "", "other": "{}\n"}[
            damage
        ]
    )

    with pytest.raises(errors.InvalidRequest):
        backup.import_(with_store(world, SqliteStore(":memory:")), file)

    assert world.store.collections() == []


def test_an_import_that_dies_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    world = World()
    world.running()
    world.hibernated()
    before = everything(world.store)
    backup.export(world.deps, tmp_path / "x")
    for after in (False, True):
        for at in range(1, 60):
            deps, fuse = with_store(world, SqliteStore(":memory:")), Fuse(at, after)
            try:
                backup.import_(replace(deps, store=CrashingStore(deps.store, fuse)), tmp_path / "x")
                break
            except Crash:
                # What was written so far has everything that its instances refer to.
                backup.import_(deps, tmp_path / "x")
            assert everything(world.store) == before, f"died at {at}"
    assert at > 5, "it never died"


def test_while_the_database_is_lost_machines_work_on_and_afterwards_go_on(tmp_path: Path) -> None:
    world = World()
    running, agent = world.running()
    asleep = world.hibernated()
    backup.export(world.deps, tmp_path / "x")
    had = set(world.provider.made)
    secret = keys.agent_secret(world.deps.settings, agent.attempt_id)
    deps = with_store(world, SqliteStore(":memory:"))

    with pytest.raises(errors.Unavailable) as refused:
        deps.agent_of(agent.attempt_id, secret, False)
    with pytest.raises(errors.Unauthenticated):
        deps.agent_of(agent.attempt_id, "forged", True)
    world.clock.step(hours=3)
    report = machines(deps)
    assert "stop" not in refused.value.details
    assert set(world.provider.made) == had and report.failed == len(had) and "lost?" in report.notes[0]

    backup.import_(deps, tmp_path / "x")
    agent.beat()
    machines(deps)
    world.settle(running.id)
    assert set(world.provider.made) == had
    assert world.instance(running.id).attempt_id == agent.attempt_id
    instances.wake(asleep.id, 0, asleep.user_id, deps)
    world.settle(asleep.id, lambda i: bool(world.created(asleep.id)))
    assert world.instance(asleep.id).state is State.WAKING


def test_what_a_machine_was_told_after_the_export_hides_no_order_that_follows_the_restore(tmp_path: Path) -> None:
    world = World()
    instance, agent = world.running()
    backup.export(world.deps, tmp_path / "x")
    instances.take_snapshot(instance.id, 0, instance.user_id, world.deps)
    told = agent.beat()
    assert [order.kind for order in told.orders] == ["snapshot"]

    deps = with_store(world, SqliteStore(":memory:"))
    backup.import_(deps, tmp_path / "x")
    instances.take_snapshot(instance.id, 0, instance.user_id, deps)

    assert [order.kind for order in agent.beat(carry=told.carry).orders] == ["snapshot"]


def test_after_a_restore_an_unadopted_machine_is_ended_and_one_that_works_is_spared_until_a_person_says_so(
    tmp_path: Path,
) -> None:
    world = World()
    world.running()
    backup.export(world.deps, tmp_path / "x")
    had = set(world.provider.made)
    new = [keys.new_attempt_id(world.deps.settings) for _ in range(2)]
    spec = MachineSpec(image="x", disk_gib=10, onstart="true")
    racing, working = (world.provider.create(world.provider.stock[-n], spec, f"dumont-{new[n - 1]}") for n in (1, 2))
    deps = with_store(world, SqliteStore(":memory:"))
    world.clock.step(minutes=2)
    backup.import_(deps, tmp_path / "x")

    with pytest.raises(errors.Unavailable):
        deps.agent_of(new[1], keys.agent_secret(deps.settings, new[1]), True)
    machines(deps)
    assert set(world.provider.made) == {*had, racing.machine_id, working.machine_id}, "they have had no time to say"
    world.clock.step(minutes=11)
    report = machines(deps)

    assert set(world.provider.made) == {*had, working.machine_id}
    assert report.changed == 1 and any("it works" in note for note in report.notes)
    assert [stray["attempt"] for stray in backup.strays(deps)] == [new[1]]
    restored.let_go(deps.store, world.clock.now(), new[1])
    machines(deps)
    assert set(world.provider.made) == had


def test_a_snapshot_that_was_committed_after_the_export_is_taken_up(tmp_path: Path) -> None:
    world = World()
    running, agent = world.running()
    backup.export(world.deps, tmp_path / "x")
    instances.hibernate(running.id, 0, running.user_id, world.deps)
    late = agent.take_snapshot()
    world.settle(running.id)
    deps = with_store(world, SqliteStore(":memory:"))
    world.clock.step(minutes=5)

    backup.import_(deps, tmp_path / "x")

    taken = deps.records.load(Snapshot, late.id)
    assert taken.state == "verified" and taken.manifest_key == late.manifest_key
    assert world.instance(running.id).snapshot_id == late.id
    assert world.instance(running.id).state is State.RUNNING
    world.clock.step(seconds=3600)
    # Its machine is gone: it comes back from that snapshot by itself.
    woken = world.settle(running.id, lambda i: i.state in (State.FAILING_OVER, State.HIBERNATED, State.WAKING))
    assert woken.snapshot_id == late.id


def test_a_snapshot_whose_objects_are_gone_is_marked_and_never_restored(tmp_path: Path) -> None:
    world = World()
    asleep = world.hibernated()
    backup.export(world.deps, tmp_path / "x")
    assert asleep.snapshot_id is not None
    gone = next(key for key in world.objects.objects if "/p/" in key)
    world.objects.delete(gone)
    deps = with_store(world, SqliteStore(":memory:"))

    backup.import_(deps, tmp_path / "x")

    assert deps.records.load(Snapshot, asleep.snapshot_id).state == "failed"
    assert world.instance(asleep.id).failure == "none of its snapshots is whole in storage"


def test_storage_that_does_not_answer_stops_an_import_which_then_goes_on(tmp_path: Path) -> None:
    world = World()
    asleep = world.hibernated()
    backup.export(world.deps, tmp_path / "x")
    deps = with_store(world, SqliteStore(":memory:"))

    def down() -> None:
        raise errors.StorageError("503")

    with pytest.raises(errors.StorageError):
        backup.import_(replace(deps, objects=down), tmp_path / "x")  # type: ignore[arg-type]
    assert deps.store.get("instances", asleep.id) is None
    world.clock.step(hours=5)
    assert machines(deps).changed == 0
    backup.import_(deps, tmp_path / "x")

    assert world.instance(asleep.id).state is State.HIBERNATED
