"""The machines' side: the agent's own code, its registration, heartbeats, snapshots and results."""

from pathlib import Path

import functions_framework
from flask import Response, send_file

from shared import errors
from shared.bootstrap import deps
from shared.flows import agents
from shared.web.endpoint import Call, endpoint, routes
from shared.wire import agent as wire
from shared.wire.base import Done

PROBE_BYTES = 4 << 20
COMMIT_BYTES = 16 << 20


@endpoint("GET", "/agent/bundle", caller="public")
def bundle(call: Call) -> Response:
    path = Path(deps().settings.agent_bundle_path).resolve()
    if not path.is_file():
        raise errors.Unavailable("this deployment was staged without the agent; stage it again")
    return send_file(path, mimetype="application/octet-stream", max_age=0)


@endpoint("GET", "/agent/probe", caller="agent")
def probe(call: Call) -> Response:
    return Response(bytes(PROBE_BYTES), mimetype="application/octet-stream")


@endpoint("POST", "/agent/register", caller="agent", body=wire.Register)
def register(call: Call) -> wire.Registered:
    return agents.register(call.body, call.agent, deps())


@endpoint("POST", "/agent/heartbeat", caller="agent", body=wire.Heartbeat)
def heartbeat(call: Call) -> wire.HeartbeatAnswer:
    return agents.heartbeat(call.body, call.agent, deps())


@endpoint("POST", "/agent/uploads", caller="agent", body=wire.UploadsRequest)
def uploads(call: Call) -> wire.Uploads:
    return agents.uploads(call.body, call.agent, deps())


@endpoint("POST", "/agent/downloads", caller="agent", body=wire.DownloadsRequest)
def downloads(call: Call) -> wire.Downloads:
    return agents.downloads(call.body, call.agent, deps())


@endpoint("POST", "/agent/snapshots", caller="agent", body=wire.SnapshotCommit, max_body=COMMIT_BYTES)
def commit(call: Call) -> wire.Committed:
    return agents.commit_snapshot(call.body, call.agent, deps())


@endpoint("POST", "/agent/results", caller="agent", body=wire.OrderResult)
def result(call: Call) -> Done:
    return agents.result(call.body, call.agent, deps())


main = functions_framework.http(
    routes(bundle, probe, register, heartbeat, uploads, downloads, commit, result, deps=deps)
)
