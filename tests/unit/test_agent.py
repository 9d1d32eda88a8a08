"""The agent's own judgement: idleness, telemetry, orders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import orders as orders_module
from agent.api import Api, Stopped
from agent.gpu import Gpu, Monitor, parse
from agent.idle import Counters, Sample, Watch, activity
from agent.main import Life
from agent.orders import Orders, run
from agent.settings import Settings, load
from agent.work import Work

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
POLICY: dict[str, Any] = {
    "enabled": True, "idle_after_s": 180, "gpu_percent": 5, "startup_grace_s": 120, "network_mbit": 1, "disk_mb_s": 5,
    "watch_ports": True, "heartbeat_file": None,
}  # fmt: skip
QUIET = Sample(
    at=NOON, gpus=[Gpu(0, "RTX", 24000, 500, 0.0)], network_mbit=0.1, disk_mb_s=0.1, terminal=False, orders=[],
    heartbeat_file_at=None,
)  # fmt: skip


def busy_gpu(percent: float) -> list[Gpu]:
    return [Gpu(0, "RTX", 24000, 500, 0.0), Gpu(1, "RTX", 24000, 500, percent)]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"gpus": None}, "telemetry"),
        ({"gpus": busy_gpu(5)}, "GPU 1"),
        ({"orders": ["exec"]}, "exec"),
        ({"network_mbit": 212.0}, "212 Mbit/s"),
        ({"disk_mb_s": 6.0}, "disk"),
        ({"terminal": True}, "typing"),
    ],
)
def test_each_veto_holds_and_says_why(changes: dict[str, Any], word: str) -> None:
    reason = activity(replace(QUIET, **changes), POLICY)

    assert reason is not None and word in reason


def test_quiet_is_quiet_and_unknown_rates_say_nothing() -> None:
    assert activity(QUIET, POLICY) is None
    assert activity(replace(QUIET, gpus=busy_gpu(4.9)), POLICY) is None
    assert activity(replace(QUIET, network_mbit=None, disk_mb_s=None), POLICY) is None


def test_idleness_counts_from_when_it_became_quiet() -> None:
    watch, adopted = Watch(), NOON - timedelta(hours=1)

    watch.judge(replace(QUIET, gpus=busy_gpu(80)), POLICY, adopted, None)
    first = watch.judge(replace(QUIET, at=NOON + timedelta(seconds=10)), POLICY, adopted, None)
    later = watch.judge(replace(QUIET, at=NOON + timedelta(seconds=100)), POLICY, adopted, None)

    assert first.idle_since == later.idle_since == NOON + timedelta(seconds=10)
    assert later.why.startswith("idle since 12:00:10")


def test_one_busy_second_starts_the_count_again() -> None:
    watch, adopted = Watch(), NOON - timedelta(hours=1)
    watch.judge(QUIET, POLICY, adopted, None)
    watch.judge(replace(QUIET, at=NOON + timedelta(seconds=90), gpus=busy_gpu(50)), POLICY, adopted, None)

    again = watch.judge(replace(QUIET, at=NOON + timedelta(seconds=91)), POLICY, adopted, None)

    assert again.idle_since == NOON + timedelta(seconds=91)


def test_the_start_up_grace_vetoes_and_idleness_counts_from_its_end() -> None:
    watch, adopted = Watch(), NOON - timedelta(seconds=60)

    young = watch.judge(QUIET, POLICY, adopted, None)
    old = watch.judge(replace(QUIET, at=NOON + timedelta(seconds=61)), POLICY, adopted, None)

    assert young.idle_since is None and "grace" in young.why
    assert old.idle_since == NOON + timedelta(seconds=60)


def test_keep_awake_and_the_heartbeat_file_veto() -> None:
    watch, adopted = Watch(), NOON - timedelta(hours=1)

    assert "kept awake" in watch.judge(QUIET, POLICY, adopted, NOON + timedelta(seconds=1)).why
    touched = replace(QUIET, heartbeat_file_at=NOON - timedelta(seconds=179))
    assert "heartbeat file" in watch.judge(touched, POLICY, adopted, None).why
    stale = replace(QUIET, heartbeat_file_at=NOON - timedelta(seconds=181))
    assert watch.judge(stale, POLICY, adopted, None).idle_since is not None


class Quiet(Monitor):
    """A GPU with nothing to do."""

    def __init__(self) -> None:
        self._process = None

    def now(self) -> list[Gpu]:
        return QUIET.gpus or []


class OneBeat(Api):
    """Keeps what the first heartbeat says, and ends the agent with the second."""

    def __init__(self) -> None:
        super().__init__("http://x", "t")
        self.said: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {}

    def post(self, path: str, body: dict[str, Any], tries: int = 1) -> dict[str, Any]:
        self.said.append(body)
        if len(self.said) == 2:
            raise Stopped("enough")
        return self.answer


@pytest.mark.parametrize("off", [timedelta(), timedelta(minutes=15), timedelta(minutes=-15)])
@pytest.mark.parametrize(
    ("adopted", "kept_awake", "touched", "why"),
    [
        (timedelta(seconds=-60), None, None, "start-up grace"),
        (timedelta(seconds=-900), timedelta(seconds=60), None, "kept awake"),
        (timedelta(seconds=-900), timedelta(seconds=-60), 60, "heartbeat file"),
        (timedelta(seconds=-900), timedelta(seconds=-60), 600, "idle since"),
    ],
)
def test_a_machine_whose_clock_is_off_judges_by_the_control_planes(
    tmp_path: Path, off: timedelta, adopted: timedelta, kept_awake: timedelta | None, touched: int | None, why: str
) -> None:
    (tmp_path / "workspace").mkdir()
    if touched is not None:
        (tmp_path / "workspace" / "alive").touch()
        os.utime(tmp_path / "workspace" / "alive", (time.time() - touched,) * 2)
    theirs = datetime.now(UTC) - off
    watched = {"heartbeat_file": "/workspace/alive"} if touched is not None else {}
    settings = {
        "idle": {**POLICY, **watched}, "adopted_at": (theirs + adopted).isoformat(), "heartbeat_s": 0.05,
        "keep_awake_until": (theirs + kept_awake).isoformat() if kept_awake else None, "workspace": ["/workspace"],
        "env": {}, "work": "runs", "instance_id": "i-1",
    }  # fmt: skip
    api = OneBeat()
    told = {"settings": settings, "orders": [], "now": theirs.isoformat()}
    api.answer = told
    (tmp_path / ".dumont").mkdir()

    with pytest.raises(Stopped):
        Life(Settings("http://x", "t", home=tmp_path, root=str(tmp_path)), api, Quiet(), told).run()

    for said in api.said:
        assert why in said["why"]
        assert abs(datetime.fromisoformat(said["at"]) - theirs) < timedelta(seconds=30)
        assert (said["idle_since"] is not None) == (why == "idle since")


def test_rates_are_measured_between_two_looks() -> None:
    counters = Counters(shared_host=False)

    assert counters.rates(NOON) == (None, None)
    network, disk = counters.rates(NOON + timedelta(seconds=1))
    assert network is not None and network >= 0 and disk is not None and disk >= 0
    assert Counters(shared_host=True).rates(NOON) == (None, None)


@pytest.mark.parametrize("line", ["", "No devices were found", "0, RTX, [N/A], 5, 0", "x, y"])
def test_what_nvidia_smi_cannot_say_is_unknown(line: str) -> None:
    assert parse(line) is None


def test_a_line_of_nvidia_smi_is_read() -> None:
    assert parse("1, NVIDIA GeForce RTX 4090, 24564, 512, 97") == Gpu(1, "NVIDIA GeForce RTX 4090", 24564, 512, 97)


# Commands -------------------------------------------------------------------------------------------------------------


def command(*words: str, stdin: str | None = None, timeout_s: float = 20) -> dict[str, Any]:
    return run(list(words), stdin, "/tmp", dict(os.environ), timeout_s, Work(shared_host=True))


def test_a_command_gives_its_output_and_exit_code() -> None:
    done = command("sh", "-c", "echo out; echo err >&2; exit 3")

    assert (done["state"], done["exit_code"], done["stdout"], done["stderr"]) == ("done", 3, "out\n", "err\n")


def test_input_reaches_the_command_and_bytes_that_are_not_text_are_replaced() -> None:
    assert command("cat", stdin="é" * 1000)["stdout"] == "é" * 1000
    assert command("printf", r"\377\376")["stdout"] == "\ufffd\ufffd"


def test_a_command_that_takes_too_long_is_ended_with_its_children() -> None:
    started = time.monotonic()
    done = command("sh", "-c", "sleep 60 & sleep 60", timeout_s=0.3)

    assert done["exit_code"] == 124 and "timed out" in done["error"]
    assert time.monotonic() - started < 10


def test_a_command_that_does_not_exist_is_told() -> None:
    assert command("/no/such/command")["exit_code"] == 127


def test_long_output_is_cut_and_says_so() -> None:
    done = command(sys.executable, "-c", "print('x' * 1_000_000)")

    assert done["truncated"] and len(done["stdout"]) == orders_module.OUTPUT_LIMIT


def test_a_child_left_in_the_background_does_not_hold_the_answer() -> None:
    started = time.monotonic()

    done = command("sh", "-c", "echo started; sleep 30 &")

    assert done["stdout"] == "started\n" and time.monotonic() - started < 15


# Orders ---------------------------------------------------------------------------------------------------------------


class Told:
    """Our API, as far as orders use it."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []
        self.traces: list[str | None] = []

    def traced(self, trace: str | None) -> Told:
        self.traces.append(trace)
        return self

    def post(self, path: str, body: dict[str, Any], tries: int | None = 8) -> dict[str, Any]:
        self.results.append(body)
        return {}


