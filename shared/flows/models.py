"""LLM deployments: fit, deploy, look after, put to sleep and wake. `serving.py` passes requests on.

Each replica's machine is an instance of its own; whatever happens to it touches no other. A replica is ready only once its
server has answered its health check and one real completion.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial

from shared import errors
from shared.deps import Deps
from shared.domain import models as domain
from shared.domain.event import Event
from shared.domain.instance import DEFAULT_IMAGE, Action, Instance, State
from shared.domain.models import RUNTIMES, TINY, Deployment, Fit, Replica, Runtime
from shared.flows import instances, keys, pools, usage
from shared.flows.advance import kick
from shared.store.records import Transaction
from shared.store.shapes import EVENTS_OF_INSTANCE, MODELS, MODELS_OF_USER
from shared.wire import models as wire
from shared.wire.base import Done
from shared.wire.instances import ExecRequest, IdlePolicyBody, ProvisionRequest

LABEL = "dumont-model"
ASKED_FOR = timedelta(minutes=2)
"""A replica whose instance does not exist so long after the deployment was written down never will."""


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
    found = domain.fit(
        body.model, body.context, quantization, body.params_b, body.config, runtime.many_gpus, body.gpu_name
    )
    return quantization, found


def deploy(body: wire.DeployBody, user_id: str, deps: Deps, key: str | None) -> wire.NewDeploymentView:
    """Rent what the model needs and start its servers; the same key makes it once.

    Raises InvalidRequest with the numbers when it fits nowhere, NoCapacity, BudgetReached; then nothing is rented.
    """
    runtime = runtime_of(body.runtime, deps)
    quantization, fit = _fit(body, runtime)
    id = hashlib.sha256((key or uuid.uuid4().hex).encode()).hexdigest()[:12]
    # From the deployment's own name and a secret of ours: a repeated call shows the same key.
    secret, _ = keys.model_secret(deps.settings, id, "client")
    deployment = Deployment(
        id=id,
        user_id=user_id,
        name=body.name or f"model-{id[:6]}",
        model=body.model,
        runtime=runtime.name,
        quantization=quantization,
        context=body.context,
        max_usd_per_hour=body.max_usd_per_hour,
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
        ids = [instances.id_of(_key(id, number)) for number in range(body.replicas)]
        made = replace(deployment, replicas=tuple(Replica(one, entered_at=deps.clock.now()) for one in ids))
        with suppress(errors.Unavailable):
            # Unavailable: the same key at the same moment made it.
            deps.records.transact(lambda tx: tx.save(made))
        known = deps.records.load(Deployment, id)
    if known.state == "deploying":
        # Written down first: a crash from here on leaves no machine that no deployment knows of.
        _rent(body, known, _request(body, known, runtime, fit, deps), deps)
    secret, _ = keys.model_secret(deps.settings, id, "client", known.key_hash)
    return _new_view(known, deps, f"dm-{id}.{secret}")


def _key(id: str, number: int) -> str:
    return f"model {id} {number}"


def _rent(body: wire.DeployBody, deployment: Deployment, request: ProvisionRequest, deps: Deps) -> None:
    """An instance for each replica that has none yet. All of them or none: what was rented before a refusal is let go."""
    many = len(deployment.replicas) > 1
    try:
        for number, one in enumerate(deployment.replicas):
            if deps.records.find(Instance, one.instance_id) is None:
                name = f"{deployment.name}-{number + 1}" if many else deployment.name
                own = request.model_copy(update={"name": name})
                pools.provision(own, 0, deployment.user_id, deps, _key(deployment.id, number))
    except errors.Error as refusal:
        _destroy(deployment.replicas, deployment.user_id, deps)
        deps.records.transact(
            lambda tx: tx.delete(Deployment, d.id) if (d := tx.find(Deployment, deployment.id)) else None
        )
        if isinstance(refusal, errors.NoCapacity):
            raise errors.NoCapacity(f"{deployment.fit['why']}; {refusal.message}") from refusal
        raise


def _destroy(replicas: Sequence[Replica], actor: str, deps: Deps) -> None:
    for one in replicas:
        if deps.records.find(Instance, one.instance_id) is not None:
            instances.destroy(one.instance_id, 0, actor, deps)


def _request(body: wire.DeployBody, deployment: Deployment, runtime: Runtime, fit: Fit, deps: Deps) -> ProvisionRequest:
    env = {
        "MODEL_COMMAND": json.dumps(
            domain.words_of(runtime, body.model, body.context, fit.gpu_count, deployment.quantization)
        ),
        "MODEL_PULL": json.dumps(domain.pull_words(runtime, body.model)),
        "MODEL_PORT": str(runtime.port),
        "MODEL_HEALTH": runtime.health,
        "MODEL_WATCH_S": "25",
        **domain.env_of(runtime, body.context),
    }
    server_key, _ = keys.model_secret(deps.settings, deployment.id, "server", deployment.key_hash)
    env[runtime.key_env or "MODEL_KEY"] = server_key
    if runtime.inner_port:
        env["MODEL_INNER_PORT"] = str(runtime.inner_port)
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
            wire.RuntimeView(
                name=r.name,
                image=r.image,
                port=r.port,
                health=r.health,
                command=list(r.command),
                quantizations=["fp16", *(n for n, _ in r.quantized)],
            )
            for r in runtimes
        ],
    )


def delete(id: str, user_id: str, deps: Deps) -> Done:
    """Its instances, machines and files go with it."""
    ended: set[str] = set()
    deployment = _owned(id, user_id, deps)

    def apply(tx: Transaction) -> Deployment:
        fresh = tx.load(Deployment, id)
        if fresh.instance_ids <= ended:
            tx.save(replace(fresh, state="deleted", entered_at=tx.now))
        return fresh

    while not deployment.instance_ids <= ended:
        _destroy(deployment.replicas, user_id, deps)
        ended |= deployment.instance_ids
        # A replica may have been replaced meanwhile.
        deployment = deps.records.transact(apply)
    return Done()


def _owned(id: str, user_id: str, deps: Deps) -> Deployment:
    found = deps.records.find(Deployment, id)
    if found is None or found.user_id != user_id or found.state == "deleted":
        raise errors.NotFound(f"there is no deployment {id}")
    return found


# Looking after -------------------------------------------------------------------------------------------------------


def look(deployment: Deployment, deps: Deps) -> Deployment:
    """What has become of its replicas, stored; called by whoever has a reason, and by a sweep."""
    if deployment.state in ("failed", "deleted"):
        return deployment
    seen = deployment.replicas
    if len(seen) == 1:
        looked = [_look_one(deployment, seen[0], deps)]
    else:
        # A server that hangs holds nobody up but itself.
        with ThreadPoolExecutor(max(1, len(seen))) as pool:
            looked = list(pool.map(lambda one: _look_one(deployment, one, deps), seen))
    return _maybe_sleep(_note(deployment, looked, deps), deps)


def _note(deployment: Deployment, looked: Sequence[Replica], deps: Deps) -> Deployment:
    """Each replica as it was found to be, unless somebody has found otherwise meanwhile."""
    found = {before.instance_id: (before, now) for before, now in zip(deployment.replicas, looked, strict=True)}
    if all(before == now for before, now in found.values()):
        return deployment

    def apply(tx: Transaction) -> Deployment:
        fresh = tx.load(Deployment, deployment.id)
        if fresh.state in ("failed", "deleted"):
            return fresh
        # One that was replaced meanwhile has another instance.
        pairs = [(one, *found.get(one.instance_id, (None, one))) for one in fresh.replicas]
        moved = fresh.with_replicas([now if one == before else one for one, before, now in pairs], tx.now)
        tx.save(moved)
        return moved

    return deps.records.transact(apply)


def _turn(replica: Replica, state: str, deps: Deps, failure: str | None = None, log: Sequence[str] = ()) -> Replica:
    if replica.state == state:
        return replica
    return replace(replica, state=state, entered_at=deps.clock.now(), failure=failure, log=list(log))


def _look_one(deployment: Deployment, replica: Replica, deps: Deps) -> Replica:
    if replica.state == "failed":
        return replica
    fail = partial(_fail, deployment, replica, deps)
    instance = deps.records.find(Instance, replica.instance_id)
    if instance is None:
        young = deps.clock.now() - deployment.created_at < ASKED_FOR
        return replica if young else fail("its machine was never asked for")
    if (
        instance.state in (State.PROVISIONING, State.WAKING)
        and instance.next_action_at is not None
        and instance.next_action_at <= deps.clock.now()
    ):
        # Somebody waits for it: its race goes on, and not only when the sweep comes.
        instance = kick(deps, instance.id, deployment.user_id)
    if instance.state in (State.DESTROYED, State.DESTROYING, State.FAILED):
        return fail(instance.failure or "its instance was destroyed")
    if instance.state in (State.HIBERNATED, State.HIBERNATING):
        return _turn(replica, "asleep", deps)
    if instance.state is not State.RUNNING:
        return _turn(replica, "deploying" if instance.state is State.PROVISIONING else "waking", deps)
    if replica.state == "ready":
        return replica
    if instance.failure and instance.failure.startswith("the set-up command failed"):
        return fail("the server did not start", _set_up_output(instance, deps))
    if _answers(deployment, instance, deps):
        return replace(_turn(replica, "ready", deps), renewals=0)
    waited = deps.clock.now() - max(instance.entered_at, replica.entered_at or deployment.created_at)
    limit = timedelta(seconds=deps.settings.model_ready_s * deps.settings.time_scale)
    if waited > limit:
        why = f"the server did not answer within {limit.total_seconds():.0f} s"
        return fail(why, _last_lines(instance, deps))
    return _turn(replica, "waking", deps) if replica.state == "asleep" else replica


def _fail(deployment: Deployment, replica: Replica, deps: Deps, why: str, log: Sequence[str] = ()) -> Replica:
    """A replica that failed keeps no machine. The others go on."""
    _destroy([replica], "failed model", deps)
    return _turn(replica, "failed", deps, why, log)


def renew(deployment: Deployment, deps: Deps) -> Deployment:
    """Replace the replicas that failed while another serves: their model and server are proven, so it was the machine."""
    for one in deployment.replicas if deployment.state == "ready" else ():
        if domain.renewal_due(one, deps.clock.now(), deps.settings.time_scale):
            try:
                deployment = _replace(deployment, one, deps)
            except errors.Error as refusal:
                # Refused, it cost nothing: that is tried for ever.
                tries = min(one.renewals + 1, domain.MOST_RENEWALS - 1)
                later = replace(one, entered_at=deps.clock.now(), failure=refusal.message, renewals=tries)
                deployment = _note(deployment, [later if o == one else o for o in deployment.replicas], deps)
    return deployment


def _replace(deployment: Deployment, failed: Replica, deps: Deps) -> Deployment:
    """Another instance like that of the failed one, in the batch that names it: no crash leaves one without the other."""
    like = deps.records.load(Instance, failed.instance_id)
    usage.require_budget(deployment.user_id, deps)
    instances.check_market(deps, like.need, like.spec.image)
    body = ProvisionRequest(
        name=like.name, idle_policy=IdlePolicyBody(enabled=False), labels=dict(like.labels), strategy="race"
    )
    id = instances.id_of(f"{failed.instance_id} again")

    def begin(tx: Transaction) -> Deployment:
        fresh = tx.load(Deployment, deployment.id)
        if fresh.state != "ready" or failed not in fresh.replicas:
            return fresh
        fresh = fresh.with_replicas(
            [one.renewed(id, tx.now) if one == failed else one for one in fresh.replicas], tx.now
        )
        tx.save(fresh)
        instances.open_instance(
            tx, body, like.need, id, fresh.user_id, deps, place=like.storage, spec=like.spec, strategy=like.strategy
        )
        return fresh

    renewed = deps.records.transact(begin)
    if id in renewed.instance_ids:
        kick(deps, id, deployment.user_id)
    return renewed


def doubt(deployment: Deployment, instance_id: str, deps: Deps) -> Deployment:
    """A ready replica could not be reached: nothing is sent there before it has answered again, or has failed."""
    changed = [_turn(o, "waking", deps) if o.instance_id == instance_id else o for o in deployment.replicas]
    return _note(deployment, changed, deps)


def _maybe_sleep(deployment: Deployment, deps: Deps) -> Deployment:
    """All replicas that are ready, once nobody has asked for long enough."""
    last = deployment.last_request_at or deployment.ready_at
    if deployment.state != "ready" or deployment.idle_after_s <= 0 or last is None:
        return deployment
    if deps.clock.now() - last < timedelta(seconds=deployment.idle_after_s):
        return deployment

    def sleep(one: Replica) -> Replica:
        if one.state == "ready":
            with suppress(errors.Conflict):
                # Conflict: its files are still coming back; the next look tries again.
                instances.hibernate(one.instance_id, 0, "idle model", deps)
                return _turn(one, "asleep", deps)
        return one

    return _note(deployment, [sleep(one) for one in deployment.replicas], deps)


def wake(deployment: Deployment, deps: Deps) -> Deployment:
    """Wake every replica that sleeps. Raises what kept the first from it when none wakes or starts."""
    refusals: list[errors.Error] = []

    def rouse(one: Replica) -> Replica:
        instance = deps.records.find(Instance, one.instance_id) if one.state == "asleep" else None
        if instance is None or instance.state is not State.HIBERNATED:
            return one
        try:
            instances.wake(instance.id, 0, deployment.user_id, deps)
        except (errors.BudgetReached, errors.Conflict) as refusal:
            refusals.append(refusal)
            return one
        return _turn(one, "waking", deps)

    woken = _note(deployment, [rouse(one) for one in deployment.replicas], deps)
    if refusals and woken.state == "asleep":
        raise refusals[0]
    return woken


def address(deployment: Deployment, instance: Instance, deps: Deps) -> str | None:
    """Where its server answers; None until the provider has told."""
    machine = instance.machine
    port = machine.ports.get(str(runtime_of(deployment.runtime, deps).port)) if machine else None
    return f"http://{machine.ssh_host}:{port}" if machine and machine.ssh_host and port else None


def server_key(deployment: Deployment, deps: Deps) -> dict[str, str]:
    secret, _ = keys.model_secret(deps.settings, deployment.id, "server", deployment.key_hash)
    return {"Authorization": f"Bearer {secret}"}


def _answers(deployment: Deployment, instance: Instance, deps: Deps) -> bool:
    """Healthy, and one real completion comes back."""
    # Here: cleanup looks at deployments too, and mostly there are none.
    import httpx

    base = address(deployment, instance, deps)
    if base is None:
        return False
    runtime = runtime_of(deployment.runtime, deps)
    probe = {"model": deployment.model, "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 4}
    try:
        with httpx.Client(timeout=httpx.Timeout(30, connect=3), headers=server_key(deployment, deps)) as client:
            if client.get(base + runtime.health).status_code >= 400:
                return False
            answer = client.post(base + "/v1/chat/completions", json=probe)
            return answer.status_code == 200 and bool(answer.json()["choices"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False


def _set_up_output(instance: Instance, deps: Deps) -> list[str]:
    page, _ = deps.records.query(Event, EVENTS_OF_INSTANCE, {"instance_id": instance.id}, limit=50)
    outputs = [str(e.details.get("output", "")) for e in page if e.kind == "setup" and e.details.get("output")]
    return domain.tail(outputs[0]) if outputs else []


def _last_lines(instance: Instance, deps: Deps) -> list[str]:
    """The server's last words, asked of the machine; nothing when it does not answer in time."""
    with suppress(errors.Error):
        instance.require(Action.EXEC)
        body = ExecRequest(command=["tail", "-n", "20", "model-server.log"], timeout_s=10)
        order = instances.start_exec(instance.id, body, "system", deps, None)
        return domain.tail(instances.wait_exec(instance.id, order.id, 15, deps).stdout)
    return []


