"""exec, wait-for, ssh, ssh-config, ssh-keys, cp: onto the machine an instance has now."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli import config
from cli.client import ApiError, Client
from cli.commands.provision import pairs
from cli.context import as_json, client, find, wait_until
from cli.render import Duration, Progress, out


def waiting_for(path: str, command: Sequence[str]) -> list[str]:
    """A command that begins once a path is there. A file is under its name only when it is whole, so that is all to ask."""
    script = 'path=$1; shift; until [ -e "$path" ]; do sleep 0.2; done; exec "$@"'
    return ["sh", "-c", script, "wait-for", path, *command]


@click.command("wait-for")
@click.argument("instance")
@click.argument("path", required=False)
@click.option("--timeout", type=Duration(), default="30m", show_default=True)
@click.pass_context
def wait_for(context: click.Context, instance: str, path: str | None, timeout: float) -> None:
    """Wait until a file or folder is restored: `dumont wait-for mine models/base.gguf`; without a path: until every file is."""
    if path is None:
        api = client()
        one = wait_until(
            api,
            find(api, instance),
            lambda i: bool(i["resting"]) and not i["restoring"],
            timeout,
            lambda i: [f"{i['name']} is {i['state']}" + (": its files are on the way" if i["restoring"] else "")],
        )
        out(one) if as_json() else click.echo(f"{one['name']} is {one['state']}; no file is missing")
        return
    context.invoke(
        exec_, instance=instance, command=("true",), cwd=None, env=(), timeout=timeout, take_stdin=False, after=path
    )


@click.command("exec", context_settings={"ignore_unknown_options": False})
@click.argument("instance")
@click.argument("command", nargs=-1, required=True)
@click.option("--cwd", help="Default: the first workspace folder.")
@click.option("--env", multiple=True, metavar="K=V")
@click.option("--timeout", type=Duration(), default="10m", show_default=True)
@click.option("-i", "--stdin", "take_stdin", is_flag=True, help="Send standard input along (at most 256 KiB).")
@click.option("--after", metavar="PATH", help="Begin once PATH is there: a wake restores big files last.")
def exec_(
    instance: str,
    command: tuple[str, ...],
    cwd: str | None,
    env: tuple[str, ...],
    timeout: float,
    take_stdin: bool,
    after: str | None,
) -> None:
    """Run a command on an instance: `dumont exec mine -- nvidia-smi`. Exits with its exit code."""
    api = client()
    instance_id = find(api, instance)["id"]
    words = waiting_for(after, command) if after else list(command)
    body: dict[str, Any] = {"command": words, "cwd": cwd, "env": pairs(env, "--env"), "timeout_s": timeout}
    if take_stdin:
        body["stdin"] = sys.stdin.read()
    progress = Progress()
    answer = api.post(f"/instances/{instance_id}/exec", body, key=True, wait=2)
    until = time.monotonic() + timeout + 60
    while answer["state"] in ("pending", "running"):
        if time.monotonic() > until:
            raise ApiError(0, "error", "the machine did not say how the command ended")
        progress.show(f"{command[0]} is {answer['state']}")
        answer = api.get(f"/instances/{instance_id}/exec/{answer['id']}", wait=2 if progress._on else 20)
    progress.clear()
    if as_json():
        out(answer)
    else:
        sys.stdout.write(answer["stdout"])
        sys.stderr.write(answer["stderr"])
        if answer["truncated"]:
            click.echo("(the output was longer and is cut)", err=True)
        if answer["error"]:
            click.echo(f"error: {answer['error']}", err=True)
    code = answer["exit_code"]
    raise click.exceptions.Exit(code if code is not None and 0 <= code <= 255 else 1)


def _address(api: Client, instance: str) -> tuple[dict[str, Any], str, int]:
    one = find(api, instance)
    until = time.monotonic() + 30
    while True:
        machine = one["machine"]
        if one["state"] != "running" or not machine:
            raise ApiError(409, "illegal_transition", f"instance {one['name']} is {one['state']}; wake it first")
        if machine["ssh_host"]:
            return one, machine["ssh_host"], machine["ssh_port"]
        if time.monotonic() > until:
            raise ApiError(0, "error", "the provider has not said where SSH answers; `dumont exec` works without it")
        time.sleep(1)
        one = api.get(f"/instances/{one['id']}")


def _options(instance_id: str) -> list[str]:
    """Hosts change with every wake: each instance's keys are kept apart, and a new one is taken."""
    known = config.folder() / "known_hosts" / instance_id
    known.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("instance")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def ssh(instance: str, arguments: tuple[str, ...]) -> None:
    """Open a shell on an instance; further arguments go to ssh."""
    one, host, port = _address(client(), instance)
    command = ["ssh", *_options(one["id"]), "-p", str(port), f"root@{host}", *arguments]
    try:
        os.execvp("ssh", command)
    except FileNotFoundError as error:
        raise ApiError(0, "error", "there is no ssh program here; install openssh-client") from error


