"""A failover is tried out on a copy of a working instance: measured, cleaned up, and the instance never notices.

make smoke NAME=drill
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench import ledger
from bench.report import finish
from bench.smoke import GPU, Terminal, settled
from bench.smoke_failover import INTERVAL_S, WRITER, lines, standby, until
from local.embedded import Embedded, running

GOALS = {
    "rto_s": "<= 20",
    "instance_untouched": True,
    "copy_left": 0,
    "machines_left": 0,
    "objects_left": 0,
    **ledger.GOALS,
}


def drive(cloud: Embedded, terminal: Terminal) -> dict[str, Any]:
    terminal.run("login")
    terminal.run("provision", "--gpu", GPU, "--name", "smoke", "--no-hibernate")
    terminal.run("exec", "smoke", "--", "bash", "-c", WRITER)
    terminal.run("standby", "add", "smoke", "--every", f"{INTERVAL_S}s", "--yes")
    until("the standby holds the files", lambda: standby(terminal)["holds_snapshot_id"])
    before, prefix = terminal.run("show", "smoke"), "instances/d-"
    drill = terminal.run("failover", "smoke", "--drill")["drill"]
    after, written = terminal.run("show", "smoke"), [n for n, _ in lines(terminal)]
    kept = ("state", "machine", "entered_at", "failover")
    copy_left = sum(key.startswith(prefix) for key in cloud.objects())
    terminal.run("destroy", "smoke", "--yes")
    return {
        "with_standby": drill["with_standby"],
        "failure": drill["failure"],
        "rpo_s": drill["failover"]["rpo_s"],
        "rto_s": drill["failover"]["rto_s"],
        "gpu_back_s": drill["failover"]["gpu_back_s"],
        "instance_untouched": all(before[name] == after[name] for name in kept)
        and written == list(range(1, len(written) + 1)),
        "copy_left": copy_left,
        "machines_left": settled(cloud),
        "objects_left": len(cloud.objects()),
        **ledger.of_cloud(cloud),
    }


def main() -> None:
    with running() as cloud, tempfile.TemporaryDirectory() as home:
        try:
            figures = drive(cloud, Terminal(cloud, Path(home)))
        except RuntimeError as error:
            finish("smoke_drill", {"error": str(error)}, GOALS, ok=False)
    ok = (
        figures["failure"] is None
        and (figures["rto_s"] is not None and figures["rto_s"] <= 20)
        and figures["gpu_back_s"] is not None
        and figures["instance_untouched"]
        and not (figures["copy_left"] or figures["machines_left"] or figures["objects_left"])
        and ledger.agrees(figures)
    )
    finish("smoke_drill", figures, GOALS, ok)


if __name__ == "__main__":
    main()
