"""The way of a request to a model: its key, a replica that is ready, the answer as it comes, and what was used."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import random
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from typing import Any

import httpx

from shared import errors
from shared.deps import Deps
from shared.domain import models as domain
from shared.domain.instance import Instance
from shared.domain.models import Deployment
from shared.flows import models
from shared.frozen import dataclass
from shared.store.records import Transaction

HOLD_S = 20.0
"""How long a request waits for a model that wakes."""
PATHS = ("chat/completions", "completions", "embeddings", "models")
STREAMED = ("chat/completions", "completions")
EVENT_END = re.compile(rb"(\r?\n\r?\n)")
KEY_FORM = re.compile(r"dm-([0-9a-f]{12})\.([A-Za-z0-9_-]{43})")


class Load:
    """How many requests this process has open at each replica. Others' are not known; equal ones are drawn by lot."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._open: Counter[str] = Counter()

    def take(self, ids: Collection[str]) -> str:
        """The least busy one, which is one request busier from now on."""
        with self._guard:
            chosen = min(ids, key=lambda id: (self._open[id], random.random()))
            self._open[chosen] += 1
            return chosen

    def give_back(self, id: str) -> None:
        with self._guard:
            self._open[id] -= 1
            if self._open[id] <= 0:
                del self._open[id]


_LOAD = Load()


@dataclass(frozen=True)
class Asked:
    """A request as it is sent on."""

    path: str
    body: bytes
    adds_usage: bool = False
    """Its client did not ask its stream to end with what was used; we do."""

    @classmethod
    def of(cls, path: str, body: bytes) -> Asked:
        plain = cls(path, body)
        given = plain.parsed() if b'"stream"' in body and path in STREAMED else None
        if not isinstance(given, dict) or given.get("stream") is not True:
            return plain
        options = given.get("stream_options") or {}
        if not isinstance(options, dict) or options.get("include_usage") is True:
            return plain
        more = {**given, "stream_options": {**options, "include_usage": True}}
        return cls(path, json.dumps(more).encode(), adds_usage=True)

    def parsed(self) -> Any:
        """None when it is no JSON, which the server will say itself."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class WithoutUsage:
    """A stream without the event that tells of nothing but usage.

    Part of an event waits for its end, before which its client could not read it either.
    """

    def __init__(self) -> None:
        self.rest = b""

    def of(self, piece: bytes) -> bytes:
        *whole, self.rest = EVENT_END.split(self.rest + piece)
        events = zip(whole[::2], whole[1::2], strict=True)
        return b"".join(event + end for event, end in events if not _only_usage(event))


def _only_usage(event: bytes) -> bool:
    if b'"usage"' not in event:
        return False
    try:
        told = json.loads(event.removeprefix(b"data:"))
        return bool(told["usage"]) and told["choices"] == []
    except (ValueError, KeyError, TypeError):
        return False


class Upstream:
    """One request on its way through: the server's answer as it comes, and what it used."""

    def __init__(
        self, deployment: Deployment, instance_id: str, asked: Asked, response: httpx.Response, deps: Deps
    ) -> None:
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "application/json")
        self._deployment, self._instance_id, self._response, self._deps = deployment, instance_id, response, deps
        self._asked = asked
        self._noted_at = deployment.last_request_at
        self._last = b""
        self._pieces = 0
        self._closed = False

    def stream(self) -> Iterator[bytes]:
        """Every piece as soon as it is there."""
        left_out = WithoutUsage() if self._asked.adds_usage else None
        try:
            for piece in self._response.iter_raw():
                self._pieces += piece.count(b"\ndata:") + piece.startswith(b"data:")
                self._last = (self._last + piece)[-65536:]
                yield left_out.of(piece) if left_out else piece
                # Only now: no first token waits for the store.
                self._stay_awake()
            if left_out:
                yield left_out.rest
        except httpx.HTTPError:
            # The answer has begun: all that is left is to end it, visibly unfinished.
            yield b'\n\ndata: {"error": {"message": "the model broke off", "type": "unavailable"}}\n\n'
        finally:
            self.close()

    def close(self) -> None:
        """Count it, whether its client has listened to the end or gone away before the first piece."""
        if self._closed:
            return
        self._closed = True
        self._response.close()
        _LOAD.give_back(self._instance_id)
        used = _used(self._asked, self.status, self._last, self._pieces)
        _TALLY.add(self._deployment.id, used, self._deps)

    def _stay_awake(self) -> None:
        """An answer may take longer than the model sleeps after."""
        now, idle_s = self._deps.clock.now(), self._deployment.idle_after_s
        if idle_s and (self._noted_at is None or now - self._noted_at >= timedelta(seconds=idle_s / 4)):
            self._noted_at = now
            _TALLY.add(self._deployment.id, Used(), self._deps)


