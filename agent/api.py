"""Our API and object storage, as the agent reaches them: plain HTTP of the standard library, with patience."""

from __future__ import annotations

import copy
import http.client
import json
import os
import random
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

VERSION = "1"
PROTOCOL = 2
"""What we say and understand: 1 had no such number, 2 takes an update and the trace of an order."""
TIMEOUT_S = 60.0


class Stopped(Exception):
    """The control plane says that this machine is not wanted any more."""


class Refused(Exception):
    """The control plane understood and said no; asking again cannot help."""


class Unreachable(Exception):
    """No answer after all tries."""


class Lines(threading.local):
    """One keep-alive connection per thread and host."""

    def __init__(self) -> None:
        self._by_host: dict[tuple[str, str], http.client.HTTPConnection] = {}

    @contextmanager
    def to(self, url: str) -> Iterator[tuple[http.client.HTTPConnection, str]]:
        """The connection to where a URL points, and what to ask of it. An exchange that breaks ends the connection."""
        parts = urllib.parse.urlsplit(url)
        place = (parts.scheme, parts.netloc)
        line = self._by_host.get(place) or self._by_host.setdefault(place, _connection(parts))
        try:
            yield line, parts.path + ("?" + parts.query if parts.query else "")
        except (OSError, http.client.HTTPException):
            self._by_host.pop(place, None)
            line.close()
            raise


def _connection(parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    """Not opened yet."""
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)


class Http:
    def __init__(self) -> None:
        self._lines = Lines()

    def request(
        self, method: str, url: str, body: bytes | memoryview | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body. Raises OSError or http.client.HTTPException when the exchange broke."""
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Length"] = str(len(body))
        with self._lines.to(url) as (line, target):
            line.request(method, target, body=body, headers=sent)
            response = line.getresponse()
            return response.status, response.read()


class Api:
    def __init__(self, url: str, token: str) -> None:
        self._base = url.rstrip("/") + "/api/v1"
        self._token = token
        self._trace: str | None = None
        self.http = Http()

    def traced(self, trace: str | None) -> Api:
        """The same, whose calls bear the trace of the request that they follow from."""
        other = copy.copy(self)
        other._trace = trace
        return other

    def post(self, path: str, body: dict[str, Any], tries: int | None = 8) -> dict[str, Any]:
        """The answer's data. `tries` None asks for ever; raises Stopped, Refused, Unreachable."""
        raw = json.dumps(body).encode()
        data = self._exchange("POST", path, raw, tries)
        answer = json.loads(data)["data"]
        assert isinstance(answer, dict)
        return answer

    def get_bytes(self, path: str, tries: int = 4) -> bytes:
        return self._exchange("GET", path, None, tries)

    def _exchange(self, method: str, path: str, raw: bytes | None, tries: int | None) -> bytes:
        headers = {"Authorization": f"Bearer {self._token}", "User-Agent": f"dumont-agent/{VERSION}"}
        if raw is not None:
            headers["Content-Type"] = "application/json"
        if self._trace:
            headers["traceparent"] = f"00-{self._trace}-{os.urandom(8).hex()}-01"
        attempt, problem = 0, "no answer"
        while tries is None or attempt < tries:
            try:
                status, data = self.http.request(method, self._base + path, raw, headers)
                if status < 300:
                    return data
                problem = _judge(status, data)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
            time.sleep(random.uniform(0.1, min(15.0, 0.3 * 2 ** min(attempt, 6))))
            attempt += 1
        raise Unreachable(f"{method} {path}: {problem}")


def _judge(status: int, data: bytes) -> str:
    """What an error answer means: raises when repeating is pointless, else says what it was."""
    try:
        error = json.loads(data)["error"]
    except (ValueError, KeyError, TypeError):
        error = {}
    words = error.get("message") or repr(data[:200])
    message = f"{status} {error.get('code', '')}: {words}"
    if (error.get("details") or {}).get("stop"):
        raise Stopped(str(error.get("message")))
    # A gateway's bare 404 or 401 is not our API's word.
    if error and 400 <= status < 500 and status not in (408, 409, 429):
        raise Refused(message)
    if error and status == 409:
        raise Refused(message)
    return message
