"""offers, machines, pool, defaults: what can be rented, how machines have served, what is kept warm."""

from __future__ import annotations

import hashlib
from typing import Any

import click

from cli.context import as_json, client
from cli.render import Duration, Number, money, out, since, span, table


@click.command()
@click.option("--gpu", help="GPU model, such as 'RTX 4090'.")
@click.option("--count", type=int, default=1, show_default=True, help="GPUs.")
@click.option("--min-vram", type=Number(), default=0, help="GB on each GPU.")
@click.option("--disk", type=Number(), default=20, show_default=True, help="GiB.")
@click.option("--max-price", type=Number(), help="Dollars an hour, at most.")
@click.option("--min-reliability", type=Number(), default=0.9, show_default=True)
@click.option("--region", help="Country code, such as US.")
@click.option("--provider", type=click.Choice(["vast", "tensordock", "gce"]))
@click.option("--interruptible", is_flag=True, help="Cheaper machines that may be taken away.")
@click.option("--all", "everything", is_flag=True, help="Those that do not fit too, with the reason.")
@click.option("--limit", type=int, default=20, show_default=True)
def offers(**given: Any) -> None:
    """What could be rented now, cheapest in all first."""
    found = client().get(
        "/offers",
        gpu_name=given["gpu"],
        gpu_count=given["count"],
        min_vram_gb=given["min_vram"] or None,
        disk_gib=given["disk"],
        max_usd_per_hour=given["max_price"],
        min_reliability=given["min_reliability"],
        region=given["region"],
        provider=given["provider"],
        interruptible="true" if given["interruptible"] else None,
        all="true" if given["everything"] else None,
        limit=given["limit"],
    )
    if as_json():
        out(found)
        return
    rows = []
    for one in found["offers"]:
        served = f"{one['rate'] * 100:.0f} % of {one['counted']}" if one["rate"] is not None else "-"
        boot = span(one["boot_p50_s"]) if one["boot_p50_s"] is not None else "-"
        rows.append(
            [
                one["provider"],
                one["machine_id"][:24],
                f"{one['gpu_count']}x {one['gpu_name']}",
                money(one["usd_per_hour"]),
                f"${float(one['price']['total']):.3f}",
                one["region"] or "-",
                f"{one['reliability'] * 100:.1f} %",
                served,
                boot,
                one["why_not"] or "",
            ]
        )
    table(rows, ["PROVIDER", "MACHINE", "GPU", "PRICE", "1ST HOUR", "IN", "RELIABLE", "SERVED", "READY", ""])
    for trouble in found["troubles"]:
        click.echo(f"not asked or no answer: {trouble}", err=True)


@click.group()
def machines() -> None:
    """How machines have served, and which to keep away from."""


@machines.command("history")
@click.option("--provider")
@click.option("--gpu")
@click.option("--blocked", is_flag=True, help="Only those that rest after failures.")
@click.option("--limit", type=int, default=50, show_default=True)
def history(provider: str | None, gpu: str | None, blocked: bool, limit: int) -> None:
    """Success rate, boot times and reasons of failure."""
    found = client().get(
        "/machines/history", provider=provider, gpu_name=gpu, blocked="true" if blocked else None, limit=limit
    )
    if as_json():
        out(found)
        return
    rows = []
    for one in found["machines"]:
        last = one["recent"][0] if one["recent"] else None
        rows.append(
            [
                one["id"],
                one["gpu_name"],
                f"{one['rate'] * 100:.0f} %",
                f"{one['rate_low'] * 100:.0f}-{one['rate_high'] * 100:.0f}",
                str(one["counted"]),
                span(one["boot_p50_s"]) if one["boot_p50_s"] is not None else "-",
                f"until {one['blocked_until'][:16]}" if one["blocked"] else "",
                f"{last['outcome']} {last['why']}"[:60] if last else "",
            ]
        )
    table(rows, ["MACHINE", "GPU", "RATE", "90 %", "TRIES", "READY", "RESTS", "LAST"])


@machines.command("block")
@click.argument("machine")
@click.option("--why", default="", help="For your own memory.")
def block(machine: str, why: str) -> None:
    """Keep your instances away from a machine."""
    done = client().call("PUT", f"/machines/{machine}/block", {"allow": False, "why": why})
    out(done) if as_json() else click.echo(f"{machine} is blocked")


