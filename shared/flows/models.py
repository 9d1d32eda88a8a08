"""LLM deployments: fit, deploy, look after, serve, sleep and wake on request.

A deployment's machine is an instance of its own; whatever happens to it touches no other. It is ready only once the server
has answered its health check and one real completion.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cache, partial
from typing import Any

import httpx

from shared import errors
from shared.deps import Deps
from shared.domain import models as domain
from shared.domain.event import Event
from shared.domain.instance import DEFAULT_IMAGE, Action, Instance, State
from shared.domain.models import RUNTIMES, TINY, Deployment, Fit, Runtime
from shared.flows import instances, pools
from shared.store.records import Transaction
from shared.store.shapes import EVENTS_OF_INSTANCE, MODELS, MODELS_OF_USER
from shared.wire import models as wire
from shared.wire.base import Done
from shared.wire.instances import IdlePolicyBody, ProvisionRequest

HOLD_S = 20.0
"""How long a request waits for a model that wakes."""
TOUCH_S = 5.0
LABEL = "dumont-model"
PATHS = ("chat/completions", "completions", "embeddings", "models")
KEY_FORM = re.compile(r"dm-([0-9a-f]{12})\.([A-Za-z0-9_-]{43})")


def runtime_of(name: str, deps: Deps) -> Runtime:
    """Raises InvalidRequest with the known ones."""
    if name == TINY and deps.settings.tiny_model_path:
        command = ("python3", deps.settings.tiny_model_path, "--model", "MODEL", "--port", "PORT")
        return Runtime(TINY, DEFAULT_IMAGE, 8000, "/health", command, "TINY_API_KEY", (("q4", ()),))
    known = [*RUNTIMES, *([TINY] if deps.settings.tiny_model_path else [])]
    if name not in RUNTIMES:
        raise errors.InvalidRequest(f"runtime: {name!r} is not one of {domain.known_words(known)}")
    return RUNTIMES[name]


def _fit(body: wire.DeployBody, runtime: Runtime) -> tuple[str, Fit]:
    own = [name for name, _ in runtime.quantized]
    quantization = body.quantization or ("q4" if "q4" in own else "fp16")
    if quantization != "fp16" and quantization not in own:
        raise errors.InvalidRequest(f"quantization: {runtime.name} serves {domain.known_words([*own, 'fp16'])}")
    if runtime.name == TINY:
        return quantization, Fit(0.000_001, 0, 0, 0.5, 0.5, 1, 1, "a bigram model of a few kilobytes fits anywhere")
    found = domain.fit(body.model, body.context, quantization, body.params_b, body.config, runtime.many_gpus)
    return quantization, found


def deploy(body: wire.DeployBody, user_id: str, deps: Deps, key: str | None) -> wire.NewDeploymentView:
    """Rent what the model needs and start its server; the same key makes it once.

    Raises InvalidRequest with the numbers when it fits nowhere, NoCapacity, BudgetReached; then nothing is rented.
    """
    runtime = runtime_of(body.runtime, deps)
    quantization, fit = _fit(body, runtime)
    id = hashlib.sha256((key or uuid.uuid4().hex).encode()).hexdigest()[:12]
    # From the deployment's own name and a secret of ours: a repeated call shows the same key.
    secret = _secret(deps, id, "client")
    deployment = Deployment(
        id=id,
        user_id=user_id,
        name=body.name or f"model-{id[:6]}",
        model=body.model,
        runtime=runtime.name,
        quantization=quantization,
        context=body.context,
        instance_id="",
        key_hash=hashlib.sha256(secret.encode()).hexdigest(),
        created_at=deps.clock.now(),
        entered_at=deps.clock.now(),
        idle_after_s=body.idle_after_s,
        fit=asdict(fit),
    )
    if body.preview:
        return _new_view(deployment, deps, None)
    known = deps.records.find(Deployment, id)
    if known is None:
        request = _request(body, deployment, runtime, fit, deps)
        instance = pools.provision(request, 0, user_id, deps, f"model {id}")
        deployment = replace(deployment, instance_id=instance.id)
        with suppress(errors.Unavailable):
            # Unavailable: the same key at the same moment made it.
            deps.records.transact(lambda tx: tx.save(deployment))
        known = deps.records.load(Deployment, id)
    return _new_view(known, deps, f"dm-{id}.{secret}")


def _secret(deps: Deps, id: str, purpose: str) -> str:
    """43 letters that only we can derive."""
    from base64 import urlsafe_b64encode

    from shared.flows.keys import master_key

    made = hmac.new(master_key(deps.settings), f"model|{purpose}|{id}".encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(made).decode().rstrip("=")


def _request(body: wire.DeployBody, deployment: Deployment, runtime: Runtime, fit: Fit, deps: Deps) -> ProvisionRequest:
    env = {
        "MODEL_COMMAND": json.dumps(
            domain.words_of(runtime, body.model, body.context, fit.gpu_count, deployment.quantization)
        ),
        "MODEL_PULL": json.dumps(domain.pull_words(runtime, body.model)),
        "MODEL_PORT": str(runtime.port),
        "MODEL_HEALTH": runtime.health,
        "MODEL_WATCH_S": "25",
    }
    if runtime.key_env:
        env[runtime.key_env] = _secret(deps, deployment.id, "server")
    if body.hub_token:
        env["HF_TOKEN"] = body.hub_token
    return ProvisionRequest(
        name=deployment.name,
        gpu_name=body.gpu_name,
        gpu_count=fit.gpu_count,
        min_vram_gb=fit.vram_gb,
        disk_gib=max(20.0, round(20 + fit.weights_gb * 1.4)),
        max_usd_per_hour=body.max_usd_per_hour,
        image=runtime.image,
        ports=[runtime.port],
        env=env,
        setup=domain.setup_command(),
        # Requests decide when a model sleeps, not the GPU's idleness between two of them.
        idle_policy=IdlePolicyBody(enabled=False),
        labels={LABEL: deployment.id},
        strategy="race",
    )


def show(id: str, user_id: str, deps: Deps) -> wire.DeploymentView:
    return view(look(_owned(id, user_id, deps), deps), deps)


def list_models(user_id: str, deps: Deps) -> wire.ModelList:
    found = deps.records.all(Deployment, MODELS_OF_USER, {"user_id": user_id})
    alive = sorted((d for d in found if d.state != "deleted"), key=lambda d: d.created_at, reverse=True)
    runtimes = [*RUNTIMES.values(), *([runtime_of(TINY, deps)] if deps.settings.tiny_model_path else [])]
    return wire.ModelList(
        deployments=[view(one, deps) for one in alive],
        runtimes=[
            wire.RuntimeView(name=r.name, image=r.image, quantizations=["fp16", *(n for n, _ in r.quantized)])
            for r in runtimes
        ],
    )


def delete(id: str, user_id: str, deps: Deps) -> Done:
    """Its instance, machine and files go with it."""
    deployment = _owned(id, user_id, deps)
    if deps.records.find(Instance, deployment.instance_id) is not None:
        instances.destroy(deployment.instance_id, 0, user_id, deps)
    _become(deployment, "deleted", deps)
    return Done()


def _owned(id: str, user_id: str, deps: Deps) -> Deployment:
    found = deps.records.find(Deployment, id)
    if found is None or found.user_id != user_id or found.state == "deleted":
        raise errors.NotFound(f"there is no deployment {id}")
    return found


# Looking after -------------------------------------------------------------------------------------------------------


def look(deployment: Deployment, deps: Deps) -> Deployment:
    """What has become of it, stored; called by whoever has a reason, and by a sweep."""
    if deployment.state in ("failed", "deleted"):
        return deployment
    instance = deps.records.find(Instance, deployment.instance_id)
    if instance is None or instance.state in (State.DESTROYED, State.DESTROYING, State.FAILED):
        why = (instance.failure if instance else None) or "its instance was destroyed"
        return _fail(deployment, why, [], deps)
    if instance.state in (State.HIBERNATED, State.HIBERNATING):
        return _become(deployment, "asleep", deps) if deployment.state != "asleep" else deployment
    if instance.state is not State.RUNNING:
        state = "deploying" if instance.state is State.PROVISIONING else "waking"
        return _become(deployment, state, deps) if deployment.state != state else deployment
    if deployment.state == "ready":
        return _maybe_sleep(deployment, deps)
    if instance.failure and instance.failure.startswith("the set-up command failed"):
        return _fail(deployment, "the server did not start", _set_up_output(instance, deps), deps)
    if _answers(deployment, instance, deps):
        return _become(deployment, "ready", deps, ready_at=deps.clock.now(), last_request_at=deps.clock.now())
    waited = deps.clock.now() - instance.entered_at
    limit = timedelta(seconds=deps.settings.model_ready_s * deps.settings.time_scale)
    if waited > limit:
        why = f"the server did not answer within {limit.total_seconds():.0f} s"
        return _fail(deployment, why, _last_lines(instance, deps), deps)
    return deployment


def _maybe_sleep(deployment: Deployment, deps: Deps) -> Deployment:
    last = deployment.last_request_at or deployment.ready_at
    if deployment.idle_after_s <= 0 or last is None:
        return deployment
    if deps.clock.now() - last < timedelta(seconds=deployment.idle_after_s):
        return deployment
    with suppress(errors.Conflict):
        # Conflict: its files are still coming back; the next look tries again.
        instances.hibernate(deployment.instance_id, 0, "idle model", deps)
        return _become(deployment, "asleep", deps)
    return deployment


def _base(deployment: Deployment, instance: Instance, deps: Deps) -> str | None:
    """Where the server answers; None until the provider has told."""
    machine = instance.machine
    port = machine.ports.get(str(runtime_of(deployment.runtime, deps).port)) if machine else None
    return f"http://{machine.ssh_host}:{port}" if machine and machine.ssh_host and port else None


def _headers(deployment: Deployment, deps: Deps) -> dict[str, str]:
    return {"Authorization": f"Bearer {_secret(deps, deployment.id, 'server')}"}


def _answers(deployment: Deployment, instance: Instance, deps: Deps) -> bool:
    """Healthy, and one real completion comes back."""
    base = _base(deployment, instance, deps)
    if base is None:
        return False
    runtime = runtime_of(deployment.runtime, deps)
    probe = {"model": deployment.model, "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 4}
    try:
        with httpx.Client(timeout=httpx.Timeout(30, connect=3), headers=_headers(deployment, deps)) as client:
            if client.get(base + runtime.health).status_code >= 400:
                return False
            answer = client.post(base + "/v1/chat/completions", json=probe)
            return answer.status_code == 200 and bool(answer.json()["choices"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False


def _become(deployment: Deployment, state: str, deps: Deps, **changes: Any) -> Deployment:
    def apply(tx: Transaction) -> Deployment:
        fresh = tx.load(Deployment, deployment.id)
        if fresh.state in ("failed", "deleted"):
            return fresh
        moved = replace(fresh, state=state, entered_at=tx.now, **changes)
        tx.save(moved)
        return moved

    return deps.records.transact(apply)


def _fail(deployment: Deployment, why: str, log: list[str], deps: Deps) -> Deployment:
    """A deployment that failed keeps no machine."""
    instance = deps.records.find(Instance, deployment.instance_id)
    if instance is not None and instance.state not in (State.DESTROYED, State.DESTROYING):
        instances.destroy(deployment.instance_id, 0, "failed model", deps)
    return _become(deployment, "failed", deps, failure=why, log=log)


def _set_up_output(instance: Instance, deps: Deps) -> list[str]:
    page, _ = deps.records.query(Event, EVENTS_OF_INSTANCE, {"instance_id": instance.id}, limit=50)
    outputs = [str(e.details.get("output", "")) for e in page if e.kind == "setup" and e.details.get("output")]
    return domain.tail(outputs[0]) if outputs else []


def _last_lines(instance: Instance, deps: Deps) -> list[str]:
    """The server's last words, asked of the machine; nothing when it does not answer in time."""
    from shared.wire.instances import ExecRequest

    with suppress(errors.Error):
        instance.require(Action.EXEC)
        body = ExecRequest(command=["tail", "-n", "20", "model-server.log"], timeout_s=10)
        order = instances.start_exec(instance.id, body, "system", deps, None)
        return domain.tail(instances.wait_exec(instance.id, order.id, 15, deps).stdout)
    return []


