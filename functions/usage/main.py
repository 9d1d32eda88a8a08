"""Cost, savings and budgets."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import usage
from shared.web.endpoint import Call, endpoint, routes
from shared.wire import usage as wire


@endpoint("GET", "/usage", caller="user", query=wire.UsageQuery)
def show(call: Call) -> wire.UsageView:
    return usage.show(call.query, call.user.id, deps())


@endpoint("GET", "/usage/ledger", caller="user", query=wire.UsageQuery)
def ledger(call: Call) -> wire.LedgerView:
    return usage.ledger(call.query, call.user.id, deps())


@endpoint("GET", "/usage/budget", caller="user")
def budget(call: Call) -> wire.BudgetView:
    return usage.show_budget(call.user.id, deps())


@endpoint("PUT", "/usage/budget", caller="user", body=wire.BudgetBody)
def set_budget(call: Call) -> wire.BudgetView:
    return usage.set_budget(call.body, call.user.id, deps())


@endpoint("GET", "/usage/budget/{instance}", caller="user")
def instance_budget(call: Call) -> wire.InstanceBudgetView:
    return usage.show_instance_budget(call.params["instance"], call.user.id, deps())


@endpoint("PUT", "/usage/budget/{instance}", caller="user", body=wire.BudgetBody)
def set_instance_budget(call: Call) -> wire.InstanceBudgetView:
    return usage.set_instance_budget(call.params["instance"], call.body, call.user.id, deps())


main = functions_framework.http(
    routes(show, ledger, budget, set_budget, instance_budget, set_instance_budget, deps=deps)
)
