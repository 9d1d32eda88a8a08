"""What could be rented now, and what the market was."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import market, offers
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.machines import OfferList, OffersQuery
from shared.wire.market import MarketQuery, MarketView


@endpoint("GET", "/offers", caller="user", query=OffersQuery)
def index(call: Call) -> OfferList:
    return offers.list_offers(call.query, call.user.id, deps())


@endpoint("GET", "/spot/market", caller="user", query=MarketQuery)
def show(call: Call) -> MarketView:
    return market.show(call.query, call.user.id, deps())


main = functions_framework.http(routes(index, show, deps=deps))
