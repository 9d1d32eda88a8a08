"""market: what a GPU costs, cost, and where it goes."""

from __future__ import annotations

from typing import Any

import click

from cli.context import as_json, client
from cli.render import out, table

BARS = " ▁▂▃▄▅▆▇█"


def spark(values: list[float]) -> str:
    low, high = min(values), max(values)
    width = (high - low) or 1
    return "".join(BARS[1 + round((v - low) / width * (len(BARS) - 2))] for v in values)


@click.command()
@click.argument("gpu")
@click.option("--days", type=click.Choice(["1", "7", "30"]), default="1", show_default=True)
@click.option("--interruptible", is_flag=True)
@click.option("--provider", type=click.Choice(["vast", "tensordock", "gce"]))
def market(gpu: str, days: str, interruptible: bool, provider: str | None) -> None:
    """Price band, supply and trend of a GPU, from samples of our own."""
    found: dict[str, Any] = client().get(
        "/spot/market", gpu_name=gpu, days=days, interruptible="true" if interruptible else None, provider=provider
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
                f"{one['name']} pays ${one['usd_per_gpu_hour']:.3f}; the cheapest tenth asks {one['cheaper_percent']:.0f} % less"
            )
