"""Snapshots: what is restored is what was saved, whatever the tree, the faults or the damage."""

from __future__ import annotations

import hashlib
import math
import os
import random
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agent.snapshot import pack
from agent.snapshot import save as saving
from agent.snapshot.errors import SnapshotError
from agent.snapshot.manifest import Reader
from agent.snapshot.restore import restore
from agent.snapshot.save import save
from agent.snapshot.scan import excluded, scan
from bench.workspaces import floats
from shared.domain.manifest import read_head

KEY = bytes(range(32))


class Storage:
    """Object storage as the agent sees it, with faults on demand."""

    plain_addresses = False

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.snapshot = 0
        self.packs = 0
        self.fail_put_at: int | None = None
        self.puts = 0
        self.gets: list[str] = []

    def new_pack(self) -> tuple[str, str]:
        self.packs += 1
        return f"p/{self.packs}", ""

    def manifest_address(self) -> tuple[str, str]:
        return f"m/{self.snapshot}", ""

    def put(self, key: str, url: str, body: bytes | bytearray | memoryview) -> None:
        self.puts += 1
        if self.puts == self.fail_put_at:
            raise SnapshotError("storage is down")
        self.objects[key] = bytes(body)

    def get(self, key: str, offset: int, length: int) -> bytes:
        self.gets.append(key)
        if key not in self.objects:
            raise SnapshotError(f"no {key}")
        return self.objects[key][offset : offset + length]

    def url(self, key: str, fresh: bool = False) -> str:
        return ""

    def know(self, keys: list[str]) -> None: ...


