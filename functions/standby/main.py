"""CPU standbys beside running instances."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import standby
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Done
from shared.wire.standby import StandbyBody, StandbyList, StandbyView


@endpoint("GET", "/standby", caller="user")
def index(call: Call) -> StandbyList:
    return standby.list_standbys(call.user.id, deps())


@endpoint("POST", "/standby", caller="user", body=StandbyBody)
def put(call: Call) -> StandbyView:
    return standby.put(call.body, call.user.id, deps())


@endpoint("DELETE", "/standby/{instance}", caller="user")
def remove(call: Call) -> Done:
    return standby.remove(call.params["instance"], call.user.id, deps())


main = functions_framework.http(routes(index, put, remove, deps=deps))
