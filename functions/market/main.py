"""What could be rented now, and what the market was."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import alerts, market, offers
from shared.web.endpoint import Call, endpoint, routes
from shared.wire import market as wire
from shared.wire.base import Done
from shared.wire.machines import OfferList, OffersQuery


@endpoint("GET", "/offers", caller="user", query=OffersQuery)
def index(call: Call) -> OfferList:
    return offers.list_offers(call.query, call.user.id, deps())


@endpoint("GET", "/spot/market", caller="user", query=wire.MarketQuery)
def show(call: Call) -> wire.MarketView:
    return market.show(call.query, call.user.id, deps())


@endpoint("GET", "/spot/alerts", caller="user")
def alerted(call: Call) -> wire.AlertList:
    return alerts.list_alerts(call.user.id, deps())


@endpoint("POST", "/spot/alerts", caller="user", body=wire.AlertBody, success=201)
def alert(call: Call) -> wire.AlertView:
    return alerts.create(call.body, call.user.id, deps())


@endpoint("DELETE", "/spot/alerts/{alert}", caller="user")
def forget(call: Call) -> Done:
    return alerts.delete(call.params["alert"], call.user.id, deps())


main = functions_framework.http(routes(index, show, alerted, alert, forget, deps=deps))
