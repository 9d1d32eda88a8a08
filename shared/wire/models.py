"""LLM deployments."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from shared.domain.models import MOST_REPLICAS
from shared.wire.base import Body, Price, View
from shared.wire.instances import Name

ModelId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}$")]


class DeployBody(Body):
    model: ModelId
    """As its hub names it, such as Qwen/Qwen2.5-7B-Instruct."""
    name: Name | None = None
    runtime: str = Field(default="vllm", max_length=20)
    quantization: Literal["fp16", "fp8", "q8", "awq", "gptq", "q4"] | None = None
    """None: fp16, or q4 where the runtime serves such files. With Ollama the model's tag decides; this says what to expect."""
    context: int = Field(default=8192, ge=256, le=1_000_000)
    params_b: float | None = Field(default=None, gt=0, le=2000)
    config: dict[str, Any] | None = None
    """The model's config.json, for an exact KV cache."""
    gpu_name: str | None = Field(default=None, min_length=1, max_length=100)
    replicas: int = Field(default=1, ge=1, le=MOST_REPLICAS)
    """So many servers on machines of their own behind the one endpoint; the least busy one is asked."""
    max_usd_per_hour: Price | None = None
    """Of each replica."""
    idle_after_s: float = Field(default=900, ge=0, le=7 * 86400)
    """Hibernates after so long without a request and wakes on the next; 0 is never."""
    hub_token: str | None = Field(default=None, max_length=200, pattern=r"^[\x21-\x7e]+$")
    preview: bool = False
    """Only say what it needs; rent nothing."""


class FitView(View):
    params_b: float
    weights_gb: float
    kv_gb: float
    overhead_gb: float
    total_gb: float
    gpu_count: int
    vram_gb: float
    why: str


class ReplicaView(View):
    instance_id: str
    state: str
    usd_per_hour: Decimal | None
    """None while it has no machine."""
    failure: str | None
    """While it starts: why the one failed that it replaces."""
    log: list[str]
    renewals: int
    """How often it was replaced since it was last ready."""


class DeploymentView(View):
    id: str
    name: str
    model: str
    runtime: str
    quantization: str
    context: int
    state: str
    """That of its best replica."""
    instance_id: str | None
    """Of the first replica."""
    replicas: list[ReplicaView]
    max_usd_per_hour: Decimal | None
    """Of each replica."""
    endpoint: str
    """The base URL for OpenAI's clients."""
    fit: FitView | None
    created_at: datetime
    ready_at: datetime | None
    idle_after_s: float
    last_request_at: datetime | None
    requests: int
    prompt_tokens: int
    completion_tokens: int
    estimated_requests: int
    """Of the requests, those whose tokens are estimated: the server did not tell, or broke off before."""
    usd_per_hour: Decimal | None
    """Of all machines it has now."""
    failure: str | None
    """Why the last replica failed, once all have."""
    log: list[str]


class NewDeploymentView(DeploymentView):
    key: str | None
    """Shown once; None for a preview."""


class RuntimeView(View):
    name: str
    image: str
    port: int
    health: str
    """The path that answers once the server is up."""
    command: list[str]
    """MODEL, CONTEXT, PORT and GPUS stand for what a deployment says."""
    quantizations: list[str]


class ModelList(View):
    deployments: list[DeploymentView]
    runtimes: list[RuntimeView]
