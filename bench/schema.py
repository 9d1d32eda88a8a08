"""schemathesis over the OpenAPI document against a running local cloud, with every check: what it promises is kept.

make bench NAME=schema            # about two minutes; DUMONT_SCHEMA_EXAMPLES=n for more or fewer cases an operation

One instance runs and every other machine is sold out, so that whatever is asked for rents nothing. Each security scheme has a
credential of its kind that holds; schemathesis takes them away by itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization

from bench.report import finish
from bench.smoke_failover import until
from infra.openapi import FILE
from local import scheduler
from local.embedded import ROOT, Embedded, running

GOALS = {"failures": 0, "errors": 0}
MAY_REFUSE = {
    "listInstances listEvents listSnapshots machineHistory exportHistory": "a cursor is opaque and may not be one of ours",
    "showMetrics showUsage showLedger": "a span of time must not be too long, nor end before it begins",
    "createWebhook": "whether an address is public is asked of the name's servers",
    "setSshKeys": "a key's own form is the library's to judge",
    "endOtherSessions": "the refresh token must be of a session of the caller's",
    "saveStorage": "a bucket is tried before it is saved",
    "importHistory": "each line is a document of its own",
    "provision cloneSnapshot": "a bucket of the caller's is named, and need not be there",
    "deployModel": "what a model needs may not be told by its name, or fit no GPU",
    "putPool": "a pool's name is stricter than other names in paths",
    "putStandby failOver": "the machine type and zone are the provider's",
}
"""Where a request of the right form may be refused with 400 all the same, and why. Everywhere else it may not."""
NO_ROOM = "provision cloneSnapshot deployModel putPool putStandby wake failOver"
"""They may answer 507 or 503: nothing to rent."""
NOT_YET = "agentBundle modelChat modelComplete modelEmbed modelServed listOffers showMarket"
"""They may answer 503: no bundle was staged, the model's machine has no address yet, a provider asks us to wait."""


SEARCHES = f"{NO_ROOM} listOffers showMarket"
"""They may wait for their turn to ask three providers, six seconds each: here more is searched for in a minute than users do."""
KEEPS_LOOKING = "idleCheck"
"""Answers when nothing is due, or its minute is nearly over."""
PROPER: list[int | str] = ["2xx", 401, 402, 403, 404, 409, 429, "5xx"]
"""What a request of the right form may be answered with; which of 5xx are an operation's own is checked apart."""


def configuration(credentials: Mapping[str, str], known: Mapping[str, Any]) -> str:
    """schemathesis.toml: `credentials` by security scheme, `known` values by parameter."""
    parts = [f"[auth.openapi.{scheme}]\nbearer = {json.dumps(token)}" for scheme, token in credentials.items()]
    parts.append("[parameters]\n" + "\n".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in known.items()))
    # One line refuses all of them.
    parts.append('[phases.coverage]\nunexpected-methods = ["TRACE"]')
    parts.append(f"[checks.positive_data_acceptance]\nexpected-statuses = {json.dumps(PROPER)}")
    # Larger than a body may be is refused before it is read.
    parts.append("[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 403, 404, 405, 409, 413, 415]")
    for ids in MAY_REFUSE:
        parts.append(_operation(ids, f"positive_data_acceptance]\nexpected-statuses = {json.dumps([*PROPER, 400])}"))
    parts.append(_operation(NO_ROOM, 'not_a_server_error]\nexpected-statuses = ["2xx", "4xx", 503, 507]'))
    parts.append(_operation(NOT_YET, 'not_a_server_error]\nexpected-statuses = ["2xx", "4xx", 503]'))
    for ids, limit_s in ((KEEPS_LOOKING, 60), (SEARCHES, 40)):
        which = f"[[operations]]\ninclude-operation-id = {json.dumps(ids.split())}"
        parts.append(f"{which}\n[operations.checks]\nmax_response_time = {limit_s}.0")
    # It takes the new key itself for the key's id.
    parts.append(_operation("revokeKey", "ensure_resource_availability]\nenabled = false"))
    return "\n\n".join(parts) + "\n"


