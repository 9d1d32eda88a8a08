"""List an instance's snapshots; take one now."""

import functions_framework

from shared.bootstrap import deps
from shared.flows.instances import snapshot_key, take_snapshot
from shared.queries import list_snapshots, owned, snapshot_view
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.instances import ListSnapshotsQuery, RecoveryView, SnapshotList, SnapshotView, WaitQuery


@endpoint("GET", "/instances/{instance}/snapshots", caller="user", query=ListSnapshotsQuery)
def index(call: Call) -> SnapshotList:
    return list_snapshots(call.params["instance"], call.query, call.user.id, deps())


@endpoint("POST", "/instances/{instance}/snapshots", caller="user", query=WaitQuery, success=201)
def take(call: Call) -> SnapshotView:
    instance = owned(deps(), call.params["instance"], call.user.id)
    snapshot = take_snapshot(instance.id, call.query.wait, call.user.id, deps())
    return snapshot_view(snapshot, owned(deps(), instance.id, call.user.id).snapshot_id)


@endpoint("GET", "/instances/{instance}/recovery", caller="user")
def recovery(call: Call) -> RecoveryView:
    return snapshot_key(owned(deps(), call.params["instance"], call.user.id), deps())


main = functions_framework.http(routes(index, take, recovery, deps=deps))
