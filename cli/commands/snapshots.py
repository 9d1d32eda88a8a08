"""snapshots ls, take, restore, clone, verify, diff, pull, pin, unpin, rm, keep, key."""

from __future__ import annotations

import time
from typing import Any

import click

from cli.commands.provision import told
from cli.context import as_json, client, find
from cli.render import Duration, Number, Progress, out, since, size, table


@click.group()
def snapshots() -> None:
    """Snapshots of an instance."""


@snapshots.command("ls")
@click.argument("instance")
def list_snapshots(instance: str) -> None:
    """List an instance's snapshots, newest first."""
    api = client()
    _show(api.get(f"/instances/{find(api, instance)['id']}/snapshots"))


def _show(answer: dict[str, Any]) -> None:
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
            s["kept"] or ("goes soon" if s["state"] == "verified" else ""),
        ]
        for s in answer["snapshots"]
    ]
    table(rows, ["ID", "STATE", "AGE", "FILES", "SIZE", "STORED", "KEPT AS"])


@snapshots.command("take")
@click.argument("instance")
def take(instance: str) -> None:
    """Take a snapshot now, while the instance runs."""
    api = client()
    answer = api.post(f"/instances/{find(api, instance)['id']}/snapshots", wait=50)
    out(answer) if as_json() else click.echo(f"{answer['id']} is {answer['state']}: {answer['files']} files")


@snapshots.command("restore")
@click.argument("instance")
@click.argument("snapshot")
@click.option("--yes", is_flag=True, help="Do not ask, though files of a running instance are overwritten and removed.")
def restore(instance: str, snapshot: str, yes: bool) -> None:
    """Go back to a snapshot: now where the instance runs, else by its next wake."""
    api = client()
    found = find(api, instance)
    if found["state"] == "running" and not yes:
        click.confirm(f"What {found['name']} changed since its last snapshot is lost. Go on?", abort=True, err=True)
    answer = api.post(f"/instances/{found['id']}/snapshots/{snapshot}/restore")
    how = "is being restored" if answer["restoring"] else "comes back with the next wake"
    out(answer) if as_json() else click.echo(f"{snapshot} {how}")


@snapshots.command("clone")
@click.argument("instance")
@click.argument("snapshot")
@click.option("--name")
@click.option("--gpu", help="Another GPU model than the original's.")
@click.option("--count", type=int, help="GPUs.")
@click.option("--disk", type=Number(), help="GiB.")
@click.option("--max-price", type=Number(), help="Dollars an hour, at most.")
@click.option("--storage", help="Where its own snapshots go; default: where the original's are.")
@click.option("--wait/--no-wait", default=True, show_default=True)
@click.option("--timeout", type=Duration(), default="15m", show_default=True)
def clone(
    instance: str,
    snapshot: str,
    name: str | None,
    gpu: str | None,
    count: int | None,
    disk: float | None,
    max_price: float | None,
    storage: str | None,
    wait: bool,
    timeout: float,
) -> None:
    """Rent a new instance that begins with a snapshot's files; the original goes on, or sleeps on."""
    api = client()
    body = {
        "name": name,
        "gpu_name": gpu,
        "gpu_count": count,
        "disk_gib": disk,
        "max_usd_per_hour": max_price,
        "storage": storage,
    }
    path = f"/instances/{find(api, instance)['id']}/snapshots/{snapshot}/clone"
    told(api, api.post(path, body, key=True, wait=1 if wait else 0), wait, timeout)


@snapshots.command("verify")
@click.argument("instance")
@click.argument("snapshot")
@click.option("--timeout", type=Duration(), default="1h", show_default=True, help="How long to wait for the end.")
def verify(instance: str, snapshot: str, timeout: float) -> None:
    """Read a snapshot in storage again, every byte of it. Exit 1 when damaged, 7 when it goes on without you."""
    api = client()
    path = f"/instances/{find(api, instance)['id']}/snapshots/{snapshot}/verify"
    progress, until = Progress(), time.monotonic() + timeout
    answer = api.post(path, wait=min(timeout, 20))
    while not answer["whole"] and not answer["problem"] and time.monotonic() < until:
        progress.show(f"{answer['frames_read']} of {answer['frames']} frames are good")
        answer = api.post(path, wait=20, go_on="true")
    progress.clear()
    if as_json():
        out(answer)
    else:
        click.echo(f"{answer['objects']} objects, {answer['frames_read']} of {answer['frames']} frames read: "
                   f"{answer['problem'] or 'good'}")  # fmt: skip
    if answer["problem"]:
        raise click.exceptions.Exit(1)
    if not answer["whole"]:
        click.echo("the rest is read by itself; `dumont events` tells of the end", err=True)
        raise click.exceptions.Exit(7)


