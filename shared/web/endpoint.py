"""What stands between HTTP and a flow: who may call, body and query as models, one envelope, errors, request ids.

A function's `main.py` declares its endpoints and joins them with `routes`, which gives the framework one real function.
"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from flask import Request, Response
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import ClientDisconnected

from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.domain.user import User
from shared.logs import log, trace_of, traced
from shared.store.base import Create, Put
from shared.web import auth
from shared.web.errors import status_of
from shared.wire.base import MOST, Report

Caller = Literal["public", "user", "admin", "agent", "model", "scheduler"]
"""`model`: the bearer of a deployment's key, which the flow checks."""
PREFIX = "/api/v1"
MAX_BODY = 1 << 20
MAX_DEPTH = 32
HEARTBEAT = "/agent/heartbeat"
IDEMPOTENCY_KEPT = timedelta(hours=48)
HEADERS = {
    "Cache-Control": "no-store",
    # Answers are data: a browser that is led to one loads nothing, frames nothing and guesses no type. No answer bears a header
    # that opens it to another origin's scripts.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""


@dataclass
class Call:
    """One request, checked. `body` and `query` are instances of the endpoint's models."""

    request: Request
    request_id: str
    params: Mapping[str, str]
    body: Any = None
    query: Any = None
    agent: Any = None
    """The `Attempt` whose machine calls; only for agents' endpoints."""
    idempotency_key: str | None = None
    _user: User | None = None

    @property
    def user(self) -> User:
        if self._user is None:
            raise errors.Unauthenticated("log in first")
        return self._user


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    caller: Caller
    handler: Callable[[Call], Any]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    success: int = 200
    idempotent: bool = False
    max_body: int = MAX_BODY
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        form = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[A-Za-z0-9_-]{1,100})", re.escape(PREFIX + self.path))
        object.__setattr__(self, "pattern", re.compile(form))


def endpoint(
    method: str,
    path: str,
    *,
    caller: Caller,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    success: int = 200,
    idempotent: bool = False,
    max_body: int = MAX_BODY,
) -> Callable[[Callable[[Call], Any]], Endpoint]:
    """Declare what a handler answers to. Paths are below /api/v1."""

    def declare(handler: Callable[[Call], Any]) -> Endpoint:
        return Endpoint(method, path, caller, handler, body, query, success, idempotent, max_body)

    return declare


def routes(*endpoints: Endpoint, deps: Callable[[], Deps]) -> Callable[[Request], Response]:
    """One function for the framework, which wants a real function and hands it every path."""

    def main(request: Request) -> Response:
        if request.path == "/health":
            # Whether this revision answers at all, asked before it takes traffic; paths that end in z are Google's own.
            return Response("ok", mimetype="text/plain", headers=HEADERS)
        if request.path == "/ready":
            return _ready(deps)
        with traced(trace_of(request.headers) or uuid.uuid4().hex):
            return serve(request)

    def serve(request: Request) -> Response:
        started = time.perf_counter()
        request_id = f"r-{uuid.uuid4().hex[:16]}"
        allow: list[str] = []
        refusal: dict[str, Any] = {}
        try:
            response = _dispatch(endpoints, request, request_id, deps, allow)
        except errors.Error as error:
            response = _error(status_of(error), error.code, error.message, request_id, error.details)
            if isinstance(error, errors.Unauthenticated | errors.Forbidden):
                # A credential that is tried where it does not hold leaves a trace, a void one of a machine with its attempt.
                refusal = {"error": error.code, "reason": error.message, **error.details}
            retry_after = getattr(error, "retry_after_s", None)
            if retry_after is not None:
                response.headers["Retry-After"] = str(max(1, round(retry_after)))
            if allow:
                response.headers["Allow"] = ", ".join(sorted(allow))
        except Exception:
            # The last resort: a bug. Its trace goes to the log once, its id to the caller.
            log("ERROR", traceback.format_exc(), request_id=request_id, path=request.path)
            response = _error(500, "internal_error", "something broke on our side; quote the request id", request_id)
        response.headers.update(HEADERS)
        response.headers["X-Request-Id"] = request_id
        log(
            "WARNING" if response.status_code >= 500 else "NOTICE" if refusal else "INFO",
            f"{request.method} {request.path} {response.status_code}",
            request_id=request_id,
            status=response.status_code,
            ms=round((time.perf_counter() - started) * 1000, 1),
            **refusal,
        )
        return response

    main.endpoints = endpoints  # type: ignore[attr-defined]
    # Whatever was imported stays: never looked at again, its pages stay shared with the server's other process.
    gc.freeze()
    return main


