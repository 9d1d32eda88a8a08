"""What the agent knows of its machine: two facts from the start script, and where things lie."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    url: str
    token: str
    home: Path
    root: str | None
    """Set by the local cloud only: absolute workspace paths lie below it."""
    standby: bool = False
    """A CPU machine that only follows snapshots until it takes over."""
    trace: str | None = None
    """Of the request that this machine was rented for."""

    @property
    def state(self) -> Path:
        return self.home / ".dumont"

    def place(self, path: str) -> str:
        """Where a workspace path lies on this machine."""
        return os.path.join(self.root, path.lstrip("/")) if self.root else path

    @property
    def token_file(self) -> Path:
        return self.state / "token"


def load() -> Settings:
    """From the environment at first, from disk after a restart. The token leaves the environment of our children."""
    home = Path(os.environ.get("HOME") or "/root")
    state = home / ".dumont"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    token_file, url_file = state / "token", state / "url"
    token, url = os.environ.pop("DUMONT_TOKEN", None), os.environ.get("DUMONT_URL")
    if token is None and token_file.exists():
        token = token_file.read_text().strip()
    if url is None and url_file.exists():
        url = url_file.read_text().strip()
    if not token or not url:
        raise SystemExit("dumont agent: DUMONT_URL and DUMONT_TOKEN are not set, and no earlier start left them")
    write_private(token_file, token)
    write_private(url_file, url)
    return Settings(
        url=url,
        token=token,
        home=home,
        root=os.environ.get("DUMONT_ROOT"),
        standby=os.environ.get("DUMONT_ROLE") == "standby",
        trace=os.environ.get("DUMONT_TRACE"),
    )


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, readable by us alone."""
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(part, path)


def log(message: str, trace: str | None = None) -> None:
    """A plain line with the time, and the trace of the request that it follows from; never a credential."""
    about = f" trace={trace}" if trace else ""
    os.write(1, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {message}{about}\n".encode())
