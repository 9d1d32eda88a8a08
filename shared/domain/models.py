"""LLM deployments: which runtime starts how, and whether a model fits a GPU. Pure.

Sizes are decimal gigabytes; facts about families come from their published `config.json`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.domain.offer import normal_gpu
from shared.errors import InvalidRequest
from shared.frozen import dataclass


@dataclass(frozen=True)
class Runtime:
    """How an inference server is started. Words of `command` and values of `env` may be MODEL, CONTEXT, PORT or GPUS, which
    are put in as they are; nothing goes through a shell.
    """

    name: str
    image: str
    port: int
    health: str
    command: tuple[str, ...]
    key_env: str | None
    """The environment name of the key that the server itself demands; None: it knows none, and a guard stands before it."""
    quantized: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Further words per quantization."""
    many_gpus: bool = True
    pull: tuple[str, ...] = ()
    """Run once the server answers."""
    env: tuple[tuple[str, str], ...] = ()
    inner_port: int | None = None
    """Where a server that knows no key listens, on the machine alone; `port` is then the guard's."""
    tags: tuple[tuple[str, str], ...] = ()
    """Where the quantization is a part of the model's name, after a colon: which part. A name that has one keeps it."""


RUNTIMES: dict[str, Runtime] = {
    one.name: one
    for one in (
        Runtime(
            "vllm", "vllm/vllm-openai:v0.11.0", 8000, "/health",
            ("python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "MODEL", "--served-model-name", "MODEL",
             "--port", "PORT", "--max-model-len", "CONTEXT", "--tensor-parallel-size", "GPUS",
             "--download-dir", "/workspace/models"),
            "VLLM_API_KEY",
            (("fp8", ("--quantization", "fp8")), ("awq", ("--quantization", "awq")), ("gptq", ("--quantization", "gptq"))),
        ),
        Runtime(
            "tgi", "ghcr.io/huggingface/text-generation-inference:3.3.5", 8000, "/health",
            ("text-generation-launcher", "--model-id", "MODEL", "--port", "PORT", "--max-total-tokens", "CONTEXT",
             "--num-shard", "GPUS", "--huggingface-hub-cache", "/workspace/models"),
            "API_KEY",
            (("fp8", ("--quantize", "fp8")), ("awq", ("--quantize", "awq")), ("gptq", ("--quantize", "gptq"))),
        ),
        Runtime(
            "llama_cpp", "ghcr.io/ggml-org/llama.cpp:server-cuda", 8080, "/health",
            ("/app/llama-server", "-hf", "MODEL", "--host", "0.0.0.0", "--port", "PORT", "-c", "CONTEXT", "-ngl", "999"),
            "LLAMA_API_KEY",
            (("q4", ()), ("q8", ())),
            env=(("LLAMA_CACHE", "/workspace/models"),),
            tags=(("q4", "Q4_K_M"), ("q8", "Q8_0"), ("fp16", "F16")),
        ),
        Runtime(
            "ollama", "ollama/ollama:0.12.3", 11434, "/api/version", ("ollama", "serve"), None, (("q4", ()), ("q8", ())),
            pull=("ollama", "pull", "MODEL"),
            inner_port=11435,
            env=(("OLLAMA_HOST", "127.0.0.1:11435"), ("OLLAMA_CONTEXT_LENGTH", "CONTEXT"),
                 ("OLLAMA_MODELS", "/workspace/models"), ("OLLAMA_KEEP_ALIVE", "-1")),
        ),
    )
}  # fmt: skip
TINY = "tiny"
"""The local cloud's own runtime: a bigram model of a few kilobytes, for trying everything but the answers' worth."""

BITS = {"fp16": 16.0, "fp8": 8.0, "q8": 8.5, "awq": 4.5, "gptq": 4.5, "q4": 4.8}
"""Per weight, with the scales that quantization adds."""


@dataclass(frozen=True)
class Shape:
    """What the KV cache's size follows from."""

    layers: int
    kv_heads: int
    head_dim: int
    source: str


