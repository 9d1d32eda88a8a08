"""ls, show, events, logs, keep-awake."""

from __future__ import annotations

import time
from typing import Any

import click

from cli.client import Client
from cli.context import as_json, client, find
from cli.render import Duration, clocks, lanes, measured, money, out, since, span, table


@click.command()
@click.option("--all", "everything", is_flag=True, help="Destroyed ones too.")
def ls(everything: bool) -> None:
    """List instances."""
    api, found, cursor = client(), [], None
    while True:
        page = api.get("/instances", limit=200, cursor=cursor, all="true" if everything else None)
        found += page["instances"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if as_json():
        out({"instances": found})
        return
    rows = []
    for one in found:
        machine = one["machine"] or {}
        gpu = f"{one['need']['gpu_count']}x {machine.get('gpu_name') or one['need']['gpu_name'] or 'any GPU'}"
        price = money(machine["usd_per_hour"]) if machine else "-"
        rows.append([one["name"], one["id"], one["state"], gpu, price, since(one["entered_at"]), _why(one)])
    table(rows, ["NAME", "ID", "STATE", "GPU", "PRICE", "FOR", "WHY"])


def _why(one: dict[str, Any]) -> str:
    return str(one["failure"] or (one["why"] if one["state"] == "running" else ""))[:80]


@click.command()
@click.argument("instance")
def show(instance: str) -> None:
    """Show an instance."""
    api = client()
    one = api.get(f"/instances/{find(api, instance)['id']}")
    if as_json():
        out(one)
        return
    click.echo(f"{one['name']}  {one['id']}  {one['state']} for {since(one['entered_at'])}")
    machine = one["machine"]
    if machine:
        click.echo(
            f"  machine   {machine['provider']} {machine['machine_id']} on host {machine['host_id']}, "
            f"{machine['gpu_count']}x {machine['gpu_name']}, {money(machine['usd_per_hour'])}"
        )
        if machine["ssh_host"]:
            click.echo(f"  ssh       root@{machine['ssh_host']} -p {machine['ssh_port']}")
    for label, value in (
        ("activity", one["why"] if machine else None),
        ("hibernates", one["hibernate_at"]),
        ("awake until", one["keep_awake_until"]),
        ("snapshot", one["snapshot_id"]),
        ("note", one["failure"]),
    ):
        if value:
            click.echo(f"  {label:<9} {value}")
    spans = clocks(one)
    if spans["usable_s"] is not None:
        click.echo("  clocks    " + ", ".join(f"{k.removesuffix('_s')} {v:.1f} s" for k, v in spans.items() if v))
    for line in [*measured(one), *lanes(one)]:
        click.echo(line)


def _events(api: Client, instance_id: str, limit: int) -> list[dict[str, Any]]:
    page: list[dict[str, Any]] = api.get(f"/instances/{instance_id}/events", limit=limit)["events"]
    return page[::-1]


def _tell(event: dict[str, Any]) -> None:
    click.echo(f"{event['at'][:19].replace('T', ' ')}  {event['kind']:<18} {event['message']}")


@click.command()
@click.argument("instance")
@click.option("-f", "--follow", is_flag=True, help="Go on as things happen.")
@click.option("--limit", type=int, default=100, show_default=True)
def events(instance: str, follow: bool, limit: int) -> None:
    """What happened to an instance: who, when, why."""
    api = client()
    instance_id = find(api, instance)["id"]
    found = _events(api, instance_id, limit)
    if as_json() and not follow:
        out({"events": found})
        return
    seen: set[str] = set()
    while True:
        for event in found:
            if event["id"] not in seen:
                seen.add(event["id"])
                out(event) if as_json() else _tell(event)
        if not follow:
            return
        time.sleep(2)
        found = _events(api, instance_id, limit)


@click.command()
@click.argument("instance")
def logs(instance: str) -> None:
    """Output of an instance's set-up command, newest last."""
    api = client()
    found = [e for e in _events(api, find(api, instance)["id"], 500) if e["details"].get("output")]
    if as_json():
        out({"logs": found})
        return
    for event in found:
        _tell(event)
        click.echo(event["details"]["output"].rstrip())


@click.command("keep-awake")
@click.argument("instance")
@click.argument("duration", type=Duration(), required=False)
@click.option("--off", is_flag=True, help="It may hibernate again.")
def keep_awake(instance: str, duration: float | None, off: bool) -> None:
    """Keep an instance from hibernating for a while: `dumont keep-awake mine 2h`."""
    if off == (duration is not None):
        raise click.UsageError("give a duration, or --off")
    api = client()
    one = api.call("PATCH", f"/instances/{find(api, instance)['id']}", {"keep_awake_s": 0 if off else duration})
    if as_json():
        out(one)
    else:
        click.echo("may hibernate again" if off else f"kept awake for {span(duration or 0)}")
