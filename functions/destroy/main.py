"""End an instance, its machines and its snapshots."""

import functions_framework

from shared.bootstrap import deps
from shared.flows.instances import destroy
from shared.queries import full_view, owned
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.instances import InstanceView, WaitQuery


@endpoint("DELETE", "/instances/{instance}/destroy", caller="user", query=WaitQuery)
def act(call: Call) -> InstanceView:
    owned(deps(), call.params["instance"], call.user.id)
    return full_view(deps(), destroy(call.params["instance"], call.query.wait, call.user.id, deps()))


main = functions_framework.http(routes(act, deps=deps))
