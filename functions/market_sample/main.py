"""Every ten minutes: what the market asks now."""

import functions_framework

from shared.bootstrap import deps
from shared.sweeps.market import sample
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Report


@endpoint("POST", "/internal/market_sample", caller="scheduler")
def tick(call: Call) -> Report:
    return sample(deps())


main = functions_framework.http(routes(tick, deps=deps))
