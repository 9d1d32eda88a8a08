"""What a crew is given: tasks and their results, plain values that cross to other processes as they are."""

from __future__ import annotations

from typing import Any, Protocol

Task = tuple[Any, ...]


class Work(Protocol):
    """What the workers of a crew do."""

    def do(self, task: Task) -> Task: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...
