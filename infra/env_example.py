"""`.env.example`: every setting with what it means and its default.

python -m infra.env_example [--check]
"""

from __future__ import annotations

import inspect
import re

from infra import generated
from shared.settings import Settings

FILE = ".env.example"


def text() -> str:
    lines = ["# Every setting, with its default. `make up` sets all of this by itself.", ""]
    meanings = _meanings()
    for name, field in Settings.model_fields.items():
        if name in meanings:
            lines.append(f"# {meanings[name]}")
        lines.append(f"DUMONT_{name.upper()}={'' if field.default is None else field.default}")
    return "\n".join(lines) + "\n"


def _meanings() -> dict[str, str]:
    """The docstring below each field."""
    form = re.compile(r'^    (\w+): [^\n]+\n    """(.+?)"""', re.M | re.S)
    source = inspect.getsource(Settings)
    return {name: " ".join(words.split()) for name, words in form.findall(source)}


if __name__ == "__main__":
    generated.run({FILE: text}, "infra.env_example")
