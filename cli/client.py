"""The public API over plain HTTP of the standard library: quick to import, patient with what may be repeated."""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.parse
import uuid
from typing import Any

TIMEOUT_S = 75.0
TRIES = 5


class ApiError(Exception):
    """An error answer: the API's own code and words."""

    def __init__(self, status: int, code: str, message: str, request_id: str | None = None, details: Any = None):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.request_id, self.details = request_id, details


class Client:
    def __init__(self, url: str, token: str | None) -> None:
        self._url = urllib.parse.urlsplit(url.rstrip("/"))
        self._token = token
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self.call("GET", path, query=query)

    def post(self, path: str, body: Any = None, *, key: bool = False, **query: Any) -> dict[str, Any]:
        """`key`: send an Idempotency-Key, so that repeating after a lost answer is safe."""
        return self.call("POST", path, body, query=query, key=uuid.uuid4().hex if key else None)

    def call(
        self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """The answer's data. Raises ApiError; code `unreachable` when nobody answers."""
        raw = json.dumps(body).encode() if body is not None else b""
        headers = {"Accept": "application/json", "Content-Length": str(len(raw))}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        wanted = {k: str(v) for k, v in (query or {}).items() if v is not None}
        target = f"{self._url.path}/api/v1{path}" + ("?" + urllib.parse.urlencode(wanted) if wanted else "")
        repeatable = method in ("GET", "PUT", "DELETE") or key is not None
        attempt = 0
        while True:
            attempt += 1
            try:
                status, answer, retry_after = self._exchange(method, target, raw, headers)
            except (OSError, http.client.HTTPException) as error:
                self._connection = None
                if not repeatable or attempt >= TRIES:
                    where = f"{self._url.scheme}://{self._url.netloc}"
                    raise ApiError(0, "unreachable", f"{where} does not answer: {error}") from error
                time.sleep(random.uniform(0.1, 0.3 * 2**attempt))
                continue
            if status < 400:
                data: dict[str, Any] = answer["data"]
                return data
            error_body = answer.get("error") or {}
            # 502 `unavailable` is a function that broke off; any other 502 is a provider's word.
            broke_off = status == 502 and error_body.get("code") in (None, "unavailable")
            if attempt < TRIES and (status == 429 or (repeatable and (status == 503 or broke_off))):
                time.sleep(min(30.0, retry_after))
                continue
            raise ApiError(
                status,
                error_body.get("code", "error"),
                error_body.get("message", f"HTTP {status}"),
                error_body.get("request_id"),
                error_body.get("details"),
            )

    def _exchange(
        self, method: str, target: str, raw: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any], float]:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(self._url.hostname or "", self._url.port, timeout=TIMEOUT_S)
        self._connection.request(method, target, raw, headers)
        response = self._connection.getresponse()
        body = response.read()
        try:
            answer = json.loads(body)
        except ValueError:
            answer = {}
        if not isinstance(answer, dict):
            answer = {}
        return response.status, answer, float(response.headers.get("Retry-After") or 1)