# Serving -------------------------------------------------------------------------------------------------------------


class Upstream:
    """One request on its way through: the server's answer as it comes, and what it used."""

    def __init__(self, deployment: Deployment, response: httpx.Response, deps: Deps) -> None:
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "application/json")
        self._deployment, self._response, self._deps = deployment, response, deps

    def stream(self) -> Iterator[bytes]:
        """Every piece as soon as it is there."""
        last = b""
        pieces = 0
        try:
            for piece in self._response.iter_raw():
                pieces += piece.count(b"\ndata:") + piece.startswith(b"data:")
                first, last = not last, (last + piece)[-65536:]
                yield piece
                if first and _stale(self._deployment, self._deps):
                    # Only now: no first token waits for the store.
                    _TALLY.add(self._deployment.id, Used(), self._deps)
        except httpx.HTTPError:
            # The answer has begun: all that is left is to end it, visibly unfinished.
            yield b'\n\ndata: {"error": {"message": "the model broke off", "type": "unavailable"}}\n\n'
        finally:
            self._response.close()
            _count(self._deployment, last, pieces, self._deps)


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
    """Pass a request on. One to a sleeping model wakes it and is held; then Unavailable says when to come again."""
    if path not in PATHS:
        raise errors.NotFound(f"models answer {domain.known_words(PATHS)}")
    deployment = _awake(authorized(id, bearer, deps), deps)
    _touch(deployment, deps)
    instance = deps.records.load(Instance, deployment.instance_id)
    base = _base(deployment, instance, deps)
    if base is None:
        raise errors.ModelNotReady("the model's machine has no address yet", 5)
    client = _servers()
    headers = {**_headers(deployment, deps), "Content-Type": "application/json"}
    try:
        request = client.build_request(
            "GET" if path == "models" else "POST", f"{base}/v1/{path}", content=body, headers=headers
        )
        response = client.send(request, stream=True)
    except httpx.HTTPError as error:
        raise errors.ModelNotReady(f"the model's server does not answer: {type(error).__name__}", 5) from error
    return Upstream(deployment, response, deps)


