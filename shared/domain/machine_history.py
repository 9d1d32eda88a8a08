"""What is remembered of a machine at a provider: how often it was ready, why not, how long it took; and whom it is kept from.

    success rate = ready / (ready + bad), recent attempts weighing more (a weight falls to 1/e in 14 days)

Only failures on an allowlist blame the host. A prior keeps one bad try from banning and 3/3 from beating 480/500.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain.attempt import Outcome
from shared.frozen import dataclass

TAU = timedelta(days=14)
PRIOR_RATE, PRIOR_WEIGHT = 0.9, 2.0
BANNED_BELOW = 0.30
BANNED_FROM = 3
"""Counted attempts."""
KEPT_BOOTS, KEPT_RECENT = 30, 10
LONGEST_BAN = timedelta(days=30)


class Blame(StrEnum):
    HARD = "hard"
    """Will fail again: the container runtime, a missing or wrong GPU."""
    SOFT = "soft"
    """May pass: never answered, lost."""
    NONE = "none"
    """Says nothing about the host: the user's image, a preemption."""


COOLDOWN = {Blame.HARD: timedelta(hours=6), Blame.SOFT: timedelta(minutes=30), Blame.NONE: timedelta(0)}

CLASSES: tuple[tuple[str, str, Blame], ...] = (
    (r"manifest .*unknown|pull access denied|repository does not exist|toomanyrequests|image", "image", Blame.NONE),
    (r"outbid|preempt|interrupted", "interrupted", Blame.NONE),
    (r"OCI runtime|failed to inject CDI|Error response from daemon|error writing dockerfile", "container", Blame.HARD),
    (r"reports no GPU|GPUs are there|found NVIDIA|rented .*, found", "gpu", Blame.HARD),
    (r"no space left|disk cannot be written|disk full", "disk", Blame.HARD),
    (r"no such host|cannot resolve", "network", Blame.HARD),
    (r"download.* slow", "slow", Blame.SOFT),
    (r"not ready within|never registered", "never_ready", Blame.SOFT),
    (r"no longer has the machine|silent|was lost|gone|offline", "lost", Blame.SOFT),
    (r"machine is (broken|stopped|error)", "broken", Blame.SOFT),
)
"""Allowlist of reasons, first match first. What matches nothing blames nobody."""


def failure_class(why: str) -> tuple[str, Blame]:
    """The name of a failure and whether it blames the host."""
    for form, name, blame in CLASSES:
        if re.search(form, why, re.I):
            return name, blame
    return "other", Blame.NONE


@dataclass(frozen=True)
class Past:
    """One attempt, as remembered."""

    at: datetime
    outcome: str
    why: str = ""
    kind: str = ""
    boot_s: float | None = None


@dataclass(frozen=True)
class MachineHistory:
    id: str
    provider: str
    machine_id: str
    host_id: str
    gpu_name: str
    region: str
    updated_at: datetime
    ready: float = 0.0
    bad: float = 0.0
    """Both decayed to `updated_at`."""
    counted: int = 0
    """Attempts that said something about the host."""
    boots: tuple[float, ...] = ()
    """Seconds from create to ready, newest last."""
    recent: tuple[Past, ...] = ()
    bans: int = 0
    blocked_until: datetime | None = None
    blocked_why: str | None = None
    disk_mb_s: float | None = None
    down_mb_s: float | None = None

    def decayed(self, now: datetime) -> tuple[float, float]:
        """The weights of ready and bad attempts as of now."""
        factor = math.exp(-max(0.0, (now - self.updated_at) / TAU))
        return self.ready * factor, self.bad * factor

    def rate(self, now: datetime) -> float:
        """How likely an attempt is to become ready, between 0 and 1."""
        ready, bad = self.decayed(now)
        return (ready + PRIOR_RATE * PRIOR_WEIGHT) / (ready + bad + PRIOR_WEIGHT)

    def interval(self, now: datetime) -> tuple[float, float]:
        """Where the rate lies with 90 % (Wilson), from what was seen; (0, 1) when nothing was."""
        ready, bad = self.decayed(now)
        n, z = ready + bad, 1.645
        if n <= 0:
            return 0.0, 1.0
        p = ready / n
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))

    def blocked(self, now: datetime) -> bool:
        return self.blocked_until is not None and self.blocked_until > now

    def boot_quantile(self, share: float) -> float | None:
        """Seconds within which that share of boots was ready."""
        if not self.boots:
            return None
        ordered = sorted(self.boots)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def noted(
        self, outcome: Outcome, why: str, now: datetime, *, boot_s: float | None = None, was_ready: bool = False
    ) -> MachineHistory:
        """With one more outcome. `was_ready`: the same attempt was counted as ready before and no longer is."""
        if outcome is Outcome.CANCELLED:
            return self
        ready, bad = self.decayed(now)
        if outcome is Outcome.READY:
            past = Past(now, str(outcome), boot_s=boot_s)
            boots = (*self.boots, boot_s)[-KEPT_BOOTS:] if boot_s is not None else self.boots
            return replace(
                self, ready=ready + 1, bad=bad, counted=self.counted + 1, boots=boots, updated_at=now,
                recent=(*self.recent, past)[-KEPT_RECENT:],
            )  # fmt: skip
        kind, blame = failure_class(why)
        recent = (*self.recent, Past(now, str(outcome), why[:200], kind))[-KEPT_RECENT:]
        if blame is Blame.NONE:
            return replace(self, ready=ready, bad=bad, updated_at=now, recent=recent)
        counted = self.counted + (0 if was_ready else 1)
        noted = replace(
            self, ready=max(0.0, ready - 1) if was_ready else ready, bad=bad + 1, counted=counted, updated_at=now,
            recent=recent,
        )  # fmt: skip
        return noted._kept_away(blame, why, now)

    def _kept_away(self, blame: Blame, why: str, now: datetime) -> MachineHistory:
        """After a failure the machine rests for a while; one that keeps failing for twice as long each time."""
        failing = self.counted >= BANNED_FROM and self.ready / max(1e-9, self.ready + self.bad) < BANNED_BELOW
        bans = self.bans + 1 if failing else self.bans
        rest = min(LONGEST_BAN, COOLDOWN[blame] * 2**bans)
        until = max(self.blocked_until or now, now + rest)
        return replace(self, bans=bans, blocked_until=until, blocked_why=why[:200])


def history_id(provider: str, machine_id: str) -> str:
    """One document a machine; providers' ids may hold slashes."""
    return f"{provider}-{machine_id.replace('/', '_')}"


@dataclass(frozen=True)
class Block:
    """What a user decided about a machine, whatever its history says: kept away, or allowed."""

    id: str
    user_id: str
    machine: str
    allow: bool
    why: str
    at: datetime
