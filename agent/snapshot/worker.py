"""The worker processes of a crew: they start for each large job anew, so they import little, and once for all.

`crew.py` has the messages and the other end of the pipes.
"""

from __future__ import annotations

import base64
import gc
import json
import marshal
import os
import queue
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from agent.snapshot.errors import SnapshotError
from agent.snapshot.tasks import Task, Work

SIZE = struct.Struct("<I")
"""The length before each message."""
NEEDED = {
    "save": (
        "agent.snapshot.reading",
        "agent.snapshot.transport",
        "blake3",
        "cryptography.hazmat.primitives.ciphers.aead",
    ),
    "restore": ("agent.snapshot.writing", "agent.snapshot.transport", "cryptography.hazmat.primitives.ciphers.aead"),
}
"""What the kinds of work import, also what is otherwise imported when it is first used."""


class Line:
    """A worker's end of the pipes: calls to whoever gave the job, and results for it."""

    def __init__(self, into: int, out: int, forks: list[int]) -> None:
        self._forks = forks
        self._in, self._out = os.fdopen(into, "rb"), os.fdopen(out, "wb")
        self._guard = threading.Lock()
        self._seq = 0
        self._waiting: dict[int, queue.SimpleQueue[Any]] = {}
        self.job: dict[str, Any] = json.loads(self._in.readline())
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()

    def listen(self) -> None:
        """Until the end of tasks; a closed pipe means that nobody waits for us any more."""
        while head := self._in.read(4):
            message = marshal.loads(self._in.read(SIZE.unpack(head)[0]))
            if message[0] == "answer":
                self._waiting.pop(message[1]).put(message[2])
            elif message[0] == "end":
                return
            else:
                self.tasks.put(message)
        self.quit()

    def quit(self) -> NoReturn:
        """End at once, and with it the forks, which nobody else would reap."""
        for fork in self._forks:
            with suppress(ProcessLookupError):
                os.kill(fork, signal.SIGKILL)
        self.reap()
        os._exit(1)

    def reap(self) -> None:
        for fork in self._forks:
            with suppress(ChildProcessError):
                os.waitpid(fork, 0)

    def send(self, message: Task) -> None:
        raw = marshal.dumps(message)
        with self._guard:
            self._out.write(SIZE.pack(len(raw)) + raw)
            self._out.flush()

    def call(self, name: str, *arguments: Any) -> Any:
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._guard:
            self._seq += 1
            seq = self._seq
            self._waiting[seq] = answer
        self.send(("call", seq, name, arguments))
        return answer.get()


def main() -> None:
    sys.setswitchinterval(0.002)
    # It lives shortly and makes no cycles to speak of; looking for some costs a twentieth of its time.
    gc.disable()
    os.umask(0)
    kind, *ends = sys.argv[1:]
    for name in NEEDED[kind]:
        with suppress(ImportError):
            # Whoever uses what is missing says so; here nobody listens yet.
            import_module(name)
    line = _line([int(end) for end in ends])
    if line.job["nice"]:
        os.nice(line.job["nice"])
    listener = threading.Thread(target=line.listen, daemon=True)
    listener.start()
    try:
        work = _work(line)
    except BaseException as error:
        line.send(("failed", f"{type(error).__name__}: {error}"))
        line.quit()

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
        line.quit()
    # The forks end by themselves; once this one says that it has, nobody waits until they are reaped.
    line.reap()
    line.send(("ended",))
    os._exit(0)


def _line(ends: list[int]) -> Line:
    """From here on there is a process for each pair of ends: this one and its forks.

    No thread runs yet, so no lock is held that a fork would copy.
    """
    pairs = list(zip(ends[::2], ends[1::2], strict=True))
    mine = pairs[0]
    forks: list[int] = []
    for pair in pairs[1:]:
        if not (fork := os.fork()):
            mine, forks = pair, []
            break
        forks.append(fork)
    # An end that another still held would never be seen to close.
    for end in {*ends} - {*mine}:
        os.close(end)
    return Line(*mine, forks)


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
        return Reader(
            packer,
            id_key(key),
            claim=lambda id: bool(line.call("claim", id)),
            stored=lambda id: resumed and bool(line.call("stored", id)),
        )
    from agent.snapshot.transport import get_into
    from agent.snapshot.writing import Writer

    return Writer(key, lambda _, url, offset, room: get_into(url, offset, room))
