"""A process that dies at a chosen moment: before or after any call that changes something outside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.domain.offer import MachineSpec, Need, Offer
from shared.objects.memory import MemoryObjects
from shared.providers.base import Provider, RentedMachine
from shared.store.base import Document, Page, Shape, Store, Write

T = TypeVar("T")


class Crash(BaseException):
    """Like SIGKILL: nothing catches it."""


@dataclass
class Fuse:
    """Burns at the `at`-th change, before it or after. Afterwards the process is dead until it is started again."""

    at: int
    after: bool = False
    seen: int = 0
    dead: bool = False

    def change(self, act: Callable[[], T]) -> T:
        if self.dead:
            raise Crash
        self.seen += 1
        burns = self.seen == self.at
        if burns and not self.after:
            self.dead = True
            raise Crash
        result = act()
        if burns:
            self.dead = True
            raise Crash
        return result

    def read(self, act: Callable[[], T]) -> T:
        if self.dead:
            raise Crash
        return act()


class CrashingStore:
    def __init__(self, inner: Store, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def get(self, collection: str, id: str) -> Document | None:
        return self._fuse.read(lambda: self._inner.get(collection, id))

    def get_many(self, collection: str, ids: Sequence[str]) -> list[Document | None]:
        return self._fuse.read(lambda: self._inner.get_many(collection, ids))

    def commit(self, writes: Sequence[Write]) -> list[str]:
        return self._fuse.change(lambda: self._inner.commit(writes))

    def query(self, shape: Shape, equal: Mapping[str, Any] | None = None, **options: Any) -> Page:
        return self._fuse.read(lambda: self._inner.query(shape, equal, **options))

    def collections(self) -> list[str]:
        return self._fuse.read(self._inner.collections)

    def close(self) -> None:
        self._inner.close()


class CrashingObjects(MemoryObjects):
    """Storage in memory, shared with the world; deletes are the changes that a process may die at."""

    def __init__(self, inner: MemoryObjects, fuse: Fuse) -> None:
        self.objects, self._fuse = inner.objects, fuse

    def delete(self, key: str) -> None:
        self._fuse.change(lambda: super(CrashingObjects, self).delete(key))


class CrashingProvider:
    def __init__(self, inner: Provider, fuse: Fuse) -> None:
        self.name, self.features = inner.name, inner.features
        self._inner, self._fuse = inner, fuse

    def offers(self, need: Need) -> Sequence[Offer]:
        return self._fuse.read(lambda: self._inner.offers(need))

    def create(self, offer: Offer, spec: MachineSpec, token: str) -> RentedMachine:
        return self._fuse.change(lambda: self._inner.create(offer, spec, token))

    def get(self, machine_id: str) -> RentedMachine:
        return self._fuse.read(lambda: self._inner.get(machine_id))

    def list(self) -> Sequence[RentedMachine]:
        return self._fuse.read(self._inner.list)

    def terminate(self, machine_id: str) -> None:
        self._fuse.change(lambda: self._inner.terminate(machine_id))
