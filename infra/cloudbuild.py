"""What no schema says of `cloudbuild.yaml`: whether its steps, variables, secrets and scripts fit together.

python -m infra.cloudbuild [FILE]
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from infra.manifest import ROOT

FILE = ROOT / "cloudbuild.yaml"
BUILT_IN = frozenset(
    {
        "PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION", "COMMIT_SHA", "SHORT_SHA", "REVISION_ID", "REPO_NAME",
        "REPO_FULL_NAME", "BRANCH_NAME", "TAG_NAME", "REF_NAME", "TRIGGER_NAME", "TRIGGER_BUILD_CONFIG_PATH",
        "SERVICE_ACCOUNT", "SERVICE_ACCOUNT_EMAIL",
    }
)  # fmt: skip
VARIABLE = re.compile(r"(?<!\$)(?:\$\$)*\$(?!\$)\{?([A-Za-z_]\w*)\}?")
"""Cloud Build's own: an escaped one (`$$X`) is the shell's."""
SHELLS = ("bash", "sh")


def problems(text: str, root: Path = ROOT) -> list[str]:
    """In words; empty when there are none. The file's form is a schema's to judge."""
    build: dict[str, Any] = yaml.safe_load(text)
    found: list[str] = []
    seen: list[str] = []
    declared = set(build.get("substitutions", {}))
    secrets = {
        one["env"] for kind in build.get("availableSecrets", {}).values() for one in kind if isinstance(one, dict)
    }
    used: set[str] = set()
    for number, step in enumerate(build["steps"]):
        id = step.get("id", f"step {number}")
        if id in seen:
            found.append(f"{id}: two steps have this id")
        for earlier in step.get("waitFor", []):
            if earlier != "-" and earlier not in seen:
                found.append(f"{id}: waits for {earlier}, which is no earlier step")
        seen.append(id)
        for secret in step.get("secretEnv", []):
            if secret not in secrets:
                found.append(f"{id}: secretEnv {secret} is no available secret")
        words = [str(word) for word in (*step.get("args", []), *step.get("env", []), step.get("script", ""))]
        for name in {name for word in words for name in VARIABLE.findall(word)}:
            used.add(name)
            if name.startswith("_") and name not in declared:
                found.append(f"{id}: ${name} is not declared under substitutions")
            elif not name.startswith("_") and name not in BUILT_IN:
                found.append(f"{id}: Cloud Build knows no ${name}; the shell's own is $${name}")
        found += [f"{id}: {wrong}" for wrong in _scripts(step)]
        folder = step.get("dir")
        if folder and not (root / folder).is_dir():
            found.append(f"{id}: there is no folder {folder}")
        for module in re.findall(r"python3? -m ([a-z_.]+)", " ".join(words)):
            if not (root / f"{module.replace('.', '/')}.py").exists() and module.split(".")[0] in (
                "infra",
                "bench",
                "local",
            ):
                found.append(f"{id}: there is no {module}")
    found += [f"{name} is declared and never used" for name in sorted(declared - used)]
    if not any("infra.deploy apply" in str(step.get("args", "")) for step in build["steps"]):
        found.append("no step deploys the manifest's functions (infra.deploy apply)")
    return found


def _scripts(step: dict[str, Any]) -> list[str]:
    """What bash says of the step's scripts, unescaped as Cloud Build does it."""
    given = [step["script"]] if "script" in step else []
    args = [str(word) for word in step.get("args", [])]
    if step.get("entrypoint") in SHELLS and "-c" in args:
        given += args[args.index("-c") + 1 : args.index("-c") + 2]
    wrong = []
    for script in given:
        done = subprocess.run(["bash", "-n"], input=script.replace("$$", "$"), capture_output=True, text=True)
        if done.returncode != 0:
            wrong.append(done.stderr.strip().splitlines()[0])
    return wrong


def main() -> None:
    found = problems(Path(sys.argv[1] if len(sys.argv) > 1 else FILE).read_text())
    for line in found:
        sys.stderr.write(f"cloudbuild.yaml: {line}\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
