"""`dumont`: GPU instances that outlive machines."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    # name: module, short help
    "login": ("session", "Log in and keep an API key for this machine."),
    "logout": ("session", "Revoke this machine's API key."),
    "whoami": ("session", "Who is logged in."),
    "provision": ("provision", "Rent a GPU: a new instance, by a race of machines."),
    "ls": ("instances", "List instances."),
    "show": ("instances", "Show an instance."),
    "events": ("instances", "What happened to an instance."),
    "logs": ("instances", "Output of an instance's set-up command."),
    "keep-awake": ("instances", "Keep an instance from hibernating for a while."),
    "hibernate": ("lifecycle", "Snapshot an instance and end its machine."),
    "wake": ("lifecycle", "Restore a hibernated instance on any host."),
    "destroy": ("lifecycle", "End an instance, its machines and its snapshots."),
    "exec": ("machine", "Run a command on an instance."),
    "wait-for": ("machine", "Wait until a file of an instance is restored, or all of them."),
    "ssh": ("machine", "Open a shell on an instance."),
    "ssh-config": ("machine", "An SSH configuration for editors."),
    "ssh-keys": ("machine", "Your SSH public keys."),
    "cp": ("machine", "Copy files to and from an instance."),
    "snapshots": ("snapshots", "Snapshots of an instance."),
    "storage": ("storage", "Buckets that snapshots go to: the deployment's and your own."),
    "offers": ("machines", "What could be rented now."),
    "market": ("market", "Price band, supply and trend of a GPU; price alerts."),
    "machines": ("machines", "How machines have served; blocks; orphans."),
    "pool": ("machines", "Warm machines, handed out at once."),
    "models": ("models", "LLM deployments with OpenAI-compatible endpoints."),
    "standby": ("standby", "CPU machines that take over when a host dies."),
    "failover": ("standby", "Give an instance's machine up now."),
    "webhooks": ("webhooks", "Be told of what happens."),
    "usage": ("usage", "What it cost, and what was saved."),
    "budget": ("usage", "What may be spent in a month, in all or on one instance."),
    "defaults": ("machines", "What new instances start with."),
    "admin": ("session", "Users."),
    "completion": ("session", "A shell completion script."),
}

EXITS = """Exit codes: 0 done, 1 error, 2 wrong usage, 3 not logged in or not allowed, 4 not found,
5 the state does not allow it, 6 no capacity or provider trouble, 7 gave up waiting, 130 interrupted.
`exec` gives the command's own exit code."""

EXIT = {
    "unauthenticated": 3,
    "forbidden": 3,
    "not_found": 4,
    "conflict": 5,
    "illegal_transition": 5,
    "idempotency_conflict": 5,
    "no_capacity": 6,
    "budget_reached": 6,
    "model_not_ready": 6,
    "provider_error": 6,
    "provider_rejected": 6,
    "provider_busy": 6,
    "invalid_request": 2,
}
HINT = {
    "unauthenticated": "run `dumont login`",
    "budget_reached": "`dumont budget set USD` raises it",
    "no_capacity": "ask for what is near: a higher --max-price, another --gpu or none, fewer or smaller GPUs",
    "provider_rejected": "check the provider's API key and credit",
    "provider_busy": "the provider limits requests; try again in a moment",
    "unreachable": "is the address right, and does it run? locally: `make up`",
    "illegal_transition": "`dumont show INSTANCE` says what it is doing",
}


class Lazy(click.Group):
    """Imports a command only when it is used: `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"cli.commands.{COMMANDS[name][0]}")
        found = getattr(module, name.replace("-", "_") + ("_" if name == "exec" else ""))
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, epilog=EXITS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print the API's data as one JSON document.")
@click.version_option("0.1.0", prog_name="dumont")
@click.pass_context
def group(ctx: click.Context, as_json: bool) -> None:
    """GPU instances that outlive machines: they race to start, sleep when idle, and wake anywhere."""
    ctx.obj = {"json": as_json}


def main() -> Any:
    from cli.client import ApiError

    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    # --json is understood anywhere before `--`.
    wanted = "--json" in arguments[:end]
    arguments = [a for a in arguments[:end] if a != "--json"] + arguments[end:]
    try:
        sys.exit(group(["--json", *arguments] if wanted else arguments, prog_name="dumont", standalone_mode=False) or 0)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ApiError as error:
        if wanted:
            import json

            body = {"code": error.code, "message": error.message, "request_id": error.request_id}
            click.echo(json.dumps({"error": {**body, "details": error.details}}), err=True)
        else:
            click.echo(f"error: {error.message}", err=True)
            if error.code in HINT:
                click.echo(f"hint: {HINT[error.code]}", err=True)
            if error.request_id:
                click.echo(f"request: {error.request_id}", err=True)
        sys.exit(EXIT.get(error.code, 1))