@snapshots.command("diff")
@click.argument("instance")
@click.argument("old")
@click.argument("new")
def diff(instance: str, old: str, new: str) -> None:
    """Say which files two snapshots differ in: + new, - gone, M changed."""
    from cli import pulling

    api = client()
    lines = pulling.diff(api, find(api, instance)["id"], old, new)
    if as_json():
        out({"changes": [{"mark": mark, "path": path} for mark, path in lines]})
        return
    for mark, path in lines:
        click.echo(f"{mark} {path}")


@snapshots.command("pull")
@click.argument("instance")
@click.argument("snapshot")
@click.option("--to", type=click.Path(file_okay=False), default=".", show_default=True)
def pull(instance: str, snapshot: str, to: str) -> None:
    """Download a snapshot's files to a folder here; they are opened on this machine only."""
    from cli import pulling

    api = client()
    files, total = pulling.pull(api, find(api, instance)["id"], snapshot, to)
    out({"files": files, "bytes": total, "to": to}) if as_json() else click.echo(
        f"{files} files, {size(total)} are below {to}"
    )


@snapshots.command("pin")
@click.argument("instance")
@click.argument("snapshot")
def pin(instance: str, snapshot: str) -> None:
    """Keep a snapshot whatever the rules of retention say."""
    _pin(instance, snapshot, True)


@snapshots.command("unpin")
@click.argument("instance")
@click.argument("snapshot")
def unpin(instance: str, snapshot: str) -> None:
    """Let the rules of retention decide again."""
    _pin(instance, snapshot, False)


def _pin(instance: str, snapshot: str, pinned: bool) -> None:
    api = client()
    answer = api.call("PATCH", f"/instances/{find(api, instance)['id']}/snapshots/{snapshot}", {"pinned": pinned})
    out(answer) if as_json() else click.echo(f"{answer['id']} is {'pinned' if pinned else 'not pinned'}")


@snapshots.command("rm")
@click.argument("instance")
@click.argument("snapshot")
def remove(instance: str, snapshot: str) -> None:
    """Give a snapshot up; what no other one needs is deleted within minutes."""
    api = client()
    answer = api.call("DELETE", f"/instances/{find(api, instance)['id']}/snapshots/{snapshot}")
    out(answer) if as_json() else click.echo(f"{snapshot} is given up")


@snapshots.command("keep")
@click.argument("instance")
@click.option("--last", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--hourly", type=click.IntRange(0, 1000), default=24, show_default=True)
@click.option("--daily", type=click.IntRange(0, 1000), default=7, show_default=True)
@click.option("--weekly", type=click.IntRange(0, 1000), default=4, show_default=True)
@click.option("--preview", is_flag=True, help="Only say what would stay and what would go.")
def keep(instance: str, preview: bool, **rules: int) -> None:
    """Say which snapshots are kept: the last few, and the newest of so many hours, days and weeks."""
    api = client()
    path = f"/instances/{find(api, instance)['id']}"
    if preview:
        _show(api.get(f"{path}/snapshots", limit=200, **rules))
        return
    answer = api.call("PATCH", path, {"retention": rules})
    if as_json():
        out(answer)
    else:
        click.echo("; ".join(f"{name} {count}" for name, count in rules.items()))


@snapshots.command("exclude")
@click.argument("instance")
@click.argument("patterns", nargs=-1)
def exclude(instance: str, patterns: tuple[str, ...]) -> None:
    """Say what snapshots leave out, as in .gitignore; no pattern: nothing. A wake then does not bring it back."""
    api = client()
    answer = api.call("PATCH", f"/instances/{find(api, instance)['id']}", {"excludes": list(patterns)})
    out(answer) if as_json() else click.echo(f"left out: {' '.join(patterns) or 'nothing'}")


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
