"""What users run on a standby: held while its last snapshot goes to the GPU, ended once that has taken over.

Otherwise what they write after the snapshot would be lost unseen, and the machine that follows again would hold files of two.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.settings import log

RUNS, HELD, ENDED = "runs", "held", "ended"
TERMINALS = range(136, 144)
"""Majors of what SSH gives its users; the machine's own console is another."""
LOOKS = 50
"""A process that is not held yet may start others: it is looked until there are none."""


class Work:
    def __init__(self, shared_host: bool) -> None:
        self._shared = shared_host
        self._state: str | None = None
        self._moved = threading.Condition()

    def be(self, wanted: str, places: Sequence[str]) -> None:
        """As the control plane has it; with each heartbeat, since others may have come meanwhile."""
        with self._moved:
            before, self._state = self._state, wanted
            if wanted != RUNS:
                self._stop(signal.SIGSTOP if wanted == HELD else signal.SIGKILL, places)
            elif before != RUNS:
                # Also after a restart of ours: it may have been held before.
                for pid in self._working(places):
                    _send(pid, signal.SIGCONT)
            if before not in (None, wanted):
                log(f"what is run here is {wanted}" if wanted != RUNS else "what is run here goes on")
            self._moved.notify_all()

    @contextlib.contextmanager
    def starting(self) -> Iterator[bool]:
        """To start a command in: waits while work is held; False when none may be started any more."""
        with self._moved:
            self._moved.wait_for(lambda: self._state != HELD)
            yield self._state != ENDED

    def _stop(self, number: int, places: Sequence[str]) -> None:
        for _ in range(LOOKS):
            found = [pid for pid in self._working(places) if number == signal.SIGKILL or not _stands(pid)]
            if not found:
                return
            for pid in found:
                _send(pid, number)

    def _working(self, places: Sequence[str]) -> Iterator[int]:
        """Processes of users: started by an order, on a terminal, or with the workspace as their place or a file of it open."""
        session = os.getsid(0)
        roots = [os.path.realpath(place) for place in places]
        marks = [f"WORKSPACE={place}".encode() for place in places[:1]]
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                fields = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
                if fields[0] == b"Z" or int(fields[3]) == session:
                    continue
                on_terminal = not self._shared and (int(fields[4]) >> 8) & 0xFFF in TERMINALS
                variables = Path(entry.path, "environ").read_bytes().split(b"\0")
                if on_terminal or any(mark in variables for mark in marks) or _inside(entry.path, roots):
                    yield int(entry.name)
            except (OSError, ValueError, IndexError):
                # It ended meanwhile.
                continue


def _inside(process: str, roots: Sequence[str]) -> bool:
    places = [os.readlink(f"{process}/cwd")]
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"{process}/fd"):
            with contextlib.suppress(OSError):
                places.append(os.readlink(entry.path))
    return any(place == root or place.startswith(root + "/") for place in places for root in roots)


def _stands(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    return True


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
