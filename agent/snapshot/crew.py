"""Who does the work of a save or a restore: threads of this process, or processes that each have some.

Small jobs are done by threads. Large ones by processes of their own: they read, compress, seal and send without waiting for
each other. The first is started afresh (this one has threads, and a fork would copy their locks), imports what the work needs
and forks the others. Messages are marshalled tuples with their length before them. A crew is used by one thread.

    to a worker:    job, then tasks, answers to its calls, ("end",)
    from a worker:  results of tasks, ("call", seq, name, arguments), ("failed", text), ("ended",)

`worker.py` is their side.
"""

from __future__ import annotations

import fcntl
import gc
import json
import marshal
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from agent.snapshot.errors import SnapshotError
from agent.snapshot.tasks import Task, Work
from agent.snapshot.worker import SIZE

MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "67108864",
    "MALLOC_TRIM_THRESHOLD_": "134217728",
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""For the C library of workers: blocks of megabytes are used again instead of being given back and zeroed anew, and lie in
large pages where the kernel has any for who asks (glibc 2.35; earlier ones do not know the setting)."""
GRACE_S = 2
"""How long workers that are given up may take to end by themselves, so that the first reaps its forks."""
PIPE = 1 << 20
"""Bytes that a pipe to or from a worker takes: several tasks of a thousand names, so that nobody waits for the other to read."""
IN_FLIGHT = 3
"""Tasks per thread that wait at a worker, so that it never does."""


@contextmanager
def few_collections() -> Iterator[None]:
    """Rows of hundreds of thousands of files come and go, none of them in a cycle: the collector need not look each time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def enough_threads(processes: int = 1) -> int:
    """In each process: one more than its share of the cores, as one of them waits for the network; four are plenty."""
    return min(4, -(-cores() // processes) + 1)


class Crew(Protocol):
    def submit(self, task: Task) -> None:
        """Hand over a task; blocks, handling results, while there is too much to do."""

    def drain(self) -> None:
        """Wait for every task that was submitted. Raises SnapshotError when one failed."""

    def finish(self) -> None:
        """No more tasks: let the workers end what they hold open, and end."""

    def abandon(self) -> None:
        """End at once, whatever is open."""


class Threads:
    """`done` is called with each result, by the thread that submits."""

    def __init__(self, work: Work, done: Callable[[Task], None]) -> None:
        self._work, self._done = work, done
        count = enough_threads()
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Task | BaseException] = queue.SimpleQueue()
        self._open = 0
        self._limit = count * IN_FLIGHT
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        failed = False
        while (task := self._tasks.get()) is not None:
            if failed:
                self._results.put(SnapshotError("an earlier task failed"))
                continue
            try:
                self._results.put(self._work.do(task))
            except BaseException as error:
                failed = True
                self._results.put(error)

    def _take(self) -> None:
        result = self._results.get()
        self._open -= 1
        if isinstance(result, BaseException):
            raise result
        self._done(result)

    def submit(self, task: Task) -> None:
        while self._open >= self._limit:
            self._take()
        self._open += 1
        self._tasks.put(task)

    def drain(self) -> None:
        while self._open:
            self._take()

    def finish(self) -> None:
        self.drain()
        self._stop()
        self._work.finish()

    def abandon(self) -> None:
        self._work.abandon()
        self._stop()

    def _stop(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()


class _Member:
    """Our ends of the pipes to and from one worker."""

    def __init__(self, into: int, out: int) -> None:
        self.open = 0
        self.ended = False
        self.inbox = bytearray()
        self.into, self.out = os.fdopen(into, "wb"), out
        os.set_blocking(out, False)
        for pipe in (into, out):
            with suppress(OSError):
                # Users may have no more than a share of all pipes' memory; it is only slower then.
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)

    def send(self, message: Task) -> None:
        raw = marshal.dumps(message)
        self.write(SIZE.pack(len(raw)) + raw)

    def write(self, raw: bytes) -> None:
        try:
            self.into.write(raw)
            self.into.flush()
        except OSError as error:
            raise SnapshotError(f"a worker ended: {error}") from error

    def hang_up(self) -> None:
        """For a worker, the sign to end at once."""
        with suppress(OSError):
            self.into.close()


class Processes:
    """`calls` answers what workers ask (addresses, claims); `done` is called with each result. Both by the submitter."""

    def __init__(
        self,
        job: dict[str, Any],
        calls: dict[str, Callable[..., Any]],
        done: Callable[[Task], None],
        *,
        count: int | None = None,
        threads: int | None = None,
        nice: int = 0,
    ) -> None:
        self._calls, self._done = calls, done
        # Two processes are enough to feed many cores, as crypto, hashing and input release the lock; each has its buffers.
        count = count or min(2, cores())
        threads = threads or enough_threads(count)
        self._limit = threads * IN_FLIGHT
        self._selector = selectors.DefaultSelector()
        self._members: list[_Member] = []
        theirs: list[int] = []
        try:
            for _ in range(count):
                from_us, into = os.pipe()
                theirs.append(from_us)
                out, to_us = os.pipe()
                theirs.append(to_us)
                member = _Member(into, out)
                self._members.append(member)
                self._selector.register(out, selectors.EVENT_READ, member)
            self._process = subprocess.Popen(
                # Without what an image adds to each start: where to import from is known.
                [sys.executable, "-S", "-c", "from agent.snapshot.worker import main; main()", job["kind"], *map(str, theirs)],
                env={**os.environ, **MEMORY, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                stdin=subprocess.DEVNULL, stdout=2, pass_fds=theirs, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            for member in self._members:
                member.hang_up()
                os.close(member.out)
            self._selector.close()
            raise SnapshotError(f"the workers did not start: {error}") from error
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        try:
            for member in self._members:
                member.write(json.dumps({**job, "threads": threads, "nice": nice}).encode() + b"\n")
        except SnapshotError:
            self.abandon()
            raise

    def submit(self, task: Task) -> None:
        while True:
            self._pump(block=False)
            member = min(self._members, key=lambda one: one.open)
            if member.open < self._limit:
                break
            self._pump(block=True)
        member.open += 1
        member.send(task)

    def drain(self) -> None:
        while any(member.open for member in self._members):
            self._pump(block=True)

    def finish(self) -> None:
        self.drain()
        for member in self._members:
            member.send(("end",))
        while not all(member.ended for member in self._members):
            self._pump(block=True)
        self._close()

    def abandon(self) -> None:
        """What a process held is closed when it is dead: from then on nothing is read, written or sent."""
        for member in self._members:
            member.hang_up()
        grace: float | None = GRACE_S
        while self._selector.get_map():
            ended = self._selector.select(grace)
            if not ended:
                # Whoever is left: they are a session of their own, whose first process was not reaped yet.
                os.killpg(self._process.pid, signal.SIGKILL)
                grace = None
            for key, _ in ended:
                if not os.read(key.fd, 1 << 18):
                    self._selector.unregister(key.fd)
        self._close()

    def _close(self) -> None:
        self._selector.close()
        for member in self._members:
            member.hang_up()
            os.close(member.out)
        self._process.wait()

    def _pump(self, block: bool) -> None:
        for key, _ in self._selector.select(None if block else 0):
            member: _Member = key.data
            try:
                piece = os.read(member.out, 1 << 18)
            except BlockingIOError:
                continue
            if not piece:
                if not member.ended:
                    raise SnapshotError("a worker died")
                self._selector.unregister(member.out)
                continue
            member.inbox += piece
            while len(member.inbox) >= 4:
                (size,) = SIZE.unpack_from(member.inbox)
                if len(member.inbox) < 4 + size:
                    break
                message = marshal.loads(bytes(member.inbox[4 : 4 + size]))
                del member.inbox[: 4 + size]
                self._handle(member, message)

    def _handle(self, member: _Member, message: Task) -> None:
        if message[0] == "call":
            _, seq, name, arguments = message
            member.send(("answer", seq, self._calls[name](*arguments)))
        elif message[0] == "failed":
            raise SnapshotError(message[1])
        elif message[0] == "ended":
            member.ended = True
        else:
            member.open -= 1
            self._done(message)


class Lazy:
    """Tasks wait until it is known whether the job is large; `start(large)` gives the crew for it."""

    def __init__(self, start: Callable[[bool], Crew], large_from: int) -> None:
        self._start, self._large_from = start, large_from
        self._waiting: list[Task] = []
        self._bytes = 0
        self._crew: Crew | None = None

    def expect(self, size: int) -> None:
        """So many bytes are known to come: workers for a large job start already."""
        if self._crew is None and size >= self._large_from:
            self._crew = self._start(True)

    def submit(self, task: Task, size: int) -> None:
        if self._crew is not None:
            self._crew.submit(task)
            return
        self._waiting.append(task)
        self._bytes += size
        if self._bytes >= self._large_from:
            self._begin()

    def _begin(self) -> Crew:
        if self._crew is None:
            self._crew = self._start(self._bytes >= self._large_from)
        tasks, self._waiting = self._waiting, []
        for task in tasks:
            self._crew.submit(task)
        return self._crew

    def drain(self) -> None:
        if self._waiting or self._crew is not None:
            self._begin().drain()

    def finish(self) -> None:
        if self._crew is not None:
            self._crew.finish()

    def abandon(self) -> None:
        if self._crew is not None:
            self._crew.abandon()