# Views ---------------------------------------------------------------------------------------------------------------


def view(deployment: Deployment, deps: Deps) -> wire.DeploymentView:
    replicas = [_replica_view(one, deps) for one in deployment.replicas]
    rates = [one.usd_per_hour for one in replicas if one.usd_per_hour is not None]
    return wire.DeploymentView(
        id=deployment.id,
        name=deployment.name,
        model=deployment.model,
        runtime=deployment.runtime,
        quantization=deployment.quantization,
        context=deployment.context,
        state=deployment.state,
        instance_id=replicas[0].instance_id if replicas else None,
        replicas=replicas,
        max_usd_per_hour=deployment.max_usd_per_hour,
        endpoint=f"{deps.settings.public_url.rstrip('/')}/api/v1/models/{deployment.id}/v1",
        fit=wire.FitView(**deployment.fit) if deployment.fit else None,
        created_at=deployment.created_at,
        ready_at=deployment.ready_at,
        idle_after_s=deployment.idle_after_s,
        last_request_at=deployment.last_request_at,
        requests=deployment.requests,
        prompt_tokens=deployment.prompt_tokens,
        completion_tokens=deployment.completion_tokens,
        estimated_requests=deployment.estimated,
        usd_per_hour=sum(rates, Decimal(0)) if rates else None,
        failure=deployment.failure,
        log=list(deployment.log),
    )


def _replica_view(replica: Replica, deps: Deps) -> wire.ReplicaView:
    instance = deps.records.find(Instance, replica.instance_id)
    return wire.ReplicaView(
        instance_id=replica.instance_id,
        state=replica.state,
        usd_per_hour=instance.machine.usd_per_hour if instance and instance.machine else None,
        failure=replica.failure,
        log=list(replica.log),
        renewals=replica.renewals,
    )


def _new_view(deployment: Deployment, deps: Deps, key: str | None) -> wire.NewDeploymentView:
    return wire.NewDeploymentView(**view(deployment, deps).model_dump(), key=key)


def all_models(deps: Deps) -> list[Deployment]:
    return deps.records.all(Deployment, MODELS, {})
