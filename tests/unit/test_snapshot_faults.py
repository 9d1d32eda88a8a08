"""Snapshots that are cut off, workspaces at the limits, and what a wake learns from the one before."""

from __future__ import annotations

import http.server
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent.api import Refused
from agent.snapshot import save as saving
from agent.snapshot import transport
from agent.snapshot.errors import SnapshotError
from agent.snapshot.journal import FILE
from agent.snapshot.manifest import Frames, Reader, Writer
from agent.snapshot.pace import Pace
from agent.snapshot.restore import restore
from agent.snapshot.save import save
from agent.snapshot.writing import part_of
from tests.unit.test_snapshot import KEY, Bench, describe

PACKS = "p/"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def fill(bench: Bench) -> None:
    dice = random.Random(5)
    for number in range(40):
        (bench.tree / f"a{number}").write_bytes(dice.randbytes(100_000))
    (bench.tree / "big").write_bytes(dice.randbytes(40 << 20))


def packed(bench: Bench) -> int:
    return sum(len(body) for key, body in bench.storage.objects.items() if key.startswith(PACKS))


def test_a_save_that_was_cut_off_sends_nothing_twice(bench: Bench) -> None:
    fill(bench)
    bench.storage.fail_put_at = 4
    with pytest.raises(SnapshotError):
        bench.save()
    arrived = packed(bench)
    bench.storage.snapshot -= 1

    saved = bench.save()

    assert arrived > 12 << 20
    assert packed(bench) < (40 << 20) + 4_100_000
    assert saved["stored_bytes"] >= packed(bench)
    assert {pack["key"]: pack["size"] for pack in saved["packs"]} == {
        key: len(body) for key, body in bench.storage.objects.items() if key.startswith(PACKS)
    }
    assert describe(bench.restore()) == describe(bench.tree)


