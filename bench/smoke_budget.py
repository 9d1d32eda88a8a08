"""A month's budget as it is spent: told of at 80 %, at 100 % nothing new is rented and what runs sleeps, and no file is lost.

make smoke NAME=budget
"""

from __future__ import annotations

import json
import math
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench import ledger
from bench.report import finish
from bench.smoke import Terminal, say, settled
from bench.smoke_failover import until
from local.embedded import Embedded, running

GPU, COUNT = "H100 SXM", "4"
LASTS_S = 30
"""Of the budget at the rate of what runs: between 80 % and 100 % the sweep comes twice."""
NAMES = ("dear", "cheap")
GOALS = {
    "warned_at_share": ">= 0.8",
    "ran_on_when_warned": True,
    "hibernated": 2,
    "machines_while_used_up": 0,
    "refused": ["provision", "models", "wake"],
    # Of the month's budget for both, and of one's own.
    "told_by_webhook": {"budget_warning": 2, "budget_reached": 3},
    "files_kept": True,
    "own_budget_slept_alone": True,
    "machines_left": 0,
    "objects_left": 0,
    **ledger.GOALS,
}


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where webhooks are told; its address and what it was told."""
    told: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", told
    finally:
        server.shutdown()
        server.server_close()


def refusals(terminal: Terminal) -> dict[str, str]:
    """What is refused on a used up budget, and in which words."""
    asked = {
        "provision": ("provision", "--gpu", "L4"),
        "models": ("models", "deploy", "dumont/tiny-bigram", "--runtime", "tiny"),
        "wake": ("wake", "cheap"),
    }
    found = {}
    for name, words in asked.items():
        try:
            terminal.run(*words)
        except RuntimeError as refusal:
            if "budget_reached" in str(refusal):
                found[name] = str(refusal)
    return found


def state(terminal: Terminal, name: str) -> str:
    return str(terminal.run("show", name)["state"])


def drive(cloud: Embedded, terminal: Terminal, told: list[dict[str, Any]]) -> dict[str, Any]:
    terminal.run("provision", "--gpu", GPU, "--count", COUNT, "--name", "dear", "--no-hibernate")
    terminal.run("provision", "--gpu", "L4", "--name", "cheap", "--no-hibernate")
    for name in NAMES:
        terminal.run("exec", name, "--", "bash", "-c", f"echo {name} > note")
    found = terminal.run("usage")
    rate = Decimal(found["burning_usd_per_hour"])
    spent = Decimal(found["budget"]["spent_usd"])
    limit = Decimal(math.ceil((spent * Decimal("1.3") + rate * LASTS_S / 3600) * 100)) / 100
    terminal.run("budget", "set", str(limit))
    say(f"${spent:.4f} are spent, ${rate:.2f} an hour are burning, the budget is ${limit}")

    def warned() -> dict[str, Any]:
        seen = terminal.run("events", "dear")["events"]
        return next((one for one in seen if one["kind"] == "budget_warning"), {})

    warning = until("80 % are told", warned)
    share = terminal.run("budget")["share"]
    ran_on = all(state(terminal, name) == "running" for name in NAMES)
    say(f"{warning['message']}; both run on: {ran_on}")
    until("both sleep", lambda: all(state(terminal, name) == "hibernated" for name in NAMES))
    reached = [e for n in NAMES for e in terminal.run("events", n)["events"] if e["kind"] == "budget_reached"]
    say(f"{reached[0]['message']}; both sleep")
    asleep = settled(cloud)
    refused = refusals(terminal)
    for words in refused.values():
        say(words)
    terminal.run("budget", "set", "100")
    for name in NAMES:
        terminal.run("wake", name)
    kept = all(terminal.run("exec", n, "--", "cat", "note")["stdout"] == f"{n}\n" for n in NAMES)
    say(f"the budget was raised, both woke with their files: {kept}")
    terminal.run("budget", "set", "0", "--instance", "cheap")
    until("it sleeps", lambda: state(terminal, "cheap") == "hibernated")
    alone = state(terminal, "dear") == "running"
    say(f"an instance with a budget of its own sleeps alone: {alone}")
    until("every level is told", lambda: kinds(told)["budget_reached"] > len(NAMES))
    totals = kinds(told)
    for name in NAMES:
        terminal.run("destroy", name, "--yes")
    return {
        "machines_left": settled(cloud),
        **ledger.of_cloud(cloud),
        "budget_usd": float(limit),
        "warned_at_share": share,
        "ran_on_when_warned": ran_on,
        "hibernated": len(reached),
        "machines_while_used_up": asleep,
        "refused": list(refused),
        "told_by_webhook": {name: totals[name] for name in ("budget_warning", "budget_reached")},
        "files_kept": kept,
        "own_budget_slept_alone": alone,
        "objects_left": until("every object is gone", lambda: not cloud.objects(), 30) and 0,
    }


def kinds(told: list[dict[str, Any]]) -> Counter[str]:
    return Counter(one["kind"] for one in told)


def main() -> None:
    with running() as cloud, tempfile.TemporaryDirectory() as home, receiver() as (url, told):
        try:
            terminal = Terminal(cloud, Path(home))
            terminal.run("login")
            terminal.run("webhooks", "add", url)
            figures = drive(cloud, terminal, told)
        except RuntimeError as error:
            finish("smoke_budget", {"error": str(error)}, GOALS, ok=False)
    plain = {name: goal for name, goal in GOALS.items() if name not in ledger.GOALS and name != "warned_at_share"}
    ok = all(figures[name] == goal for name, goal in plain.items()) and figures["warned_at_share"] >= 0.8
    finish("smoke_budget", figures, GOALS, ok and ledger.agrees(figures))


if __name__ == "__main__":
    main()
