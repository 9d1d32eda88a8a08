"""Buckets of a user's own: add, try, choose, forget."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import storage
from shared.web.endpoint import Call, endpoint, routes
from shared.wire import storage as wire
from shared.wire.base import Done


@endpoint("GET", "/settings/storage", caller="user")
def index(call: Call) -> wire.StorageList:
    return storage.list_storage(call.user, deps())


@endpoint("PUT", "/settings/storage/{name}", caller="user", body=wire.StorageBody)
def put(call: Call) -> wire.BucketView:
    return storage.save(call.params["name"], call.body, call.user, deps())


@endpoint("POST", "/settings/storage/{name}/test", caller="user")
def test(call: Call) -> wire.TriedView:
    return storage.test(call.params["name"], call.user, deps())


@endpoint("POST", "/settings/storage/{name}/default", caller="user")
def default(call: Call) -> Done:
    return storage.make_default(call.params["name"], call.user, deps())


@endpoint("DELETE", "/settings/storage/{name}", caller="user")
def remove(call: Call) -> Done:
    return storage.remove(call.params["name"], call.user, deps())


main = functions_framework.http(routes(index, put, test, default, remove, deps=deps))
