"""A real S3 server on loopback: SeaweedFS, from PyPI."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SERVERS = ("master", "volume", "filer", "s3", "admin")
EXTRA = ("s3.port.iceberg", "s3.port.lance")
GRPC_OFFSET = 10_000


@dataclass(frozen=True)
class Ports:
    """`base` and the next 6 must be free, and the same 10,000 above for gRPC."""

    base: int

    @property
    def s3(self) -> int:
        return self.base + SERVERS.index("s3")

    def arguments(self) -> list[str]:
        words = [f"-{name}.port={self.base + number}" for number, name in enumerate(SERVERS)]
        words += [f"-{name}.port.grpc={self.base + number + GRPC_OFFSET}" for number, name in enumerate(SERVERS)]
        words += [f"-{name}={self.base + len(SERVERS) + number}" for number, name in enumerate(EXTRA)]
        return words


def command(folder: Path, ports: Ports, bucket: str, access_key: str, secret_key: str) -> list[str]:
    """The command line of a server that keeps its data below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "s3.json"
    identity = {
        "name": "dumont",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"identities": [identity]}, file)
    return [
        str(Path(sys.executable).with_name("weed")),
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-webdav=false",
        "-admin.ui=false",
        f"-s3.config={config}",
        f"-bucket={bucket}",
        "-s3.autoCreateBucket=false",
        *ports.arguments(),
    ]


def stop(process: subprocess.Popen[bytes], patience_s: float = 8.0) -> None:
    """SeaweedFS has been seen to ignore SIGTERM."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
