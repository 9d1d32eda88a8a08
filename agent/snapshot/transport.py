"""How bytes reach object storage: presigned URLs from our API, one per object. No other credential is there."""

from __future__ import annotations

import http.client
import queue
import random
import re
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any, TypeVar

from agent.api import Api, Lines
from agent.snapshot.errors import SnapshotError

TRIES = 6
FIRST_UPLOADS, UPLOADS, DOWNLOADS = 16, 128, 256
"""Addresses asked for at once; those of uploads twice as many each time, up to what the API gives."""
UPLOADS_KEEP_S = 600.0
"""How old an address of an upload may be when its pack is begun: it expires after an hour, and a slow line takes its time."""
T = TypeVar("T")


class Stale(SnapshotError):
    """Storage does not accept an address any more: it may have expired."""


_lines = Lines()


def put(url: str, body: bytes | bytearray | memoryview) -> None:
    """Write one object; the same bytes may arrive twice. Raises SnapshotError after the last try."""

    def send(line: http.client.HTTPConnection, target: str) -> None:
        line.request("PUT", target, body=body, headers={"Content-Length": str(len(body))})
        response = line.getresponse()
        _judge(response.status, response.read(), (200, 201, 204))

    _repeat("upload", url, send)


def get_into(url: str, offset: int, room: memoryview) -> None:
    """Fill `room` with an object's bytes from `offset` on. Raises SnapshotError, and Stale at once."""

    def fetch(line: http.client.HTTPConnection, target: str) -> None:
        line.request("GET", target, headers={"Range": f"bytes={offset}-{offset + len(room) - 1}"})
        response = line.getresponse()
        if response.status not in (200, 206):
            _judge(response.status, response.read(), ())
        got = 0
        while got < len(room):
            more = response.readinto(room[got:])
            if not more:
                raise http.client.IncompleteRead(b"", len(room) - got)
            got += more
        if response.read(1):
            # A server that ignores ranges would send the whole object: what follows is not ours.
            raise http.client.HTTPException("storage sent more than was asked for")

    _repeat("download", url, fetch)


class _Answer(Exception):
    """What storage said that is worth another try."""


def _judge(status: int, body: bytes, good: tuple[int, ...]) -> None:
    if status in good:
        return
    told = dict(re.findall(r"<(Code|Message)>([^<]{1,200})<", body.decode("utf-8", "replace")))
    words = f"storage answered {status} {told.get('Code', '')}: {told.get('Message') or repr(body[:200])}"
    if status == 403:
        raise Stale(words)
    if status == 404:
        raise SnapshotError(words)
    raise _Answer(words)


def _repeat(what: str, url: str, act: Callable[[http.client.HTTPConnection, str], T]) -> T:
    path = urllib.parse.urlsplit(url).path
    problem = ""
    for attempt in range(TRIES):
        try:
            with _lines.to(url) as (line, target):
                return act(line, target)
        except _Answer as answer:
            problem = str(answer)
        except (OSError, http.client.HTTPException) as error:
            problem = f"{type(error).__name__}: {error}"
        except SnapshotError as error:
            raise type(error)(f"{what} of {path}: {error}") from error
        if attempt < TRIES - 1:
            time.sleep(random.uniform(0.05, 0.2 * 2**attempt))
    raise SnapshotError(f"{what} of {path}: {problem}")


class Addresses:
    """Where objects are read: `fetch` gives the addresses of up to `most` keys at once; any process may use them."""

    plain_addresses = True

    def __init__(self, fetch: Callable[[list[str]], dict[str, str]], most: int, known: dict[str, str]) -> None:
        self._fetch, self._most = fetch, most
        self._guard = threading.Lock()
        self._urls = dict(known)

    def get(self, key: str, offset: int, length: int) -> bytes:
        """A range of an object. Raises SnapshotError."""
        room = bytearray(length)
        try:
            get_into(self.url(key), offset, memoryview(room))
        except Stale:
            get_into(self.url(key, fresh=True), offset, memoryview(room))
        return bytes(room)

    def url(self, key: str, fresh: bool = False) -> str:
        """Where an object is read; `fresh` when the address at hand was refused."""
        with self._guard:
            if fresh or key not in self._urls:
                self._urls.update(self._fetch([key]))
            return self._urls[key]

    def know(self, keys: list[str]) -> None:
        """Fetch many addresses in few calls."""
        for start in range(0, len(keys), self._most):
            urls = self._fetch(keys[start : start + self._most])
            with self._guard:
                self._urls.update(urls)


class Transport(Addresses):
    """An agent's: addresses come from our API, for reading and for writing, in batches.

    While packs are written the next batch is asked for: an answer may take as long as several packs.
    """

    def __init__(self, api: Api, snapshot_id: str) -> None:
        super().__init__(self._downloads, DOWNLOADS, {})
        self._api = api
        self._snapshot_id = snapshot_id
        self._uploads: list[dict[str, Any]] = []
        self._batch = FIRST_UPLOADS
        self._asked = False
        self._answers: queue.SimpleQueue[tuple[float, list[dict[str, Any]] | BaseException]] = queue.SimpleQueue()
        self._since = 0.0

    def _downloads(self, keys: list[str]) -> dict[str, str]:
        urls: dict[str, str] = self._api.post("/agent/downloads", {"keys": keys})["urls"]
        return urls

    def new_pack(self) -> tuple[str, str]:
        """Key and address of a pack that nobody has written. Raises what the API's call does when there is none left."""
        with self._guard:
            while not self._uploads or time.monotonic() - self._since > UPLOADS_KEEP_S:
                self._ask()
                self._since, answer = self._answers.get()
                self._asked = False
                if isinstance(answer, BaseException):
                    raise answer
                self._uploads = answer
            upload = self._uploads.pop(0)
            if len(self._uploads) <= FIRST_UPLOADS // 2:
                self._ask()
            return upload["key"], upload["url"]

    def _ask(self) -> None:
        if self._asked:
            return
        self._asked = True
        body = {"snapshot_id": self._snapshot_id, "count": self._batch}
        self._batch = min(UPLOADS, 2 * self._batch)

        def ask() -> None:
            since = time.monotonic()
            try:
                self._answers.put((since, self._api.post("/agent/uploads", body)["uploads"]))
            except BaseException as error:
                # Told to whoever needs an address that is not there; before that it may matter to nobody.
                self._answers.put((since, error))

        threading.Thread(target=ask, daemon=True).start()

    def manifest_address(self) -> tuple[str, str]:
        answer = self._api.post("/agent/uploads", {"snapshot_id": self._snapshot_id, "count": 0, "manifest": True})
        return answer["manifest"]["key"], answer["manifest"]["url"]

    def put(self, key: str, url: str, body: bytes | bytearray | memoryview) -> None:
        put(url, body)
