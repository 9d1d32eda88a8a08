"""A local cloud of its own for a test or a bench: a fresh folder, free ports, stopped at the end.

python -m local.embedded COMMAND...    # runs it with DUMONT_STATE_FILE naming that cloud's state.json

STORE=firestore runs it on Google's emulator.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
READY_S = 120.0
CONSOLE = "console"


class Embedded:
    """A running local cloud; `state` is its state.json, `console` what it printed."""

    def __init__(self, folder: Path, state: dict[str, Any]) -> None:
        self.folder = folder
        self.state = state
        self.console = folder.parent / CONSOLE

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control API of the simulated market."""
        request = urllib.request.Request(
            self.state["control_url"] + path,
            method=method,
            headers={"Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def s3(self) -> Any:
        """The S3 server, with the cloud's own key."""
        import boto3
        from botocore.config import Config

        s3 = self.state["s3"]
        return boto3.client(
            "s3",
            endpoint_url=s3["endpoint"],
            aws_access_key_id=s3["access_key"],
            region_name="us-east-1",
            aws_secret_access_key=s3["secret_key"],
            config=Config(s3={"addressing_style": "path"}),
        )

    def objects(self, bucket: str | None = None) -> list[str]:
        """Every key in a bucket, by default the cloud's."""
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket or self.state["s3"]["bucket"])
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


@contextmanager
def running(scenario: str = "quick", tick_s: float = 3.0, store: str | None = None) -> Iterator[Embedded]:
    """Start, yield, stop. What its processes logged is printed when it does not start."""
    with tempfile.TemporaryDirectory(prefix="dumont-") as name:
        folder = Path(name) / "cloud"
        command = [
            sys.executable,
            "-m",
            "local.up",
            "--dir",
            str(folder),
            "--tick-s",
            str(tick_s),
            "--scenario",
            str(ROOT / "local" / "scenarios" / f"{scenario}.json"),
            "--store",
            store or os.environ.get("STORE", "sqlite"),
        ]
        with open(Path(name) / CONSOLE, "wb") as console:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=console,
                stderr=console,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        try:
            yield Embedded(folder, _state(folder, process))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _state(folder: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        if (folder / "state.json").exists():
            state: dict[str, Any] = json.loads((folder / "state.json").read_text())
            return state
        time.sleep(0.1)
    for log in [folder.parent / CONSOLE, *sorted((folder / "logs").glob("*.log"))]:
        sys.stderr.write(f"== {log.name}\n{log.read_text(errors='replace')[-2000:]}\n")
    raise RuntimeError("the local cloud did not start")


def main() -> None:
    with running() as cloud:
        environment = {**os.environ, "DUMONT_STATE_FILE": str(cloud.folder / "state.json")}
        code = subprocess.run(sys.argv[1:], env=environment).returncode
    raise SystemExit(code)


if __name__ == "__main__":
    main()