class Bench:
    """A workspace, a storage, and places to restore to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.tree.mkdir()
        self.state = folder / "state"
        self.state.mkdir()
        self.storage = Storage()
        self.parent: str | None = None

    def save(self, *excludes: str) -> dict[str, Any]:
        self.storage.snapshot += 1
        saved = save(
            [str(self.tree)], ["/workspace"], list(excludes), KEY, f"s-{self.storage.snapshot}", self.parent,
            self.storage, self.state,
        )  # fmt: skip
        self.parent = saved["manifest_key"]
        return saved

    def restore(self, to: Path | None = None, manifest: str | None = None, key: bytes = KEY) -> Path:
        target = to or self.folder / f"restored-{time.monotonic_ns()}"
        usable: list[int] = []
        restore(
            lambda _: str(target), key, manifest or self.parent or "", self.storage, self.state, [],
            lambda done, total: usable.append(done),
        )  # fmt: skip
        assert len(usable) == 1
        return target


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def describe(root: Path) -> dict[bytes, Any]:
    """Everything that must survive, by path."""
    found: dict[bytes, Any] = {}
    links: dict[int, bytes] = {}
    for place, folders, names in os.walk(os.fsencode(root)):
        folders.sort()
        for name in sorted([*names, *folders, b"."] if place == os.fsencode(root) else [*names, *folders]):
            path = os.path.join(place, name)
            facts = os.lstat(path)
            row: list[Any] = [facts.st_mode, facts.st_uid, facts.st_gid, facts.st_mtime_ns]
            if stat.S_ISLNK(facts.st_mode):
                row.append(os.readlink(path))
            elif stat.S_ISREG(facts.st_mode):
                with open(path, "rb") as file:
                    row += [facts.st_size, hashlib.sha256(file.read()).hexdigest()]
                row.append(links.setdefault(facts.st_ino, os.path.relpath(path, os.fsencode(root))))
            if not stat.S_ISLNK(facts.st_mode):
                row.append(sorted((n, os.getxattr(path, n)) for n in os.listxattr(path) if n.startswith("user.")))
            found[os.path.relpath(path, os.fsencode(root))] = row
    return found


def odd_tree(root: Path) -> None:
    dice = random.Random(3)
    (root / "a" / "b c" / "deep").mkdir(parents=True)
    (root / "empty" / "inside").mkdir(parents=True)
    for number in range(60):
        (root / "a" / f"small-{number}").write_bytes(dice.randbytes(dice.randint(0, 4000)))
    (root / "big").write_bytes(dice.randbytes(9 << 20))
    (root / "text").write_bytes(b"the same line again\n" * 100_000)
    for name in (b"caf\xc3\xa9", b"\xff\xfe", b"new\nline", b" blank ", b"-dash", b"n" * 255):
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_bytes(name)
    os.symlink("big", root / "link")
    os.symlink("/nowhere", root / "dangling")
    os.symlink("a", root / "folder-link")
    os.link(root / "big", root / "a" / "hard")
    os.link(root / "a" / "small-1", root / "hard-small")
    os.mkfifo(root / "pipe")
    with open(root / "sparse", "wb") as file:
        file.truncate(64 << 20)
        file.seek(20 << 20)
        file.write(b"island" * 1000)
    for number, mode in enumerate((0o400, 0o755, 0o4755, 0o000, 0o2750)):
        path = root / f"mode-{number}"
        path.write_bytes(b"m")
        path.chmod(mode)
    os.utime(root / "text", ns=(5, 1_234_567_890_123_456_789))
    try:
        os.setxattr(root / "text", "user.note", b"kept \x00 bytes")
    except OSError:
        pass
    os.chmod(root / "empty", 0o700)
    os.utime(root / "empty", ns=(7, 99_000_000_001))


def test_everything_about_a_tree_is_restored(bench: Bench) -> None:
    odd_tree(bench.tree)
    before = describe(bench.tree)

    saved = bench.save()
    target = bench.restore()

    assert describe(target) == before
    assert os.lstat(target / "sparse").st_blocks * 512 < 8 << 20
    assert saved["torn"] == [] and saved["unreadable"] == []
    assert saved["files"] == sum(stat.S_ISREG(row[0]) for row in before.values())


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b"..") and not n.endswith(b".dumont-part")
)
CONTENT = st.one_of(
    st.binary(max_size=200),
    st.integers(1, 3_000_000).map(lambda size: random.Random(size).randbytes(size)),
    st.integers(1, 3_000_000).map(lambda size: b"z" * size),
)
TREE = st.recursive(
    st.tuples(st.just("file"), CONTENT, st.sampled_from([0o600, 0o644, 0o755]), st.binary(max_size=20))
    | st.tuples(st.just("link"), NAMES)
    | st.tuples(st.just("sparse"), st.integers(0, 40 << 20), st.integers(0, 2**62))
    | st.tuples(st.just("again"))
    | st.tuples(st.just("pipe")),
    lambda inner: st.tuples(st.just("folder"), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=8,
)


def build(path: bytes, node: Any, files: list[bytes]) -> None:
    """`files` are those that were built before, for further names of them."""
    if node[0] == "folder":
        os.mkdir(path)
        for name, child in node[1].items():
            build(os.path.join(path, name), child, files)
    elif node[0] == "link":
        os.symlink(node[1], path)
    elif node[0] == "pipe":
        os.mkfifo(path)
    elif node[0] == "again" and files:
        os.link(files[-1], path)
    elif node[0] == "sparse":
        with open(path, "wb") as file:
            file.seek(node[1])
            file.write(b"island")
            file.truncate(node[1] + (3 << 20))
        os.utime(path, ns=(0, node[2]))
        files.append(path)
    elif node[0] == "file":
        with open(path, "wb") as file:
            file.write(node[1])
        os.chmod(path, node[2])
        if node[3]:
            os.setxattr(path, "user.note", node[3])
        files.append(path)


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(first=st.dictionaries(NAMES, TREE, max_size=5), second=st.dictionaries(NAMES, TREE, max_size=3))
def test_any_tree_comes_back_and_so_does_what_it_became(
    tmp_path_factory: pytest.TempPathFactory, first: dict[bytes, Any], second: dict[bytes, Any]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("tree"))
    files: list[bytes] = []
    for name, node in first.items():
        build(os.path.join(os.fsencode(bench.tree), name), node, files)
    bench.save()
    old, old_manifest = describe(bench.tree), bench.parent

    for name, node in second.items():
        if name not in first:
            build(os.path.join(os.fsencode(bench.tree), name), node, files)
    bench.save()

    assert describe(bench.restore()) == describe(bench.tree)
    assert describe(bench.restore(manifest=old_manifest)) == old


def test_a_second_snapshot_stores_only_what_changed(bench: Bench) -> None:
    odd_tree(bench.tree)
    for place, _, names in os.walk(bench.tree):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.utime(path, ns=(0, os.lstat(path).st_mtime_ns - 10**11))
    bench.save()

    unchanged = bench.save()
    (bench.tree / "a" / "small-1").write_bytes(b"changed")
    changed = bench.save()

    assert unchanged["stored_bytes"] < 40_000, "a manifest alone"
    assert changed["stored_bytes"] < 60_000
    assert (bench.restore() / "a" / "small-1").read_bytes() == b"changed"


def test_a_snapshot_after_a_restore_elsewhere_reads_nothing_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd_tree(bench.tree)
    for name in ("big", "text", "sparse"):
        os.utime(bench.tree / name, ns=(0, 10**18))
    bench.save()
    bench.tree = bench.restore()
    read: list[str] = []
    real = saving._Save._submit
    monkeypatch.setattr(
        saving._Save, "_submit", lambda self, task, *rest: (read.append(str(task)), real(self, task, *rest))[1]
    )

    bench.save()

    assert not any(name in task for task in read for name in ("/text", "/sparse"))


def test_equal_chunks_are_stored_once(bench: Bench) -> None:
    block = random.Random(1).randbytes(8 << 20)
    (bench.tree / "one").write_bytes(block)
    (bench.tree / "two").write_bytes(block)

    saved = bench.save()

    assert saved["stored_bytes"] < 9 << 20
    assert (bench.restore() / "two").read_bytes() == block


def test_weights_shrink_to_hardly_more_than_their_values_tell(bench: Bench) -> None:
    """Of bf16, one byte is noise and the other takes few values in no order: entropy is all there is to gain."""
    weights = floats(random.Random(6), 4 << 20, 2)
    (bench.tree / "model.safetensors").write_bytes(weights)
    half = len(weights) // 2
    entropy = sum(count * math.log2(half / count) for count in Counter(weights[1::2]).values()) / 8

    stored = bench.save()["stored_bytes"]

    assert stored < half + 1.03 * entropy + 10_000
    assert (bench.restore() / "model.safetensors").read_bytes() == weights


def test_a_changed_file_of_the_same_size_and_time_is_noticed(bench: Bench) -> None:
    file = bench.tree / "file"
    file.write_bytes(b"one")
    facts = file.stat()
    bench.save()
    file.write_bytes(b"two")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    bench.save()

    assert (bench.restore() / "file").read_bytes() == b"two"


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_upload_that_fails_commits_nothing_and_the_next_try_does(bench: Bench, at: int) -> None:
    odd_tree(bench.tree)
    (bench.tree / "more").write_bytes(random.Random(9).randbytes(20 << 20))
    before = describe(bench.tree)
    bench.storage.fail_put_at = at

    with pytest.raises(SnapshotError):
        bench.save()
    assert not any(key.startswith("m/") for key in bench.storage.objects)
    assert bench.parent is None

    bench.save()
    assert describe(bench.restore()) == before


def test_one_flipped_bit_anywhere_is_found(bench: Bench, tmp_path: Path) -> None:
    (bench.tree / "file").write_bytes(random.Random(2).randbytes(3 << 20))
    (bench.tree / "small").write_bytes(b"small")
    bench.save()
    dice = random.Random(4)
    for key, body in list(bench.storage.objects.items()):
        for _ in range(8):
            at = dice.randrange(len(body))
            bench.storage.objects[key] = body[:at] + bytes([body[at] ^ (1 << dice.randrange(8))]) + body[at + 1 :]
            with pytest.raises(SnapshotError):
                bench.restore()
        bench.storage.objects[key] = body
    bench.restore()


def test_swapped_objects_and_a_wrong_key_are_found(bench: Bench) -> None:
    for number in range(3):
        (bench.tree / f"file-{number}").write_bytes(random.Random(number).randbytes(10 << 20))
    bench.save()
    packs = sorted(key for key in bench.storage.objects if key.startswith("p/"))
    objects = bench.storage.objects
    objects[packs[0]], objects[packs[1]] = objects[packs[1]], objects[packs[0]]

    with pytest.raises(SnapshotError):
        bench.restore()
    with pytest.raises(SnapshotError):
        bench.restore(key=bytes(32))


def test_storage_sees_neither_names_nor_contents(bench: Bench) -> None:
    (bench.tree / "secret-name").write_bytes(b"secret-content" * 10)
    bench.save()

    for body in bench.storage.objects.values():
        assert b"secret" not in body


def test_the_control_planes_reader_understands_the_manifest(bench: Bench) -> None:
    odd_tree(bench.tree)
    saved = bench.save()

    head = read_head(bench.storage.objects[saved["manifest_key"]], KEY, saved["manifest_key"])

    assert head.packs == {pack["key"]: pack["size"] for pack in saved["packs"]}
    assert all(len(bench.storage.objects[key]) == size for key, size in head.packs.items())


def test_a_restore_over_a_half_restored_tree_fixes_only_what_differs(bench: Bench) -> None:
    odd_tree(bench.tree)
    bench.save()
    target = bench.restore()
    (target / "text").write_bytes(b"scribble")
    (target / "a" / "small-3").unlink()
    bench.storage.gets.clear()

    bench.restore(to=target)

    assert describe(target) == describe(bench.tree)
    assert len(bench.storage.gets) < 12


def test_a_file_that_keeps_changing_is_named_and_one_that_changed_once_is_whole(bench: Bench) -> None:
    calm, restless = bench.tree / "calm", bench.tree / "restless"
    calm.write_bytes(b"c" * 100)
    restless.write_bytes(b"r" * (1 << 20))
    stop = threading.Event()

    def scribble() -> None:
        while not stop.is_set():
            with open(restless, "ab") as file:
                file.write(os.urandom(4096))

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        saved = bench.save()
    finally:
        stop.set()
        writer.join()

    assert all("restless" in name for name in saved["torn"])
    target = bench.restore()
    assert (target / "calm").read_bytes() == b"c" * 100
    assert (target / "restless").exists()


def test_a_file_that_vanishes_while_it_is_scanned_is_left_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.tree / "stays").write_bytes(b"1")
    (bench.tree / "goes").write_bytes(b"2")
    real = saving.scan

    def scan(*arguments: Any) -> Any:
        for found in real(*arguments):
            if found.path == "0/goes":
                (bench.tree / "goes").unlink()
            yield found

    monkeypatch.setattr(saving, "scan", scan)

    bench.save()

    assert sorted(os.listdir(bench.restore())) == ["stays"]


def test_a_folder_that_becomes_a_link_while_it_is_scanned_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    """Whoever may write in the workspace would have the agent read whatever it may."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (bench.tree / "inner").mkdir()
    (bench.tree / "last").write_text("read before what is in folders")
    problems: list[str] = []
    seen: list[str] = []

    for found in scan([str(bench.tree)], [], problems):
        seen.append(found.path)
        if found.name == "last":
            (bench.tree / "inner").rmdir()
            (bench.tree / "inner").symlink_to(outside)

    assert seen == ["0/", "0/last", "0/inner"]
    assert len(problems) == 1 and problems[0].startswith(f"{bench.tree}/inner: ")


