"""Every function boots alone, laid out as it is deployed: only its own files, only its own requirements."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import lock, manifest
from infra.lock import pins
from infra.stage import stage

BOOT = r"""
import json, sys
from functions_framework import create_app
client = create_app("main", "main.py").test_client()
answers = []
for method, path in json.loads(sys.argv[1]):
    answer = client.open(path, method=method, json={})
    answers.append([answer.status_code, answer.get_json(silent=True)])
print(json.dumps({"answers": answers, "modules": sorted(sys.modules)}))
"""
HEAVY = {"boto3", "botocore", "httpx", "google.cloud.compute_v1", "google.cloud.scheduler_v1", "argon2"}
"""Nothing of these is imported before a request needs it: a cold start would pay for it."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """The interpreter of a clean virtual environment that holds what a requirements file locks, and nothing else.

    Its packages are links to the installed ones, each at its locked version: what pip would put there with --require-hashes
    (`make bench NAME=coldstart` does that).
    """
    made: dict[str, Path] = {}

    def of(requirements: Path) -> Path:
        text = requirements.read_text()
        if text not in made:
            folder = tmp_path_factory.mktemp("env")
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
            (packages,) = folder.glob("lib/python*/site-packages")
            for name, version in re.findall(r"^([a-z0-9-]+)==([\w.]+)", text, re.M):
                found = importlib.metadata.distribution(name)
                assert found.version == version, f"{name} {found.version} is installed, {version} is locked: make setup"
                for file in found.files or ():
                    if ".." not in file.parts:
                        link = packages / file
                        link.parent.mkdir(parents=True, exist_ok=True)
                        link.symlink_to(os.path.abspath(str(found.locate_file(file))))
            made[text] = folder / "bin" / "python"
        return made[text]

    return of


@pytest.mark.parametrize("name", sorted(manifest.load()))
def test_a_function_boots_alone_and_answers(name: str, tmp_path: Path, environment: Callable[[Path], Path]) -> None:
    function = manifest.load()[name]
    folder = stage(function, tmp_path)
    calls = [[r.method, "/api/v1" + re.sub(r"\{\w+\}", "x", r.path)] for r in function.routes]
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "DUMONT_ENV": "local",
        "DUMONT_STORE": "sqlite::memory:",
        "DUMONT_MASTER_KEY": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
    }

    done = subprocess.run(
        [environment(folder / "requirements.txt"), "-c", BOOT, json.dumps([["GET", "/ready"], *calls])],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["answers"].pop(0)[0] == 200, "it is ready: its settings are complete and its database answers"
    assert not HEAVY & set(result["modules"])
    for route, (status, body) in zip(function.routes, result["answers"], strict=True):
        if route.caller == "public":
            assert status in (200, 400, 401, 503), (route.path, status, body)
        else:
            assert status == 401, (route.path, status, body)
            assert body["error"]["code"] == "unauthenticated"


def test_each_function_declares_what_the_manifest_says() -> None:
    import importlib

    for name, function in manifest.load().items():
        module = importlib.import_module(f"functions.{name}.main")
        declared = module.main.__wrapped__.endpoints if hasattr(module.main, "__wrapped__") else module.main.endpoints
        told = Counter((e.method, e.path, e.caller, e.body, e.query, e.success, e.idempotent) for e in declared)
        written = Counter(
            (
                r.method,
                r.path,
                r.caller,
                manifest.model(r.body) if r.body else None,
                manifest.model(r.query) if r.query else None,
                r.success,
                r.idempotent,
            )
            for r in function.routes
        )
        assert told == written, name


def test_every_folder_of_functions_is_in_the_manifest() -> None:
    folders = {p.parent.name for p in (manifest.ROOT / "functions").glob("*/main.py")}

    assert folders == set(manifest.load())


def test_requirements_are_pinned_and_installed() -> None:
    for name, line in pins().items():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+", line), line
        assert importlib.metadata.version(name) == line.partition("==")[2]
    for function in manifest.load().values():
        assert set(function.requires) <= set(pins())


def test_a_stage_locks_what_it_needs_with_hashes_and_nothing_more(tmp_path: Path) -> None:
    text = {
        name: (stage(manifest.load()[name], tmp_path) / "requirements.txt").read_text() for name in ("usage", "wake")
    }
    locks = {
        name: re.findall(r"^([a-z0-9-]+)==\S+(?: ;.*)? \\\n    --hash=sha256:", t, re.M) for name, t in text.items()
    }

    assert lock.problems() == []
    for name, found in locks.items():
        assert len(found) == len(re.findall(r"^\S", text[name], re.M)), "every package has its hashes"
    assert set(locks["usage"]) < set(locks["wake"])
    assert set(locks["wake"]) - set(locks["usage"]) >= {
        "boto3",
        "botocore",
        "google-cloud-compute",
        "httpx",
        "httpcore",
    }
    assert not {"argon2-cffi", "google-cloud-scheduler", "pytest"} & set(locks["wake"])


def test_entry_points_stay_small() -> None:
    for path in (manifest.ROOT / "functions").glob("*/main.py"):
        limit = 20 + 12 * len(manifest.load()[path.parent.name].routes)
        assert len(path.read_text().splitlines()) <= limit, path


def test_routes_of_different_functions_never_collide() -> None:
    routes = [(f.name, r) for f in manifest.load().values() for r in f.routes]
    keys = Counter((r.method, re.sub(r"\{\w+\}", "{}", r.path)) for _, r in routes)

    assert all(count == 1 for count in keys.values())
