"""Every five minutes: orphan machines, reservations that are over, old records."""

import functions_framework

from shared.bootstrap import deps
from shared.sweeps.cleanup import clean
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Report


@endpoint("POST", "/internal/cleanup", caller="scheduler")
def tick(call: Call) -> Report:
    return clean(deps())


main = functions_framework.http(routes(tick, deps=deps))
