"""provision: a new instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.client import Client
from cli.context import as_json, client, wait_until
from cli.render import Duration, Number, clocks, lanes, money, out


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """K=V words as a mapping."""
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param_hint=option)
    return dict(value.split("=", 1) for value in values)


@click.command()
@click.option("--gpu", help="GPU model, such as 'RTX 4090'.")
@click.option("--count", type=int, default=1, show_default=True, help="GPUs.")
@click.option("--min-vram", type=Number(), default=0, help="GB on each GPU.")
@click.option("--disk", type=Number(), default=20, show_default=True, help="GiB.")
@click.option("--max-price", type=Number(), help="Dollars an hour, at most.")
@click.option("--min-reliability", type=Number(), default=0.9, show_default=True)
@click.option("--region", multiple=True, help="Country code, such as US; may be repeated.")
@click.option("--provider", multiple=True)
@click.option("--image", help="Docker image.")
@click.option("--env", multiple=True, metavar="K=V")
@click.option("--port", type=int, multiple=True, help="A port to open.")
@click.option("--workspace", multiple=True, help="A folder to keep; default /workspace.")
@click.option("--exclude", multiple=True, help="What a snapshot leaves out, as in .gitignore.")
@click.option("--hot", multiple=True, help="A pattern of big files that a wake brings back first.")
@click.option("--setup", help="A shell command for a fresh machine.")
@click.option("--setup-file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--idle-after", type=Duration(), default="3m", show_default=True, help="Hibernate after idling so long.")
@click.option("--startup-grace", type=Duration(), default="2m", show_default=True)
@click.option("--no-hibernate", is_flag=True, help="Never hibernate by idleness.")
@click.option("--label", multiple=True, metavar="K=V")
@click.option("--width", type=int, default=5, show_default=True, help="Machines that race at once.")
@click.option("--max-attempts", type=int, default=10, show_default=True)
@click.option(
    "--strategy",
    type=click.Choice(["race", "round_robin", "coldstart", "auto", "serverless"]),
    help="How to find a machine; `dumont defaults` explains them.",
)
@click.option("--interruptible", is_flag=True, help="Cheaper; when it is taken away, it wakes elsewhere.")
@click.option(
    "--bid-headroom",
    type=click.FloatRange(0, 3),
    default=0.1,
    show_default=True,
    help="How much more to bid than the lowest; `dumont market GPU --interruptible` advises.",
)
@click.option("--snapshot-every", type=Duration(), help="Snapshot while running, when something changed.")
@click.option("--on-loss", type=click.Choice(["wake", "hibernate"]), default="wake", show_default=True)
@click.option("--storage", help="Which bucket of yours its snapshots go to; `dumont storage ls`.")
@click.option("--name")
@click.option("--wait/--no-wait", default=True, show_default=True)
@click.option("--timeout", type=Duration(), default="15m", show_default=True)
def provision(**given: Any) -> None:
    """Rent a GPU: several machines race, the first that is really ready is kept."""
    setup = given["setup"] or (given["setup_file"].read_text() if given["setup_file"] else None)
    body: dict[str, Any] = {
        "name": given["name"],
        "gpu_name": given["gpu"],
        "gpu_count": given["count"],
        "min_vram_gb": given["min_vram"],
        "disk_gib": given["disk"],
        "max_usd_per_hour": given["max_price"],
        "min_reliability": given["min_reliability"],
        "regions": list(given["region"]),
        "providers": list(given["provider"]),
        "env": pairs(given["env"], "--env"),
        "ports": list(given["port"]),
        "excludes": list(given["exclude"]),
        "hot": list(given["hot"]),
        "setup": setup,
        "idle_policy": {
            "enabled": not given["no_hibernate"],
            "idle_after_s": given["idle_after"],
            "startup_grace_s": given["startup_grace"],
        },
        "labels": pairs(given["label"], "--label"),
        "width": given["width"],
        "max_attempts": given["max_attempts"],
        "strategy": given["strategy"],
        "interruptible": given["interruptible"],
        "bid_headroom": given["bid_headroom"],
        "snapshot_every_s": given["snapshot_every"],
        "on_loss": given["on_loss"],
        "storage": given["storage"],
    }
    if given["image"]:
        body["image"] = given["image"]
    if given["workspace"]:
        body["workspace"] = list(given["workspace"])
    api = client()
    instance = api.post("/instances/provision", body, key=True, wait=0 if not given["wait"] else 1)
    told(api, instance, given["wait"], given["timeout"])


def told(api: Client, instance: dict[str, Any], wait: bool, timeout: float) -> None:
    """What became of a new instance. Exit 6 when it failed."""
    if wait:
        instance = wait_until(
            api,
            instance,
            lambda i: bool(i["resting"]),
            timeout,
            lambda i: [f"{i['name']} is {i['state']}", *lanes(i)],
        )
    if as_json():
        out(instance)
    else:
        for line in lanes(instance):
            click.echo(line)
        click.echo(said(instance))
    if instance["state"] == "failed":
        raise click.exceptions.Exit(6)


def said(instance: dict[str, Any]) -> str:
    machine = instance["machine"]
    if instance["state"] == "running" and machine:
        ready = clocks(instance)["usable_s"]
        return (
            f"{instance['name']} ({instance['id']}) runs on {machine['gpu_count']}x {machine['gpu_name']} at "
            f"{money(machine['usd_per_hour'])}, ready after {ready:.1f} s"
        )
    return f"{instance['name']} ({instance['id']}) is {instance['state']}" + (
        f": {instance['failure']}" if instance["failure"] else ""
    )
