"""Who does the work of a save or a restore: threads of this process, or processes that each have some.

Small jobs are done by threads. Large ones by processes of their own, started afresh (this one has threads, and a fork would
copy their locks): they read, compress, seal and send without waiting for each other. Messages are marshalled tuples with
their length before them. A crew is used by one thread.

    to a worker:    job, then tasks, answers to its calls, ("end",)
    from a worker:  results of tasks, ("call", seq, name, arguments), ("failed", text), ("ended",)
"""

from __future__ import annotations

import base64
import json
import marshal
import os
import queue
import selectors
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from agent.snapshot.errors import SnapshotError

Task = tuple[Any, ...]
_SIZE = struct.Struct("<I")
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "67108864", "MALLOC_TRIM_THRESHOLD_": "134217728", "MALLOC_ARENA_MAX": "1"}
"""For the C library of workers: blocks of megabytes are used again instead of being given back and zeroed anew."""
IN_FLIGHT = 3
"""Tasks per thread that wait at a worker, so that it never does."""


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


class Work(Protocol):
    """What the workers of a crew do."""

    def do(self, task: Task) -> Task: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


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
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self.open = 0
        self.ended = False
        self.inbox = bytearray()
        self.into, self.out = process.stdin, process.stdout

    def send(self, message: Task) -> None:
        raw = marshal.dumps(message)
        try:
            self.into.write(_SIZE.pack(len(raw)) + raw)
            self.into.flush()
        except OSError as error:
            raise SnapshotError(f"a worker ended: {error}") from error


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
        env = {**os.environ, **MEMORY, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        whole = {**job, "threads": threads, "nice": nice}
        try:
            for _ in range(count):
                process = subprocess.Popen(
                    [sys.executable, "-c", "from agent.snapshot.crew import worker; worker()"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env,
                )  # fmt: skip
                member = _Member(process)
                self._members.append(member)
                os.set_blocking(member.out.fileno(), False)
                self._selector.register(member.out, selectors.EVENT_READ, member)
                member.into.write(json.dumps(whole).encode() + b"\n")
                member.into.flush()
        except OSError as error:
            self.abandon()
            raise SnapshotError(f"a worker did not start: {error}") from error

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
        for member in self._members:
            member.process.kill()
        self._close()

    def _close(self) -> None:
        self._selector.close()
        for member in self._members:
            member.into.close()
            member.out.close()
            member.process.wait()

    def _pump(self, block: bool) -> None:
        for key, _ in self._selector.select(None if block else 0):
            member: _Member = key.data
            try:
                piece = os.read(member.out.fileno(), 1 << 18)
            except BlockingIOError:
                continue
            if not piece:
                if not member.ended:
                    raise SnapshotError(f"a worker died (exit {member.process.wait()})")
                self._selector.unregister(member.out)
                continue
            member.inbox += piece
            while len(member.inbox) >= 4:
                (size,) = _SIZE.unpack_from(member.inbox)
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


# In a worker ----------------------------------------------------------------------------------------------------------


class Line:
    """A worker's end of the pipes: calls to whoever gave the job, and results for it."""

    def __init__(self) -> None:
        self._in, self._out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        # Whatever prints must not get between the messages.
        os.dup2(2, 1)
        self._guard = threading.Lock()
        self._seq = 0
        self._waiting: dict[int, queue.SimpleQueue[Any]] = {}
        self.job: dict[str, Any] = json.loads(self._in.readline())
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()

    def listen(self) -> None:
        """Until the end of tasks; a closed pipe means that nobody waits for us any more."""
        while head := self._in.read(4):
            message = marshal.loads(self._in.read(_SIZE.unpack(head)[0]))
            if message[0] == "answer":
                self._waiting.pop(message[1]).put(message[2])
            elif message[0] == "end":
                return
            else:
                self.tasks.put(message)
        os._exit(1)

    def send(self, message: Task) -> None:
        raw = marshal.dumps(message)
        with self._guard:
            self._out.write(_SIZE.pack(len(raw)) + raw)
            self._out.flush()

    def call(self, name: str, *arguments: Any) -> Any:
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._guard:
            self._seq += 1
            seq = self._seq
            self._waiting[seq] = answer
        self.send(("call", seq, name, arguments))
        return answer.get()


def worker() -> None:
    """The main function of a worker process."""
    sys.setswitchinterval(0.002)
    line = Line()
    os.umask(0)
    if line.job["nice"]:
        os.nice(line.job["nice"])
    listener = threading.Thread(target=line.listen, daemon=True)
    listener.start()
    try:
        work = _work(line)
    except BaseException as error:
        line.send(("failed", f"{type(error).__name__}: {error}"))
        os._exit(1)

    def run() -> None:
        while (task := line.tasks.get()) is not None:
            try:
                line.send(work.do(task))
            except BaseException as error:
                words = str(error) if isinstance(error, SnapshotError) else f"{type(error).__name__}: {error}"
                # First, as whoever hears of it ends this process: what is being sent arrives, and is not sent again.
                work.abandon()
                line.send(("failed", words))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(line.job["threads"])]
    for thread in threads:
        thread.start()
    listener.join()
    # Every task has its result by now: only then the end is sent.
    for _ in threads:
        line.tasks.put(None)
    for thread in threads:
        thread.join()
    # What is still open may call, so somebody must listen.
    threading.Thread(target=line.listen, daemon=True).start()
    try:
        work.finish()
    except BaseException as error:
        line.send(("failed", str(error)))
        os._exit(1)
    line.send(("ended",))
    os._exit(0)


def _work(line: Line) -> Work:
    key = base64.b64decode(line.job["key"])
    if line.job["kind"] == "save":
        from agent.snapshot.pack import Packer, id_key
        from agent.snapshot.reading import Reader
        from agent.snapshot.transport import put

        def send(_: str, url: str, body: Any) -> None:
            if line.job["paced"]:
                time.sleep(line.call("delay", len(body)))
            put(url, body)

        packer = Packer(
            key,
            address=lambda: tuple(line.call("address")),
            put=send,
            closed=lambda number, size: line.call("closed", number, size),
        )
        resumed = line.job["resumed"]
        reader = Reader(
            packer,
            id_key(key),
            claim=lambda id: bool(line.call("claim", id)),
            stored=lambda id: resumed and bool(line.call("stored", id)),
        )
        return Packing(packer, reader)
    from agent.snapshot.transport import get_into
    from agent.snapshot.writing import Writer

    return Writer(key, lambda _, url, offset, room: get_into(url, offset, room))


class Packing:
    """Reading tasks with the packer they fill."""

    def __init__(self, packer: Any, reader: Any) -> None:
        self._packer, self._reader = packer, reader

    def do(self, task: Task) -> Task:
        result: Task = self._reader.do(task)
        return result

    def finish(self) -> None:
        self._packer.finish()

    def abandon(self) -> None:
        self._packer.abandon()
