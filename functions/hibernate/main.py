"""Snapshot a running instance and end its machine."""

import functions_framework

from shared.bootstrap import deps
from shared.flows.instances import hibernate
from shared.queries import full_view, owned
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.instances import InstanceView, WaitQuery


@endpoint("POST", "/instances/{instance}/hibernate", caller="user", query=WaitQuery)
def act(call: Call) -> InstanceView:
    owned(deps(), call.params["instance"], call.user.id)
    return full_view(deps(), hibernate(call.params["instance"], call.query.wait, call.user.id, deps()))


main = functions_framework.http(routes(act, deps=deps))
