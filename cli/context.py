"""What every command needs: a client, an instance by its id or name, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from cli import config
from cli.client import ApiError, Client
from cli.render import Progress

POLL_WAIT_S = 20


def client() -> Client:
    known = config.load()
    if not known.api_url or not known.api_key:
        raise ApiError(401, "unauthenticated", "not logged in")
    return Client(known.api_url, known.api_key)


def as_json() -> bool:
    return bool((click.get_current_context().find_root().obj or {}).get("json"))


def find(api: Client, name: str) -> dict[str, Any]:
    """An instance by id or by its name. Raises ApiError `not_found`."""
    if name.startswith("i-"):
        return api.get(f"/instances/{name}")
    cursor, found = None, []
    while True:
        page = api.get("/instances", limit=200, cursor=cursor)
        found += [i for i in page["instances"] if i["name"] == name]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if not found:
        raise ApiError(404, "not_found", f"there is no instance {name}")
    if len(found) > 1:
        ids = ", ".join(i["id"] for i in found)
        raise ApiError(409, "conflict", f"{len(found)} instances are named {name}: {ids}; use an id")
    one: dict[str, Any] = found[0]
    return one


def wait_until(
    api: Client,
    instance: dict[str, Any],
    done: Callable[[dict[str, Any]], bool],
    timeout_s: float,
    show: Callable[[dict[str, Any]], list[str]],
) -> dict[str, Any]:
    """Ask again until `done`. Exit code 7 when the time is over."""
    progress = Progress()
    until = time.monotonic() + timeout_s
    try:
        while not done(instance):
            if time.monotonic() > until:
                progress.clear()
                click.echo(f"gave up waiting: instance {instance['id']} is {instance['state']}", err=True)
                raise click.exceptions.Exit(7)
            progress.show(*show(instance))
            passing = not instance["resting"]
            # Short waits on a terminal keep the picture alive.
            wait = (1 if progress._on else POLL_WAIT_S) if passing else 0
            instance = api.get(f"/instances/{instance['id']}", wait=wait)
            if not passing:
                time.sleep(0.2)
    finally:
        progress.clear()
    return instance
