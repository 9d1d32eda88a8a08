"""A model is rented only when it fits, its words reach no shell, and its key opens nothing else."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from local.embedded import ROOT
from local.tiny_model import MODEL
from shared import errors
from shared.domain import models as domain
from shared.domain.instance import Instance, State
from shared.domain.models import RUNTIMES, Deployment
from shared.flows import keys, models, serving
from shared.flows.auth import access_token, create_user
from shared.wire.models import DeployBody
from tests.support.http import client, error_of
from tests.support.simulated import ports
from tests.support.world import World
from tests.unit.test_web import bearer


@pytest.fixture
def world() -> World:
    return World(tiny_model_path="/opt/tiny_model.py")


def deploy(world: World, **asked: object) -> tuple[str, Deployment]:
    body = DeployBody.model_validate({"model": "dumont/tiny-bigram", "runtime": "tiny", **asked})
    made = models.deploy(body, world.user.id, world.deps, "key-1")
    return str(made.key), world.deps.records.load(Deployment, made.id)


@given(st.floats(0.1, 600), st.integers(256, 200_000), st.sampled_from(sorted(domain.BITS)))
def test_what_is_chosen_holds_the_model_and_less_would_not_be_asked_for(size: float, context: int, bits: str) -> None:
    try:
        fit = domain.fit("some/model", context, bits, size, None, many_gpus=True)
    except errors.InvalidRequest as refusal:
        assert "GB" in refusal.message and "smaller" in refusal.message
        return
    assert fit.gpu_count * fit.vram_gb * domain.USABLE >= fit.total_gb - 0.01
    assert fit.total_gb == pytest.approx(fit.weights_gb + fit.kv_gb + fit.overhead_gb)
    assert fit.vram_gb <= domain.GPU_SIZES[-1]


@given(st.integers(256, 100_000))
def test_a_longer_context_never_needs_less(context: int) -> None:
    small = domain.fit("Qwen/Qwen2.5-7B-Instruct", context, "fp16", None, None, many_gpus=True)
    large = domain.fit("Qwen/Qwen2.5-7B-Instruct", context + 1000, "fp16", None, None, many_gpus=True)
    assert large.total_gb > small.total_gb


def test_known_families_come_out_as_published() -> None:
    fit = domain.fit("meta-llama/Llama-3.1-8B-Instruct", 8192, "fp16", None, None, many_gpus=True)
    # 8.03 billion x 2 bytes; 2 x 32 layers x 8 heads x 128 x 2 bytes x 8192 tokens.
    assert fit.weights_gb == pytest.approx(16.06, abs=0.01)
    assert fit.kv_gb == pytest.approx(1.074, abs=0.01)
    assert (fit.gpu_count, "Llama 3 8B" in fit.why) == (1, True)


def test_of_a_gpu_that_is_named_as_many_are_taken_as_hold_it() -> None:
    def gpus(gpu: str | None, model: str = "Qwen/Qwen2.5-72B-Instruct") -> int:
        return domain.fit(model, 8192, "fp16", None, None, many_gpus=True, gpu_name=gpu).gpu_count

    assert (gpus("rtx-4090"), gpus("RTX A6000"), gpus("H200"), gpus(None)) == (8, 4, 2, 4)
    assert gpus("RTX 4090", "Qwen/Qwen2.5-7B-Instruct") == 1
    assert gpus("A100 SXM4") == gpus(None), "one that comes in several sizes tells nothing"
    with pytest.raises(errors.InvalidRequest, match=r"8x Tesla T4 of 15 GB hold 110 GB.*larger GPU"):
        gpus("Tesla T4")


def test_the_models_own_config_wins_and_a_broken_one_is_refused() -> None:
    config = {"num_hidden_layers": 10, "num_attention_heads": 8, "hidden_size": 1024}
    fit = domain.fit("some/model-1b", 1000, "fp16", None, config, many_gpus=True)
    assert fit.kv_gb == pytest.approx(2 * 10 * 8 * 128 * 2 * 1000 / 1e9)
    for broken in ({"num_hidden_layers": "many"}, {**config, "num_attention_heads": 0}, {**config, "hidden_size": -8}):
        with pytest.raises(errors.InvalidRequest, match="config"):
            domain.fit("some/model-1b", 1000, "fp16", None, broken, many_gpus=True)


def test_a_size_that_no_name_tells_is_asked_for() -> None:
    with pytest.raises(errors.InvalidRequest, match="params_b"):
        domain.fit("someone/mystery", 4096, "fp16", None, None, many_gpus=True)


@pytest.mark.parametrize(
    "bad",
    [
        {"model": "a; rm -rf /"},
        {"model": "$(id)"},
        {"model": "../../etc/passwd"},
        {"context": 0},
        {"context": 2_000_000},
        {"quantization": "q1"},
        {"max_usd_per_hour": -1},
        {"hub_token": "two words"},
        {"idle_after_s": -5},
    ],
)
def test_bad_input_is_refused_before_anything_happens(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DeployBody.model_validate({"model": "dumont/tiny-bigram", **bad})


def test_unknown_runtimes_and_quantizations_name_the_known_ones(world: World) -> None:
    for asked, words in (({"runtime": "magic"}, "vllm"), ({"runtime": "ollama", "quantization": "awq"}, "q4")):
        with pytest.raises(errors.InvalidRequest, match=words):
            deploy(world, model="Qwen/Qwen2.5-7B-Instruct", **asked)
    assert world.provider.creates == []


def test_a_model_too_large_for_any_machine_rents_nothing(world: World) -> None:
    with pytest.raises(errors.InvalidRequest, match="GB"):
        deploy(world, model="example/huge-2000b", runtime="vllm")
    assert world.provider.creates == []


@pytest.mark.parametrize("runtime", sorted(RUNTIMES))
def test_every_runtimes_command_carries_the_model_as_one_word(runtime: str) -> None:
    one = RUNTIMES[runtime]
    hostile = "org/m'odel\"; touch /tmp/x #"
    words = [*domain.words_of(one, hostile, 4096, 2, "fp16"), *domain.pull_words(one, hostile)]
    assert [word for word in words if word.startswith(hostile)] and not any(
        "org" in w for w in words if hostile not in w
    )
    assert not {"MODEL", "CONTEXT", "PORT", "GPUS"} & {*words, *domain.env_of(one, 4096).values()}
    assert "4096" in {*words, *domain.env_of(one, 4096).values()}, "the context reaches the server"


def test_llama_cpp_takes_the_file_of_the_quantization_unless_the_name_says_which() -> None:
    runtime = RUNTIMES["llama_cpp"]
    assert "org/m-GGUF:Q8_0" in domain.words_of(runtime, "org/m-GGUF", 4096, 1, "q8")
    assert "org/m-GGUF:Q5_K_S" in domain.words_of(runtime, "org/m-GGUF:Q5_K_S", 4096, 1, "q4")


def test_the_launcher_starts_exactly_the_words_it_is_given(tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    server.write_text("import sys; print(sys.argv[1:]); sys.exit(3)")
    words = ["python3", str(server), "$(touch pwned)", "; touch pwned", "a b"]
    env = {
        "PATH": "/usr/bin:/bin",
        "MODEL_COMMAND": json.dumps(words),
        "MODEL_PULL": "[]",
        "MODEL_PORT": "1",
        "MODEL_HEALTH": "/health",
        "MODEL_WATCH_S": "10",
    }
    done = subprocess.run(["bash", "-c", domain.setup_command()], cwd=tmp_path, env=env, capture_output=True, text=True)

    assert done.returncode != 0 and "ended with 3" in done.stderr
    assert str(words[2:]) in done.stdout
    assert not (tmp_path / "pwned").exists()


def test_a_server_that_knows_no_key_is_guarded_and_its_pieces_come_as_they_are_made(tmp_path: Path) -> None:
    inner, port = ports(2)
    words = [sys.executable, str(ROOT / "local" / "tiny_model.py"), "--model", MODEL, "--port", str(inner)]
    env = {
        "PATH": os.environ["PATH"],
        "MODEL_COMMAND": json.dumps(words),
        "MODEL_PULL": "[]",
        "MODEL_PORT": str(port),
        "MODEL_INNER_PORT": str(inner),
        "MODEL_KEY": "the-key",
        "MODEL_HEALTH": "/health",
        "MODEL_WATCH_S": "20",
    }
    done = subprocess.run(["bash", "-c", domain.setup_command()], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    base, ask = f"http://127.0.0.1:{port}", {"model": MODEL, "messages": [{"role": "user", "content": "a machine"}]}
    server = int((tmp_path / "model-server.pid").read_text())
    try:
        with httpx.Client(base_url=base, headers={"Authorization": "Bearer the-key"}, timeout=20) as known:
            eventually(lambda: known.get("/health").status_code == 200)
            for key in ("", "Bearer wrong", "Bearer th\u00e9-key"):
                refused = httpx.post(
                    base + "/v1/chat/completions", json=ask, headers=[(b"Authorization", key.encode("latin-1"))]
                )
                assert refused.status_code == 401 and refused.content == b""
            assert known.post("/v1/chat/completions", json=ask).json()["choices"]
            with known.stream("POST", "/v1/chat/completions", json={**ask, "stream": True}) as answer:
                pieces = list(answer.iter_raw())
            assert len(pieces) > 3 and pieces[-1].endswith(b"data: [DONE]\n\n")
            os.kill(server, signal.SIGKILL)
            eventually(lambda: gone(known))
    finally:
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


def eventually(check: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while True:
        with suppress(httpx.HTTPError):
            if check():
                return
        assert time.monotonic() < until
        time.sleep(0.05)


def gone(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 0
    except httpx.ConnectError:
        return True


def test_ollama_listens_on_the_machine_alone_and_every_server_is_given_a_key(world: World) -> None:
    for name, runtime in RUNTIMES.items():
        assert runtime.key_env or runtime.inner_port, name
    assert domain.env_of(RUNTIMES["ollama"], 4096)["OLLAMA_HOST"] == f"127.0.0.1:{RUNTIMES['ollama'].inner_port}"
    _, deployment = deploy(world, model="llama3.1:8b", runtime="ollama", params_b=8)
    spec = world.instance(deployment.replicas[0].instance_id).spec
    env = keys.open_env(world.deps.settings, world.user.id, spec.env)
    assert env["MODEL_INNER_PORT"] == "11435" and len(env["MODEL_KEY"]) == 43
    assert spec.ports == (11434,)


def test_a_key_opens_its_own_deployment_and_no_other(world: World) -> None:
    key, deployment = deploy(world)
    assert serving.authorized(deployment.id, key, world.deps).id == deployment.id
    for wrong in ("", "dm-000000000000." + "a" * 43, key[:-1] + ("a" if key[-1] != "a" else "b")):
        with pytest.raises(errors.Unauthenticated):
            serving.authorized(deployment.id, wrong, world.deps)
    with pytest.raises(errors.Unauthenticated):
        serving.authorized("000000000000", key, world.deps)


def test_the_same_idempotency_key_makes_one_deployment_and_shows_the_same_key(world: World) -> None:
    first, one = deploy(world)
    second, other = deploy(world)
    assert (first, one.id) == (second, other.id)
    assert len(models.list_models(world.user.id, world.deps).deployments) == 1


def test_another_users_deployment_does_not_exist(world: World) -> None:
    _, deployment = deploy(world)
    for act in (models.show, models.delete):
        with pytest.raises(errors.NotFound):
            act(deployment.id, "u-other", world.deps)
    assert models.list_models("u-other", world.deps).deployments == []


def test_a_deployment_whose_race_fails_is_failed_and_keeps_no_machine(world: World) -> None:
    _, deployment = deploy(world)
    world.provider.stock.clear()
    for made in list(world.provider.made):
        world.provider.made.pop(made)
    world.settle(deployment.replicas[0].instance_id, lambda i: i.state is State.FAILED)

    shown = models.show(deployment.id, world.user.id, world.deps)
    assert shown.state == "failed" and shown.failure
    world.settle(deployment.replicas[0].instance_id, lambda i: i.state is State.DESTROYED)
    assert world.provider.made == {}


def test_a_request_wakes_a_sleeping_model_and_says_when_to_come_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, deployment = deploy(world)
    world.settle(deployment.replicas[0].instance_id, lambda i: bool(world.created(i.id)))
    agent = world.agent(world.created(deployment.replicas[0].instance_id)[0])
    agent.register()
    agent.finish("setup", exit_code=0)
    world.settle(deployment.replicas[0].instance_id)
    from shared.flows import instances

    instances.hibernate(deployment.replicas[0].instance_id, 0, world.user.id, world.deps)
    agent.take_snapshot()
    world.settle(deployment.replicas[0].instance_id)
    monkeypatch.setattr(serving, "HOLD_S", 0.0)

    with pytest.raises(errors.ModelNotReady) as caught:
        serving.serve(deployment.id, "chat/completions", key, b"{}", world.deps)
    assert caught.value.retry_after_s > 0
    assert world.deps.records.load(Instance, deployment.replicas[0].instance_id).state is State.WAKING
    with pytest.raises(errors.NotFound):
        serving.serve(deployment.id, "admin", key, b"{}", world.deps)


def test_deleting_a_deployment_ends_its_instance(world: World) -> None:
    key, deployment = deploy(world)
    models.delete(deployment.id, world.user.id, world.deps)
    world.settle(deployment.replicas[0].instance_id)
    assert world.instance(deployment.replicas[0].instance_id).state is State.DESTROYED
    assert world.provider.made == {}
    with pytest.raises(errors.Unauthenticated):
        serving.authorized(deployment.id, key, world.deps)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"context": 0}, "context"),
        ({"context": 1_000_001}, "context"),
        ({"runtime": "magic"}, "vllm"),
        ({"model": "someone/mystery", "runtime": "vllm"}, "params_b"),
        ({"model": "Qwen/Qwen2.5-7B-Instruct", "runtime": "vllm", "context": 1_000_000, "gpu_name": ""}, "gpu_name"),
        ({"model": "example/huge-2000b", "runtime": "vllm"}, "GB"),
        ({"model": "a b"}, "model"),
        ({"max_usd_per_hour": "NaN"}, "max_usd_per_hour"),
    ],
)
def test_over_http_bad_deployments_are_told_and_nothing_is_rented(
    world: World, bad: dict[str, object], words: str
) -> None:
    body = {"model": "dumont/tiny-bigram", "runtime": "tiny", **bad}
    answer = client("models", world.deps).post("/api/v1/models/deploy", json=body, headers=bearer(world))

    assert answer.status_code == 400 and words in error_of(answer)["message"]
    assert world.provider.creates == [] and models.list_models(world.user.id, world.deps).deployments == []


def test_over_http_a_deployment_of_another_user_does_not_exist(world: World) -> None:
    _, deployment = deploy(world)
    bob = create_user("bob@example.com", "correct horse battery", False, world.deps)
    token = access_token(bob.id, "f", world.deps.settings, world.clock)
    for method in ("GET", "DELETE"):
        answer = client("models", world.deps).open(
            f"/api/v1/models/{deployment.id}", method=method, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 404 and deployment.id in error_of(answer)["message"]


def test_every_runtime_is_listed_with_how_it_is_started(world: World) -> None:
    listed = {one.name: one for one in models.list_models(world.user.id, world.deps).runtimes}
    assert {"vllm", "tgi", "llama_cpp", "ollama", "tiny"} == set(listed)
    for one in listed.values():
        assert one.image and 0 < one.port < 65536 and one.health.startswith("/") and one.command


CHAT = json.dumps({"messages": [{"role": "user", "content": "Say hello to them"}]}).encode()
CUT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'


@pytest.mark.parametrize(
    ("status", "last", "pieces", "expected"),
    [
        (200, b'{"usage": {"prompt_tokens": 3, "completion_tokens": 5, "details": {"cached": 1}}}', 0, (3, 5, 0)),
        (200, b'{"data": [], "usage": {"prompt_tokens": 7, "total_tokens": 7}}', 0, (7, 0, 0)),
        (200, CUT + b"data: [DONE]\n\n", 9, (5, 8, 1)),
        (200, CUT, 9, (5, 9, 1)),
        (200, b'{"usage": {"prompt_tokens": "many", "completion_tokens": -4}}', 0, (0, 0, 0)),
        (200, b'{"usage": null}', 0, (5, 0, 1)),
        (200, b'{"choices": [{"text": "\\"usage\\": {\\"prompt_tokens\\": 99}"}]}', 0, (5, 0, 1)),
        (400, b'{"error": {"message": "no"}}', 0, (0, 0, 0)),
    ],
)
def test_what_a_server_says_it_used_is_counted_and_else_it_is_called_estimated(
    status: int, last: bytes, pieces: int, expected: tuple[int, int, int]
) -> None:
    """ "Say hello to them" has 17 letters."""
    used = serving._used(serving.Asked("chat/completions", CHAT), status, last, pieces)
    assert (used.prompt_tokens, used.completion_tokens, used.estimated, used.requests) == (*expected, 1)


STREAM = {"model": MODEL, "stream": True, "messages": []}


@pytest.mark.parametrize(
    ("body", "path", "adds"),
    [
        (STREAM, "chat/completions", True),
        (STREAM, "completions", True),
        ({**STREAM, "stream_options": {"include_usage": False}}, "chat/completions", True),
        ({**STREAM, "stream_options": None}, "chat/completions", True),
        ({**STREAM, "stream_options": {"include_usage": True}}, "chat/completions", False),
        ({**STREAM, "stream_options": "all"}, "chat/completions", False),
        ({**STREAM, "stream": False}, "chat/completions", False),
        (STREAM, "embeddings", False),
        ([STREAM], "chat/completions", False),
        ('"stream": true}', "chat/completions", False),
    ],
)
def test_a_stream_is_asked_for_its_usage_unless_its_client_has_asked(body: object, path: str, adds: bool) -> None:
    raw = json.dumps(body).encode() if not isinstance(body, str) else body.encode()
    asked = serving.Asked.of(path, raw)

    assert asked.adds_usage is adds
    if adds:
        assert isinstance(body, dict)
        assert asked.parsed() == {**body, "stream_options": {"include_usage": True}}
    else:
        assert asked.body == raw, "what is not changed goes on as it came"


@given(st.lists(st.text(max_size=8), max_size=6), st.sampled_from([b"\n\n", b"\r\n\r\n"]), st.data())
def test_only_the_event_of_usage_is_left_out_wherever_the_pieces_are_cut(
    words: list[str], end: bytes, data: st.DataObject
) -> None:
    said = [json.dumps({"choices": [{"delta": {"content": w}}], "usage": None}).encode() for w in [*words, '"usage"']]
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}).encode()
    whole = [b"data: " + event + end for event in (*said, usage, b"[DONE]")]
    stream, wanted = b"".join(whole), b"".join([*whole[:-2], whole[-1]])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    left_out = serving.WithoutUsage()
    pieces = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]

    assert b"".join(map(left_out.of, pieces)) + left_out.rest == wanted