@click.command("ssh-config")
@click.argument("instance")
@click.option("--write", is_flag=True, help="Into ~/.ssh/dumont/NAME, included from ~/.ssh/config.")
def ssh_config(instance: str, write: bool) -> None:
    """A Host block for editors: `code --remote ssh-remote+dumont-NAME`."""
    one, host, port = _address(client(), instance)
    options = _options(one["id"])
    block = f"Host dumont-{one['name']}\n  HostName {host}\n  Port {port}\n  User root\n"
    block += "".join(f"  {option.replace('=', ' ', 1)}\n" for option in options[1::2])
    if not write:
        click.echo(block, nl=False)
        return
    folder = Path.home() / ".ssh" / "dumont"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / one["name"]).write_text(block)
    main = Path.home() / ".ssh" / "config"
    text = main.read_text() if main.exists() else ""
    line = "Include dumont/*\n"
    if line not in text:
        main.write_text(line + text)
    click.echo(f"wrote {folder / one['name']}; connect with `ssh dumont-{one['name']}`")


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.argument("target")
def cp(sources: tuple[str, ...], target: str) -> None:
    """Copy files: `dumont cp model.bin mine:/workspace/` or back. Relative paths start in the workspace."""
    api = client()
    names = {word.partition(":")[0] for word in (*sources, target) if ":" in word}
    if len(names) != 1:
        raise click.UsageError("name one instance, as INSTANCE:PATH, on one side")
    one, host, port = _address(api, names.pop())

    def place(word: str) -> str:
        name, colon, path = word.partition(":")
        return f"root@{host}:{path}" if colon else name

    command = ["scp", "-r", "-q", *_options(one["id"]), "-P", str(port), "--", *map(place, sources), place(target)]
    try:
        raise click.exceptions.Exit(subprocess.run(command).returncode)
    except FileNotFoundError as error:
        raise ApiError(0, "error", "there is no scp program here; install openssh-client") from error


@click.group("ssh-keys")
def ssh_keys() -> None:
    """Your SSH public keys; running machines get them within seconds."""


@ssh_keys.command("ls")
def list_keys() -> None:
    """List your keys."""
    answer = client().get("/auth/ssh-keys")
    if as_json():
        out(answer)
    else:
        for key in answer["ssh_keys"]:
            click.echo(key)


@ssh_keys.command("add")
@click.argument("file", type=click.Path(exists=True, path_type=Path), required=False)
def add_key(file: Path | None) -> None:
    """Add a public key; default: ~/.ssh/id_ed25519.pub."""
    file = file or Path.home() / ".ssh" / "id_ed25519.pub"
    if not file.exists():
        raise click.UsageError(f"there is no {file}; make one with ssh-keygen, or name a file")
    api = client()
    keys = api.get("/auth/ssh-keys")["ssh_keys"]
    answer = api.call("PUT", "/auth/ssh-keys", {"ssh_keys": [*keys, file.read_text().strip()]})
    out(answer) if as_json() else click.echo(f"{len(answer['ssh_keys'])} keys")


@ssh_keys.command("rm")
@click.argument("part")
def remove_key(part: str) -> None:
    """Remove every key that contains PART, such as its comment."""
    api = client()
    keys = [key for key in api.get("/auth/ssh-keys")["ssh_keys"] if part not in key]
    answer = api.call("PUT", "/auth/ssh-keys", {"ssh_keys": keys})
    out(answer) if as_json() else click.echo(f"{len(answer['ssh_keys'])} keys")
