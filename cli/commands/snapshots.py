"""snapshots ls, take, key."""

from __future__ import annotations

import click

from cli.context import as_json, client, find
from cli.render import out, since, size, table


@click.group()
def snapshots() -> None:
    """Snapshots of an instance."""


@snapshots.command("ls")
@click.argument("instance")
def list_snapshots(instance: str) -> None:
    """List an instance's snapshots, newest first."""
    api = client()
    answer = api.get(f"/instances/{find(api, instance)['id']}/snapshots")
    if as_json():
        out(answer)
        return
    rows = [
        [
            s["id"],
            s["state"],
            since(s["created_at"]),
            str(s["files"]),
            size(s["bytes"]),
            size(s["stored_bytes"]),
            "newest" if s["newest"] else "",
        ]
        for s in answer["snapshots"]
    ]
    table(rows, ["ID", "STATE", "AGE", "FILES", "SIZE", "STORED", ""])


@snapshots.command("take")
@click.argument("instance")
def take(instance: str) -> None:
    """Take a snapshot now, while the instance runs."""
    api = client()
    answer = api.post(f"/instances/{find(api, instance)['id']}/snapshots", wait=50)
    out(answer) if as_json() else click.echo(f"{answer['id']} is {answer['state']}: {answer['files']} files")


@snapshots.command("key")
@click.argument("instance")
def key(instance: str) -> None:
    """What restores an instance's snapshots without a control plane. Keep it as you keep a password."""
    api = client()
    answer = api.get(f"/instances/{find(api, instance)['id']}/recovery")
    if as_json():
        out(answer)
        return
    click.echo(answer["key"])
    endpoint = f" --endpoint {answer['endpoint']}" if answer["endpoint"] else ""
    click.echo(
        f"python -m agent.snapshot restore --store {answer['store']}{endpoint} --key-file KEY --to FOLDER", err=True
    )
