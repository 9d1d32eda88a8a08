"""What every wire model shares: unknown fields are refused in requests, times are UTC ISO-8601.

Validators are built at a model's first use: a function that starts pays only for the models that its first request needs.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Something a client sends."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False, frozen=True, defer_build=True)


class View(BaseModel):
    """Something we answer."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class Query(BaseModel):
    """Parameters in the address."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class PageQuery(Query):
    limit: int = 50
    cursor: str | None = None


class Done(View):
    """An answer that has nothing to say."""

    done: bool = True


class Report(View):
    """What a sweep did."""

    name: str
    looked_at: int = 0
    changed: int = 0
    failed: int = 0
    notes: list[str] = []