FAMILIES: tuple[tuple[str, float, Shape], ...] = (
    (r"llama-?3.*\b8b", 8.03, Shape(32, 8, 128, "Llama 3 8B")),
    (r"llama-?3.*\b70b", 70.6, Shape(80, 8, 128, "Llama 3 70B")),
    (r"llama-?3.*\b405b", 405.9, Shape(126, 8, 128, "Llama 3 405B")),
    (r"llama-?3\.2.*\b3b", 3.21, Shape(28, 8, 128, "Llama 3.2 3B")),
    (r"llama-?3\.2.*\b1b", 1.24, Shape(16, 8, 64, "Llama 3.2 1B")),
    (r"qwen2\.5.*\b0\.5b", 0.49, Shape(24, 2, 64, "Qwen2.5 0.5B")),
    (r"qwen2\.5.*\b1\.5b", 1.54, Shape(28, 2, 128, "Qwen2.5 1.5B")),
    (r"qwen2\.5.*\b3b", 3.09, Shape(36, 2, 128, "Qwen2.5 3B")),
    (r"qwen2\.5.*\b7b", 7.62, Shape(28, 4, 128, "Qwen2.5 7B")),
    (r"qwen2\.5.*\b14b", 14.8, Shape(48, 8, 128, "Qwen2.5 14B")),
    (r"qwen2\.5.*\b32b", 32.8, Shape(64, 8, 128, "Qwen2.5 32B")),
    (r"qwen2\.5.*\b72b", 72.7, Shape(80, 8, 128, "Qwen2.5 72B")),
    (r"mixtral.*8x7b", 46.7, Shape(32, 8, 128, "Mixtral 8x7B")),
    (r"mistral.*\b7b", 7.25, Shape(32, 8, 128, "Mistral 7B")),
    (r"gemma-?2.*\b9b", 9.24, Shape(42, 8, 256, "Gemma 2 9B")),
    (r"gemma-?2.*\b27b", 27.2, Shape(46, 16, 128, "Gemma 2 27B")),
    (r"phi-3.*mini", 3.82, Shape(32, 32, 96, "Phi-3 mini")),
)
GPU_SIZES = (80, 141)
"""GB of one GPU: the largest that is common, and the largest."""
GPU_GB = {
    "TESLA T4": 15, "RTX A4000": 16, "L4": 22, "RTX 3090": 24, "RTX 4090": 24, "RTX A5000": 24, "RTX 5090": 32, "L40": 46,
    "L40S": 46, "RTX A6000": 48, "RTX 6000ADA": 48, "H100 SXM": 80, "H100 PCIE": 80, "H200": 141,
}  # fmt: skip
"""Of GPUs that come in one size: how many of them a model needs is known before the market is asked."""
GPU_COUNTS = (1, 2, 4, 8)
USABLE = 0.92
OVERHEAD_GB = 1.5
ACTIVATIONS = 0.08
"""Of the weights, for activations and graphs."""


@dataclass(frozen=True)
class Fit:
    """GB; `vram_gb` is what each of `gpu_count` GPUs must have at least."""

    params_b: float
    weights_gb: float
    kv_gb: float
    overhead_gb: float
    total_gb: float
    gpu_count: int
    vram_gb: float
    why: str


def shape_of(model: str, params_b: float | None, config: Mapping[str, Any] | None) -> tuple[float, Shape]:
    """Parameters in billions and the attention's shape. Raises InvalidRequest when neither name nor config tells."""
    known = next(((p, s) for pattern, p, s in FAMILIES if re.search(pattern, model, re.I)), None)
    if config:
        try:
            layers, heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
            kv_heads = int(config.get("num_key_value_heads") or heads)
            head_dim = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InvalidRequest(
                "config: give num_hidden_layers, num_attention_heads and hidden_size as in the model's config.json"
            ) from error
        if not all(1 <= number <= 1_000_000 for number in (layers, kv_heads, head_dim)):
            raise InvalidRequest("config: layers, heads and sizes are from 1 to a million")
        shape = Shape(layers, kv_heads, head_dim, "the config given")
        billions = params_b or (known[0] if known else _named_size(model))
    elif known:
        billions, shape = params_b or known[0], known[1]
    else:
        billions = params_b or _named_size(model)
        if billions is not None:
            # An estimate on the large side: what grouped-query models of that size have.
            layers = max(12, round(32 * (billions / 8) ** 0.45))
            shape = Shape(layers, 8, 128, "an estimate from its size; give its config for a better one")
    if billions is None:
        raise InvalidRequest(f"how large {model!r} is cannot be told from its name: give params_b, in billions")
    return billions, shape