WAYS: dict[str, Callable[[Path], object]] = {
    "shrinks": lambda path: os.truncate(path, 100),
    "is emptied": lambda path: os.truncate(path, 0),
    "grows": lambda path: path.write_bytes(b"longer" * 1_000_000),
    "is replaced": lambda path: (path.with_name("new").write_bytes(b"other"), path.with_name("new").rename(path)),
    "vanishes": lambda path: path.unlink(),
    "becomes a folder": lambda path: (path.unlink(), path.mkdir()),
    "becomes a link": lambda path: (path.unlink(), path.symlink_to("calm")),
    "has a new neighbour": lambda path: path.with_name("appeared").write_bytes(b"new"),
}


@pytest.mark.parametrize("size", [3000, 5 << 20])
@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_becomes_another_between_scan_and_reading_comes_back_as_it_became(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, way: str, size: int
) -> None:
    (bench.tree / "calm").write_bytes(b"c" * 100)
    (bench.tree / "restless").write_bytes(random.Random(7).randbytes(size))
    real, changed = saving._Save._submit, []

    def submit(self: saving._Save, *rest: Any) -> None:
        if not changed:
            changed.append(WAYS[way](bench.tree / "restless"))
        real(self, *rest)

    monkeypatch.setattr(saving._Save, "_submit", submit)
    saved = bench.save()

    assert changed and saved["torn"] == []
    back, now = describe(bench.restore()), describe(bench.tree)
    told = [line for line in saved["unreadable"] if "restless" in line]
    # A folder's own time moves with what comes and goes in it; whatever was no file any more was left out.
    left_out = {b".", b"appeared"} | ({b"restless"} if way == "vanishes" or "becomes" in way else set())
    assert {name: row for name, row in back.items() if name != b"."} == {
        name: row for name, row in now.items() if name not in left_out
    }
    assert bool(told) == (way == "becomes a folder")

    assert describe((bench.save(), bench.restore())[1]) == now, "and the next snapshot has all of it"


