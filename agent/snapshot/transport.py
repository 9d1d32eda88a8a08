"""How bytes reach object storage: presigned URLs from our API, one per object. No other credential is there."""

from __future__ import annotations

import http.client
import random
import threading
import time
from typing import Any

from agent.api import Api, Http
from agent.snapshot.errors import SnapshotError

TRIES = 6
BATCH = 16


class Transport:
    def __init__(self, api: Api, snapshot_id: str) -> None:
        self._api = api
        self._snapshot_id = snapshot_id
        self._http = Http()
        self._guard = threading.Lock()
        self._uploads: list[dict[str, Any]] = []
        self._urls: dict[str, str] = {}

    def new_pack(self) -> tuple[str, str]:
        """Key and address of a pack that nobody has written."""
        with self._guard:
            if not self._uploads:
                answer = self._api.post("/agent/uploads", {"snapshot_id": self._snapshot_id, "count": BATCH})
                self._uploads = answer["uploads"]
            upload = self._uploads.pop(0)
            return upload["key"], upload["url"]

    def manifest_address(self) -> tuple[str, str]:
        answer = self._api.post("/agent/uploads", {"snapshot_id": self._snapshot_id, "count": 0, "manifest": True})
        return answer["manifest"]["key"], answer["manifest"]["url"]

    def put(self, key: str, url: str, body: bytes) -> None:
        """Write one object; the same bytes may arrive twice. Raises SnapshotError after the last try."""
        self._repeat(f"upload of {key}", lambda: self._http.request("PUT", url, body), (200, 201, 204))

    def get(self, key: str, offset: int, length: int) -> bytes:
        """A range of an object. Raises SnapshotError."""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        body = self._repeat(
            f"download of {key}", lambda: self._http.request("GET", self._url(key), None, headers), (200, 206), key
        )
        if len(body) != length:
            raise SnapshotError(f"{key} gave {len(body)} instead of {length} bytes at {offset}")
        return body

    def _url(self, key: str) -> str:
        with self._guard:
            if key not in self._urls:
                answer = self._api.post("/agent/downloads", {"keys": [key]})
                self._urls.update(answer["urls"])
            return self._urls[key]

    def know(self, keys: list[str]) -> None:
        """Fetch many addresses in few calls."""
        for start in range(0, len(keys), 256):
            answer = self._api.post("/agent/downloads", {"keys": keys[start : start + 256]})
            with self._guard:
                self._urls.update(answer["urls"])

    def _repeat(self, what: str, call: Any, good: tuple[int, ...], key: str | None = None) -> bytes:
        problem = ""
        for attempt in range(TRIES):
            try:
                status, body = call()
                if status in good:
                    return bytes(body)
                problem = f"storage answered {status}: {bytes(body[:200]).decode('utf-8', 'replace')}"
                if status == 404:
                    break
                if status == 403 and key is not None:
                    # The address may have expired: ask for a fresh one.
                    with self._guard:
                        self._urls.pop(key, None)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
            if attempt < TRIES - 1:
                time.sleep(random.uniform(0.05, 0.2 * 2**attempt))
        raise SnapshotError(f"{what}: {problem}")
