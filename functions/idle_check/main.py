"""Every minute: drive whatever is due."""

import functions_framework

from shared.bootstrap import deps
from shared.sweeps.motion import motion
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Report


@endpoint("POST", "/internal/idle_check", caller="scheduler")
def tick(call: Call) -> Report:
    return motion(deps())


main = functions_framework.http(routes(tick, deps=deps))
