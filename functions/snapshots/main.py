"""List an instance's snapshots; take, pin, verify, restore and read one; give it up."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import clones, retention, snapshots
from shared.flows.instances import snapshot_key, take_snapshot
from shared.queries import full_view, list_snapshots, owned, snapshot_view
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Done
from shared.wire.instances import (
    AddressesBody,
    AddressesView,
    CloneBody,
    InstanceView,
    ListSnapshotsQuery,
    RecoveryView,
    SnapshotList,
    SnapshotPatch,
    SnapshotView,
    VerifyQuery,
    VerifyView,
    WaitQuery,
)


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


@endpoint("POST", "/instances/{instance}/snapshots/{snapshot}/restore", caller="user")
def restore(call: Call) -> InstanceView:
    instance = owned(deps(), call.params["instance"], call.user.id)
    return full_view(deps(), snapshots.restore(instance.id, call.params["snapshot"], call.user.id, deps()))


@endpoint(
    "POST", "/instances/{instance}/snapshots/{snapshot}/clone", caller="user", body=CloneBody, query=WaitQuery,
    success=201, idempotent=True,
)  # fmt: skip
def clone(call: Call) -> InstanceView:
    original = owned(deps(), call.params["instance"], call.user.id)
    made = clones.clone(original, call.params["snapshot"], call.body, call.query.wait, deps(), call.idempotency_key)
    return full_view(deps(), made)


@endpoint("POST", "/instances/{instance}/snapshots/{snapshot}/verify", caller="user", query=VerifyQuery)
def verify(call: Call) -> VerifyView:
    instance = owned(deps(), call.params["instance"], call.user.id)
    return snapshots.verify(instance, call.params["snapshot"], call.query.wait, deps(), go_on=call.query.go_on)


@endpoint("POST", "/instances/{instance}/snapshots/{snapshot}/addresses", caller="user", body=AddressesBody)
def addresses(call: Call) -> AddressesView:
    instance = owned(deps(), call.params["instance"], call.user.id)
    return snapshots.addresses(instance, call.params["snapshot"], call.body.keys, deps())


@endpoint("GET", "/instances/{instance}/recovery", caller="user")
def recovery(call: Call) -> RecoveryView:
    return snapshot_key(owned(deps(), call.params["instance"], call.user.id), deps())


main = functions_framework.http(
    routes(index, take, pin, remove, restore, clone, verify, addresses, recovery, deps=deps)
)
