"""models: one command to an OpenAI-compatible endpoint that sleeps when nobody asks."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from cli.client import ApiError
from cli.context import as_json, client
from cli.render import Duration, Number, money, out, span, table


@click.group()
def models() -> None:
    """LLM deployments with OpenAI-compatible endpoints."""


def one_of(name: str) -> dict[str, Any]:
    """A deployment by its id or name."""
    found: list[dict[str, Any]] = client().get("/models")["deployments"]
    for one in found:
        if name in (one["id"], one["name"]):
            return one
    raise ApiError(404, "not_found", f"there is no deployment {name}; `dumont models ls` lists yours")


def states(one: dict[str, Any]) -> str:
    """Its state, and of several replicas how many are so."""
    replicas = one["replicas"]
    same = sum(replica["state"] == one["state"] for replica in replicas)
    return one["state"] if len(replicas) < 2 else f"{one['state']} {same}/{len(replicas)}"


def tokens(one: dict[str, Any]) -> str:
    about = "~" if one["estimated_requests"] else ""
    return f"{about}{one['prompt_tokens']}+{one['completion_tokens']}"


@models.command("ls")
def models_ls() -> None:
    """List your deployments."""
    found = client().get("/models")
    if as_json():
        out(found)
        return
    rows = [
        [
            one["name"],
            one["id"],
            states(one),
            one["model"],
            one["runtime"],
            money(one["usd_per_hour"]) if one["usd_per_hour"] else "-",
            str(one["requests"]),
            tokens(one),
        ]
        for one in found["deployments"]
    ]
    table(rows, ["NAME", "ID", "STATE", "MODEL", "RUNTIME", "PRICE", "REQUESTS", "TOKENS IN+OUT"])


@models.command("runtimes")
def models_runtimes() -> None:
    """List the servers that a model can run on."""
    found = client().get("/models")["runtimes"]
    if as_json():
        out({"runtimes": found})
        return
    rows = [
        [one["name"], one["image"], str(one["port"]), one["health"], ", ".join(one["quantizations"])] for one in found
    ]
    table(rows, ["RUNTIME", "IMAGE", "PORT", "HEALTH", "QUANTIZATIONS"])


@models.command("deploy")
@click.argument("model")
@click.option("--runtime", default="vllm", show_default=True, help="vllm, tgi, llama_cpp, ollama; locally tiny.")
@click.option("--name")
@click.option("--quantization", type=click.Choice(["fp16", "fp8", "q8", "awq", "gptq", "q4"]))
@click.option("--context", type=int, default=8192, show_default=True, help="Tokens.")
@click.option("--params", type=Number(), help="Billions of parameters, when the name does not tell.")
@click.option(
    "--config", type=click.File(), help="The model's config.json, for an exact KV cache; - for standard input."
)
@click.option("--gpu", help="GPU model; else the cheapest that holds it.")
@click.option("--replicas", type=int, default=1, show_default=True, help="Servers behind the one endpoint, 1 to 8.")
@click.option("--max-price", type=Number(), help="Dollars an hour, at most, of each replica.")
@click.option(
    "--idle-after", type=Duration(), default="15m", show_default=True, help="Sleep after no request; 0 never."
)
@click.option("--hub-token", envvar="HF_TOKEN", help="For gated models.")
@click.option("--preview", is_flag=True, help="Only say what it needs.")
@click.option("--wait/--no-wait", default=True, show_default=True)
@click.option("--timeout", type=Duration(), default="30m", show_default=True)
def models_deploy(model: str, **given: Any) -> None:
    """Deploy a model and wait until it has answered once."""
    try:
        config = json.load(given["config"]) if given["config"] else None
    except ValueError as error:
        raise click.BadParameter(f"{given['config'].name} is no JSON", param_hint="--config") from error
    api = client()
    body = {
        "model": model,
        "config": config,
        "runtime": given["runtime"],
        "name": given["name"],
        "quantization": given["quantization"],
        "context": given["context"],
        "params_b": given["params"],
        "replicas": given["replicas"],
        "gpu_name": given["gpu"],
        "max_usd_per_hour": given["max_price"],
        "idle_after_s": given["idle_after"],
        "hub_token": given["hub_token"],
        "preview": given["preview"],
    }
    made = api.post("/models/deploy", body, key=True)
    if given["preview"]:
        out(made) if as_json() else click.echo(made["fit"]["why"])
        return
    if not as_json():
        click.echo(made["fit"]["why"])
        click.echo(f"endpoint {made['endpoint']}\nkey      {made['key']}   (shown once)")
    until = time.monotonic() + given["timeout"]
    seen = made
    while given["wait"] and seen["state"] not in ("ready", "failed", "asleep"):
        if time.monotonic() > until:
            raise click.ClickException(
                f"still {seen['state']} after {given['timeout']:.0f} s; `dumont models show {made['id']}`"
            )
        time.sleep(0.5)
        seen = api.get(f"/models/{made['id']}")
    if as_json():
        out({**seen, "key": made["key"]})
    elif seen["state"] == "failed":
        click.echo("\n".join(seen["log"]), err=True)
        raise click.ClickException(f"{seen['failure']}; its machine is ended")
    else:
        click.echo(f"{made['name']} is {seen['state']}")


@models.command("show")
@click.argument("model")
def models_show(model: str) -> None:
    """Show a deployment."""
    one = client().get(f"/models/{one_of(model)['id']}")
    if as_json():
        out(one)
        return
    for name in ("name", "id", "state", "model", "runtime", "quantization", "context", "endpoint", "failure"):
        if one[name] is not None:
            click.echo(f"{name:14}{one[name]}")
    if one["fit"]:
        click.echo(f"{'fit':14}{one['fit']['why']}")
    if one["max_usd_per_hour"]:
        click.echo(f"{'price cap':14}{money(one['max_usd_per_hour'])} for each replica")
    idle = f"after {span(one['idle_after_s'])} without a request" if one["idle_after_s"] else "never"
    click.echo(f"{'sleeps':14}{idle}")
    if one["requests"]:
        guessed = one["estimated_requests"]
        note = f" (estimated for {guessed}, whose answers did not end with what they used)" if guessed else ""
        click.echo(f"{'used':14}{one['requests']} requests, {tokens(one)} tokens in+out{note}")
    for replica in one["replicas"]:
        price = f", {money(replica['usd_per_hour'])}" if replica["usd_per_hour"] else ""
        again = " in place of one that failed" if replica["renewals"] and replica["state"] != "failed" else ""
        click.echo(f"{'replica':14}{replica['instance_id']} {replica['state']}{price}{again}")
        for line in [replica["failure"], *replica["log"]] if replica["failure"] else []:
            click.echo(f"  | {line}")


@models.command("chat")
@click.argument("model")
@click.argument("words", nargs=-1, required=True)
@click.option("--key", required=True, envvar="DUMONT_MODEL_KEY", help="The deployment's key.")
def models_chat(model: str, words: tuple[str, ...], key: str) -> None:
    """Ask a deployment something; the answer streams."""
    import httpx

    one = one_of(model)
    body = {"model": one["model"], "stream": True, "messages": [{"role": "user", "content": " ".join(words)}]}
    url = one["endpoint"] + "/chat/completions"
    with httpx.stream("POST", url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=330) as answer:
        if answer.status_code != 200:
            answer.read()
            raise click.ClickException(_why(answer.status_code, answer.text))
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                choices = json.loads(line[6:]).get("choices") or [{}]
                click.echo((choices[0].get("delta") or {}).get("content") or "", nl=False)
    click.echo("")


def _why(status: int, text: str) -> str:
    """The words of a refusal, ours or the server's own."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{status}: {text[:500]}"


@models.command("rm")
@click.argument("model")
@click.option("--yes", is_flag=True, help="Do not ask.")
def models_rm(model: str, yes: bool) -> None:
    """End a deployment, its machine and its files."""
    one = one_of(model)
    if not yes and not as_json():
        click.confirm(f"End {one['name']} for good?", abort=True)
    done = client().call("DELETE", f"/models/{one['id']}")
    out(done) if as_json() else click.echo(f"{one['name']} is ended")
