"""What every wire model shares: unknown fields are refused in requests, times are UTC ISO-8601.

Validators are built at a model's first use: a function that starts pays only for the models that its first request needs.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

MOST = 2**53 - 1
"""Of whole numbers: what every client's numbers hold, and the databases'."""

Count = Annotated[int, Field(ge=0, le=MOST)]
Measure = Annotated[float, Field(ge=-1e15, le=1e15)]
"""Whatever a machine has measured: it is judged elsewhere, here it need only be a number that can be stored."""
ObjectKey = Annotated[str, Field(pattern=r"^(p/[0-9a-f]{12}/[0-9]{1,12}-[0-9a-f]{16}|m/s-[0-9a-f]{16})$")]
"""A pack or a manifest, below the prefix of an instance: nothing else is ever signed for a machine or a reader."""
Cursor = Annotated[str, Field(max_length=1000)]


def _no_number(value: Any) -> Any:
    if isinstance(value, int | float) or (isinstance(value, str) and value.replace(".", "").lstrip("+-").isdigit()):
        raise ValueError("a time is written as 2026-01-31T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_no_number)]
"""A time with its zone, in an address: a number of seconds is none. Bodies are read strictly anyway."""


def _usd(number: dict[str, float], pattern: str) -> WithJsonSchema:
    text = {"type": "string", "maxLength": 30, "pattern": pattern}
    return WithJsonSchema({"anyOf": [{"type": "number", **number}, text]})


Price = Annotated[
    Decimal,
    Field(gt=0, le=1000),
    AfterValidator(lambda value: round(value, 9)),
    _usd(
        {"exclusiveMinimum": 0, "maximum": 1000},
        r"^(0\.[0-9]{0,11}[1-9]|[1-9][0-9]{0,2}(\.[0-9]{1,12})?|1000)$",
    ),
]
"""USD an hour."""
Budget = Annotated[
    Decimal,
    Field(ge=0, le=10_000_000, decimal_places=2),
    _usd({"minimum": 0, "maximum": 10_000_000, "multipleOf": 0.01}, r"^[0-9]{1,7}(\.[0-9]{1,2})?$"),
]
"""USD a month, in cents."""


class Body(BaseModel):
    """Something a client sends."""

    model_config = ConfigDict(
        extra="forbid", str_strip_whitespace=False, frozen=True, defer_build=True, hide_input_in_errors=True
    )


class View(BaseModel):
    """Something we answer."""

    model_config = ConfigDict(frozen=True, defer_build=True, hide_input_in_errors=True)


class Query(BaseModel):
    """Parameters in the address."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, hide_input_in_errors=True)


class PageQuery(Query):
    limit: int = Field(default=50, ge=1, le=500)
    cursor: Cursor | None = None


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