def _operation(ids: str, check: str) -> str:
    return f"[[operations]]\ninclude-operation-id = {json.dumps(ids.split())}\n[operations.checks.{check}"


def schemathesis(
    url: str,
    credentials: Mapping[str, str],
    known: Mapping[str, Any],
    folder: Path,
    *,
    examples: int,
    phases: str,
) -> dict[str, Any]:
    """Run it; its figures. What it said is in the folder's output.txt."""
    (folder / "schemathesis.toml").write_text(configuration(credentials, known))
    report = folder / "report.json"
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(folder / "schemathesis.toml"),
        "run", str(ROOT / FILE), "--url", f"{url}/api/v1", "--checks", "all", "--max-examples", str(examples),
        "--phases", phases, "--workers", "1", "--seed", "1", "--request-timeout", "60", "--continue-on-failure",
        "--no-shrink", "--warnings", "off", "--report", "json", "--report-json-path", str(report),
    ]  # fmt: skip
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    if not report.exists():
        raise RuntimeError(f"schemathesis did not run: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    found = json.loads(report.read_text())
    return {
        "operations": found["operations"],
        "test_cases": found["test_cases"],
        "failures": sum(len(group.get("occurrences", group.get("failures", [group]))) for group in found["failures"]),
        "errors": len(found["errors"]),
        "exit_code": done.returncode,
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> None:
    with running() as cloud, tempfile.TemporaryDirectory() as name:
        credentials, known = prepare(cloud)
        figures = schemathesis(
            cloud.state["api_url"],
            credentials,
            known,
            Path(name),
            examples=int(os.environ.get("DUMONT_SCHEMA_EXAMPLES", "10")),
            phases="coverage,fuzzing,stateful",
        )
        output = (Path(name) / "output.txt").read_text()
        broken = [
            json.loads(line)["message"]
            for log in sorted((cloud.folder / "logs").glob("fn-*.log"))
            for line in log.read_text().splitlines()
            if line.startswith('{"severity": "ERROR"')
        ]
    sys.stdout.write(output + "\n".join(broken[:5]) + "\n")
    finish("schema", figures, GOALS, figures["failures"] == figures["errors"] == figures["exit_code"] == 0)


def prepare(cloud: Embedded) -> tuple[dict[str, str], dict[str, Any]]:
    """An instance and a model that run, nothing else to rent; a credential of each kind, and the ids of things that are there."""
    demo = cloud.state["demo"]
    call = Caller(cloud.state["api_url"], demo["api_key"])
    made = call("POST", "/instances/provision?wait=50", {"gpu_name": "RTX 4090", "name": "fuzzed", "width": 1})
    model = call("POST", "/models/deploy", {"model": "dumont/tiny-bigram", "runtime": "tiny", "idle_after_s": 0})
    until("the model is ready", lambda: call("GET", f"/models/{model['id']}")["state"] == "ready", 120)
    until("the instance runs", lambda: call("GET", f"/instances/{made['id']}")["state"] == "running", 60)
    for host in cloud.control("GET", "/hosts"):
        cloud.control("POST", f"/hosts/{host['machine_id']}/sell-out")
    adopted = next(
        one["id"] for one in call("GET", f"/instances/{made['id']}")["attempts"] if one["stage"] == "adopted"
    )
    tokens = [file.read_text().strip() for file in cloud.folder.glob("market/**/.dumont/token")]
    session = call("POST", "/auth/login", {"email": demo["email"], "password": demo["password"]})
    kept = json.loads((cloud.folder / "secrets.json").read_text())["secrets"]
    oidc = serialization.load_pem_private_key(kept["oidc_private"].encode(), None)
    credentials = {
        "session": session["access_token"],
        "apiKey": demo["api_key"],
        "machine": next(token for token in tokens if token.startswith(adopted)),
        "modelKey": model["key"],
        "scheduler": scheduler.token(oidc),
    }
    return credentials, {"query.wait": 0, "path.instance": made["id"], "path.model": model["id"]}


class Caller:
    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=90)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._client.request(method, path, json=body).json()
        if not answer["success"]:
            raise RuntimeError(f"{method} {path}: {answer['error']['message']}")
        return answer["data"]


if __name__ == "__main__":
    main()
