"""usage, budget: what it cost, what was saved, and where it stops."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from cli.context import as_json, client, find
from cli.render import Duration, money, out, span, table

MOST_USD = 10_000_000
LONGEST_S = 400 * 86400.0
COLUMNS = (
    "attempt_id", "instance_id", "provider", "machine_id", "gpu_name", "gpu_count", "usd_per_hour", "start", "end",
    "usd_loading_per_hour", "ran_at", "served", "why", "seconds", "usd",
)  # fmt: skip
"""Of the ledger as CSV, whether it has rows or not."""
MEASURES = [
    click.option("--last", type=Duration(), help="Such as 24h or 7d; else this month."),
    click.option("--since", type=click.DateTime(), help="UTC."),
    click.option("--until", type=click.DateTime(), help="UTC; now when left out."),
    click.option("--instance", help="One instance only."),
]


def measured(command: Any) -> Any:
    for option in reversed(MEASURES):
        command = option(command)
    return command


def within(given: dict[str, Any]) -> dict[str, Any]:
    since, until, last = given["since"], given["until"], given["last"]
    if last is not None:
        if since or until:
            raise click.UsageError("--last ends now: it goes with neither --since nor --until")
        if not 0 < last <= LONGEST_S:
            raise click.BadParameter("more than nothing, and at most 400d", param_hint="--last")
        since = datetime.now(UTC) - timedelta(seconds=last)
    return {
        "since": since.replace(tzinfo=UTC).isoformat() if since else None,
        "until": until.replace(tzinfo=UTC).isoformat() if until else None,
        "instance": given["instance"] and find(client(), given["instance"])["id"],
    }


def usd(amount: Any) -> str:
    value = float(amount)
    return f"${value:.4f}" if 0 < abs(value) < 0.01 else f"${value:.2f}"


def _stored(storage: dict[str, Any]) -> str:
    return f"{storage['bytes'] / 1e9:.1f} GB at ${storage['usd_per_gb_month']} a GB-month"


@click.group(invoke_without_command=True)
@measured
@click.option("--by", type=click.Choice(["instance", "day", "provider"]), default="instance", show_default=True)
@click.pass_context
def usage(ctx: click.Context, /, by: str, **given: Any) -> None:
    """What it cost, and what was saved."""
    if ctx.invoked_subcommand:
        return
    asked = within(given)
    found = client().get("/usage", **asked)
    if as_json():
        out(found)
        return
    click.echo(f"{found['since'][:16]} to {found['until'][:16]} UTC")
    saved, kept = found["savings"], found["storage"]
    table(
        [
            ["machines", usd(found["machines_usd"]), f"of it {usd(found['wasted_usd'])} for machines that never served"],
            ["storage", usd(kept["usd"]), _stored(kept)],
            *([f"  in {one['name']}", usd(one["usd"]), f"{_stored(one)}; its vendor bills you, not in the total"]
              for one in found["own_storage"]),
            ["total", usd(found["total_usd"]), f"now {usd(found['burning_usd_per_hour'])} an hour"],
            ["saved asleep", usd(saved["asleep_usd"]), saved["asleep_formula"]],
            ["saved by market", usd(saved["market_usd"]), saved["market_formula"]],
        ],
        ["", "USD", ""],
    )  # fmt: skip
    for one in saved["references"]:
        click.echo(
            f"  {one['gpu_name']} elsewhere: {money(one['usd_per_gpu_hour'])} a GPU, {one['source']}, {one['date']}"
        )
    if saved["no_reference"]:
        click.echo(f"no reference price, so not counted against the market: {', '.join(saved['no_reference'])}")
    if by != "instance":
        click.echo("")
        rows = [[one.get("day") or one["name"], usd(one["usd"])] for one in found[f"{by}s"] if float(one["usd"])]
        table(rows, [by.upper(), "MACHINES COST"])
    elif found["instances"]:
        click.echo("")
        rows = [
            [one["name"], one["state"], usd(one["usd"]), usd(one["wasted_usd"]), usd(one["asleep_saved_usd"])]
            for one in found["instances"]
        ]
        table(rows, ["INSTANCE", "STATE", "COST", "WASTED", "SAVED ASLEEP"])
    if found["budget"]["usd_per_month"] is not None:
        click.echo("")
        say_budget(found["budget"])


@usage.command("ledger")
@measured
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values to standard output.")
def usage_ledger(as_csv: bool, **given: Any) -> None:
    """Every machine that was paid for, newest first."""
    asked = within(given)
    found = client().get("/usage/ledger", **asked)
    if as_json():
        out(found)
        return
    if as_csv:
        writer = csv.DictWriter(sys.stdout, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(found["rows"])
    else:
        rows = [
            [
                one["start"][:19],
                "served" if one["served"] else "wasted",
                f"{one['provider']} {one['machine_id'] or '-'}"[:30],
                f"{one['gpu_count']}x {one['gpu_name']}",
                span(one["seconds"]) + ("" if one["end"] else " so far"),
                usd(one["usd"]),
                (one["why"] or "")[:50],
            ]
            for one in found["rows"]
        ]
        table(rows, ["CREATED", "WHAT", "MACHINE", "GPU", "LASTED", "COST", "WHY IT ENDED"])
        click.echo(f"{usd(found['usd'])} in all")
    if found["truncated"]:
        click.echo("only the newest rows are shown; ask for a shorter range", err=True)


def say_budget(found: dict[str, Any]) -> None:
    if found["usd_per_month"] is None:
        click.echo(f"no budget is set; {usd(found['spent_usd'])} spent this month")
        return
    state = (
        "; used up: nothing new is rented, what runs is hibernated within a minute or two"
        if found["reached"]
        else "; nearly used up"
        if found["warned"]
        else ""
    )
    click.echo(
        f"{usd(found['spent_usd'])} of ${float(found['usd_per_month']):.2f} "
        f"a month spent ({found['share'] * 100:.0f} %){state}"
    )


def say_own(one: dict[str, Any]) -> None:
    if one["usd_per_month"] is None:
        click.echo(f"{one['name']} has no budget of its own; {usd(one['spent_usd'])} spent on it this month")
        return
    state = (
        "; used up: it is hibernated within a minute or two, and not woken"
        if one["reached"]
        else "; nearly used up"
        if one["warned"]
        else ""
    )
    click.echo(
        f"{one['name']}: {usd(one['spent_usd'])} of ${float(one['usd_per_month']):.2f} "
        f"a month spent ({one['share'] * 100:.0f} %){state}"
    )


class Amount(click.ParamType[str]):
    """Dollars and whole cents, as they were written: nothing is rounded."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            usd = Decimal(str(value).removeprefix("$"))
        except InvalidOperation:
            self.fail(f"{value!r} is no amount; write it like 25 or 12.50", param, ctx)
        if not usd.is_finite() or not 0 <= usd <= MOST_USD:
            self.fail(f"{value}: a budget is from 0 (nothing is rented) to {MOST_USD:,} USD a month", param, ctx)
        if usd != round(usd, 2):
            self.fail(f"{value}: a budget has whole cents", param, ctx)
        return str(usd)


def put(instance: str | None, usd_per_month: str | None) -> None:
    api, body = client(), {"usd_per_month": usd_per_month}
    if instance:
        own = api.call("PUT", f"/usage/budget/{find(api, instance)['id']}", body)
        out(own) if as_json() else say_own(own)
    else:
        found = api.call("PUT", "/usage/budget", body)
        out(found) if as_json() else say_budget(found)


@click.group(invoke_without_command=True)
@click.pass_context
def budget(ctx: click.Context) -> None:
    """What may be spent in a month, in all or on one instance. At 100 % instances hibernate; nothing is deleted."""
    if ctx.invoked_subcommand:
        return
    found = client().get("/usage/budget")
    if as_json():
        out(found)
        return
    say_budget(found)
    for one in found["instances"]:
        say_own(one)


# Else a negative amount would be taken for an option that does not exist.
@budget.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("usd_per_month", type=Amount())
@click.option("--instance", help="For this instance alone.")
def budget_set(usd_per_month: str, instance: str | None) -> None:
    """Set the month's budget in USD."""
    put(instance, usd_per_month)


@budget.command("rm")
@click.option("--instance", help="Of this instance alone.")
def budget_rm(instance: str | None) -> None:
    """Take the budget away."""
    put(instance, None)