def an_agent(tmp_path: Path, told: Told) -> Orders:
    (tmp_path / ".dumont").mkdir(exist_ok=True)
    settings = Settings(url="http://x", token="t", home=tmp_path, root=str(tmp_path / "root"))
    return Orders(settings, told, lambda: None)  # type: ignore[arg-type]


def wait_for(told: Told, count: int) -> None:
    until = time.monotonic() + 15
    while len(told.results) < count and time.monotonic() < until:
        time.sleep(0.01)
    assert len(told.results) == count


COUNT = {"id": "o-1", "kind": "exec", "payload": {"command": ["sh", "-c", "echo x >> ran"], "timeout_s": 10}}


def test_what_a_tree_takes_of_the_disk_is_counted_without_holes_and_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "data").write_bytes(os.urandom(1_000_000))
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 34)
    (tmp_path / "loop").symlink_to(tmp_path)

    assert 1_000_000 <= orders_module.disk_used(str(tmp_path)) < 1_200_000
    assert orders_module.disk_used(str(tmp_path / "nowhere")) == 0


WRITER = (
    "setsid bash -c 'while :; do echo x >> lines; sleep 0.01; done' >/dev/null 2>&1 & "
    "cd / && exec 3>> \"$WORKSPACE/open\"; bash -c 'while :; do echo y >&3; sleep 0.01; done' >/dev/null 2>&1 &"
)


