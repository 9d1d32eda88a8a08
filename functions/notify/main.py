"""Every minute: webhooks."""

import functions_framework

from shared.bootstrap import deps
from shared.sweeps.notify import notify
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Report


@endpoint("POST", "/internal/notify", caller="scheduler")
def tick(call: Call) -> Report:
    return notify(deps())


main = functions_framework.http(routes(tick, deps=deps))
