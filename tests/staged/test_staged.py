"""Every function boots alone, laid out as it is deployed: only its own files, only its own requirements."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from infra import manifest
from infra.stage import pins, stage

BOOT = r"""
import importlib.abc, json, sys

class Only(importlib.abc.MetaPathFinder):
    '''Refuses what the function does not require.'''
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED or name in REFUSED:
            raise ModuleNotFoundError(f"{name} is not among this function's requirements")
        return None

REFUSED = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Only())
from functions_framework import create_app
client = create_app("main", "main.py").test_client()
answers = []
for method, path in json.loads(sys.argv[2]):
    answer = client.open(path, method=method, json={})
    answers.append([answer.status_code, answer.get_json(silent=True)])
print(json.dumps({"answers": answers, "modules": sorted(m for m in sys.modules if "." not in m)}))
"""

IMPORTS = {
    "argon2-cffi": {"argon2"},
    "boto3": {"boto3", "botocore"},
    "google-cloud-compute": {"google.cloud.compute_v1"},
    "google-cloud-firestore": {"google.cloud.firestore"},
    "google-cloud-scheduler": {"google.cloud.scheduler_v1"},
    "httpx": {"httpx"},
}
"""What a requirement brings. httpx and others may come along with another requirement only if that one needs them."""
NEVER = {"pytest", "aiohttp", "agent", "cli", "local", "infra", "tests", "functions"}


@pytest.mark.parametrize("name", sorted(manifest.load()))
def test_a_function_boots_alone_and_answers(name: str, tmp_path: Path) -> None:
    function = manifest.load()[name]
    folder = stage(function, tmp_path)
    refused = set(NEVER)
    for package, modules in IMPORTS.items():
        if package not in function.requires:
            refused |= modules
    calls = [[r.method, "/api/v1" + re.sub(r"\{\w+\}", "x", r.path)] for r in function.routes]
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "DUMONT_ENV": "local",
        "DUMONT_STORE": "sqlite::memory:",
        "DUMONT_MASTER_KEY": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
    }

    done = subprocess.run(
        [sys.executable, "-P", "-c", BOOT, json.dumps(sorted(refused)), json.dumps(calls)],
        cwd=folder,
        env={**env, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
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


def test_entry_points_stay_small() -> None:
    for path in (manifest.ROOT / "functions").glob("*/main.py"):
        limit = 20 + 12 * len(manifest.load()[path.parent.name].routes)
        assert len(path.read_text().splitlines()) <= limit, path


def test_routes_of_different_functions_never_collide() -> None:
    routes = [(f.name, r) for f in manifest.load().values() for r in f.routes]
    keys = Counter((r.method, re.sub(r"\{\w+\}", "{}", r.path)) for _, r in routes)

    assert all(count == 1 for count in keys.values())
