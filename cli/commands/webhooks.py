"""webhooks: be told of what happens."""

from __future__ import annotations

import click

from cli.context import as_json, client
from cli.render import out, since, table


@click.group()
def webhooks() -> None:
    """Addresses that are told when something happens to your instances."""


@webhooks.command("ls")
def webhooks_ls() -> None:
    """List your webhooks with their newest delivery."""
    found = client().get("/webhooks")
    if as_json():
        out(found)
        return
    rows = []
    for one in found["webhooks"]:
        last = one["deliveries"][0] if one["deliveries"] else None
        how = f"{last['kind']} {since(last['at'])} ago: {last['problem'] or 'told'}" if last else "nothing yet"
        rows.append([one["id"], one["form"], one["url"][:60], how])
    table(rows, ["ID", "FORM", "ADDRESS", "NEWEST"])


@webhooks.command("add")
@click.argument("url")
@click.option("--slack", is_flag=True, help="As Slack takes it: a text.")
def webhooks_add(url: str, slack: bool) -> None:
    """Tell this https address of everything worth telling."""
    made = client().post("/webhooks", {"url": url, "form": "slack" if slack else "json"})
    out(made) if as_json() else click.echo(f"{made['id']}\nsecret {made['secret']}   (shown once; signs each delivery)")


@webhooks.command("rm")
@click.argument("webhook")
def webhooks_rm(webhook: str) -> None:
    """Tell an address no more."""
    done = client().call("DELETE", f"/webhooks/{webhook}")
    out(done) if as_json() else click.echo(f"{webhook} is told no more")