def test_a_workspace_that_is_gone_is_not_saved_as_empty(bench: Bench) -> None:
    (bench.tree / "work").write_bytes(b"precious")
    bench.save()
    (bench.tree / "work").unlink()
    bench.tree.rmdir()

    with pytest.raises(SnapshotError, match="not there"):
        bench.save()


def test_a_manifest_that_leaves_its_workspace_is_refused(bench: Bench) -> None:
    from agent.snapshot.restore import _Restore

    (bench.tree / "f").write_bytes(b"1")
    bench.save()
    manifest = Reader(lambda o, n: bench.storage.get("m/1", o, n), KEY, "m/1")

    with pytest.raises(SnapshotError):
        _Restore(manifest, KEY, bench.storage, lambda _: "/tmp/x").path("0/../../etc/passwd")


@pytest.mark.parametrize(
    ("path", "is_dir", "pattern", "expected"),
    [
        ("a/b.pyc", False, "*.pyc", True),
        ("node_modules", True, "node_modules/", True),
        ("src/node_modules", True, "node_modules/", True),
        ("node_modules", False, "node_modules/", False),
        ("data/raw/x", False, "/data/raw/*", True),
        ("other/data/raw/x", False, "/data/raw/*", False),
        ("keep", False, "*.pyc", False),
    ],
)
def test_excludes(path: str, is_dir: bool, pattern: str, expected: bool) -> None:
    assert excluded(path, is_dir, [pattern]) is expected


