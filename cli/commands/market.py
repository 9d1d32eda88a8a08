"""market: what a GPU costs, cost, and where it goes."""

from __future__ import annotations

from typing import Any

import click

from cli.context import as_json, client
from cli.render import out, since, table

PARTS = {"gpu": "GPU", "disk": "disk", "transfer": "download", "dud": "failed tries"}
BARS = " ▁▂▃▄▅▆▇█"


def spark(values: list[float]) -> str:
    low, high = min(values), max(values)
    width = (high - low) or 1
    return "".join(BARS[1 + round((v - low) / width * (len(BARS) - 2))] for v in values)


class GpuFirst(click.Group):
    """`dumont market GPU` is `dumont market show GPU`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=GpuFirst)
def market() -> None:
    """Price band, supply and trend of a GPU; price alerts. `dumont market GPU` is short for `dumont market show GPU`."""


@market.command("show")
@click.argument("gpu")
@click.option("--days", type=click.Choice(["1", "7", "30"]), default="1", show_default=True)
@click.option("--interruptible", is_flag=True)
@click.option("--provider", type=click.Choice(["vast", "tensordock", "gce"]))
@click.option(
    "--workspace",
    type=click.FloatRange(min=0, max=10_000),
    default=0,
    show_default=True,
    help="GB that a wake would download: part of the cheapest price in all.",
)
def market_show(gpu: str, days: str, interruptible: bool, provider: str | None, workspace: float) -> None:
    """Price band, supply and trend of a GPU, from samples of our own; and what is cheapest in all now."""
    found: dict[str, Any] = client().get(
        "/spot/market",
        gpu_name=gpu,
        days=days,
        interruptible="true" if interruptible else None,
        provider=provider,
        workspace_gb=workspace or None,
    )
    if as_json():
        out(found)
        return
    now = found["now"]
    if now:
        row = [f"${now[name]:.3f}" for name in ("low", "p10", "median", "p90")]
        table([[gpu, *row, f"{now['offers']:.0f}"]], ["NOW", "LOWEST", "P10", "MEDIAN", "P90", "GPUS"])
        click.echo(f"median, {days} d: {spark([p['median'] for p in found['band'][-72:]])}")
    click.echo(found["note"])
    if found["below_reference_percent"] is not None:
        click.echo(
            f"{found['below_reference_percent']:.0f} % below ${found['reference_usd_per_gpu_hour']:.2f}/h: {found['reference']}"
        )
    cheapest = found["cheapest"]
    if cheapest:
        parts = " + ".join(f"{words} ${float(cheapest['price'][name]):.4f}" for name, words in PARTS.items())
        where = f"{cheapest['provider']} {cheapest['machine_id']} {cheapest['region']}".strip()
        click.echo(f"cheapest now: {where}, ${float(cheapest['price']['total']):.4f} = {parts}")
        click.echo(f"  {found['cheapest_note']}")
    else:
        click.echo(f"cheapest now: {found['cheapest_note']}")
    if found["bids"]:
        rows = [
            [f"+{b['headroom']:.0%}", f"{b['hours']:.0f}", f"{b['interruptions']:.0f}", f"{b['interruptions_a_day']:.1f}",
             f"${b['usd_per_useful_hour']:.3f}"]
            for b in found["bids"]
        ]  # fmt: skip
        table(rows, ["BID", "HOURS", "TAKEN AWAY", "A DAY", "PER USEFUL HOUR"])
    if found["bid_advice"]:
        click.echo(found["bid_advice"])
    for one in found["yours"]:
        if one["cheaper_percent"] >= 5:
            click.echo(
                f"{one['name']} pays ${one['usd_per_gpu_hour']:.3f} for a GPU and hour; "
                f"the cheapest tenth of all {gpu} asks {one['cheaper_percent']:.0f} % less"
            )


@market.group("alerts", invoke_without_command=True)
@click.pass_context
def alerts(ctx: click.Context) -> None:
    """Be told by webhook when a GPU is offered for less than so much; without a command, lists your rules."""
    if ctx.invoked_subcommand:
        return
    found = client().get("/spot/alerts")
    if as_json():
        out(found)
        return
    rows = []
    for one in found["alerts"]:
        lowest = one["lowest_usd_per_gpu_hour"]
        now = (
            f"${lowest:.3f} at {one['cheapest_at']}"
            if one["met"]
            else "not below"
            if one["seen_at"]
            else "not sampled yet"
        )
        kind = "interruptible" if one["interruptible"] else "on demand"
        told = f"{since(one['told_at'])} ago" if one["told_at"] else "never"
        rows.append(
            [one["id"], one["gpu_name"], kind, one["provider"] or "any", f"${one['usd_per_gpu_hour']:.3f}", now, told]
        )
    table(rows, ["ID", "GPU", "KIND", "PROVIDER", "UNDER", "NOW", "TOLD"])


@alerts.command("add")
@click.argument("gpu")
@click.option(
    "--under", type=click.FloatRange(min=0, max=1000, min_open=True), required=True, help="Dollars per GPU and hour."
)
@click.option("--interruptible", is_flag=True)
@click.option("--provider", type=click.Choice(["vast", "tensordock", "gce"]))
def alerts_add(gpu: str, under: float, interruptible: bool, provider: str | None) -> None:
    """Tell my webhooks when this GPU is offered for less."""
    body = {"gpu_name": gpu, "usd_per_gpu_hour": under, "interruptible": interruptible, "provider": provider}
    made = client().post("/spot/alerts", body)
    out(made) if as_json() else click.echo(
        f"{made['id']}: {gpu} under ${under:g}; `dumont webhooks add` says where to tell"
    )


@alerts.command("rm")
@click.argument("alert")
def alerts_rm(alert: str) -> None:
    """Forget a rule."""
    done = client().call("DELETE", f"/spot/alerts/{alert}")
    out(done) if as_json() else click.echo(f"{alert} is forgotten")
