"""hibernate, wake, destroy."""

from __future__ import annotations

from typing import Any

import click

from cli.context import as_json, client, find, wait_until
from cli.render import Duration, clocks, lanes, out

waiting = click.option("--wait/--no-wait", default=True, show_default=True)
patience = click.option("--timeout", type=Duration(), default="30m", show_default=True)


def _state(instance: dict[str, Any]) -> list[str]:
    return [f"{instance['name']} is {instance['state']}"]


@click.command()
@click.argument("instance")
@waiting
@patience
def hibernate(instance: str, wait: bool, timeout: float) -> None:
    """Snapshot an instance and end its machine; only the snapshot costs money then."""
    api = client()
    one = api.post(f"/instances/{find(api, instance)['id']}/hibernate", wait=1 if wait else 0)
    if wait:
        one = wait_until(api, one, lambda i: bool(i["resting"]), timeout, _state)
    _end(one, "hibernated" if wait else None)


@click.command()
@click.argument("instance")
@waiting
@patience
def wake(instance: str, wait: bool, timeout: float) -> None:
    """Restore a hibernated instance on any host; waits until every file is back."""
    api = client()
    one = api.post(f"/instances/{find(api, instance)['id']}/wake", wait=1 if wait else 0)
    if wait:
        one = wait_until(
            api,
            one,
            lambda i: bool(i["resting"]) and not i["restoring"],
            timeout,
            lambda i: [
                f"{i['name']} is {'usable, restoring the rest' if i['restoring'] and i['resting'] else i['state']}",
                *lanes(i),
            ],
        )
        if not as_json() and one["state"] == "running":
            measured = clocks(one)
            for name, label in (("first_answer_s", "first answer"), ("usable_s", "usable"), ("restored_s", "restored")):
                if measured[name] is not None:
                    click.echo(f"  {label:<13} {measured[name]:.1f} s")
    _end(one, "running" if wait else None)


@click.command()
@click.argument("instance")
@click.option("--yes", is_flag=True, help="Do not ask.")
@waiting
@patience
def destroy(instance: str, yes: bool, wait: bool, timeout: float) -> None:
    """End an instance, its machines and its snapshots, for ever."""
    api = client()
    one = find(api, instance)
    if not yes and not as_json():
        lost = "its snapshot and " if one["snapshot_id"] else ""
        running = "what is on its machine" if one["machine"] else "everything it kept"
        click.confirm(f"{one['name']} ({one['id']}): {lost}{running} will be gone for ever. Destroy it?", abort=True)
    one = api.call("DELETE", f"/instances/{one['id']}/destroy", query={"wait": 1 if wait else 0})
    if wait:
        one = wait_until(api, one, lambda i: i["state"] == "destroyed", timeout, _state)
    _end(one, "destroyed" if wait else None)


def _end(instance: dict[str, Any], expected: str | None) -> None:
    if as_json():
        out(instance)
    else:
        words = f": {instance['failure']}" if instance["failure"] else ""
        click.echo(f"{instance['name']} is {instance['state']}{words}")
    if expected is not None and instance["state"] != expected:
        raise click.exceptions.Exit(1)
