"""How fast a polite snapshot sends, so that the user's own transfers go on beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

POLITE_RATE = 32_000_000
"""Bytes a second while the user works."""


class Pace:
    """`delay(size)` is how long to wait before sending so much; nothing once somebody waits for the snapshot."""

    def __init__(
        self, rate: float, hurry: Callable[[], bool] = lambda: False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._hurry, self._clock = rate, hurry, clock
        self._guard = threading.Lock()
        self._free_at = clock()

    def delay(self, size: int) -> float:
        with self._guard:
            now = self._clock()
            if self._hurry():
                self._free_at = now
                return 0.0
            # What was not used before is not saved up: a pause does not become a burst.
            start = max(now, self._free_at)
            self._free_at = start + size / self._rate
            return start - now
