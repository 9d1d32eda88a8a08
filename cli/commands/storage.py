"""storage: buckets of your own for snapshots."""

from __future__ import annotations

import sys

import click

from cli.context import as_json, client
from cli.render import out, since, table


@click.group()
def storage() -> None:
    """Buckets that snapshots go to: the deployment's and your own."""


@storage.command("ls")
def list_storage() -> None:
    """List the buckets you can use, with their price."""
    answer = client().get("/settings/storage")
    if as_json():
        out(answer)
        return
    rows = [
        [
            f"{one['name']}{' *' if one['default'] else ''}",
            one["title"],
            one["bucket"],
            f"${one['usd_per_gb_month']}",
            f"{one['minimum_days']}d" if one["minimum_days"] else "-",
            str(one["instances"]),
            f"{since(one['tested_at'])} ago" if one["tested_at"] else "-",
        ]
        for one in answer["buckets"]
    ]
    table(rows, ["NAME", "VENDOR", "BUCKET", "GB-MONTH", "BILLED AT LEAST", "INSTANCES", "TRIED"])
    click.echo("* takes new instances", err=True)


@storage.command("vendors")
def vendors() -> None:
    """List what storage costs at whom."""
    answer = client().get("/settings/storage")
    if as_json():
        out({"vendors": answer["vendors"]})
        return
    rows = [
        [v["name"], v["title"], f"${v['usd_per_gb_month']}", f"{v['minimum_days']}d" if v["minimum_days"] else "-",
         v["egress"]]
        for v in answer["vendors"]
    ]  # fmt: skip
    table(rows, ["VENDOR", "NAME", "GB-MONTH", "BILLED AT LEAST", "READING"])


@storage.command("add")
@click.argument("name")
@click.option("--vendor", type=click.Choice(["s3", "r2", "b2", "wasabi"]), required=True)
@click.option("--bucket", required=True)
@click.option("--region", default="us-east-1", show_default=True, help="R2: auto.")
@click.option("--endpoint", help="Where S3 is spoken; default: the vendor's own for the region. R2 needs it.")
@click.option("--access-key", required=True)
@click.option("--secret-stdin", is_flag=True, help="Read the secret key from standard input instead of asking.")
def add(
    name: str, vendor: str, bucket: str, region: str, endpoint: str | None, access_key: str, secret_stdin: bool
) -> None:
    """Add a bucket, or give it other keys. It is tried first: write, read, list, by address, delete."""
    secret = sys.stdin.readline().strip() if secret_stdin else click.prompt("Secret key", hide_input=True, err=True)
    body = {
        "vendor": vendor,
        "bucket": bucket,
        "region": region,
        "endpoint": endpoint,
        "access_key": access_key,
        "secret_key": secret,
    }
    answer = client().call("PUT", f"/settings/storage/{name}", body)
    out(answer) if as_json() else click.echo(
        f"{name} works: {answer['title']}, ${answer['usd_per_gb_month']} a GB-month; reading is {answer['egress']}"
    )


@storage.command("test")
@click.argument("name")
def test(name: str) -> None:
    """Try a bucket again. Exit 1 when a step fails."""
    answer = client().post(f"/settings/storage/{name}/test")
    if as_json():
        out(answer)
    else:
        for step in answer["steps"]:
            click.echo(f"{step['step']}: {step['problem'] or 'good'}")
    if not answer["good"]:
        raise click.exceptions.Exit(1)


@storage.command("use")
@click.argument("name")
def use(name: str) -> None:
    """Let new instances go there; `dumont` is the deployment's own."""
    answer = client().post(f"/settings/storage/{name}/default")
    out(answer) if as_json() else click.echo(f"new instances go to {name}")


@storage.command("rm")
@click.argument("name")
def remove(name: str) -> None:
    """Forget a bucket and its keys; nothing in it is touched."""
    answer = client().call("DELETE", f"/settings/storage/{name}")
    out(answer) if as_json() else click.echo(f"{name} is forgotten")
