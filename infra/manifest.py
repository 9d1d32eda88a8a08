"""`functions.yaml`, checked: every function with its routes, who may call them, and how it is deployed."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "infra" / "functions.yaml"


class Route(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    """What the call is named in OpenAPI and in generated clients."""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    caller: Literal["public", "user", "admin", "agent", "model", "scheduler"]
    summary: str
    body: str | None = None
    query: str | None = None
    answer: str
    """`raw`: bytes of the types in `media`."""
    media: tuple[str, ...] = ()
    success: int = 200
    idempotent: bool = False

    def matches(self, path: str) -> bool:
        """Whether a path below /api/v1 is this route's."""
        form = re.sub(r"\\{\w+\\}", r"[A-Za-z0-9_-]{1,100}", re.escape(self.path))
        return re.fullmatch(form, path.rstrip("/")) is not None


class Function(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    memory_mib: int
    timeout_s: int
    concurrency: int
    max_instances: int
    requires: list[str]
    routes: list[Route]
    schedule: str | None = None


@cache
def load() -> dict[str, Function]:
    """Every function by its name. Raises ValidationError when the file is wrong."""
    raw = yaml.safe_load(FILE.read_text())
    defaults = raw["defaults"]
    functions = {}
    for name, own in raw["functions"].items():
        merged = {**defaults, **own, "requires": sorted({*defaults["requires"], *own.get("requires", [])})}
        functions[name] = Function(name=name, **merged)
    return functions


def model(name: str) -> type[BaseModel]:
    """A wire model by its name in the manifest, such as `auth.LoginRequest`."""
    module, _, attribute = name.partition(".")
    found: type[BaseModel] = getattr(importlib.import_module(f"shared.wire.{module}"), attribute)
    assert issubclass(found, BaseModel)
    return found
