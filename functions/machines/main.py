"""What is remembered of machines; whom to keep away; what is not proven gone; an operator's figures."""

import functions_framework
from flask import Response

from shared.bootstrap import deps
from shared.flows import figures as operator
from shared.flows import machines
from shared.web.endpoint import Call, endpoint, routes
from shared.wire import machines as wire
from shared.wire.base import Done, PageQuery


@endpoint("GET", "/machines/history", caller="user", query=wire.HistoryQuery)
def history(call: Call) -> wire.MachineHistoryList:
    return machines.list_history(call.query, deps())


@endpoint("GET", "/machines/history/export", caller="admin", query=PageQuery)
def export(call: Call) -> wire.ExportView:
    return machines.export(call.query, deps())


@endpoint("POST", "/machines/history/import", caller="admin", body=wire.ImportBody)
def import_(call: Call) -> wire.ImportedView:
    return machines.import_lines(call.body, deps())


@endpoint("GET", "/machines/blocks", caller="user")
def blocks(call: Call) -> wire.BlockList:
    return machines.list_blocks(call.user.id, deps())


@endpoint("PUT", "/machines/{machine}/block", caller="user", body=wire.BlockBody)
def block(call: Call) -> wire.BlockView:
    return machines.block(call.params["machine"], call.body, call.user.id, deps())


@endpoint("DELETE", "/machines/{machine}/block", caller="user")
def unblock(call: Call) -> Done:
    return machines.unblock(call.params["machine"], call.user.id, deps())


@endpoint("GET", "/machines/orphans", caller="user")
def orphans(call: Call) -> wire.OpenReceiptList:
    return machines.open_receipts(call.user.id, deps())


@endpoint("GET", "/metrics", caller="admin")
def figures(call: Call) -> Response:
    return Response(operator.text(deps()), content_type="text/plain; version=0.0.4; charset=utf-8")


main = functions_framework.http(routes(history, export, import_, blocks, block, unblock, orphans, figures, deps=deps))
