"""Everything that reads the code without running it, as one JSON line at the end.

make check
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.report import finish

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SCHEMA = [str(BIN / "check-jsonschema")]
CODE = ("shared", "functions", "agent", "cli", "local", "infra", "bench")
CHECKS: dict[str, list[str]] = {
    "ruff": [str(BIN / "ruff"), "check", "."],
    "format": [str(BIN / "ruff"), "format", "--check", "-q", "."],
    "mypy": [str(BIN / "mypy"), *CODE],
    "imports": [str(BIN / "lint-imports")],
    "lock": [sys.executable, "-m", "infra.lock", "--check"],
    "openapi": [sys.executable, "-m", "infra.openapi", "--check"],
    "indexes": [sys.executable, "-m", "infra.indexes", "--check"],
    "lifecycle": [sys.executable, "-m", "infra.lifecycle", "--check"],
    "env_example": [sys.executable, "-m", "infra.env_example", "--check"],
    "firebase": [sys.executable, "-m", "infra.firebase", "--check"],
    "cloudbuild_schema": [*SCHEMA, "--builtin-schema", "vendor.cloudbuild", "cloudbuild.yaml"],
    "cloudbuild": [sys.executable, "-m", "infra.cloudbuild"],
    "firebase_schema": [*SCHEMA, "--schemafile", "infra/schemas/firebase-config.json", "firebase.json"],
    "client": [sys.executable, "-m", "infra.client", "--check"],
    "types": ["npm", "--prefix", "frontend", "run", "--silent", "typecheck"],
    "eslint": ["npm", "--prefix", "frontend", "run", "--silent", "lint"],
    "cli_docs": [sys.executable, "-m", "cli.docs", "--check"],
}


def main() -> None:
    passed = {}
    for name, command in CHECKS.items():
        sys.stdout.write(f"== {name}\n")
        sys.stdout.flush()
        passed[name] = subprocess.run(command, cwd=ROOT).returncode == 0
    finish("check", dict(passed), dict.fromkeys(passed, True), all(passed.values()))


if __name__ == "__main__":
    main()
