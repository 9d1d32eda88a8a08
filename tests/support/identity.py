"""An identity provider of the tests' own: a signing key whose public half is served on loopback, as Google serves its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from local import scheduler


def new_key() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@contextmanager
def trusted(folder: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Settings that trust the scheduler's key, and that key."""
    key = new_key()
    (folder / "jwks.json").write_text(json.dumps(scheduler.jwks(key)))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "oidc_jwks_url": f"http://127.0.0.1:{server.server_port}/jwks.json",
        "oidc_issuer": scheduler.ISSUER,
        "oidc_audience": scheduler.AUDIENCE,
        "oidc_email": scheduler.EMAIL,
        "sweep_budget_s": 0,
    }
    try:
        yield settings, key
    finally:
        server.shutdown()
        server.server_close()
