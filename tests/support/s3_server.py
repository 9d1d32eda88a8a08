"""A real S3 server for tests: SeaweedFS on loopback."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local import up, weed
from shared.errors import StorageError
from shared.objects.s3 import S3Objects


@dataclass
class S3Server:
    endpoint: str
    bucket: str = "tests"
    access_key: str = "test-access"
    secret_key: str = "test-secret"

    def objects(self) -> S3Objects:
        return S3Objects(self.bucket, self.endpoint, "us-east-1", self.access_key, self.secret_key)


@contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    ports = weed.Ports(up.weed_base())
    server = S3Server(f"http://127.0.0.1:{ports.s3}")
    command = weed.command(folder, ports, server.bucket, server.access_key, server.secret_key)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                server.objects().put("probe/ready", b"1")
                break
            except StorageError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.2)
        server.objects().delete("probe/ready")
        yield server
    finally:
        weed.stop(process)