def _awake(deployment: Deployment, deps: Deps) -> Deployment:
    until = time.monotonic() + HOLD_S
    while True:
        deployment = look(deployment, deps) if deployment.state != "ready" else deployment
        if deployment.state == "ready":
            return deployment
        if deployment.state == "failed":
            raise errors.Conflict(f"this deployment failed: {deployment.failure}")
        instance = deps.records.load(Instance, deployment.instance_id)
        if instance.state is State.HIBERNATED:
            instances.wake(instance.id, 0, deployment.user_id, deps)
            deployment = _become(deployment, "waking", deps)
        left = until - time.monotonic()
        if left <= 0:
            raise errors.ModelNotReady(f"the model is {deployment.state}; its machine is {instance.state}", 10)
        deps.clock.sleep(min(0.3, left))


def _touch(deployment: Deployment, deps: Deps) -> None:
    """Note the request before its answer where the model might else be put to sleep meanwhile."""
    now = deps.clock.now()
    asleep_after = timedelta(seconds=deployment.idle_after_s)
    if asleep_after and (deployment.last_request_at is None or now - deployment.last_request_at >= asleep_after / 2):
        _TALLY.add(deployment.id, Used(), deps)


def _stale(deployment: Deployment, deps: Deps) -> bool:
    return deployment.last_request_at is None or deps.clock.now() - deployment.last_request_at >= timedelta(
        seconds=TOUCH_S
    )


