"""A worker process of a crew: it starts for each large job anew, so it imports little and nothing twice.

`crew.py` has the messages and the other end of the pipes.
"""

from __future__ import annotations

import base64
import gc
import json
import marshal
import os
import queue
import struct
import sys
import threading
import time
from typing import Any

from agent.snapshot.errors import SnapshotError
from agent.snapshot.tasks import Task, Work

SIZE = struct.Struct("<I")
"""The length before each message."""


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
            message = marshal.loads(self._in.read(SIZE.unpack(head)[0]))
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
        return Reader(
            packer,
            id_key(key),
            claim=lambda id: bool(line.call("claim", id)),
            stored=lambda id: resumed and bool(line.call("stored", id)),
        )
    from agent.snapshot.transport import get_into
    from agent.snapshot.writing import Writer

    return Writer(key, lambda _, url, offset, room: get_into(url, offset, room))
