"""Race: up to `width` machines at once, on distinct hosts; whoever is ready first wins."""

from __future__ import annotations


def attempts_to_open(width: int, max_attempts: int, opened: int, alive: int) -> int:
    """How many more machines to ask for now. Never more in all than `max_attempts`."""
    return max(0, min(width - alive, max_attempts - opened))
