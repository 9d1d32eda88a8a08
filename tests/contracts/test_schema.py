"""The OpenAPI document holds: schemathesis with every check, each limit of each field of every route tried, in memory.

`make bench NAME=schema` tries drawn values and sequences of calls as well, over a running cloud.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from bench.schema import schemathesis
from shared.domain.models import Deployment
from tests.support.http import everything
from tests.support.identity import trusted
from tests.unit.test_auth_walk import Everybody


class Quiet(WSGIRequestHandler):
    def log_request(self, code: object = "-", size: object = "-") -> None: ...


@pytest.mark.timeout(400)
def test_every_route_keeps_what_its_schema_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.pyz").write_bytes(b"bundle")
    with trusted(tmp_path) as (settings, key):
        everybody = Everybody({**settings, "agent_bundle_path": str(tmp_path / "agent.pyz")}, key)
        records = everybody.world.deps.records
        things = everybody.things_of(everybody.root)
        # Its machine is not there: a request would be held for as long as one that wakes.
        failed = replace(records.load(Deployment, things.ids["model"]), state="failed", failure="its machine is gone")
        records.transact(lambda tx: (tx.load(Deployment, failed.id), tx.save(failed)))
        credentials = {
            "session": everybody.session(everybody.root),
            "apiKey": everybody.key,
            "machine": everybody.machine_token(things.agent.attempt_id),
            "modelKey": things.model_key,
            "scheduler": everybody.oidc(),
        }
        known = {"query.wait": 0, **{f"path.{name}": id for name, id in things.ids.items()}}
        server = make_server("127.0.0.1", 0, everything(everybody.world.deps), threaded=True, request_handler=Quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            figures = schemathesis(
                f"http://127.0.0.1:{server.server_port}", credentials, known, tmp_path, examples=1, phases="coverage"
            )
        finally:
            server.shutdown()

    with capsys.disabled():
        print(f"\nschemathesis: {figures}")
    output = (tmp_path / "output.txt").read_text()
    assert figures["operations"]["tested"] == figures["operations"]["total"]
    assert figures["test_cases"]["generated"] > 2000
    assert (figures["failures"], figures["errors"], figures["exit_code"]) == (0, 0, 0), output[-20_000:]
