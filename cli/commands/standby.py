"""standby, failover: a CPU machine that already holds the files when the GPU's host dies."""

from __future__ import annotations

from typing import Any

import click

from cli.client import Client
from cli.context import as_json, client, find, wait_until
from cli.render import Duration, Number, measured, money, out, size, span, table


@click.group()
def standby() -> None:
    """CPU machines that follow an instance and take over when its host dies."""


@standby.command("ls")
def standby_ls() -> None:
    """List your standbys with how far behind they are."""
    found = client().get("/standby")
    if as_json():
        out(found)
        return
    rows = [
        [
            one["instance_name"],
            one["instance_state"],
            one["phase"],
            f"{one['machine_type']}{' spot' if one['spot'] else ''}, {one['zone']}",
            f"${float(one['usd_per_month']):.2f}",
            span(one["interval_s"]),
            "-" if one["lag_s"] is None else f"{span(one['lag_s'])}, {size(one['lag_bytes'])}",
        ]
        for one in found["standbys"]
    ]
    table(rows, ["INSTANCE", "STATE", "STANDBY", "MACHINE", "A MONTH", "EVERY", "BEHIND"])


@standby.command("add")
@click.argument("instance")
@click.option("--type", "machine_type", default="e2-small", show_default=True, help="Compute Engine machine type.")
@click.option("--zone", help="Else one in the GPU's country.")
@click.option("--disk", type=Number(), help="GiB; else as the instance has.")
@click.option("--spot/--standard", default=True, show_default=True)
@click.option("--every", type=Duration(), default="30s", show_default=True, help="Snapshot so often: what may be lost.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def standby_add(instance: str, machine_type: str, zone: str | None, disk: float | None, **given: Any) -> None:
    """Give a running instance a standby."""
    api = client()
    body = {
        "instance": find(api, instance)["id"],
        "machine_type": machine_type,
        "zone": zone,
        "disk_gib": disk,
        "spot": given["spot"],
        "interval_s": given["every"],
    }
    if not given["yes"] and not as_json():
        seen = api.call("POST", "/standby", {**body, "preview": True})
        click.confirm(
            f"{seen['machine_type']} in {seen['zone']}, {seen['disk_gib']:g} GiB, {money(seen['usd_per_hour'])}, "
            f"${float(seen['usd_per_month']):.2f} a month. Make it?",
            abort=True,
        )
    made = api.call("POST", "/standby", body)
    out(made) if as_json() else click.echo(f"{made['instance_name']} gets a standby; `dumont standby ls` shows it fill")


@standby.command("rm")
@click.argument("instance")
def standby_rm(instance: str) -> None:
    """End an instance's standby."""
    api = client()
    done = api.call("DELETE", f"/standby/{find(api, instance)['id']}")
    out(done) if as_json() else click.echo("the standby is let go")


@standby.command("breaker")
@click.option("--close", is_flag=True, help="Let automatic failovers go on; for administrators.")
def standby_breaker(close: bool) -> None:
    """Whether so many instances failed over at once that the others are stopped until somebody looks."""
    api = client()
    if close:
        api.call("DELETE", "/standby/failover/breaker")
    seen = api.get("/standby/failover/breaker")
    within = span(seen["within_s"])
    state = f"open since {seen['opened_at']}: no failover begins by itself" if seen["open"] else "closed"
    out(seen) if as_json() else click.echo(f"{state}; {seen['recent']} of {seen['limit']} failovers within {within}")


@click.command()
@click.argument("instance")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, show_default=True)
@click.option("--drill", is_flag=True, help="Try it out on a copy, measure, destroy the copy; the instance goes on.")
@click.option("--timeout", type=Duration(), default="75m", show_default=True, help="Of a drill.")
def failover(instance: str, yes: bool, wait: bool, drill: bool, timeout: float) -> None:
    """Give an instance's machine up now: its standby takes over, or it wakes elsewhere."""
    api = client()
    one = find(api, instance)
    if drill:
        _drill(api, one, yes, timeout if wait else None)
        return
    if not yes and not as_json():
        click.confirm("What changed since its newest snapshot is lost. Go on?", abort=True)
    found = api.call("POST", f"/standby/failover?wait={25 if wait else 0}", {"instance": one["id"]})
    out(found) if as_json() else click.echo(f"{found['name']} is {found['state'].replace('_', ' ')}")


def _drill(api: Client, one: dict[str, Any], yes: bool, timeout: float | None) -> None:
    if not yes and not as_json():
        click.confirm("A drill rents machines of its own for some minutes. Go on?", abort=True)
    found = api.call("POST", "/standby/failover?wait=0", {"instance": one["id"], "drill": True})
    if timeout is not None:
        found = wait_until(api, found, lambda i: bool(i["drill"]["gone_at"]), timeout, _phase)
    if as_json():
        out(found)
    else:
        for line in measured(found):
            click.echo(line)
    if timeout is not None and (found["drill"]["failure"] or not found["drill"]["gone_at"]):
        raise click.exceptions.Exit(1)


def _phase(one: dict[str, Any]) -> list[str]:
    drill = one["drill"]
    return [f"the drill is over; copy {drill['copy_id']} is destroyed" if drill["ended_at"] else
            f"the drill goes on with copy {drill['copy_id']}"]  # fmt: skip
