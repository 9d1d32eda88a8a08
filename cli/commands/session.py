"""login, logout, whoami, users, completion."""

from __future__ import annotations

import socket
import sys

import click

from cli import config
from cli.client import ApiError, Client
from cli.context import as_json, client
from cli.render import out


@click.command()
@click.option("--url", help="The API's address.")
@click.option("--email", envvar="DUMONT_EMAIL")
@click.option("--password", envvar="DUMONT_PASSWORD", help="Asked for when not given.")
@click.option("--local", is_flag=True, help="Log in to the local cloud that runs here.")
def login(url: str | None, email: str | None, password: str | None, local: bool) -> None:
    """Log in and keep an API key for this machine."""
    state = config.local_state()
    if local:
        if state is None:
            raise ApiError(0, "unreachable", "no local cloud runs here")
        url, email, password = state["api_url"], state["demo"]["email"], state["demo"]["password"]
    url = url or config.load().api_url or click.prompt("API", default=state["api_url"] if state else None)
    email = email or click.prompt("Email")
    password = password or click.prompt("Password", hide_input=True)
    session = Client(url, None).post("/auth/login", {"email": email, "password": password})
    api = Client(url, session["access_token"])
    key = api.post("/auth/keys", {"name": f"cli@{socket.gethostname()}"[:100]})
    api.post("/auth/logout", {"refresh_token": session["refresh_token"]})
    config.save(config.Config(api_url=url, api_key=key["key"], key_id=key["id"]))
    if as_json():
        out({"api_url": url, "email": email, "key_id": key["id"]})
    else:
        click.echo(f"logged in to {url} as {email}")


@click.command()
def logout() -> None:
    """Revoke this machine's API key and forget it."""
    known = config.load()
    if known.api_url and known.api_key and known.key_id:
        Client(known.api_url, known.api_key).call("DELETE", f"/auth/keys/{known.key_id}")
    config.save(config.Config(api_url=known.api_url))
    out({"done": True}) if as_json() else click.echo("logged out")


@click.command()
def whoami() -> None:
    """Who is logged in."""
    user = client().get("/auth/me")
    out(user) if as_json() else click.echo(f"{user['email']} ({user['id']}{', admin' if user['admin'] else ''})")


@click.group()
def admin() -> None:
    """Users."""


@admin.command("create-user")
@click.argument("email")
@click.option("--admin", "is_admin", is_flag=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def create_user(email: str, is_admin: bool, password_stdin: bool) -> None:
    """Create a user; a password has at least 12 characters."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    user = client().post("/auth/users", {"email": email, "password": password, "admin": is_admin})
    out(user) if as_json() else click.echo(f"created {user['email']} ({user['id']})")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """A completion script: `eval "$(dumont completion bash)"`."""
    from click.shell_completion import get_completion_class

    from cli.main import group

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(group, {}, "dumont", "_DUMONT_COMPLETE").source())
