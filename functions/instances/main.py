"""What the user has; names, policies, keep-awake; what happened."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import metrics
from shared.flows.instances import edit, wait_rest
from shared.queries import full_view, list_events, list_instances, owned, recent_events
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Done
from shared.wire.instances import (
    EventList,
    EventsQuery,
    GetQuery,
    InstanceList,
    InstanceView,
    ListQuery,
    Patch,
    RecentEvents,
    RecentQuery,
)
from shared.wire.metrics import MetricsQuery, MetricsView


@endpoint("GET", "/instances", caller="user", query=ListQuery)
def index(call: Call) -> InstanceList:
    return list_instances(call.query, call.user.id, deps())


@endpoint("GET", "/instances/{instance}", caller="user", query=GetQuery)
def show(call: Call) -> InstanceView:
    instance = owned(deps(), call.params["instance"], call.user.id)
    if call.query.wait:
        instance = wait_rest(instance.id, call.query.wait, deps())
    return full_view(deps(), instance)


@endpoint("PATCH", "/instances/{instance}", caller="user", body=Patch)
def change(call: Call) -> InstanceView:
    owned(deps(), call.params["instance"], call.user.id)
    return full_view(deps(), edit(call.params["instance"], call.body, call.user.id, deps()))


@endpoint("GET", "/instances/{instance}/events", caller="user", query=EventsQuery)
def events(call: Call) -> EventList:
    return list_events(call.params["instance"], call.query, call.user.id, deps())


@endpoint("GET", "/instances/{instance}/metrics", caller="user", query=MetricsQuery)
def show_metrics(call: Call) -> MetricsView:
    return metrics.show(call.query, owned(deps(), call.params["instance"], call.user.id), deps())


@endpoint("GET", "/events", caller="user", query=RecentQuery)
def recent(call: Call) -> RecentEvents:
    return recent_events(call.query, call.user.id, deps())


@endpoint("GET", "/healthz", caller="public")
def healthz(call: Call) -> Done:
    # A read that finds nothing: the database answers, and nothing is learnt from it.
    deps().store.get("users", "-")
    return Done()


main = functions_framework.http(routes(healthz, index, show, change, events, show_metrics, recent, deps=deps))
