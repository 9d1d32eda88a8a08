"""Pools of warm machines."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import pools
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Done
from shared.wire.machines import PoolBody, PoolList, PoolView


@endpoint("GET", "/pools", caller="user")
def index(call: Call) -> PoolList:
    return pools.list_pools(call.user.id, deps())


@endpoint("PUT", "/pools/{pool}", caller="user", body=PoolBody)
def put(call: Call) -> PoolView:
    return pools.put_pool(call.params["pool"], call.body, call.user.id, deps())


@endpoint("DELETE", "/pools/{pool}", caller="user")
def delete(call: Call) -> Done:
    return pools.delete_pool(call.params["pool"], call.user.id, deps())


main = functions_framework.http(routes(index, put, delete, deps=deps))
