"""Where the command line finds its API and its key."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass
class Config:
    api_url: str | None = None
    api_key: str | None = None
    key_id: str | None = None


def folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "dumont"


def load() -> Config:
    """From the environment first, then from the file that `login` wrote."""
    file = folder() / "config.json"
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    config = Config(**{name: kept.get(name) for name in ("api_url", "api_key", "key_id")})
    config.api_url = os.environ.get("DUMONT_API_URL") or config.api_url
    config.api_key = os.environ.get("DUMONT_API_KEY") or config.api_key
    return config


def save(config: Config) -> None:
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder() / "config.json"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(asdict(config), out)


def local_state() -> dict[str, Any] | None:
    """What a running local cloud wrote, here or in a folder above."""
    for place in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parent.parent):
        file = place / ".local" / "state.json"
        if file.exists():
            state: dict[str, Any] = json.loads(file.read_text())
            return state
    return None
