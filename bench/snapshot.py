"""The snapshot engine beside restic, tar with zstd and bare copying, in turn on one server: `make bench NAME=snapshot`.

Every round runs each contender once per workspace; figures are medians over the rounds, goals are ratios within this run.
SCALE=0.1 makes workspaces a tenth as large, ROUNDS=1 shortens it; goals are judged at SCALE=1 only. The server is a light one, so
that it does not measure itself; a shorter round each follows over a link with latency and a limited rate, and on SeaweedFS.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import workspaces
from bench.report import finish
from infra.agent_bundle import wheels
from local.embedded import ROOT
from tests.support import s3_server
from tests.support.s3_server import S3Server

SCALE = float(os.environ.get("SCALE", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
MEMORY_GOAL_MB = 256
GOALS = {
    "weights_save": ">= 4 x restic",
    "weights_stored": "<= 0.82 of raw",
    "weights_restore": ">= 2 x restic and <= 1.1 x the floor's time",
    "many_save": ">= 4 x restic, not slower than tar + zstd",
    "many_restore": ">= 4 x restic, not slower than tar + zstd",
    "mixed_save": ">= 4 x restic",
    "mixed_incremental": ">= 3 x restic",
    "mixed_restore": ">= 2 x restic",
    "peak_mb": f"<= {MEMORY_GOAL_MB}",
    "seaweedfs_save": ">= 1.8 x restic",
    "seaweedfs_restore": ">= 1.5 x restic",
}
FAR = ("--latency-ms", "25", "--line-mb-s", "90", "--total-mb-s", "600")
"""A link as between regions: milliseconds, MB/s of one connection, MB/s of all."""
SPARE = 2 << 30
"""Bytes of memory that are left free."""
SHORT = 0.25
"""The share of a workspace that the rounds on other servers take."""


class Watch:
    """The memory of a process and of all that it started, sampled."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over, self.peak_mb = pid, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            self.peak_mb = max(self.peak_mb, sum(map(_private_mb, _family(self._pid))))

    def end(self) -> float:
        self._over.set()
        self._thread.join()
        return self.peak_mb


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                found += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def _private_mb(pid: int) -> float:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(pages[1]) - int(pages[2])) * 4096 / 1e6
    except OSError:
        return 0.0


class Contest:
    """One server, one folder in memory, and what was measured."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
        self.server: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.signed: S3Server | None = None
        """Whose credentials are needed, when the server asks for any."""
        self.takes = 0
        """Bytes of memory that a run may take for what it writes."""

    def serve(self, *options: str) -> None:
        """A fresh, empty server."""
        self.stop()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # What a save that was cut off had stored is not there any more.
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        store = self.folder / "s3"
        shutil.rmtree(store, ignore_errors=True)
        self.server = subprocess.Popen(
            [sys.executable, "-m", "bench.light_s3", "--port", str(port), "--dir", str(store), *options], cwd=ROOT
        )
        self.url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if time.monotonic() > until:
                raise RuntimeError("the bench's S3 server did not start")
            time.sleep(0.05)

    def stop(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()

    def stored(self) -> int:
        return sum(path.stat().st_size for path in (self.folder / "s3").iterdir())

    def run(self, who: str, what: str, command: list[str] | str, env: dict[str, str] | None = None) -> dict[str, Any]:
        """Measure one command; its last line, if that is JSON."""
        self._warm()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        process = subprocess.Popen(
            command, shell=isinstance(command, str), cwd=ROOT, env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        watch = Watch(process.pid)
        out, err = process.communicate()
        seconds, peak = time.monotonic() - started, watch.end()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode:
            raise RuntimeError(f"{who} {what} failed: {err.decode()[-800:]}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.rows[who, what].append({"s": seconds, "cpu_s": cpu, "peak_mb": peak})
        sys.stderr.write(f"{what:24} {who:10} {seconds:7.2f} s  {cpu:7.2f} CPU s  {peak:6.0f} MB\n")
        last = out.decode().strip().splitlines()[-1:] or [""]
        return dict(json.loads(last[0])) if last[0].startswith("{") else {}

    def _warm(self) -> None:
        """Touch what a run will take. A virtual machine's host takes back memory that is free, and the first use of it costs
        more than the work: whoever came first would pay for all."""
        facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(facts["MemAvailable"].split()[0])
        block, file = bytes(8 << 20), self.folder / "warm"
        with file.open("wb", buffering=0) as touched:
            for _ in range(min(self.takes, free * 1024 - SPARE) // len(block)):
                touched.write(block)
        file.unlink()

    def median(self, who: str, what: str, name: str = "s") -> float:
        return statistics.median(row[name] for row in self.rows[who, what])


@contextlib.contextmanager
def in_memory(figures: dict[str, Any]) -> Iterator[Path]:
    """A folder in memory, in large pages where they can be had: making and clearing pages of 4 KiB takes up to a third of a
    contender's time, as it would not on a disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="dumont-bench-") as place:
        mount = ["mount", "-t", "tmpfs", "-o", "huge=within_size,size=100%", "none", place]
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
        figures["large_pages"] = mounted
        try:
            yield Path(place)
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", place], check=True)