def test_excluded_files_are_neither_saved_nor_counted(bench: Bench) -> None:
    (bench.tree / "cache").mkdir()
    (bench.tree / "cache" / "x").write_bytes(b"1")
    (bench.tree / "kept").write_bytes(b"2")

    saved = bench.save("cache/")

    assert saved["files"] == 1
    assert os.listdir(bench.restore()) == ["kept"]


def test_memory_stays_flat_however_big_the_file(bench: Bench) -> None:
    import tracemalloc

    with open(bench.tree / "big", "wb") as file:
        for number in range(96):
            file.write(random.Random(number).randbytes(1 << 20))
    kept = bench.storage.put

    def forget(key: str, url: str, body: bytes | bytearray | memoryview) -> None:
        kept(key, url, body if key.startswith("m/") else b"")

    bench.storage.put = forget  # type: ignore[method-assign]
    tracemalloc.start()
    bench.save()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # The open pack, the queue and the uploaders hold one pack each.
    assert peak < 160 << 20


def test_a_file_of_many_chunks_that_changes_once_is_read_again_as_a_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, before = bench.tree / "big", random.Random(1).randbytes(18 << 20)
    file.write_bytes(before)
    after = random.Random(2).randbytes(22 << 20)
    real, handed = saving.Lazy.submit, []

    def submit(self: Any, task: Any, size: int) -> None:
        real(self, task, 1 << 30)
        handed.append(task)
        # Each chunk is done before the next is handed over, and meanwhile the file becomes another.
        self.drain()
        if len(handed) == 2:
            file.write_bytes(after)

    monkeypatch.setattr(saving.Lazy, "submit", submit)
    saved = bench.save()

    assert saved["torn"] == [] and len(handed) > 6
    assert (bench.restore() / "big").read_bytes() == after


