"""The ledger beside the simulated providers' own bills, machine by machine.

python -m local.embedded sh -c 'COMMAND && python -m bench.ledger'    # after whatever the command rented
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.report import finish
from cli.client import Client
from local.embedded import Embedded

CENT = Decimal("0.01")
PATIENCE_S = 30.0
"""For machines that are being made or ended while the two are read."""
GOALS = {
    "billed_not_listed": [],
    "listed_not_billed": [],
    "ledger_off_usd": "< 0.01",
    "ledger_off_usd_machine": "< 0.01",
}


def beside(bills: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Machines that only one of them knows, and by how much the two differ: in all, and on a machine at most."""
    billed: dict[str, Decimal] = defaultdict(Decimal)
    for bill in bills:
        billed[str(bill["label"]).removeprefix("dumont-")] += Decimal(bill["usd_gpu"]) + Decimal(bill["usd_storage"])
    listed = {str(row["attempt_id"]): Decimal(str(row["usd"])) for row in rows}
    both = billed.keys() & listed.keys()
    off = max((abs(billed[id] - listed[id]) for id in both), default=Decimal(0))
    short = max((billed[id] - listed[id] for id in both), default=Decimal(0))
    return {
        "machines_billed": len(billed),
        "billed_not_listed": sorted(billed.keys() - listed.keys()),
        "listed_not_billed": sorted(listed.keys() - billed.keys()),
        "ledger_usd": float(sum(listed.values(), Decimal(0))),
        "bills_usd": float(round(sum(billed.values(), Decimal(0)), 6)),
        "ledger_off_usd": float(round(abs(sum(listed.values(), Decimal(0)) - sum(billed.values(), Decimal(0))), 6)),
        "ledger_off_usd_machine": float(round(off, 6)),
        "ledger_short_usd_machine": float(round(max(short, Decimal(0)), 6)),
    }


def agrees(found: Mapping[str, Any]) -> bool:
    """Every machine on both, and neither one of them nor their sum off by a cent."""
    same = not found["billed_not_listed"] and not found["listed_not_billed"]
    off = max(Decimal(str(found[name])) for name in ("ledger_off_usd", "ledger_off_usd_machine"))
    return same and off < CENT


def of_cloud(cloud: Embedded, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """What the demo user's ledger says beside the bills of every machine that bears a label of ours."""
    api = Client(cloud.state["api_url"], cloud.state["demo"]["api_key"])
    until = time.monotonic() + patience_s
    while True:
        bills = [bill for bill in cloud.control("GET", "/bills") if str(bill["label"]).startswith("dumont-")]
        found = beside(bills, api.get("/usage/ledger")["rows"])
        if agrees(found) or time.monotonic() > until:
            return found
        time.sleep(0.5)


def main() -> None:
    state = Path(os.environ["DUMONT_STATE_FILE"])
    found = of_cloud(Embedded(state.parent, json.loads(state.read_text())))
    finish("ledger", found, GOALS, agrees(found) and found["machines_billed"] > 0)


if __name__ == "__main__":
    main()