@cache
def _servers() -> httpx.Client:
    """One for all requests: making one reads every certificate there is, which takes longer than all else together.

    A connection that rests is closed before the servers' own limit (5 s in most), so that none is used while it goes.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=3)
    return httpx.Client(timeout=httpx.Timeout(300, connect=5), limits=limits)


def authorized(id: str, bearer: str, deps: Deps) -> Deployment:
    """The deployment that this key opens. Raises Unauthenticated."""
    found = KEY_FORM.fullmatch(bearer)
    deployment = deps.records.find(Deployment, id) if found and found[1] == id else None
    given = hashlib.sha256((found[2] if found else "").encode()).hexdigest()
    expected = deployment.key_hash if deployment else secrets.token_hex(32)
    if not hmac.compare_digest(given, expected) or deployment is None or deployment.state == "deleted":
        raise errors.Unauthenticated("this key opens no such model")
    return deployment


def serve(id: str, path: str, bearer: str, body: bytes, deps: Deps) -> Upstream:
    """Pass a request on to the least busy replica, or to the next when it cannot be reached.

    One to a sleeping model wakes it and is held; then ModelNotReady says when to come again.
    """
    if path not in PATHS:
        raise errors.NotFound(f"models answer {domain.known_words(PATHS)}")
    deployment = _awake(authorized(id, bearer, deps), deps)
    _touch(deployment, deps)
    ready = {one.instance_id for one in deployment.replicas if one.state == "ready"}
    why, asked = "no replica is ready", Asked.of(path, body)
    while ready:
        chosen = _LOAD.take(ready)
        try:
            return Upstream(deployment, chosen, asked, _send(deployment, chosen, asked, deps), deps)
        except httpx.ReadTimeout as slow:
            _LOAD.give_back(chosen)
            raise errors.ModelNotReady("the model did not begin to answer within 300 s", 30) from slow
        except httpx.HTTPError as problem:
            _LOAD.give_back(chosen)
            why = f"the model's server does not answer: {type(problem).__name__}"
            models.doubt(deployment, chosen, deps)
            ready.discard(chosen)
        except BaseException:
            _LOAD.give_back(chosen)
            raise
    raise errors.ModelNotReady(why, 5)


def _send(deployment: Deployment, instance_id: str, asked: Asked, deps: Deps) -> httpx.Response:
    """The answer's head. Raises httpx.HTTPError when the replica cannot be reached."""
    instance = deps.records.load(Instance, instance_id)
    base = models.address(deployment, instance, deps)
    if base is None:
        raise httpx.ConnectError(f"instance {instance_id} is {instance.state} and has no address")
    client = _servers()
    # Not compressed: its pieces go on as they are, and what it used is read from them.
    headers = {
        **models.server_key(deployment, deps),
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
    }
    method, url = "GET" if asked.path == "models" else "POST", f"{base}/v1/{asked.path}"
    return client.send(client.build_request(method, url, content=asked.body, headers=headers), stream=True)


def _awake(deployment: Deployment, deps: Deps) -> Deployment:
    until = time.monotonic() + HOLD_S
    while True:
        deployment = models.look(deployment, deps) if deployment.state != "ready" else deployment
        if deployment.state == "ready":
            return deployment
        if deployment.state == "failed":
            raise errors.Conflict(f"this deployment failed: {deployment.failure}")
        deployment = models.wake(deployment, deps)
        left = until - time.monotonic()
        if left <= 0:
            raise errors.ModelNotReady(f"the model is {deployment.state}; ask again", 10)
        deps.clock.sleep(min(0.3, left))


def _touch(deployment: Deployment, deps: Deps) -> None:
    """Note the request before its answer where the model might else be put to sleep meanwhile."""
    now = deps.clock.now()
    asleep_after = timedelta(seconds=deployment.idle_after_s)
    if asleep_after and (deployment.last_request_at is None or now - deployment.last_request_at >= asleep_after / 2):
        _TALLY.add(deployment.id, Used(), deps)


def _used(asked: Asked, status: int, last: bytes, pieces: int) -> Used:
    """What the server says it used. One that broke off, or says nothing, is estimated: a piece of its stream as a token,
    and of what was asked four letters.
    """
    if status >= 400:
        return Used(1)
    found = re.findall(rb'"usage":\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})', last)
    if found:
        used: dict[str, Any] = {}
        with suppress(ValueError):
            used = json.loads(found[-1])
        return Used(1, _tokens(used.get("prompt_tokens")), _tokens(used.get("completion_tokens")))
    if asked.path == "models":
        return Used(1)
    completion = max(0, pieces - (b"data: [DONE]" in last))
    return Used(1, math.ceil(_letters(asked.parsed()) / 4), completion, 1)


def _letters(given: Any) -> int:
    """Of everything that a model reads in a request."""
    if isinstance(given, dict):
        return sum(_letters(given.get(name)) for name in ("messages", "content", "text", "prompt", "input"))
    return sum(map(_letters, given)) if isinstance(given, list) else len(given) if isinstance(given, str) else 0


def _tokens(told: Any) -> int:
    """What a server says it used; nonsense counts nothing."""
    return told if isinstance(told, int) and told > 0 else 0


@dataclass(frozen=True)
class Used:
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    """Of the requests, those whose tokens are estimated."""

    def __add__(self, other: Used) -> Used:
        return Used(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.estimated + other.estimated,
        )


class Tally:
    """Many requests that end together are one write: each would otherwise wait for all others to change the same record."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[str, Used] = {}
        self._writing: set[str] = set()

    def add(self, id: str, used: Used, deps: Deps) -> None:
        """Whoever finds nobody writing writes, until nothing waits; the others leave theirs and go."""
        with self._guard:
            self._waiting[id] = self._waiting.get(id, Used()) + used
            if id in self._writing:
                return
            self._writing.add(id)
        while True:
            with self._guard:
                taken = self._waiting.pop(id, None)
                if taken is None:
                    self._writing.discard(id)
                    return
            try:
                deps.records.transact(partial(self._apply, id, taken))
            except errors.Error:
                # Its count is lost rather than the answer.
                continue
            except BaseException:
                with self._guard:
                    self._writing.discard(id)
                raise

    @staticmethod
    def _apply(id: str, used: Used, tx: Transaction) -> None:
        fresh = tx.load(Deployment, id)
        tx.save(
            replace(
                fresh,
                requests=fresh.requests + used.requests,
                prompt_tokens=fresh.prompt_tokens + used.prompt_tokens,
                completion_tokens=fresh.completion_tokens + used.completion_tokens,
                estimated=fresh.estimated + used.estimated,
                last_request_at=tx.now,
            )
        )


_TALLY = Tally()