def _ready(deps: Callable[[], Deps]) -> Response:
    """Whether this revision has its settings and reaches its database: a read that finds nothing, and tells nothing."""
    try:
        deps().store.get("users", "-")
    except Exception as error:
        log("ERROR", f"not ready: {type(error).__name__}: {error}")
        return Response("not ready; the log says why", 503, mimetype="text/plain", headers=HEADERS)
    return Response("ready", mimetype="text/plain", headers=HEADERS)


def _dispatch(
    endpoints: tuple[Endpoint, ...], request: Request, request_id: str, deps: Callable[[], Deps], allow: list[str]
) -> Response:
    path = request.path.rstrip("/") or "/"
    matching = [(e, m) for e in endpoints if (m := e.pattern.fullmatch(path))]
    if not matching:
        raise errors.NotFound(f"there is no {request.path}")
    # A fixed path wins over one with a parameter, whatever the method, as where paths alone choose the function.
    fewest = min(len(m.groupdict()) for _, m in matching)
    matching = [(e, m) for e, m in matching if len(m.groupdict()) == fewest]
    for one, match in matching:
        if one.method == request.method:
            return _answer(one, Call(request, request_id, match.groupdict()), deps)
    allow += [one.method for one, _ in matching]
    raise errors.MethodNotAllowed(f"{request.path} takes {', '.join(sorted(allow))}, not {request.method}")


def _answer(one: Endpoint, call: Call, deps: Callable[[], Deps]) -> Response:
    _authenticate(one, call, deps)
    if one.query is not None:
        query = _query_of(call.request)
        call.query = _checked(lambda: one.query.model_validate(query), "query")  # type: ignore[union-attr]
    raw = _body_of(one, call.request)
    if one.body is not None:
        call.body = _body(one.body, raw)
    if one.idempotent:
        call.idempotency_key = _claim(call, raw, deps())
    answer = one.handler(call)
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, Report):
        severity = "WARNING" if answer.failed else "INFO"
        log(severity, f"sweep {answer.name}", request_id=call.request_id, **answer.model_dump(exclude={"name"}))
        _note_tick(answer, deps())
    body = json.dumps({"success": True, "data": answer.model_dump(mode="json")}, ensure_ascii=False)
    return Response(body, one.success, mimetype="application/json")


def _note_tick(report: Report, deps: Deps) -> None:
    """For the metrics. What the sweep did is done: a note that cannot be kept does not make it fail."""
    data = {"at": deps.clock.now(), **report.model_dump(include={"looked_at", "changed", "failed"})}
    try:
        deps.store.commit([Put("ticks", report.name, data)])
    except errors.Error as error:
        log("WARNING", f"the tick of {report.name} is not noted: {error.message}")


def _authenticate(one: Endpoint, call: Call, deps: Callable[[], Deps]) -> None:
    if one.caller in ("public", "model"):
        return
    bearer = auth.bearer(call.request.headers)
    if one.caller in ("user", "admin"):
        call._user = auth.user_of(bearer, deps())
        if one.caller == "admin" and not call._user.admin:
            raise errors.Forbidden("only an administrator may do this")
    elif one.caller == "agent":
        attempt_id, _, secret = bearer.partition(".")
        agent: Attempt = deps().agent_of(attempt_id, secret, one.path == HEARTBEAT)
        call.agent = agent
    else:
        auth.check_scheduler(bearer, deps().settings)


def _query_of(request: Request) -> dict[str, str]:
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise errors.InvalidRequest(f"{repeated[0]} is given more than once")
    return request.args.to_dict()


