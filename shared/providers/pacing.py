"""A provider's rate limits, kept per key across processes: a wrapper that is itself a provider.

Providers have a minimum interval per endpoint and key. The next free moment of each is a document that callers move by
compare-and-set; whoever moved it may call then. Short waits are waited out, long ones are ProviderBusy, so that no
function pays for sleeping. A create is never repeated.

Searches also have a daily quota. Those in the background yield to users': they take a moment only when nobody has wanted one
for a whole interval, and leave a part of the quota alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from shared import errors
from shared.clock import Clock
from shared.domain.offer import MachineSpec, Need, Offer
from shared.providers.base import BACKGROUND, Provider, RentedMachine
from shared.store.base import Create, Data, Replace, Store

T = TypeVar("T")

INTERVAL_S: dict[str, dict[str, float]] = {
    # Vast.ai's documented thresholds; searches are limited to 10 a minute.
    "vast": {"create": 4.5, "get": 2.0, "list": 1.0, "terminate": 3.0, "search": 6.0},
    # 100 requests a minute for all endpoints together.
    "tensordock": {"create": 1.0, "get": 1.0, "list": 1.0, "terminate": 1.0, "search": 2.0},
    # About 1,500 a minute and project.
    "gce": {"create": 0.1, "get": 0.05, "list": 0.1, "terminate": 0.1, "search": 0.1},
}
DEFAULT_INTERVAL_S = INTERVAL_S["vast"]
"""The strictest."""
PATIENCE_S = {"create": 0.3, "get": 2.0, "list": 2.0, "terminate": 3.0, "search": 6.0}
BACKGROUND_PATIENCE_S = 40.0
BACKGROUND_SHARE = 0.6
"""Of the day's searches; the rest is for users alone."""
SEARCH_KEPT_S = 5.0
TRIES = 10


class Paced:
    def __init__(
        self,
        inner: Provider,
        store: Store,
        clock: Clock,
        account: str,
        scale: float = 1.0,
        searches_a_day: int | None = None,
    ) -> None:
        """`searches_a_day`: None where the provider has no such quota."""
        self.name = inner.name
        self.features = inner.features
        self._inner = inner
        self._store = store
        self._clock = clock
        self._account = hashlib.sha256(f"{inner.name}|{account}".encode()).hexdigest()[:16]
        self._scale = scale
        self._searches_a_day = searches_a_day
        self._found: dict[Need, tuple[float, Sequence[Offer]]] = {}

    def offers(self, need: Need) -> Sequence[Offer]:
        """Answers of the last seconds are used again: the search budget is small and shared."""
        now = self._clock.now().timestamp()
        at, known = self._found.get(need, (0.0, ()))
        if now - at < SEARCH_KEPT_S * self._scale and known:
            return known
        found = self._paced("search", lambda: self._inner.offers(need))
        self._found = {need: (now, found)}
        return found

    def create(self, offer: Offer, spec: MachineSpec, token: str) -> RentedMachine:
        return self._paced("create", lambda: self._inner.create(offer, spec, token))

    def get(self, machine_id: str) -> RentedMachine:
        return self._paced("get", lambda: self._inner.get(machine_id))

    def list(self) -> Sequence[RentedMachine]:
        return self._paced("list", self._inner.list)

    def terminate(self, machine_id: str) -> None:
        self._paced("terminate", lambda: self._inner.terminate(machine_id))

    def _paced(self, endpoint: str, call: Callable[[], T]) -> T:
        wait_s = self._reserve(endpoint)
        if wait_s > 0:
            self._clock.sleep(wait_s)
        try:
            return call()
        except errors.ProviderBusy as busy:
            self._push(endpoint, busy.retry_after_s)
            raise

    def _interval_s(self, endpoint: str) -> float:
        return INTERVAL_S.get(self.name, DEFAULT_INTERVAL_S)[endpoint] * self._scale

    def _reserve(self, endpoint: str) -> float:
        """Take the next free moment; how long to wait for it. Raises ProviderBusy when it is too far off."""
        id = f"{self._account}-{endpoint}"
        interval = timedelta(seconds=self._interval_s(endpoint))
        background = endpoint == "search" and BACKGROUND.get()
        give_up_at = self._clock.now() + timedelta(seconds=BACKGROUND_PATIENCE_S * self._scale)
        for _ in range(TRIES):
            document = self._store.get("paces", id)
            now = self._clock.now()
            known = document.data if document else {}
            free_at: datetime = max(now, known.get("free_at", now))
            wait_s = (free_at - now).total_seconds()
            if background and "free_at" in known and known["free_at"] + interval > now:
                if known["free_at"] + interval > give_up_at:
                    raise errors.ProviderBusy(f"{self.name} is searched by users", wait_s)
                self._clock.sleep((known["free_at"] + interval - now).total_seconds())
                continue
            if wait_s > PATIENCE_S[endpoint]:
                raise errors.ProviderBusy(f"{self.name} takes the next {endpoint} in {wait_s:.1f} s", wait_s)
            data = {"free_at": free_at + interval}
            if endpoint == "search" and self._searches_a_day is not None:
                data |= self._counted(known, free_at, background)
            try:
                self._store.commit(
                    [Replace("paces", id, data, document.rev) if document else Create("paces", id, data)]
                )
                return wait_s
            except errors.StoreConflict:
                continue
        raise errors.ProviderBusy(f"too many callers of {self.name} at once", self._interval_s(endpoint))

    def _counted(self, known: Data, at: datetime, background: bool) -> Data:
        """One more search on the day it happens. Raises ProviderBusy when the day's are used up."""
        day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        used = int(known["searches"]) if known.get("day") == day else 0
        limit = (self._searches_a_day or 0) * (BACKGROUND_SHARE if background else 1)
        if used >= limit:
            left_s = (day + timedelta(days=1) - at).total_seconds()
            raise errors.ProviderBusy(f"{self.name}'s {limit:.0f} searches of this day are used up", left_s)
        return {"day": day, "searches": used + 1}

    def _push(self, endpoint: str, seconds: float) -> None:
        """The provider itself asked for a pause: nobody calls before it is over."""
        id = f"{self._account}-{endpoint}"
        document = self._store.get("paces", id)
        until = self._clock.now() + timedelta(seconds=seconds)
        if document is None or document.data["free_at"] >= until:
            return
        try:
            self._store.commit([Replace("paces", id, {**document.data, "free_at": until}, document.rev)])
        except errors.StoreConflict:
            # Another caller moved it; the provider will say so again if it was too soon.
            return