def _named_size(model: str) -> float | None:
    found = re.search(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b\b", model, re.I)
    if not found:
        return None
    experts = int(found[1]) if found[1] else 1
    return float(found[2]) * experts * (0.83 if experts > 1 else 1)


def fit(
    model: str,
    context: int,
    quantization: str,
    params_b: float | None,
    config: Mapping[str, Any] | None,
    many_gpus: bool,
    gpu_name: str | None = None,
) -> Fit:
    """The smallest number of GPUs, of any or of the one named, and the VRAM of each.

    Raises InvalidRequest with the numbers when nothing holds it.
    """
    billions, shape = shape_of(model, params_b, config)
    weights = billions * BITS[quantization] / 8
    kv = 2 * shape.layers * shape.kv_heads * shape.head_dim * 2 * context / 1e9
    overhead = OVERHEAD_GB + ACTIVATIONS * weights
    total = weights + kv + overhead
    counts = GPU_COUNTS if many_gpus else (1,)
    card = GPU_GB.get(normal_gpu(gpu_name)) if gpu_name else None
    largest = card or GPU_SIZES[-1]
    for count in counts:
        each = total / count / USABLE
        if each <= largest:
            vram = math.ceil(each * 10) / 10
            # Two cards of a common size beat one that hardly exists.
            rare = card is None and vram > GPU_SIZES[-2]
            if rare and count < counts[-1] and total / (count * 2) / USABLE <= GPU_SIZES[-2]:
                continue
            words = (
                f"{weights:.1f} GB of weights ({billions:g} billion at {BITS[quantization]:g} bits) + {kv:.1f} GB of KV cache "
                f"({context} tokens; {shape.source}) + {overhead:.1f} GB of overhead = {total:.1f} GB: "
                f"{count} GPU{'s' if count > 1 else ''} of {vram:g} GB or more"
            )
            return Fit(billions, weights, kv, overhead, total, count, vram, words)
    most = f"{counts[-1]}x {gpu_name if card else 'any GPU'}"
    raise InvalidRequest(
        f"{model} needs {total:.0f} GB ({weights:.0f} GB of weights, {kv:.0f} GB of KV cache for {context} tokens); "
        f"{most} of {largest} GB hold {counts[-1] * largest * USABLE:.0f} GB. "
        f"Take a smaller context, a quantization, {'a larger GPU, ' if card else ''}or a smaller model"
    )


def words_of(runtime: Runtime, model: str, context: int, gpus: int, quantization: str) -> list[str]:
    """The server's argument list."""
    tag = dict(runtime.tags).get(quantization)
    named = f"{model}:{tag}" if tag and ":" not in model else model
    put = {"MODEL": named, "CONTEXT": str(context), "PORT": str(runtime.port), "GPUS": str(gpus)}
    more = dict(runtime.quantized).get(quantization, ())
    return [put.get(word, word) for word in (*runtime.command, *more)]


def env_of(runtime: Runtime, context: int) -> dict[str, str]:
    """What the server reads from its environment."""
    return {name: str(context) if value == "CONTEXT" else value for name, value in runtime.env}


def pull_words(runtime: Runtime, model: str) -> list[str]:
    return [model if word == "MODEL" else word for word in runtime.pull]


@dataclass(frozen=True)
class Replica:
    """One of the servers behind an endpoint, on a machine that is an instance like any other."""

    instance_id: str
    state: str = "deploying"
    """deploying, ready, asleep, waking (or no longer answering) or failed."""
    entered_at: datetime | None = None
    failure: str | None = None
    log: list[str] = field(default_factory=list)
    """The server's last lines when it failed."""
    renewals: int = 0
    """How often it was replaced since it was last ready."""

    def renewed(self, instance_id: str, now: datetime) -> Replica:
        """On another instance; why the one before failed stays to be read until it is ready."""
        return replace(self, instance_id=instance_id, state="deploying", entered_at=now, renewals=self.renewals + 1)


MOST_REPLICAS = 8
MOST_RENEWALS = 5
RENEW_AFTER = timedelta(minutes=1)


def renewal_due(replica: Replica, now: datetime, scale: float) -> bool:
    """At once, then twice as late each time, and not for ever: what fails again costs again."""
    if replica.state != "failed" or replica.renewals >= MOST_RENEWALS:
        return False
    wait = RENEW_AFTER * 2 ** (replica.renewals - 1) * scale if replica.renewals else timedelta(0)
    return replica.entered_at is None or now - replica.entered_at >= wait


def state_of(replicas: Sequence[Replica]) -> str:
    """A deployment is as well as its best replica; only when all have failed has it."""
    found = {one.state for one in replicas}
    return next((state for state in ("ready", "waking", "deploying", "asleep") if state in found), "failed")


@dataclass(frozen=True)
class Deployment:
    """One model behind one endpoint."""

    id: str
    user_id: str
    name: str
    model: str
    runtime: str
    quantization: str
    context: int
    key_hash: str
    created_at: datetime
    replicas: tuple[Replica, ...] = ()
    max_usd_per_hour: Decimal | None = None
    """Of each replica."""
    state: str = "deploying"
    """That of its best replica, or deleted."""
    entered_at: datetime | None = None
    ready_at: datetime | None = None
    idle_after_s: float = 0.0
    """Hibernates after so long without a request; 0 is never."""
    last_request_at: datetime | None = None
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    """Of the requests, those whose tokens are estimated: the server did not tell, or broke off before."""
    fit: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None
    log: list[str] = field(default_factory=list)
    """Why the last replica failed, once all have."""

    @property
    def instance_ids(self) -> set[str]:
        return {one.instance_id for one in self.replicas}

    def with_replicas(self, replicas: Sequence[Replica], now: datetime) -> Deployment:
        """With its replicas as they are now, and what follows for the whole."""
        before = {one.instance_id: one.state for one in self.replicas}
        state = state_of(replicas)
        changed = replace(
            self, replicas=tuple(replicas), state=state, entered_at=self.entered_at if state == self.state else now
        )
        if any(one.state == "ready" and before.get(one.instance_id) != "ready" for one in replicas):
            changed = replace(changed, ready_at=now, last_request_at=now)
        if state == "failed":
            last = max(replicas, key=lambda one: one.entered_at or self.created_at)
            changed = replace(changed, failure=last.failure, log=last.log)
        return changed


GUARD = r"""import hmac, http.client, os, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
key = ("Bearer " + os.environ["MODEL_KEY"]).encode()
inner, server = int(os.environ["MODEL_INNER_PORT"]), int(os.environ["MODEL_PID"])
class Guard(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    def log_message(self, *args): pass
    def head(self, status, kind="application/json"):
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
    def pass_on(self):
        if not hmac.compare_digest((self.headers.get("Authorization") or "").encode("latin-1"), key):
            return self.head(401)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            way = http.client.HTTPConnection("127.0.0.1", inner, timeout=600)
            way.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = way.getresponse()
        except (OSError, http.client.HTTPException):
            return self.head(503)
        self.head(answer.status, answer.headers.get("Content-Type") or "application/json")
        while piece := answer.read1(65536):
            self.wfile.write(piece)
    do_GET = do_POST = pass_on
guard = ThreadingHTTPServer(("0.0.0.0", int(os.environ["MODEL_GUARD_PORT"])), Guard)
guard.daemon_threads = True
threading.Thread(target=guard.serve_forever, daemon=True).start()
while True:
    time.sleep(1)
    try:
        os.kill(server, 0)
    except OSError:
        break
"""
"""Lets in only who has the server's key, and passes pieces on as they come; ends with its server."""

LAUNCH = r"""import json, os, subprocess, sys, time, urllib.request
words, pull, port = json.loads(os.environ["MODEL_COMMAND"]), json.loads(os.environ["MODEL_PULL"]), os.environ["MODEL_PORT"]
# Where several simulated machines share one host, a port's outside is where to listen.
if os.environ.get("DUMONT_ROOT"):
    words = [os.environ.get("VAST_TCP_PORT_" + port, port) if word == port else word for word in words]
    port = os.environ.get("VAST_TCP_PORT_" + port, port)
os.makedirs("models", exist_ok=True)
log = open("model-server.log", "wb")
quiet = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL, "start_new_session": True}
server = subprocess.Popen(words, **quiet)
with open("model-server.pid", "w") as file:
    file.write(str(server.pid))
if os.environ.get("MODEL_INNER_PORT"):
    env = {**os.environ, "MODEL_GUARD_PORT": port, "MODEL_PID": str(server.pid)}
    subprocess.Popen([sys.executable, "-c", GUARD], env=env, **quiet)
    port = os.environ["MODEL_INNER_PORT"]
until = time.time() + float(os.environ["MODEL_WATCH_S"])
while time.time() < until:
    time.sleep(0.1)
    if server.poll() is not None:
        print(open("model-server.log", errors="replace").read()[-3000:])
        sys.exit("the server ended with %s" % server.returncode)
    try:
        urllib.request.urlopen("http://127.0.0.1:%s%s" % (port, os.environ["MODEL_HEALTH"]), timeout=2).read()
    except OSError:
        continue
    if pull:
        done = subprocess.run(pull, capture_output=True, text=True)
        if done.returncode:
            print(done.stdout[-1500:], done.stderr[-1500:])
            sys.exit("the model could not be fetched")
    break
"""
"""Runs on the machine, as it is: what differs comes in the environment. Ends early when the server answers or dies."""


def setup_command() -> str:
    """The set-up command of every deployment; a constant."""
    return f"python3 - <<'DUMONT_LAUNCH'\nGUARD = {GUARD!r}\n{LAUNCH}DUMONT_LAUNCH"


def tail(text: str, lines: int = 20) -> list[str]:
    return [line[:300] for line in text.splitlines() if line.strip()][-lines:]


def known_words(values: Sequence[str]) -> str:
    return ", ".join(sorted(values))