def test_a_link_that_leads_out_of_the_workspace_leads_nowhere(bench: Bench, tmp_path: Path) -> None:
    """A host that had the key may have written any manifest."""
    from agent.snapshot.manifest import Frames, Writer

    outside = tmp_path / "outside"
    outside.mkdir()
    writer = Writer(KEY, "m/evil")
    rows = (
        ["d", "0/", 0o755, 0, 0, 0],
        ["l", "way", 0o777, 0, 0, 0, str(outside)],
        ["d", "0/way/deep", 0o755, 0, 0, 0],
        ["f", "planted", 0o644, 0, 0, 0, 0, 1, 1, -1, 0],
    )
    writer.entries(rows)
    counts = {"files": 1, "directories": 2, "bytes": 0}
    bench.storage.objects["m/evil"] = writer.finish(
        Frames(), {}, snapshot_id="evil", created_ns=0, workspace=["/workspace"], packs=[], counts=counts
    )

    with pytest.raises(SnapshotError, match="before what it lies in"):
        bench.restore(manifest="m/evil")
    assert not list(outside.iterdir())


def test_hot_files_are_there_before_it_says_usable(bench: Bench) -> None:
    for name in ("models/base.gguf", "models/other.gguf", "data/big"):
        (bench.tree / name).parent.mkdir(exist_ok=True)
        (bench.tree / name).write_bytes(random.Random(len(name)).randbytes(3 << 20))
    (bench.tree / "code.py").write_bytes(b"import this")
    bench.save()
    target = bench.folder / "target"
    seen: list[set[str]] = []

    def usable(done: int, total: int) -> None:
        seen.append({str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()})

    restore(lambda _: str(target), KEY, bench.parent or "", bench.storage, bench.state, ["models/base*"], usable)

    assert seen == [{"models/base.gguf", "code.py"}], "and nothing half of the others"
    assert describe(target) == describe(bench.tree)


def test_a_command_waits_for_its_file(tmp_path: Path) -> None:
    import subprocess

    from cli.commands.machine import waiting_for

    odd = str(tmp_path / "it's $(here)")
    waiting = subprocess.Popen(waiting_for(odd, ["cat", odd]), stdout=subprocess.PIPE)
    time.sleep(0.3)
    assert waiting.poll() is None
    Path(odd + ".part").write_bytes(b"whole")
    os.rename(odd + ".part", odd)
    assert waiting.communicate(timeout=10)[0] == b"whole"


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("width", [pack.PLANES2, pack.PLANES4])
@pytest.mark.parametrize("size", [5, 70_001, pack.PIECE * 4, 3 * pack.PIECE * 4 + 5])
def test_planes_are_put_together_as_they_were(
    quick: bool, width: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if quick:
        assert pack._blosc() is not None
    else:
        monkeypatch.setattr(pack, "_blosc", lambda: None)
    data = floats(random.Random(size), size + 8, width)[:size]
    payload = b"".join(pack._planes(data, width))

    # The same with the library and without: each reads what the other wrote.
    with monkeypatch.context() as slow:
        slow.setattr(pack, "_blosc", lambda: None)
        assert b"".join(pack._planes(bytearray(data), width)) == payload
    assert pack.expand(width, payload, size) == data
    with pytest.raises(SnapshotError):
        pack.expand(width, payload, size + width)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("off", [-1, 1, pack.PIECE])
def test_a_plane_that_is_shorter_or_longer_than_the_others_is_refused(
    quick: bool, off: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not quick:
        monkeypatch.setattr(pack, "_blosc", lambda: None)
    each = 2 * pack.PIECE
    small = pack.compress(bytes(each + off))[1][0]
    payload = b"".join((len(small).to_bytes(4, "little"), small, bytes(4), bytes(each)))

    with pytest.raises(SnapshotError, match=r"plane|frame"):
        pack.expand(pack.PLANES2, payload, 2 * each)