def test_work_is_held_to_the_last_process_goes_on_and_ends_with_nothing_left(tmp_path: Path) -> None:
    """Also what left its session, and what no order began; a command given meanwhile waits, or is told that it came too late."""
    told = Told()
    orders = an_agent(tmp_path, told)
    place = tmp_path / "root" / "workspace"
    place.mkdir(parents=True)
    places = [str(place)]

    def sizes() -> list[int]:
        return [os.path.getsize(path) if path.exists() else 0 for path in (place / "lines", place / "open")]

    def grown(before: list[int]) -> bool:
        until = time.monotonic() + 10
        while time.monotonic() < until and any(now <= then for now, then in zip(sizes(), before, strict=True)):
            time.sleep(0.01)
        return all(now > then for now, then in zip(sizes(), before, strict=True))

    orders.work.be("runs", places)
    orders.give([{"id": "o-w", "kind": "exec", "payload": {"command": ["bash", "-c", WRITER], "timeout_s": 10}}])
    stranger = subprocess.Popen(["sleep", "60"], cwd=place, start_new_session=True)
    wait_for(told, 1)
    assert grown([0, 0])

    orders.work.be("held", places)
    before = sizes()
    orders.give([COUNT])
    time.sleep(0.2)
    assert sizes() == before and len(told.results) == 1
    orders.work.be("runs", places)
    wait_for(told, 2)
    assert grown(before) and stranger.poll() is None

    orders.work.be("held", places)
    orders.work.be("ended", places)
    assert stranger.wait(10) == -signal.SIGKILL
    before = sizes()
    orders.give([{**COUNT, "id": "o-2"}])
    wait_for(told, 3)
    assert "another machine" in told.results[2]["error"]
    assert sizes() == before and (place / "ran").read_text() == "x\n"


