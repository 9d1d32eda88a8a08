"""`@dataclass(frozen=True)` for functions that must start fast.

The standard library's writes and compiles six methods for each class, a sixth of a cold start. Here only `__init__` is compiled;
what else a record can do is the same code for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T", bound=type)

    def dataclass(*, frozen: bool) -> Callable[[T], T]:
        """Only frozen ones: the others keep the standard library's."""
        assert frozen
        return _made

    def _made(cls: T) -> T:
        made = dataclasses.dataclass(repr=False, eq=False)(cls)
        fields = dataclasses.fields(made)
        made.__names__ = tuple(field.name for field in fields)
        made.__shown__ = tuple(field.name for field in fields if field.repr)
        for method in (__setattr__, __delattr__, __eq__, __hash__, __repr__):
            if method.__name__ not in cls.__dict__:
                setattr(made, method.__name__, method)
        return made

    def __setattr__(self: Any, name: str, value: object) -> None:
        # `__init__` sets each field once.
        if name in self.__dict__ or name not in self.__dataclass_fields__:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self: Any, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def _values(self: Any) -> list[object]:
        return [getattr(self, name) for name in self.__names__]

    def __eq__(self: Any, other: object) -> bool:
        return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(tuple(_values(self)))

    def __repr__(self: Any) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__shown__)
        return f"{self.__class__.__qualname__}({shown})"
