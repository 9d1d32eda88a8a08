"""Every five minutes: orphan machines, reservations that are over, old records."""

import functions_framework

from shared.bootstrap import deps
from shared.sweeps.machines import machines
from shared.sweeps.records import records, reservations
from shared.web.endpoint import Call, endpoint, routes
from shared.wire.base import Report


@endpoint("POST", "/internal/cleanup", caller="scheduler")
def clean(call: Call) -> Report:
    reports = [machines(deps()), reservations(deps()), records(deps())]
    return Report(
        name="cleanup",
        looked_at=sum(r.looked_at for r in reports),
        changed=sum(r.changed for r in reports),
        failed=sum(r.failed for r in reports),
        notes=[f"{r.name}: {note}" for r in reports for note in r.notes],
    )


main = functions_framework.http(routes(clean, deps=deps))
