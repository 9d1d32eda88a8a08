"""The agent as one file: what it says where it cannot start."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.agent_bundle import ABIS, ROOT, build
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


def pythons() -> dict[str, str]:
    """Interpreters of this machine by version: on the path, and where version managers keep them."""
    found: dict[str, str] = {}
    kept = Path.home().glob(".pyenv/versions/*/bin/python")
    named = [path for minor in range(6, 15) if (path := shutil.which(f"python3.{minor}"))]
    for path in [sys.executable, *named, *map(str, sorted(kept))]:
        said = subprocess.run(
            [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
        )
        found.setdefault(said.stdout.strip(), path)
    return found


PYTHONS = pythons()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With what is needed by every supported Python that is here."""
    out = tmp_path_factory.mktemp("bundle") / "agent.pyz"
    try:
        build(out, [abi for abi in ABIS if abi in PYTHONS], ROOT / "build" / "wheels", level=1)
    except subprocess.CalledProcessError:
        pytest.skip("NOT TESTED: the wheels cannot be fetched here")
    return out


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8", "3.9"])
def test_a_python_that_is_too_old_is_told_what_is_needed(bundle: Path, tmp_path: Path, version: str) -> None:
    if version not in PYTHONS:
        pytest.skip(f"NOT TESTED: there is no Python {version} here")
    ended = subprocess.run([PYTHONS[version], str(bundle)], env={"HOME": str(tmp_path)}, capture_output=True, text=True)

    assert ended.returncode == 1
    assert re.search(rf"Python 3.10 or newer is needed, this is {version}.\d+; use an image that has it", ended.stderr)


ROUND = """
import os, sys
home = sys.argv[1]
lib = next(os.scandir(os.path.join(home, ".dumont", "lib"))).path
sys.path.insert(0, lib)
from pathlib import Path
from agent.snapshot.restore import restore
from agent.snapshot.save import save

class Memory:
    plain_addresses, kept, packs = False, {}, 0
    def new_pack(self):
        self.packs += 1
        return f"p/{self.packs}", ""
    def manifest_address(self):
        return "m/1", ""
    def put(self, key, url, body):
        self.kept[key] = bytes(body)
    def get(self, key, offset, length):
        return self.kept[key][offset : offset + length]
    def url(self, key, fresh=False):
        return ""
    def know(self, keys): ...

home = Path(home)
tree, state, target, storage = home / "tree", home / "state", home / "target", Memory()
for folder in (tree, state):
    folder.mkdir()
files = {"small": b"x" * 100, "zeros": bytes(3 << 20), "noise": os.urandom(2 << 20)}
for name, body in files.items():
    (tree / name).write_bytes(body)
save([str(tree)], ["/w"], [], bytes(32), "s-1", None, storage, state)
restore(lambda _: str(target), bytes(32), "m/1", storage, state, [], lambda done, total: None)
assert {p.name: p.read_bytes() for p in target.iterdir()} == files
loaded = {name for name in ("agent", "cryptography", "blake3") if not sys.modules[name].__file__.startswith(lib)}
assert not loaded, loaded
"""


@pytest.mark.parametrize("version", ABIS)
def test_it_starts_with_nothing_installed_and_saves_and_restores(bundle: Path, tmp_path: Path, version: str) -> None:
    if version not in PYTHONS:
        pytest.skip(f"NOT TESTED: there is no Python {version} here")
    bare = {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    started = subprocess.run([PYTHONS[version], str(bundle)], env=bare, capture_output=True, text=True, timeout=60)
    assert "DUMONT_URL and DUMONT_TOKEN are not set" in started.stderr, started.stderr
    assert list(tmp_path.glob(".dumont/lib/*/agent/__pycache__/main.*.pyc"))

    done = subprocess.run(
        [PYTHONS[version], "-I", "-S", "-c", ROUND, str(tmp_path)],
        env=bare, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
