"""Run a command on an instance's machine through its agent."""

import functions_framework

from shared.bootstrap import deps
from shared.flows.instances import exec_view, start_exec, wait_exec
from shared.queries import owned
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.instances import ExecRequest, ExecView, WaitQuery


@endpoint("POST", "/instances/{instance}/exec", caller="user", body=ExecRequest, query=WaitQuery, idempotent=True)
def start(call: Call) -> ExecView:
    instance = owned(deps(), call.params["instance"], call.user.id)
    order = start_exec(instance.id, call.body, call.user.id, deps(), call.idempotency_key)
    return exec_view(wait_exec(instance.id, order.id, call.query.wait, deps()))


@endpoint("GET", "/instances/{instance}/exec/{order}", caller="user", query=WaitQuery)
def show(call: Call) -> ExecView:
    instance = owned(deps(), call.params["instance"], call.user.id)
    return exec_view(wait_exec(instance.id, call.params["order"], call.query.wait, deps()))


main = functions_framework.http(routes(start, show, deps=deps))
