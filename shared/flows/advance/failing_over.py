"""`failing_over`: the machine was lost; wake on another host from the newest verified snapshot, or rest as hibernated."""

from __future__ import annotations

from shared.flows.advance import waking
from shared.flows.advance.step import Next, Step


def step(step: Step) -> Next:
    return waking.step(step)
