"""Rent a machine for a new instance."""

import functions_framework

from shared.bootstrap import deps
from shared.flows.pools import provision
from shared.queries import full_view
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.instances import InstanceView, ProvisionRequest, WaitQuery


@endpoint(
    "POST", "/instances/provision", caller="user", body=ProvisionRequest, query=WaitQuery, success=201, idempotent=True
)
def create(call: Call) -> InstanceView:
    instance = provision(call.body, call.query.wait, call.user.id, deps(), call.idempotency_key)
    return full_view(deps(), instance)


main = functions_framework.http(routes(create, deps=deps))
