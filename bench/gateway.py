"""What the gateway to a model adds: fifty streams at once through the function, and the same fifty straight to the server.

    make bench NAME=gateway

A server that sends a token every 40 ms, each with the moment it was sent, stands for the model: what it does itself is the
same on both ways. Rounds alternate between the two ways, so whatever else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp
from aiohttp import web

from bench.report import finish
from infra import manifest
from local.up import any_port

ROOT = Path(__file__).resolve().parent.parent
STREAMS, TOKENS, GAP_S = 50, 100, 0.04
ROUNDS, WARM_S, ROUND_S = 3, 4.5, 8.0
MODEL = "bench/clock"
GOALS = {
    "first_token_overhead_p95_ms": "<= 10",
    "token_overhead_p95_ms": "<= 10",
    "buffered": 0,
    "broken": 0,
    "streams_at_once": STREAMS,
}


# The server -----------------------------------------------------------------------------------------------------------


async def complete(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    due = time.monotonic()
    for number in range(TOKENS):
        choice = {"index": 0, "delta": {"content": f" {time.monotonic():.6f}"}, "finish_reason": None}
        body = {"id": "c", "object": "chat.completion.chunk", "model": MODEL, "n": number, "choices": [choice]}
        await answer.write(b"data: " + json.dumps(body).encode() + b"\n\n")
        due += GAP_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    if asked.get("stream_options") == {"include_usage": True}:
        used = {"prompt_tokens": 1, "completion_tokens": TOKENS}
        await answer.write(b"data: " + json.dumps({"choices": [], "usage": used}).encode() + b"\n\n")
    await answer.write(b"data: [DONE]\n\n")
    await answer.write_eof()
    return answer


def serve(port: int) -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


# The function ---------------------------------------------------------------------------------------------------------


def settings_of(folder: Path) -> dict[str, str]:
    return {
        "DUMONT_ENV": "local",
        "DUMONT_STORE": f"sqlite:{folder / 'bench.db'}",
        "DUMONT_MASTER_KEY": base64.b64encode(os.urandom(32)).decode(),
        "DUMONT_TINY_MODEL_PATH": str(ROOT / "local" / "tiny_model.py"),
    }


def deployed(settings: dict[str, str], port: int) -> tuple[str, str]:
    """A deployment that is ready on a machine with the server; its id and key."""
    from shared.bootstrap import build
    from shared.domain.instance import Instance, Machine, Spec, State
    from shared.domain.models import TINY, Deployment, Replica
    from shared.domain.offer import Need
    from shared.settings import Settings
    from shared.store.records import Transaction

    deps = build(Settings.model_validate({k.removeprefix("DUMONT_").lower(): v for k, v in settings.items()}))
    now, id, secret = datetime.now(UTC), secrets.token_hex(6), secrets.token_urlsafe(32)
    machine = Machine(
        "vast", "1", "1", "1", "L4", 1, Decimal("0.2"), ssh_host="127.0.0.1", ssh_port=22, ports={"8000": port}
    )
    instance = Instance("i-bench", "u-bench", "bench", State.RUNNING, Need(), Spec(), now, now, machine=machine)
    deployment = Deployment(
        id=id,
        user_id="u-bench",
        name="bench",
        model=MODEL,
        runtime=TINY,
        quantization="q4",
        context=1024,
        replicas=(Replica(instance.id, "ready", now),),
        key_hash=hashlib.sha256(secret.encode()).hexdigest(),
        created_at=now,
        entered_at=now,
        state="ready",
        ready_at=now,
        last_request_at=now,
        idle_after_s=0,
    )

    def keep(tx: Transaction) -> None:
        tx.save(instance)
        tx.save(deployment)

    deps.records.transact(keep)
    deps.store.close()
    return id, f"dm-{id}.{secret}"


def counted(settings: dict[str, str], id: str) -> tuple[int, int]:
    """Requests and tokens that the function has counted."""
    from shared.bootstrap import build
    from shared.domain.models import Deployment
    from shared.settings import Settings

    deps = build(Settings.model_validate({k.removeprefix("DUMONT_").lower(): v for k, v in settings.items()}))
    found = deps.records.load(Deployment, id)
    deps.store.close()
    return found.requests, found.completion_tokens


@contextlib.contextmanager
def started(command: list[str], env: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def listening(port: int) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


# The clients ----------------------------------------------------------------------------------------------------------


@dataclass
class Way:
    """One way to the server, and what its streams have seen, in milliseconds."""

    url: str
    key: str
    first: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    buffered: int = 0
    broken: int = 0
    whole: int = 0
    at_once: int = 0
    open_now: int = 0


async def stream(way: Way, session: aiohttp.ClientSession, counts_from: float) -> None:
    ask = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "go"}]}
    asked, seen = time.monotonic(), 0
    async with session.post(way.url, json=ask, headers={"Authorization": f"Bearer {way.key}"}) as answer:
        if answer.status != 200:
            way.broken += 1
            return
        way.open_now += 1
        way.at_once = max(way.at_once, way.open_now)
        done = False
        async for line in answer.content:
            now = time.monotonic()
            if not line.startswith(b"data: {"):
                done = done or line.startswith(b"data: [DONE]")
                continue
            choices = json.loads(line[6:])["choices"]
            if not choices:
                continue
            late = now - float(choices[0]["delta"]["content"])
            seen += 1
            if asked < counts_from:
                continue
            way.tokens.append(late * 1000)
            if seen == 1:
                way.first.append((now - asked) * 1000)
                # Held back until the second was sent: somebody gathers.
                way.buffered += late >= GAP_S
        way.open_now -= 1
        way.broken += not done or seen != TOKENS
        way.whole += 1


async def round_of(way: Way, session: aiohttp.ClientSession, dice: random.Random) -> None:
    """Fifty streams, one after another each, begun at moments of their own."""
    begun = time.monotonic()
    until, counts_from = begun + WARM_S + ROUND_S, begun + WARM_S

    async def one(wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        while time.monotonic() < until:
            await stream(way, session, counts_from)

    await asyncio.gather(*(one(dice.uniform(0, TOKENS * GAP_S)) for _ in range(STREAMS)))


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120)
    ) as session:
        yield session


async def measure(direct: Way, gateway: Way, ports: list[int]) -> None:
    for port in ports:
        await listening(port)
    dice = random.Random(50)
    async with client() as session:
        for _ in range(ROUNDS):
            for way in (direct, gateway):
                await round_of(way, session, dice)


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]


def main() -> None:
    server_port, function_port = any_port(), any_port()
    with tempfile.TemporaryDirectory() as name:
        settings = settings_of(Path(name))
        id, key = deployed(settings, server_port)
        env = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
        env |= {"THREADS": str(manifest.load()["models"].concurrency), "K_SERVICE": "models"}
        source = str(ROOT / "functions" / "models" / "main.py")
        framework = [str(Path(sys.executable).with_name("functions-framework")), "--target", "main", "--source", source]
        framework += ["--host", "127.0.0.1", "--port", str(function_port)]
        direct = Way(f"http://127.0.0.1:{server_port}/v1/chat/completions", "none")
        gateway = Way(f"http://127.0.0.1:{function_port}/api/v1/models/{id}/v1/chat/completions", key)
        with started([sys.executable, "-m", "bench.gateway", str(server_port)], env), started(framework, env):
            asyncio.run(measure(direct, gateway, [server_port, function_port]))
        requests, tokens = counted(settings, id)
    figures: dict[str, Any] = {
        "first_token_overhead_p95_ms": round(p95(gateway.first) - p95(direct.first), 2),
        "token_overhead_p95_ms": round(p95(gateway.tokens) - p95(direct.tokens), 2),
        "first_token_overhead_median_ms": round(median(gateway.first) - median(direct.first), 2),
        "token_overhead_median_ms": round(median(gateway.tokens) - median(direct.tokens), 2),
        "first_token_p95_ms": {"direct": round(p95(direct.first), 2), "gateway": round(p95(gateway.first), 2)},
        "token_p95_ms": {"direct": round(p95(direct.tokens), 2), "gateway": round(p95(gateway.tokens), 2)},
        "streams": {"direct": direct.whole, "gateway": gateway.whole},
        "streams_at_once": gateway.at_once,
        "buffered": gateway.buffered - direct.buffered,
        "broken": gateway.broken + direct.broken,
        "counted": {"requests": requests, "tokens": tokens},
        "load": [round(one, 1) for one in os.getloadavg()],
    }
    ok = (
        figures["first_token_overhead_p95_ms"] <= 10
        and figures["token_overhead_p95_ms"] <= 10
        and figures["buffered"] <= 0
        and figures["broken"] == 0
        and figures["streams_at_once"] == STREAMS
        and requests == gateway.whole
        and tokens == gateway.whole * TOKENS
    )
    finish("gateway", figures, GOALS, ok)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
