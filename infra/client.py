"""`frontend/src/api/api.gen.ts`: the console's client, generated from `docs/openapi.json`.

python -m infra.client [--check]
"""

from __future__ import annotations

import os
import subprocess

from infra import generated

FILE = "frontend/src/api/api.gen.ts"


def text() -> str:
    """Raises CalledProcessError with the generator's words."""
    draft = generated.ROOT / "frontend" / "src" / "api" / ".draft.gen.ts"
    try:
        subprocess.run(
            ["npm", "run", "--silent", "codegen"],
            cwd=generated.ROOT / "frontend",
            env={**os.environ, "OUTPUT": str(draft)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return draft.read_text().replace('"./base-api"', '"@/api/base-api"')
    finally:
        draft.unlink(missing_ok=True)


if __name__ == "__main__":
    generated.run({FILE: text}, "infra.client")
