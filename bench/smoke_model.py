"""A model from deploy to delete through OpenAI's own client: chat, streams, embeddings, sleep, wake on request, failures.

make smoke NAME=model
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib import error, request

import openai

from bench import ledger
from bench.report import finish
from bench.smoke import Terminal, say, settled
from bench.smoke_failover import until
from local.embedded import Embedded, running

MODEL = "dumont/tiny-bigram"
GOALS = {
    "chat": True,
    "streamed": True,
    "embedded": True,
    "wrong_key_refused": True,
    "too_large_refused": True,
    "woke_on_request": True,
    "replicas": 2,
    "answers_of_5_with_a_replica_lost": 5,
    "replaced": True,
    "requests_estimated": 0,
    "broken_failed_with_log": True,
    "endless_failed": True,
    "machines_left": 0,
    "objects_left": 0,
    **ledger.GOALS,
}


def refused(action: Any) -> bool:
    try:
        action()
    except openai.AuthenticationError:
        return True
    return False


def failed(terminal: Terminal, model: str) -> dict[str, Any]:
    """A deployment that cannot become ready, as it ended."""
    made = terminal.run("models", "deploy", model, "--runtime", "tiny", "--no-wait")

    def ended() -> dict[str, Any] | None:
        seen = terminal.run("models", "show", made["id"])
        return seen if seen["state"] == "failed" else None

    found: dict[str, Any] = until(f"{model} fails", ended, 500)
    return found


def drive(cloud: Embedded, terminal: Terminal) -> dict[str, Any]:
    terminal.run("login")
    started = time.monotonic()
    made = terminal.run("models", "deploy", MODEL, "--runtime", "tiny", "--name", "smoke", "--idle-after", "4s",
                        "--replicas", "2", "--max-price", "2")  # fmt: skip
    ready_s = time.monotonic() - started
    say(f"ready after {ready_s:.1f} s: {made['endpoint']}")
    ai = openai.OpenAI(base_url=made["endpoint"], api_key=made["key"], max_retries=0)
    ask: Any = {"model": MODEL, "messages": [{"role": "user", "content": "a machine"}], "max_tokens": 20}

    answer = ai.chat.completions.create(**ask)
    text = answer.choices[0].message.content or ""
    say(f"it says: {text}")
    asked_at, first_s, pieces = time.monotonic(), 0.0, 0
    for piece in ai.chat.completions.create(**ask, stream=True):
        pieces += bool(piece.choices and piece.choices[0].delta.content)
        first_s = first_s or time.monotonic() - asked_at
    whole_s = time.monotonic() - asked_at
    vectors = ai.embeddings.create(model=MODEL, input=["a machine", "a file"]).data
    times = []
    for _ in range(30):
        begun = time.monotonic()
        ai.models.list()
        times.append(time.monotonic() - begun)
    stranger = openai.OpenAI(base_url=made["endpoint"], api_key=made["key"][:-3] + "abc", max_retries=0)
    no_key = refused(lambda: stranger.chat.completions.create(**ask))
    large = terminal_error(cloud, {"model": "example/huge-2000b", "runtime": "vllm", "context": 8192})

    both = [one["instance_id"] for one in made["replicas"]]
    until("both sleep", lambda: all(terminal.run("show", id)["state"] == "hibernated" for id in both), 90)
    say("nobody asks: both replicas sleep")
    begun = time.monotonic()
    woken = ""
    while not woken and time.monotonic() - begun < 90:
        try:
            woken = ai.chat.completions.create(**ask).choices[0].message.content or ""
        except openai.InternalServerError as problem:
            # 503 with Retry-After while it wakes.
            time.sleep(float(problem.response.headers.get("retry-after") or 1))
    woke_s = time.monotonic() - begun
    say(f"a request woke it in {woke_s:.1f} s")
    ask_once = partial(ai.chat.completions.create, **ask)
    lost = lose_one(cloud, terminal, ask_once)
    kept = 0
    for _ in range(5):
        with suppress(openai.OpenAIError):
            kept += bool(ask_once().choices)
    say(f"the machine of {lost} is lost: {kept} of 5 requests are answered")
    replaced_s = replaced(terminal, ask_once)
    say(f"a replica that was ended is replaced, and ready after {replaced_s:.1f} s")
    shown = terminal.run("models", "show", "smoke")

    broken = failed(terminal, "dumont/not-a-model")
    say(f"a model that is not there: {broken['failure']}: {broken['log'][-1:]}")
    endless = failed(terminal, f"{MODEL}-endless")
    say(f"a model that never answers: {endless['failure']}: {endless['log'][-1:]}")
    other_alive = terminal.run("models", "show", "smoke")["state"] in ("ready", "asleep")
    terminal.run("models", "rm", "smoke", "--yes")
    left = settled(cloud)
    return {
        **ledger.of_cloud(cloud),
        "ready_s": round(ready_s, 3),
        "chat": len(text) > 0 and answer.usage is not None and answer.usage.completion_tokens > 0,
        "streamed": pieces > 3 and first_s < whole_s,
        "first_token_s": round(first_s, 3),
        "embedded": len(vectors) == 2 and len(vectors[0].embedding) == 64,
        "request_p95_s": round(quantiles(times, n=20)[-1], 3),
        "wrong_key_refused": no_key,
        "too_large_refused": "GB" in large,
        "too_large_words": large,
        "woke_on_request": bool(woken),
        "replicas": len(both),
        "answers_of_5_with_a_replica_lost": kept,
        "replaced": replaced_s > 0,
        "replaced_s": round(replaced_s, 3),
        "wake_request_s": round(woke_s, 3),
        "requests_counted": shown["requests"],
        "requests_estimated": shown["estimated_requests"],
        "tokens_counted": {"prompt": shown["prompt_tokens"], "completion": shown["completion_tokens"]},
        "broken_failed_with_log": any("ValueError" in line for line in broken["log"]),
        "endless_failed": any("loading" in line for line in endless["log"]),
        "others_untouched": other_alive,
        "machines_left": left,
        "objects_left": until("every object is gone", lambda: not cloud.objects(), 30) and 0,
    }


def awake(terminal: Terminal, chat: Callable[[], Any]) -> list[dict[str, Any]]:
    """Both replicas, once both are ready."""

    def ready() -> list[dict[str, Any]]:
        # Asked again and again: it would sleep meanwhile.
        chat()
        found: list[dict[str, Any]] = terminal.run("models", "show", "smoke")["replicas"]
        return found if all(one["state"] == "ready" for one in found) else []

    both: list[dict[str, Any]] = until("both replicas are ready", ready, 150)
    return both


def lose_one(cloud: Embedded, terminal: Terminal, chat: Callable[[], Any]) -> str:
    """Once both replicas are awake, the host of one dies; its machine."""
    first = awake(terminal, chat)[0]
    machine = str(terminal.run("show", first["instance_id"])["machine"]["machine_id"])
    cloud.control("POST", f"/machines/{machine}/kill")
    return machine


def replaced(terminal: Terminal, chat: Callable[[], Any]) -> float:
    """The seconds from the end of a replica's instance until both are ready again, one of them another."""
    last = awake(terminal, chat)[1]["instance_id"]
    begun = time.monotonic()
    terminal.run("destroy", last, "--yes")

    def again() -> bool:
        return all(one["instance_id"] != last for one in awake(terminal, chat))

    until("another replica is ready", again, 90)
    return time.monotonic() - begun


def terminal_error(cloud: Embedded, body: dict[str, Any]) -> str:
    """The API's refusal of a deployment, in its words."""
    asked = request.Request(
        cloud.state["api_url"] + "/api/v1/models/deploy",
        method="POST",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {cloud.state['demo']['api_key']}", "Content-Type": "application/json"},
    )
    try:
        with request.urlopen(asked, timeout=60):
            return ""
    except error.HTTPError as refusal:
        return str(json.load(refusal)["error"]["message"])


def main() -> None:
    with running() as cloud, tempfile.TemporaryDirectory() as home:
        try:
            figures = drive(cloud, Terminal(cloud, Path(home)))
        except (RuntimeError, openai.OpenAIError) as problem:
            finish("smoke_model", {"error": str(problem)}, GOALS, ok=False)
    plain = {name: wanted for name, wanted in GOALS.items() if not isinstance(wanted, str)}
    ok = all(figures[name] == wanted for name, wanted in plain.items()) and figures["others_untouched"]
    ok = ok and ledger.agrees(figures)
    finish("smoke_model", figures, GOALS, ok)


if __name__ == "__main__":
    main()
