"""Failover, asked for by a person; the automatic one is the same flow."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import drill, standby
from shared.queries import full_view
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.instances import InstanceView, WaitQuery
from shared.wire.standby import FailoverBody


@endpoint("POST", "/standby/failover", caller="user", query=WaitQuery, body=FailoverBody)
def begin(call: Call) -> InstanceView:
    if call.body.drill:
        return full_view(deps(), drill.begin(call.body.instance, call.query.wait, call.user.id, deps()))
    return full_view(deps(), standby.fail_over(call.body, call.query.wait, call.user.id, deps()))


main = functions_framework.http(routes(begin, deps=deps))
