"""`make up`: it starts, survives a restart with its state, and Ctrl-C leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.embedded import ROOT

pytestmark = pytest.mark.skipif("DUMONT_API_URL" in os.environ, reason="a real deployment is tested")


def start(folder: Path, *more: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    (folder / "state.json").unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "local.up", "--dir", str(folder), "--tick-s", "3",
            "--scenario", str(ROOT / "local" / "scenarios" / "quick.json"), *more,
        ],
        cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 90
    while not (folder / "state.json").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    return process, json.loads((folder / "state.json").read_text())


def left(folder: Path) -> list[str]:
    """Processes that name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if (str(folder) in words or str(folder) in environment) and entry.name != str(os.getpid()):
            found.append(words)
    return found


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> str:
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    return out.decode()


def call(state: dict[str, Any], method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {state['demo']['api_key']}"}
    answer = httpx.request(method, f"{state['api_url']}/api/v1{path}", json=body, headers=headers, timeout=90).json()
    assert answer["success"], answer
    return answer["data"]


def test_it_starts_again_with_its_instances_and_ctrl_c_stops_every_child(tmp_path: Path) -> None:
    folder = tmp_path / "cloud"
    process, state = start(folder)
    instance = call(state, "POST", "/instances/provision?wait=50", {"gpu_name": "RTX 4090", "name": "kept"})
    assert instance["state"] == "running"
    marked = {"command": ["bash", "-c", 'echo here > "$WORKSPACE/mark"']}
    assert call(state, "POST", f"/instances/{instance['id']}/exec", marked)["exit_code"] == 0

    out = stop(process)
    assert state["api_url"] in out and state["demo"]["password"] in out
    assert left(folder) == []

    process, again = start(folder)
    try:
        assert again["demo"] == {**state["demo"], "api_key": again["demo"]["api_key"]}
        found = call(again, "GET", f"/instances/{instance['id']}")
        assert found["state"] == "running"
        answer = call(
            again,
            "POST",
            f"/instances/{instance['id']}/exec?wait=30",
            {"command": ["bash", "-c", 'cat "$WORKSPACE/mark"']},
        )
        assert answer["stdout"] == "here\n"
        call(again, "DELETE", f"/instances/{instance['id']}/destroy?wait=50")
    finally:
        stop(process, signal.SIGTERM)
    assert left(folder) == []


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "local.up", "--dir", str(tmp_path / "cloud"), "--port", port],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    assert done.returncode != 0
    assert port in done.stderr and "--port" in done.stderr
