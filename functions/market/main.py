"""What could be rented now."""

import functions_framework

from shared.bootstrap import deps
from shared.flows.offers import list_offers
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.machines import OfferList, OffersQuery


@endpoint("GET", "/offers", caller="user", query=OffersQuery)
def offers(call: Call) -> OfferList:
    return list_offers(call.query, call.user.id, deps())


main = functions_framework.http(routes(offers, deps=deps))
