"""Failover, asked for by a person; the automatic one is the same flow, and a circuit breaker stands before it."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import breaker, drill, standby
from shared.queries import full_view
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Done
from shared.wire.instances import InstanceView, WaitQuery
from shared.wire.standby import BreakerView, FailoverBody


@endpoint("POST", "/standby/failover", caller="user", query=WaitQuery, body=FailoverBody)
def begin(call: Call) -> InstanceView:
    if call.body.drill:
        return full_view(deps(), drill.begin(call.body.instance, call.query.wait, call.user.id, deps()))
    return full_view(deps(), standby.fail_over(call.body, call.query.wait, call.user.id, deps()))


@endpoint("GET", "/standby/failover/breaker", caller="user")
def show_breaker(call: Call) -> BreakerView:
    return breaker.show(deps())


@endpoint("DELETE", "/standby/failover/breaker", caller="admin")
def close_breaker(call: Call) -> Done:
    return breaker.close(deps())


main = functions_framework.http(routes(begin, show_breaker, close_breaker, deps=deps))
