"""Our frozen dataclasses behave as the standard library's."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, field, replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from shared.frozen import dataclass


@dataclass(frozen=True)
class Ours:
    name: str
    count: int = 3
    tags: tuple[str, ...] = ()
    found: dict[str, int] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    derived: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "derived", self.name.upper())


@dataclass(frozen=True)
class More(Ours):
    extra: int = 0


@dataclasses.dataclass(frozen=True)
class Theirs:
    name: str
    count: int = 3
    tags: tuple[str, ...] = ()


def test_a_field_is_set_once_and_nothing_else_can_be_set_or_deleted() -> None:
    one: Any = Ours("a")
    for change in (
        lambda: setattr(one, "name", "b"),
        lambda: setattr(one, "derived", "b"),
        lambda: setattr(one, "other", 1),
        lambda: delattr(one, "name"),
    ):
        with pytest.raises(FrozenInstanceError):
            change()
    assert (one.name, one.count, one.derived) == ("a", 3, "A")


def test_they_compare_hash_print_copy_and_are_replaced_as_dataclasses() -> None:
    one = Ours("a", tags=("x",), secret="never shown")
    assert one == Ours("a", tags=("x",), secret="never shown") != Ours("b", tags=("x",), secret="never shown")
    assert one != Theirs("a", tags=("x",)) and More("a") != Ours("a")
    assert repr(one) == "Ours(name='a', count=3, tags=('x',), found={}, derived='A')"
    assert one == copy.deepcopy(one) == pickle.loads(pickle.dumps(one))
    assert replace(one, name="b").derived == "B"
    assert dataclasses.asdict(More("a", extra=2))["extra"] == 2
    with pytest.raises(TypeError):
        hash(one)
    assert Ours("a").found is not Ours("a").found


def test_documents_are_read_into_them_and_hash_alike_however_they_were_made() -> None:
    @dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2

    read = TypeAdapter(Point).validate_python({"y": 5, "x": 1})
    assert read == Point(1, 5) and hash(read) == hash(Point(1, 5)) and len({read, Point(1, 5)}) == 1
    with pytest.raises(FrozenInstanceError):
        read.x = 2
