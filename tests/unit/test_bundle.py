"""The agent as one file: what it says where it cannot start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.agent_bundle import build
from shared.flows.advance.racing import ONSTART


def start(tmp_path: Path, installer: str | None) -> subprocess.CompletedProcess[str]:
    """The start script in an image that has a shell, mkdir, and perhaps an installer."""
    tools = tmp_path / "bin"
    tools.mkdir()
    os.symlink(shutil.which("mkdir") or "", tools / "mkdir")
    if installer is not None:
        (tools / "apt-get").write_text(installer)
        (tools / "apt-get").chmod(0o755)
    bash = shutil.which("bash") or ""
    env = {"PATH": str(tools), "HOME": str(tmp_path), "DUMONT_URL": "http://127.0.0.1:9"}
    return subprocess.run([bash, "-c", ONSTART], env=env, capture_output=True, text=True, timeout=30)


def test_an_image_without_python_says_so_and_ends(tmp_path: Path) -> None:
    ended = start(tmp_path, None)

    assert ended.returncode == 1
    assert "no python3 in this image; use one that has Python 3.10 or newer" in ended.stderr


def test_an_image_with_an_installer_is_asked_for_python_first(tmp_path: Path) -> None:
    ended = start(tmp_path, f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')

    assert (tmp_path / "asked").read_text().splitlines() == ["update", "install -y python3"]
    assert ended.returncode == 1 and "no python3" in ended.stderr


def test_a_bundle_without_this_python_says_so(tmp_path: Path) -> None:
    build(tmp_path / "agent.pyz", [], tmp_path)

    ended = subprocess.run(
        [sys.executable, str(tmp_path / "agent.pyz")], env={"HOME": str(tmp_path)}, capture_output=True, text=True
    )

    assert ended.returncode == 1
    assert f"nothing for Python {sys.version_info[0]}.{sys.version_info[1]}" in ended.stderr


def test_the_same_code_gives_the_same_bundle(tmp_path: Path) -> None:
    build(tmp_path / "one.pyz", [], tmp_path)
    build(tmp_path / "two.pyz", [], tmp_path)

    assert (tmp_path / "one.pyz").read_bytes() == (tmp_path / "two.pyz").read_bytes()
