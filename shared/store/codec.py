"""Records to documents and back: frozen dataclasses above, plain JSON-like dicts below.

Enums become their values, Decimals strings, durations seconds, tuples lists; times stay times. Reading is lenient:
unknown fields are ignored and missing ones take their defaults, so old documents survive a new version.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.store.base import Data

T = TypeVar("T")


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    found = _ADAPTERS.get(cls)
    if found is None:
        found = _ADAPTERS[cls] = TypeAdapter(cls)
    return found


def encode(record: Any) -> Data:
    """A dataclass as a document."""
    data = _plain(_adapter(type(record)).dump_python(record))
    assert isinstance(data, dict)
    return data


def decode(cls: type[T], data: Data) -> T:
    """A document as the dataclass it was made from."""
    try:
        record: T = _adapter(cls).validate_python(data)
    except ValidationError as error:
        # Its own words would show values, secrets among them, to whoever reads logs.
        wrong = "; ".join(f"{'.'.join(str(p) for p in one['loc'])}: {one['msg']}" for one in error.errors()[:5])
        raise ValueError(f"a document is no {cls.__name__}: {wrong}") from None
    return record


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime | str | int | float | bool) or value is None:
        return value
    raise TypeError(f"{type(value).__name__} cannot be stored")


def to_json(value: Any) -> Any:
    """A document's values as JSON has them; times are text that sorts, and text that begins with `@` is escaped."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError("a stored time needs its zone")
        return value.astimezone(UTC).strftime("@%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, str):
        return "@" + value if value.startswith("@") else value
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_json(v) for v in value]
    return value


def from_json(value: Any) -> Any:
    """What `to_json` was given."""
    if isinstance(value, str) and value.startswith("@"):
        return value[1:] if value.startswith("@@") else datetime.fromisoformat(value[1:])
    if isinstance(value, dict):
        return {k: from_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [from_json(v) for v in value]
    return value