def _count(deployment: Deployment, last: bytes, pieces: int, deps: Deps) -> None:
    """What the server says it used; for streams that do not say, a piece counts as a token."""
    found = re.findall(rb'"usage":\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})', last)
    used: dict[str, Any] = {}
    if found:
        with suppress(ValueError):
            used = json.loads(found[-1])
    prompt = int(used.get("prompt_tokens") or 0)
    completion = int(used.get("completion_tokens") or (max(0, pieces - 1) if not found else 0))

    _TALLY.add(deployment.id, Used(1, prompt, completion), deps)


@dataclass(frozen=True)
class Used:
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
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
                last_request_at=tx.now,
            )
        )


_TALLY = Tally()


# Views ---------------------------------------------------------------------------------------------------------------


def view(deployment: Deployment, deps: Deps) -> wire.DeploymentView:
    instance = deps.records.find(Instance, deployment.instance_id) if deployment.instance_id else None
    machine = instance.machine if instance else None
    return wire.DeploymentView(
        id=deployment.id,
        name=deployment.name,
        model=deployment.model,
        runtime=deployment.runtime,
        quantization=deployment.quantization,
        context=deployment.context,
        state=deployment.state,
        instance_id=deployment.instance_id or None,
        endpoint=f"{deps.settings.public_url.rstrip('/')}/api/v1/models/{deployment.id}/v1",
        fit=wire.FitView(**deployment.fit) if deployment.fit else None,
        created_at=deployment.created_at,
        ready_at=deployment.ready_at,
        idle_after_s=deployment.idle_after_s,
        last_request_at=deployment.last_request_at,
        requests=deployment.requests,
        prompt_tokens=deployment.prompt_tokens,
        completion_tokens=deployment.completion_tokens,
        usd_per_hour=Decimal(machine.usd_per_hour) if machine else None,
        failure=deployment.failure,
        log=list(deployment.log),
    )


def _new_view(deployment: Deployment, deps: Deps, key: str | None) -> wire.NewDeploymentView:
    return wire.NewDeploymentView(**view(deployment, deps).model_dump(), key=key)


def all_models(deps: Deps) -> list[Deployment]:
    return deps.records.all(Deployment, MODELS, {})