def test_an_order_is_followed_once_and_told_again_after_a_restart(tmp_path: Path) -> None:
    told = Told()
    first = an_agent(tmp_path, told)
    first.give([COUNT])
    wait_for(told, 1)

    restarted = an_agent(tmp_path, told)
    restarted.give([COUNT])
    wait_for(told, 2)

    assert (tmp_path / "root" / "workspace" / "ran").read_text() == "x\n"
    assert told.results[0] == told.results[1]


def test_what_breaks_inside_an_order_is_reported(tmp_path: Path) -> None:
    told = Told()
    an_agent(tmp_path, told).give([{"id": "o-2", "kind": "unheard_of", "payload": {}}])
    wait_for(told, 1)

    assert told.results[0]["state"] == "failed"


def test_the_providers_own_ssh_keys_stay_when_ours_change(tmp_path: Path) -> None:
    told = Told()
    agent = an_agent(tmp_path, told)
    (tmp_path / ".ssh").mkdir()
    file = tmp_path / ".ssh" / "authorized_keys"
    file.write_text("ssh-rsa theirs\n")

    for number, keys in enumerate((["ssh-ed25519 one"], ["ssh-ed25519 two"])):
        agent.give([{"id": f"o-k{number}", "kind": "keys", "payload": {"authorized_keys": keys}}])
        wait_for(told, number + 1)

    assert file.read_text().splitlines() == ["ssh-rsa theirs", "ssh-ed25519 two"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_token_is_private_and_leaves_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DUMONT_URL", "http://api")
    monkeypatch.setenv("DUMONT_TOKEN", "attempt.secret")

    settings = load()

    assert "DUMONT_TOKEN" not in os.environ
    assert settings.token_file.stat().st_mode & 0o777 == 0o600
    monkeypatch.delenv("DUMONT_URL")
    assert load() == settings


def test_ended_orders_survive_a_damaged_file(tmp_path: Path) -> None:
    told = Told()
    (tmp_path / ".dumont").mkdir()
    (tmp_path / ".dumont" / "orders.json").write_text("{half")

    agent = an_agent(tmp_path, told)
    agent.give([COUNT])
    wait_for(told, 1)

    assert "o-1" in json.loads((tmp_path / ".dumont" / "orders.json").read_text())


def test_an_order_that_breaks_the_agent_is_told_as_failed_and_ends(tmp_path: Path) -> None:
    told = Told()
    orders = an_agent(tmp_path, told)
    orders.give([{"id": "o-odd", "kind": "exec", "payload": {}}])

    wait_for(told, 1)
    assert told.results[0]["state"] == "failed" and "KeyError" in told.results[0]["error"]
    until = time.monotonic() + 5
    while orders.running() and time.monotonic() < until:
        time.sleep(0.01)
    assert orders.running() == {}
