"""Where users want to be told of what happens."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import webhooks
from shared.web.endpoint import Call, endpoint, routes
from shared.wire import webhooks as wire
from shared.wire.base import Done


@endpoint("GET", "/webhooks", caller="user")
def index(call: Call) -> wire.WebhookList:
    return webhooks.list_webhooks(call.user.id, deps())


@endpoint("POST", "/webhooks", caller="user", body=wire.WebhookBody, success=201)
def create(call: Call) -> wire.NewWebhookView:
    return webhooks.create(call.body, call.user.id, deps())


@endpoint("DELETE", "/webhooks/{webhook}", caller="user")
def delete(call: Call) -> Done:
    return webhooks.delete(call.params["webhook"], call.user.id, deps())


main = functions_framework.http(routes(index, create, delete, deps=deps))