def test_small_files_that_changed_without_a_new_time_since_a_save_was_cut_off_are_not_taken_for_what_arrived(
    bench: Bench,
) -> None:
    fill(bench)
    bench.storage.fail_put_at = 4
    with pytest.raises(SnapshotError):
        bench.save()
    bench.storage.snapshot -= 1
    changed = bench.tree / "a7"
    facts = changed.stat()
    changed.write_bytes(bytes(reversed(changed.read_bytes())))
    os.utime(changed, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    bench.save()

    assert describe(bench.restore()) == describe(bench.tree)


@pytest.mark.parametrize("damage", ["lost", "torn", "scribbled", "of another snapshot"])
def test_a_journal_that_is_gone_or_damaged_costs_an_upload_and_nothing_else(bench: Bench, damage: str) -> None:
    fill(bench)
    bench.storage.fail_put_at = 4
    with pytest.raises(SnapshotError):
        bench.save()
    file = bench.state / FILE
    lines = file.read_bytes()
    if damage == "lost":
        file.unlink()
    elif damage == "torn":
        file.write_bytes(lines[: len(lines) // 2])
    elif damage == "scribbled":
        # A frame's place changes: without the digest it would be believed.
        file.write_bytes(lines.replace(b",1,", b",2,"))
    if damage != "of another snapshot":
        bench.storage.snapshot -= 1

    bench.save()

    assert packed(bench) >= (40 << 20)
    assert describe(bench.restore()) == describe(bench.tree)


ON_DISK = """
import os, signal, sys
from pathlib import Path
from agent.snapshot.save import save

class Disk:
    plain_addresses = False
    packs = 0
    def new_pack(self):
        self.packs += 1
        return f"p/{os.getpid()}-{self.packs}", ""
    def manifest_address(self):
        return "m/1", ""
    def put(self, key, url, body):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        path = Path(sys.argv[2], key.replace("/", "-"))
        path.with_name("part" + path.name).write_bytes(body)
        os.rename(path.with_name("part" + path.name), path)
    def get(self, key, offset, length):
        return Path(sys.argv[2], key.replace("/", "-")).read_bytes()[offset : offset + length]

left = int(sys.argv[4])
save([sys.argv[1]], ["/workspace"], [], bytes(range(32)), "s-1", None, Disk(), Path(sys.argv[3]))
"""


def test_kill_9_at_each_upload_commits_nothing_and_the_next_try_does(bench: Bench, tmp_path: Path) -> None:
    (bench.tree / "big").write_bytes(random.Random(8).randbytes(20 << 20))
    (bench.tree / "small").write_bytes(b"small")
    kept = tmp_path / "kept"
    kept.mkdir()
    ends = []
    for left in range(8):
        done = subprocess.run(
            [sys.executable, "-c", ON_DISK, str(bench.tree), str(kept), str(bench.state), str(left)],
            cwd=Path(__file__).parents[2],
            timeout=60,
        )
        ends.append(done.returncode)
        if done.returncode == 0:
            break
        assert not (kept / "m-1").exists()

    assert ends[0] == -signal.SIGKILL and ends[-1] == 0
    for path in kept.iterdir():
        bench.storage.objects[path.name.replace("-", "/", 1)] = path.read_bytes()
    assert describe(bench.restore(manifest="m/1")) == describe(bench.tree)


BACK_FROM_DISK = """
import os, signal, sys
from pathlib import Path
from agent.snapshot.restore import restore

class Disk:
    plain_addresses = False
    def get(self, key, offset, length):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return Path(sys.argv[2], key.replace("/", "-")).read_bytes()[offset : offset + length]
    def url(self, key, fresh=False):
        return ""
    def know(self, keys): ...

left = int(sys.argv[4])
restore(lambda _: sys.argv[1], bytes(range(32)), "m/s-1", Disk(), Path(sys.argv[3]), [], lambda done, total: None)
"""


def test_kill_9_at_each_download_leaves_nothing_half_and_the_next_try_goes_on(bench: Bench, tmp_path: Path) -> None:
    dice = random.Random(8)
    for name, size in (("first", 5 << 20), ("second", 9 << 20), ("deep/small", 300), ("deep/other", 200_000)):
        (bench.tree / name).parent.mkdir(exist_ok=True)
        (bench.tree / name).write_bytes(dice.randbytes(size))
    bench.storage.manifest_address = lambda: ("m/s-1", "")  # type: ignore[method-assign]
    bench.save()
    kept, target = tmp_path / "kept", tmp_path / "target"
    kept.mkdir()
    for key, body in bench.storage.objects.items():
        (kept / key.replace("/", "-")).write_bytes(body)
    ends, before = [], describe(bench.tree)
    for left in range(16):
        ends.append(
            subprocess.run(
                [sys.executable, "-c", BACK_FROM_DISK, str(target), str(kept), str(bench.state), str(left)],
                cwd=Path(__file__).parents[2],
                timeout=60,
            ).returncode
        )
        if ends[-1] == 0:
            break
        for path in target.rglob("*"):
            if path.is_file() and not path.name.endswith(".dumont-part"):
                assert path.read_bytes() == (bench.tree / path.relative_to(target)).read_bytes()

    assert ends[:-1] == [-signal.SIGKILL] * (len(ends) - 1) and ends[-1] == 0 and len(ends) > 4
    assert describe(target) == before


@pytest.mark.parametrize("at", range(8))
def test_a_download_that_fails_is_told_and_the_next_try_goes_on(bench: Bench, at: int) -> None:
    fill(bench)
    bench.save()
    target, real, left = bench.folder / "target", bench.storage.get, [at]

    def get(key: str, offset: int, length: int) -> bytes:
        left[0] -= 1
        if left[0] == -1:
            raise SnapshotError("storage is down")
        return real(key, offset, length)

    bench.storage.get = get  # type: ignore[method-assign]
    with pytest.raises(SnapshotError, match="storage is down"):
        bench.restore(to=target)
    bench.restore(to=target)

    assert describe(target) == describe(bench.tree)


def test_a_half_restored_big_file_goes_on_where_it_stopped(bench: Bench) -> None:
    (bench.tree / "big").write_bytes(random.Random(6).randbytes(34 << 20))
    bench.save()
    target = bench.folder / "target"
    last = max((key for key in bench.storage.objects if key.startswith(PACKS)), key=lambda key: int(key[2:]))
    held = bench.storage.objects.pop(last)
    with pytest.raises(SnapshotError, match=last):
        bench.restore(to=target)
    assert not (target / "big").exists()
    asked = sum(key.startswith(PACKS) for key in bench.storage.gets)
    bench.storage.objects[last] = held
    part = Path(part_of(str(target / "big")))
    with open(part, "r+b") as file:
        file.seek(100)
        file.write(b"scribble")
    bench.storage.gets.clear()

    bench.restore(to=target)

    assert sum(key.startswith(PACKS) for key in bench.storage.gets) < asked
    assert describe(target) == describe(bench.tree)


def test_a_disk_without_room_is_told_and_leaves_nothing_that_looks_whole(bench: Bench) -> None:
    (bench.tree / "big").write_bytes(random.Random(6).randbytes(9 << 20))
    (bench.tree / "small").write_bytes(b"small")
    bench.save()
    target = bench.folder / "target"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, hard))
    try:
        with pytest.raises(OSError):
            bench.restore(to=target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (target / "big").exists()

    bench.restore(to=target)
    assert describe(target) == describe(bench.tree)


def test_a_sparse_file_of_5_gib_costs_its_data(bench: Bench) -> None:
    islands = {0: b"start", 3 << 30: b"middle" * 1000, (5 << 30) - 4: b"tail"}
    with open(bench.tree / "sparse", "wb") as file:
        file.truncate(5 << 30)
        for at, words in islands.items():
            file.seek(at)
            file.write(words)

    saved = bench.save()
    back = bench.restore() / "sparse"

    assert saved["bytes"] == 5 << 30 and saved["stored_bytes"] < 1 << 20
    assert back.stat().st_size == 5 << 30 and back.stat().st_blocks * 512 < 16 << 20
    with open(back, "rb") as file:
        for at, words in islands.items():
            file.seek(at)
            assert file.read(len(words)) == words


def test_paths_of_4000_bytes_come_back(bench: Bench) -> None:
    place = os.fsencode(bench.tree)
    while len(place) < 4000 - 350:
        place += b"/" + b"d" * 240
        os.mkdir(place)
    for size, body in ((3999 - len(place) - 100, None), (99, b"x" * 100), (98, b"y" * (2 << 20))):
        if body is None:
            place += b"/" + b"e" * size
            os.mkdir(place)
        else:
            Path(os.fsdecode(place + b"/" + b"f" * size)).write_bytes(body)
    assert len(place) + 1 + 99 == 4000

    bench.save()

    assert describe(bench.restore(to=bench.folder / "back")) == describe(bench.tree)


def test_a_flipped_bit_is_told_with_the_objects_name(bench: Bench) -> None:
    (bench.tree / "file").write_bytes(random.Random(2).randbytes(2 << 20))
    bench.save()
    dice = random.Random(4)
    for key, body in list(bench.storage.objects.items()):
        for at in [*range(24), *(dice.randrange(len(body)) for _ in range(8))]:
            bad = bytearray(body)
            bad[at] ^= 1 << dice.randrange(8)
            bench.storage.objects[key] = bytes(bad)
            with pytest.raises(SnapshotError, match=key):
                bench.restore()
        bench.storage.objects[key] = body


def test_a_manifest_of_a_newer_version_is_refused_in_words(bench: Bench) -> None:
    counts = {"files": 0, "directories": 0, "bytes": 0}
    facts: dict[str, Any] = {"snapshot_id": "s", "created_ns": 0, "workspace": ["/w"], "packs": [], "counts": counts}
    newer = Writer(KEY, "m/newer").finish(Frames(), {}, format=3, **facts)
    bench.storage.objects |= {"m/newer": newer, "m/magic": b"DMF2" + newer[4:]}

    with pytest.raises(SnapshotError, match="newer version"):
        bench.restore(manifest="m/newer")
    with pytest.raises(SnapshotError, match="version this code cannot read"):
        bench.restore(manifest="m/magic")


def test_what_was_read_first_after_a_wake_comes_first_at_the_next(bench: Bench) -> None:
    for name in ("a.py", "model.safetensors", "old.bin", "new.bin", "unread"):
        (bench.tree / name).write_bytes(random.Random(name).randbytes(1 << 20))
        os.utime(bench.tree / name, ns=(0, 10**18))
    bench.save()
    bench.tree = bench.restore()
    woken = time.time_ns()
    for after, name in ((3, "model.safetensors"), (1, "new.bin"), (7200, "old.bin")):
        os.utime(bench.tree / name, ns=(woken + after * 10**9, 10**18))

    bench.save()

    manifest = bench.parent or ""
    assert Reader(lambda o, n: bench.storage.get(manifest, o, n), KEY, manifest).hot() == [
        "0/new.bin",
        "0/model.safetensors",
    ]
    target, seen = bench.folder / "again", set[str]()
    restore(
        lambda _: str(target), KEY, manifest, bench.storage, bench.state, [],
        lambda done, total: seen.update(os.listdir(target)),
    )  # fmt: skip
    assert {name for name in seen if not name.startswith(".")} == {"new.bin", "model.safetensors"}

    bench.tree = target
    bench.save()
    manifest = bench.parent or ""
    learnt = Reader(lambda o, n: bench.storage.get(manifest, o, n), KEY, manifest).hot()
    assert learnt == ["0/new.bin", "0/model.safetensors"], "a wake after which nothing was read forgets nothing"


def test_a_save_leaves_no_trace_in_access_times(bench: Bench) -> None:
    for name, size in (("small", 100), ("big", 1 << 20)):
        (bench.tree / name).write_bytes(b"z" * size)
        os.utime(bench.tree / name, ns=(5, 10**18))

    bench.save()

    assert {(bench.tree / name).stat().st_atime_ns for name in ("small", "big")} == {5}


def test_a_polite_snapshot_keeps_to_its_rate_until_somebody_waits() -> None:
    now, hurried = [0.0], [False]
    pace = Pace(1000.0, hurry=lambda: hurried[0], clock=lambda: now[0])

    assert [pace.delay(500) for _ in range(3)] == [0.0, 0.5, 1.0]
    now[0] = 10.0
    assert [pace.delay(500) for _ in range(2)] == [0.0, 0.5], "a pause is not saved up"
    hurried[0] = True
    assert [pace.delay(500) for _ in range(3)] == [0.0, 0.0, 0.0]


class _Objects(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kept: dict[str, bytes]

    def do_PUT(self) -> None:
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        # Everything after the third pack is refused, as if the machine had ended there.
        refused = getattr(self.server, "full", False) and len(self.kept) > 3
        if refused:
            del self.kept[self.path]
        elif getattr(self.server, "full", False) and len(self.kept) == 3:
            # What is refused meanwhile is told before this one, which has arrived.
            time.sleep(getattr(self.server, "late_s", 0.0))
        self.send_response(404 if refused else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        body = self.kept[self.path][int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class _Remote:
    plain_addresses = True

    def __init__(self, base: str) -> None:
        self.base, self.packs = base, random.Random(time.time_ns()).randrange(1 << 30) * 1000

    def new_pack(self) -> tuple[str, str]:
        self.packs += 1
        return f"p/{self.packs}", f"{self.base}/p/{self.packs}"

    def manifest_address(self) -> tuple[str, str]:
        return "m/1", f"{self.base}/m/1"

    def put(self, key: str, url: str, body: bytes | bytearray | memoryview) -> None:
        transport.put(url, body)

    def get(self, key: str, offset: int, length: int) -> bytes:
        room = bytearray(length)
        transport.get_into(self.url(key), offset, memoryview(room))
        return bytes(room)

    def url(self, key: str, fresh: bool = False) -> str:
        return f"{self.base}/{key}"

    def know(self, keys: list[str]) -> None: ...


@pytest.mark.parametrize("late_s", [0.0, 0.5])
def test_processes_of_a_polite_save_take_up_what_had_arrived(bench: Bench, late_s: float) -> None:
    fill(bench)
    (bench.tree / "more").write_bytes(random.Random(11).randbytes(20 << 20))
    kept: dict[str, bytes] = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Objects,), {"kept": kept}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    remote = _Remote(f"http://127.0.0.1:{server.server_port}")

    def attempt() -> dict[str, Any]:
        tree, state = str(bench.tree), bench.state
        return save([tree], ["/w"], [], KEY, "s-1", None, remote, state, polite=True, rate=1e9)

    try:
        server.full, server.late_s = True, late_s  # type: ignore[attr-defined]
        with pytest.raises(SnapshotError):
            attempt()
        assert len(kept) == 3
        server.full = False  # type: ignore[attr-defined]
        attempt()
        assert sum(map(len, kept.values())) < (60 << 20) + 4_200_000
        target = bench.folder / "target"
        restore(lambda _: str(target), KEY, "m/1", remote, bench.state, [], lambda done, total: None)
    finally:
        server.shutdown()
        server.server_close()
    assert describe(target) == describe(bench.tree)


def test_a_small_file_that_grew_since_the_scan_comes_back_whole_with_its_neighbours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (bench.tree / name).write_bytes(name.encode() * 1000)
    os.setxattr(bench.tree / "b", "user.note", b"kept")
    real = saving._Save.flush

    def flush(self: saving._Save) -> None:
        (bench.tree / "b").write_bytes(b"grown" * 900_000)
        real(self)

    monkeypatch.setattr(saving._Save, "flush", flush)

    saved = bench.save()

    assert saved["torn"] == []
    assert describe(bench.restore()) == describe(bench.tree)


class Api:
    """Ours, as far as addresses of uploads go; `gate` holds answers back, `broken` refuses them."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.given = 0
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/agent/uploads" and body["snapshot_id"] == "s-1"
        self.counts.append(body["count"])
        assert self.gate.wait(10)
        if self.broken:
            raise Refused("no more")
        numbers = range(self.given, self.given + body["count"])
        self.given += body["count"]
        return {"uploads": [{"key": f"p/{number}", "url": f"https://storage/{number}"} for number in numbers]}


def addresses(api: Any) -> transport.Transport:
    return transport.Transport(api, "s-1")


def test_addresses_of_packs_are_asked_for_in_growing_batches() -> None:
    api = Api()
    source = addresses(api)

    packs = [source.new_pack() for _ in range(1000)]

    assert packs == [(f"p/{number}", f"https://storage/{number}") for number in range(1000)]
    assert api.counts[:5] == [16, 32, 64, 128, 128] and len(api.counts) <= 11


def test_packs_are_written_while_the_next_addresses_are_on_their_way() -> None:
    api = Api()
    source = addresses(api)
    source.new_pack()
    api.gate.clear()

    rest = [source.new_pack() for _ in range(15)]

    assert len(rest) == 15
    api.gate.set()
    assert source.new_pack() == ("p/16", "https://storage/16")
    # Another thread asks: what it asked for is known once its answer was taken.
    assert api.counts == [16, 32]


def test_a_refusal_of_addresses_is_told_when_none_is_left() -> None:
    api = Api()
    source = addresses(api)
    source.new_pack()
    api.broken = True
    for _ in range(15):
        source.new_pack()

    with pytest.raises(Refused):
        source.new_pack()

    api.broken = False
    assert source.new_pack()[0] == "p/16"


def test_addresses_that_lay_about_too_long_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    source = addresses(api)
    for _ in range(5):
        source.new_pack()
    later = time.monotonic() + transport.UPLOADS_KEEP_S + 1
    monkeypatch.setattr(transport.time, "monotonic", lambda: later)

    assert source.new_pack()[0] == "p/16"