def _body_of(one: Endpoint, request: Request) -> bytes:
    length = request.content_length
    if length is not None and length > one.max_body:
        raise errors.BodyTooLarge(f"the body has {length} bytes; at most {one.max_body} are taken")
    try:
        raw = request.get_data(cache=True) if length is not None else request.stream.read(one.max_body + 1)
    except ClientDisconnected as error:
        raise errors.InvalidRequest("the body ended before its length") from error
    except Exception as error:
        # Each server has errors of its own for a chunk that is none; it ends the connection after our answer.
        raise errors.InvalidRequest("the body's chunks make no sense, or it broke off") from error
    if len(raw) > one.max_body:
        raise errors.BodyTooLarge(f"the body is longer than {one.max_body} bytes")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        # What expands is not taken: a few bytes could become gigabytes.
        raise errors.UnsupportedMediaType("send the body without a Content-Encoding")
    if one.body is not None and request.mimetype != "application/json":
        raise errors.UnsupportedMediaType("send Content-Type: application/json")
    return raw


def _parse(raw: bytes) -> dict[str, Any]:
    """Raises InvalidRequest unless it is a JSON object of a sane depth."""

    def refuse(word: str) -> None:
        raise errors.InvalidRequest(f"the body holds {word}, which is not JSON")

    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=refuse, parse_float=_number)
    except UnicodeDecodeError as error:
        raise errors.InvalidRequest("the body is not UTF-8") from error
    except RecursionError as error:
        raise errors.InvalidRequest("the body is nested too deeply") from error
    except ValueError as error:
        raise errors.InvalidRequest(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise errors.InvalidRequest("the body must be a JSON object")
    if _depth(value) > MAX_DEPTH:
        raise errors.InvalidRequest(f"the body is nested deeper than {MAX_DEPTH} levels")
    return value


def _depth(value: Any) -> int:
    deepest, open_ = 0, [(value, 1)]
    while open_:
        item, depth = open_.pop()
        deepest = max(deepest, depth)
        if depth > MAX_DEPTH:
            break
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        open_ += [(child, depth + 1) for child in children]
    return deepest


def _body(cls: type[BaseModel], raw: bytes) -> BaseModel:
    """Strictly as its schema says: no text is taken for a number, no number for a time or a yes."""
    value = _parse(raw)
    try:
        # Written again, so that one reader alone decides what a doubled name or an odd number means.
        text = json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise errors.InvalidRequest("the body holds a number that is too large") from error
    return _checked(lambda: cls.model_validate_json(text, strict=True), "body")


def _number(text: str) -> float | int:
    """In JSON 1.0 is a whole number as well."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= MOST else value


def _checked(validate: Callable[[], BaseModel], where: str) -> BaseModel:
    try:
        return validate()
    except ValidationError as error:
        fields = {".".join(str(p) for p in e["loc"]) or where: str(e["msg"]) for e in error.errors()}
        words = "; ".join(f"{name}: {reason}" for name, reason in list(fields.items())[:5])
        raise errors.InvalidRequest(words, fields=fields) from error


def _claim(call: Call, raw: bytes, deps: Deps) -> str | None:
    """The key under which this request's effect happens once; another body under the same key is refused."""
    given = call.request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", given):
        raise errors.InvalidRequest("Idempotency-Key must be 1 to 200 printable characters without spaces")
    whole = "\0".join((call.user.id, call.request.method, call.request.path, given))
    key = hashlib.sha256(whole.encode()).hexdigest()
    digest = hashlib.sha256(raw).hexdigest()
    claim = {"user_id": call.user.id, "body": digest, "expires_at": deps.clock.now() + IDEMPOTENCY_KEPT}
    known = deps.store.get("idempotency", key)
    if known is None:
        try:
            deps.store.commit([Create("idempotency", key, claim)])
        except errors.StoreConflict:
            known = deps.store.get("idempotency", key)
    if known is not None and known.data["body"] != digest:
        raise errors.IdempotencyConflict("this Idempotency-Key was used with another body; use a new key")
    return key


def _error(status: int, code: str, message: str, request_id: str, details: Mapping[str, Any] | None = None) -> Response:
    error: dict[str, Any] = {"code": code, "message": message, "request_id": request_id}
    if details:
        error["details"] = details
    body = json.dumps({"success": False, "error": error}, default=str, ensure_ascii=False)
    return Response(body, int(status), mimetype="application/json")