@machines.command("allow")
@click.argument("machine")
def allow(machine: str) -> None:
    """Try a machine again although it failed lately."""
    done = client().call("PUT", f"/machines/{machine}/block", {"allow": True})
    out(done) if as_json() else click.echo(f"{machine} may be tried")


@machines.command("unblock")
@click.argument("machine")
def unblock(machine: str) -> None:
    """Take a block or an allowance back."""
    done = client().call("DELETE", f"/machines/{machine}/block")
    out(done) if as_json() else click.echo(f"{machine} is as its history says")


@machines.command("orphans")
def orphans() -> None:
    """Machines whose end was asked for and is not proven yet."""
    found = client().get("/machines/orphans")
    if as_json():
        out(found)
        return
    rows = [
        [
            r["provider"],
            r["machine_id"] or "-",
            r["instance_id"],
            since(r["requested_at"]),
            str(r["tries"]),
            f"${float(r['usd']):.4f}",
            "LATE" if r["late"] else "",
        ]
        for r in found["receipts"]
    ]
    table(rows, ["PROVIDER", "MACHINE", "INSTANCE", "FOR", "TRIES", "COST", ""])


@machines.command("export")
def export() -> None:
    """The whole history as JSON Lines (administrators)."""
    api, cursor = client(), None
    while True:
        page = api.get("/machines/history/export", limit=200, cursor=cursor)
        for line in page["lines"]:
            click.echo(line)
        cursor = page["next_cursor"]
        if cursor is None:
            return


@machines.command("import")
@click.argument("file", type=click.File(), default="-")
def import_(file: Any) -> None:
    """Histories of another deployment, as JSON Lines (administrators)."""
    lines = [line.strip() for line in file if line.strip()]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    api, imported = client(), 0
    for start in range(0, len(lines), 200):
        done = api.call("POST", "/machines/history/import", {"lines": lines[start : start + 200]}, key=digest)
        imported += done["imported"]
    out({"imported": imported}) if as_json() else click.echo(f"{imported} of {len(lines)} were new")


@click.group()
def pool() -> None:
    """Warm machines: running, paid for, handed out at once."""


@pool.command("ls")
def pool_ls() -> None:
    """List your pools."""
    found = client().get("/pools")
    if as_json():
        out(found)
        return
    rows = [
        [
            p["name"],
            f"{p['gpu_count']}x {p['gpu_name'] or 'any'}",
            f"{p['ready']}/{p['target']}",
            money(p["usd_per_hour"]),
        ]
        for p in found["pools"]
    ]
    table(rows, ["NAME", "GPU", "WARM", "COSTS"])


@pool.command("set")
@click.argument("name")
@click.option("--gpu")
@click.option("--count", type=int, default=1, show_default=True)
@click.option("--target", type=int, default=1, show_default=True, help="Machines to keep warm.")
@click.option("--max-price", type=Number())
@click.option("--disk", type=Number(), default=20, show_default=True)
@click.option("--max-age", type=Duration(), default="6h", show_default=True)
@click.option("--image")
def pool_set(name: str, **given: Any) -> None:
    """Make or change a pool."""
    body = {
        "gpu_name": given["gpu"],
        "gpu_count": given["count"],
        "target": given["target"],
        "max_usd_per_hour": given["max_price"],
        "disk_gib": given["disk"],
        "max_age_s": given["max_age"],
        "image": given["image"],
    }
    made = client().call("PUT", f"/pools/{name}", body)
    out(made) if as_json() else click.echo(f"pool {name} keeps {made['target']} warm")


@pool.command("rm")
@click.argument("name")
def pool_rm(name: str) -> None:
    """Delete a pool and end its machines."""
    done = client().call("DELETE", f"/pools/{name}")
    out(done) if as_json() else click.echo(f"pool {name} is gone")


@click.command()
@click.option("--strategy", type=click.Choice(["race", "round_robin", "coldstart", "auto", "serverless"]))
def defaults(strategy: str | None) -> None:
    """Show or set what new instances start with."""
    api = client()
    now = api.call("PUT", "/auth/defaults", {"strategy": strategy}) if strategy else api.get("/auth/defaults")
    if as_json():
        out(now)
        return
    for name, words in now["strategies"].items():
        click.echo(f"{'*' if name == now['strategy'] else ' '} {name:<12} {words}")
