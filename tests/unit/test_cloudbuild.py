"""What the schema of cloudbuild.yaml lets pass is found before a build fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.check import CHECKS
from infra import cloudbuild
from infra.cloudbuild import problems

ROOT = cloudbuild.ROOT
GOOD = cloudbuild.FILE.read_text()


def test_ours_has_no_problem() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("- id: deploy", "- id: check", "two steps have this id"),
        ("waitFor: [check]", "waitFor: [console]", "no earlier step"),
        ("entrypoint: npx", "entrypoint: npx\n    secretEnv: [TOKEN]", "no available secret"),
        ("$_REGION", "$_REGOIN", "$_REGOIN is not declared"),
        ("REGION=$_REGION", "REGION=here", "_REGION is declared and never used"),
        ('"$$REGION"', '"$REGION"', "the shell's own is $$REGION"),
        ("make setup &&", "make setup && (", "syntax error"),
        ("infra.deploy apply", "infra.deploy plan", "no step deploys"),
        ("infra.deploy apply", "infra.deploi apply", "there is no infra.deploi"),
        ("entrypoint: npx", "entrypoint: npx\n    dir: nowhere", "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, says: str) -> None:
    changed = GOOD.replace(old, new, 1)

    assert changed != GOOD
    assert any(says in problem for problem in problems(changed)), problems(changed)


@pytest.mark.parametrize(
    ("check", "file", "wrong"),
    [
        ("cloudbuild_schema", "cloudbuild.yaml", {"options": {"logging": "SOMEWHERE"}}),
        ("firebase_schema", "firebase.json", {"hosting": {"rewrites": [{"sauce": "/x"}]}}),
    ],
)
def test_the_schemas_take_ours_refuse_a_wrong_field_and_ask_nobody(
    check: str, file: str, wrong: dict[str, object], tmp_path: Path
) -> None:
    command = CHECKS[check]
    assert command[-1] == file
    changed = tmp_path / file
    changed.write_text(json.dumps({**yaml.safe_load((ROOT / file).read_text()), **wrong}))
    offline = {"PATH": "", "HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}

    codes = [
        subprocess.run([*command[:-1], given], cwd=ROOT, env=offline, capture_output=True, timeout=60).returncode
        for given in (ROOT / file, changed)
    ]
    assert codes == [0, 1], sys.executable