def newest_restic(folder: Path) -> Path:
    """restic from Debian's unstable distribution, unpacked beside everything; the installed one when that fails."""
    lists = folder / "apt"
    for name in ("lists/partial", "archives/partial"):
        (lists / name).mkdir(parents=True, exist_ok=True)
    uri = "http://deb.debian.org/debian"
    for file in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        found = [line.split(None, 1)[1] for line in file.read_text().splitlines() if line.startswith("URIs:")]
        uri = next((one.strip() for one in found if one.strip().endswith("/debian")), uri)
    (lists / "sid.list").write_text(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {uri} sid main\n")
    options = [
        "-q", "-o", f"Dir::State::Lists={lists}/lists", "-o", f"Dir::Etc::SourceList={lists}/sid.list",
        "-o", "Dir::Etc::SourceParts=/dev/null", "-o", f"Dir::Cache::Archives={lists}/archives",
        "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
    ]  # fmt: skip
    try:
        subprocess.run(["apt-get", *options, "update"], check=True, capture_output=True)
        subprocess.run(["apt-get", *options, "download", "restic"], check=True, capture_output=True, cwd=lists)
        package = next(lists.glob("restic_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(lists / "restic")], check=True)
        return lists / "restic/usr/bin/restic"
    except (OSError, subprocess.CalledProcessError, StopIteration):
        installed = shutil.which("restic")
        if installed is None:
            raise SystemExit("no restic: apt-get install restic") from None
        return Path(installed)


def environment(contest: Contest, libraries: Path) -> dict[str, str]:
    """Our code as on a machine, where it is compiled once: whatever this shell says of compiled files."""
    return {
        "PYTHONPATH": f"{libraries}:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(contest.folder / "compiled"),
    }


class Ours:
    def __init__(self, contest: Contest, libraries: Path) -> None:
        self._contest, self._env = contest, environment(contest, libraries)

    def __call__(self, verb: str, what: str, folder: Path, snapshot: str, *more: str) -> dict[str, Any]:
        command = [
            sys.executable, "-m", "bench.engine", verb, str(folder), "--base", f"{self._contest.url}/bench/ours",
            "--snapshot", snapshot, "--state", str(self._contest.folder / "state"), *more,
        ]  # fmt: skip
        return self._contest.run("ours", what, command, self._env)


class Restic:
    def __init__(self, contest: Contest, program: Path) -> None:
        self._contest, self._program = contest, str(program)

    def env(self) -> dict[str, str]:
        server = self._contest.signed
        return {
            "RESTIC_REPOSITORY": f"s3:{self._contest.url}/{server.bucket if server else 'bench'}/restic",
            "RESTIC_PASSWORD": "bench",
            "AWS_ACCESS_KEY_ID": server.access_key if server else "bench",
            "AWS_SECRET_ACCESS_KEY": server.secret_key if server else "bench-secret",
            "RESTIC_CACHE_DIR": str(self._contest.folder / "restic-cache"),
        }

    def version(self) -> str:
        return subprocess.run([self._program, "version"], capture_output=True, text=True, check=True).stdout.split()[1]

    def init(self) -> None:
        shutil.rmtree(self._contest.folder / "restic-cache", ignore_errors=True)
        subprocess.run([self._program, "init", "-q"], env={**os.environ, **self.env()}, check=True)

    def save(self, what: str, folder: Path) -> None:
        self._contest.run("restic", what, [self._program, "backup", "-q", str(folder)], self.env())

    def restore(self, what: str, to: Path) -> None:
        self._contest.run("restic", what, [self._program, "restore", "-q", "latest", "--target", str(to)], self.env())


class Standalone:
    """Ours as the standalone tool, which signs its addresses: for a server that demands that."""

    def __init__(self, contest: Contest, libraries: Path, server: S3Server) -> None:
        self._contest = contest
        key_file = contest.folder / "key"
        key_file.write_text(base64.b64encode(bytes(range(32))).decode())
        self._options = [
            "--store", f"s3://{server.bucket}/ours", "--endpoint", server.endpoint, "--key-file", str(key_file),
        ]  # fmt: skip
        self._env = environment(contest, libraries) | {
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }

    def save(self, what: str, folder: Path) -> None:
        command = [sys.executable, "-m", "agent.snapshot", "save", str(folder), *self._options]
        self._contest.run("ours", what, command, self._env)

    def restore(self, what: str, to: Path) -> None:
        command = [sys.executable, "-m", "agent.snapshot", "restore", "--to", str(to), *self._options]
        self._contest.run("ours", what, command, self._env)


def tar_save(contest: Contest, what: str, folder: Path) -> None:
    command = (
        f"tar -C {folder} -cf - . | zstd -1 -T0 -q | {sys.executable} -m bench.copying put {contest.url}/bench/tar"
    )
    contest.run("tar+zstd", what, command)


def tar_restore(contest: Contest, what: str, to: Path) -> None:
    to.mkdir()
    command = f"{sys.executable} -m bench.copying get {contest.url}/bench/tar | zstd -d -q | tar -C {to} -xf -"
    contest.run("tar+zstd", what, command)


def floor(contest: Contest, verb: str, what: str, folder: Path) -> None:
    contest.run("floor", what, [sys.executable, "-m", "bench.copying", verb, f"{contest.url}/bench/floor", str(folder)])


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def same(first: Path, second: Path) -> bool:
    return (
        subprocess.run(["diff", "-rq", "--no-dereference", str(first), str(second)], capture_output=True).returncode
        == 0
    )


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def plain_round(
    contest: Contest, ours: Ours, restic: Restic, name: str, source: Path, number: int, figures: dict[str, Any]
) -> None:
    """Save and restore one workspace, each contender on an empty server.

    Each round begins with another: whoever comes first after a workspace was made, or a tree removed, is up to a third slower.
    """
    target = contest.folder / "target"
    raw = size_of(source)

    def by_us() -> None:
        ours("save", f"{name} save", source, "s1")
        figures[f"{name}_stored_share"] = round(contest.stored() / raw, 3)
        ours("restore", f"{name} restore", target, "s1")
        figures["identical"] = figures.get("identical", True) and same(source, target)

    def by_restic() -> None:
        restic.init()
        restic.save(f"{name} save", source)
        figures[f"{name}_restic_stored_share"] = round(contest.stored() / raw, 3)
        restic.restore(f"{name} restore", target)

    def by_tar() -> None:
        tar_save(contest, f"{name} save", source)
        tar_restore(contest, f"{name} restore", target)

    def by_copying() -> None:
        floor(contest, "save", f"{name} save", source)
        floor(contest, "restore", f"{name} restore", target)

    turns = (by_copying, by_us, by_restic, by_tar)
    first = number % len(turns)
    for turn in (*turns[first:], *turns[:first]):
        contest.serve()
        turn()
        emptied(target)
    contest.stop()


def changed_round(
    contest: Contest, ours: Ours, restic: Restic, name: str, source: Path, number: int, figures: dict[str, Any]
) -> None:
    """Save a workspace, change it, save what changed, restore that."""
    target, working = contest.folder / "target", contest.folder / "working"
    for who in ("restic", "ours") if number % 2 else ("ours", "restic"):
        subprocess.run(["cp", "-a", str(source), str(emptied(working))], check=True)
        contest.serve()
        if who == "ours":
            ours("save", f"{name} save", working, "s1")
        else:
            restic.init()
            restic.save(f"{name} save", working)
        workspaces.changed(working, SCALE)
        if who == "ours":
            ours("save", f"{name} incremental", working, "s2", "--parent", "m/s1")
            ours("restore", f"{name} restore", target, "s2")
            figures["identical"] = figures["identical"] and same(working, target)
        else:
            restic.save(f"{name} incremental", working)
            restic.restore(f"{name} restore", target)
        emptied(target)
    emptied(working)
    contest.stop()


def far_round(contest: Contest, ours: Ours, restic: Restic, source: Path) -> None:
    target = contest.folder / "target"
    contest.serve(*FAR)
    ours("save", "far save", source, "s1")
    ours("restore", "far restore", target, "s1")
    shutil.rmtree(target)
    contest.serve(*FAR)
    restic.init()
    restic.save("far save", source)
    restic.restore("far restore", target)
    shutil.rmtree(target)
    contest.stop()


def seaweedfs_round(contest: Contest, libraries: Path, restic: Restic, source: Path) -> None:
    target = contest.folder / "target"
    with s3_server.running(contest.folder / "weed") as server:
        contest.signed, contest.url = server, server.endpoint
        ours = Standalone(contest, libraries, server)
        ours.save("seaweedfs save", source)
        ours.restore("seaweedfs restore", target)
        shutil.rmtree(target)
        restic.init()
        restic.save("seaweedfs save", source)
        restic.restore("seaweedfs restore", target)
        shutil.rmtree(target)
    contest.signed = None
    shutil.rmtree(contest.folder / "weed")


def judged(contest: Contest, figures: dict[str, Any]) -> dict[str, bool]:
    """Each goal, from the medians."""

    def times(what: str, of: str = "restic") -> float:
        ratio = contest.median(of, what) / contest.median("ours", what)
        figures.setdefault("times", {})[f"{what} / {of}"] = round(ratio, 2)
        return ratio

    times("far save")
    times("far restore")
    peak = max(row["peak_mb"] for (who, _), rows in contest.rows.items() if who == "ours" for row in rows)
    figures["peak_mb"] = round(peak)
    return {
        "weights_save": times("weights save") >= 4,
        "weights_stored": figures["weights_stored_share"] <= 0.82,
        "weights_restore": all((times("weights restore") >= 2, times("weights restore", "floor") >= 1 / 1.1)),
        "many_save": all((times("many save") >= 4, times("many save", "tar+zstd") >= 1)),
        "many_restore": all((times("many restore") >= 4, times("many restore", "tar+zstd") >= 1)),
        "mixed_save": times("mixed save") >= 4,
        "mixed_incremental": times("mixed incremental") >= 3,
        "mixed_restore": times("mixed restore") >= 2,
        "peak_mb": peak <= MEMORY_GOAL_MB,
        "seaweedfs_save": times("seaweedfs save") >= 1.8,
        "seaweedfs_restore": times("seaweedfs restore") >= 1.5,
    }


def main() -> None:
    figures: dict[str, Any] = {"scale": SCALE, "rounds": ROUNDS}
    with in_memory(figures) as folder:
        libraries = folder / "lib"
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        for wheel in wheels(here, ROOT / "build" / "wheels"):
            shutil.unpack_archive(str(wheel), str(libraries), "zip")
        contest = Contest(folder)
        restic = Restic(contest, newest_restic(folder))
        figures["restic"] = restic.version()
        # One at a time: what lies in memory for nothing leaves less that is warm.
        contests = (
            ("weights", workspaces.weights, plain_round),
            ("many", workspaces.many, plain_round),
            ("mixed", workspaces.mixed, changed_round),
        )
        try:
            for name, make, round_of in contests:
                source = make(folder / "source", SCALE)
                contest.takes = size_of(source) * 5 // 4
                for number in range(ROUNDS):
                    round_of(contest, Ours(contest, libraries), restic, name, source, number, figures)
                shutil.rmtree(source)
            short = workspaces.weights(folder / "short", SCALE * SHORT)
            contest.takes = size_of(short) * 5 // 4
            far_round(contest, Ours(contest, libraries), restic, short)
            seaweedfs_round(contest, libraries, restic, short)
        finally:
            contest.stop()
        goals_met = judged(contest, figures)
        figures["met"] = goals_met
        figures["medians"] = {
            f"{what} {who}": {
                "s": round(contest.median(who, what), 2),
                "cpu_s": round(contest.median(who, what, "cpu_s"), 2),
                "peak_mb": round(contest.median(who, what, "peak_mb")),
            }
            for who, what in sorted(contest.rows, key=lambda key: (key[1], key[0]))
        }
    finish("snapshot", figures, GOALS, all(goals_met.values()) and figures["identical"] and SCALE >= 1)


if __name__ == "__main__":
    main()
