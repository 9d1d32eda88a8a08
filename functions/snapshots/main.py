"""List an instance's snapshots; take one now; pin one or give it up."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import retention
from shared.flows.instances import snapshot_key, take_snapshot
from shared.queries import list_snapshots, owned, snapshot_view
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Done
from shared.wire.instances import ListSnapshotsQuery, RecoveryView, SnapshotList, SnapshotPatch, SnapshotView, WaitQuery


@endpoint("GET", "/instances/{instance}/snapshots", caller="user", query=ListSnapshotsQuery)
def index(call: Call) -> SnapshotList:
    return list_snapshots(call.params["instance"], call.query, call.user.id, deps())


@endpoint("POST", "/instances/{instance}/snapshots", caller="user", query=WaitQuery, success=201)
def take(call: Call) -> SnapshotView:
    instance = owned(deps(), call.params["instance"], call.user.id)
    snapshot = take_snapshot(instance.id, call.query.wait, call.user.id, deps())
    return snapshot_view(snapshot, owned(deps(), instance.id, call.user.id).snapshot_id)


@endpoint("PATCH", "/instances/{instance}/snapshots/{snapshot}", caller="user", body=SnapshotPatch)
def pin(call: Call) -> SnapshotView:
    instance = owned(deps(), call.params["instance"], call.user.id)
    changed = retention.change(instance.id, call.params["snapshot"], call.body.pinned, deps())
    return snapshot_view(changed, instance.snapshot_id, "pinned" if changed.pinned else None)


@endpoint("DELETE", "/instances/{instance}/snapshots/{snapshot}", caller="user")
def remove(call: Call) -> Done:
    instance = owned(deps(), call.params["instance"], call.user.id)
    retention.remove(instance.id, call.params["snapshot"], deps())
    return Done(done=True)


@endpoint("GET", "/instances/{instance}/recovery", caller="user")
def recovery(call: Call) -> RecoveryView:
    return snapshot_key(owned(deps(), call.params["instance"], call.user.id), deps())


main = functions_framework.http(routes(index, take, pin, remove, recovery, deps=deps))
