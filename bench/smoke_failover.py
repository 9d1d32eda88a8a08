"""A host dies under a working instance: its standby takes over, a GPU is found, the files go back, nothing saved is lost.

make smoke NAME=failover
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from bench import ledger
from bench.report import finish
from bench.smoke import GPU, Terminal, moment, say, settled
from local.embedded import Embedded, running

INTERVAL_S = 3
WRITER = (
    "nohup bash -c 'i=0; while :; do i=$((i+1)); echo \"$i $(date +%s.%N)\" >> lines; sleep 0.1; done' "
    ">/dev/null 2>&1 & echo started"
)
LAST = (
    "detected_s",
    "promoted_s",
    "gpu_back_s",
    "rpo_s",
    "lines_lost",
    "two_writers",
    "machines_left",
    "standby_followed_again",
)
GOALS = {
    "promoted_s": "<= 20",
    "rpo_s": f"<= {INTERVAL_S + 5}",
    "saved_lines_lost": 0,
    "two_writers": False,
    "machines_left": 0,
    "objects_left": 0,
    "standby_followed_again": True,
    **ledger.GOALS,
}


def until(what: str, check: Any, patience_s: float = 120.0) -> Any:
    limit = time.monotonic() + patience_s
    while not (found := check()):
        if time.monotonic() > limit:
            raise RuntimeError(f"gave up waiting until {what}")
        time.sleep(0.2)
    return found


def lines(terminal: Terminal) -> list[tuple[int, float]]:
    """Number and time of each line that the instance holds now."""
    text = terminal.run("exec", "smoke", "--", "cat", "lines")["stdout"]
    return [(int(n), float(at)) for n, at in (row.split() for row in text.splitlines() if len(row.split()) == 2)]


def standby(terminal: Terminal) -> dict[str, Any]:
    found: dict[str, Any] = terminal.run("standby", "ls")["standbys"][0]
    return found


def drive(cloud: Embedded, terminal: Terminal) -> dict[str, Any]:
    terminal.run("login")
    terminal.run("provision", "--gpu", GPU, "--name", "smoke", "--no-hibernate")
    first = terminal.run("show", "smoke")["machine"]
    terminal.run("exec", "smoke", "--", "bash", "-c", WRITER)
    terminal.run("standby", "add", "smoke", "--every", f"{INTERVAL_S}s", "--yes")
    until("the standby holds the files", lambda: standby(terminal)["holds_snapshot_id"])
    held = standby(terminal)["holds_snapshot_id"]
    until("the standby follows", lambda: standby(terminal)["holds_snapshot_id"] != held)
    say(f"the standby follows: {standby(terminal)['phase']}")

    cloud.control("POST", f"/machines/{first['machine_id']}/kill")
    killed_at = time.time()
    say("the host is dead")

    def served() -> dict[str, Any] | None:
        shown = terminal.run("show", "smoke")
        # Either state: on a quick market the GPU may be there at once.
        return shown if shown["failover"] and shown["failover"]["promoted_at"] else None

    promoted = until("the standby serves", served)["failover"]
    say(f"the standby serves, {promoted['rto_s']} s after the loss was noticed")
    back = until(
        "a GPU serves again",
        lambda: (s := terminal.run("show", "smoke"))["state"] == "running" and not s["restoring"] and s,
    )
    say(f"back on a GPU after {back['failover']['gpu_back_s']} s")
    failover, kept = back["failover"], lines(terminal)
    numbers = [n for n, _ in kept]
    snapshot_at = moment(failover["snapshot_at"]).timestamp()
    # Every line written before the taken-over snapshot was begun must be there.
    written_before = [n for n, at in kept if at < snapshot_at]
    lost_of_saved = 0 if numbers == list(range(1, len(numbers) + 1)) and written_before else 1
    last = max(at for _, at in kept)
    events = terminal.run("events", "smoke")["events"]
    committed_late = [e for e in events if e["kind"] == "refused" or "no longer wanted" in e["message"]]
    writers = {e["details"].get("attempt_id") for e in events if e["kind"] == "adopted"}
    terminal.run("exec", "smoke", "--", "bash", "-c", "echo after >> lines2")
    before = standby(terminal)["holds_snapshot_id"]
    followed = until("the standby follows again", lambda: standby(terminal)["holds_snapshot_id"] != before)
    terminal.run("destroy", "smoke", "--yes")
    return {
        "detected_s": round(moment(failover["detected_at"]).timestamp() - killed_at, 3),
        "promoted_s": failover["rto_s"],
        "gpu_back_s": failover["gpu_back_s"],
        "rpo_s": round(max(0.0, killed_at - last), 3),
        "lines": len(kept),
        "lines_lost": round(max(0.0, killed_at - last) / 0.1),
        "saved_lines_lost": lost_of_saved,
        "two_writers": bool(committed_late) or len(writers) > 1,
        "machines_left": settled(cloud),
        "objects_left": len(cloud.objects()),
        **ledger.of_cloud(cloud),
        "standby_followed_again": bool(followed),
    }


def main() -> None:
    with running() as cloud, tempfile.TemporaryDirectory() as home:
        try:
            figures = drive(cloud, Terminal(cloud, Path(home)))
        except RuntimeError as error:
            finish("smoke_failover", {"error": str(error)}, GOALS, ok=False)
    ok = (
        figures["promoted_s"] is not None
        and figures["promoted_s"] <= 20
        and figures["rpo_s"] <= INTERVAL_S + 5
        and figures["saved_lines_lost"] == 0
        and not figures["two_writers"]
        and figures["machines_left"] == 0
        and figures["objects_left"] == 0
        and figures["standby_followed_again"]
        and ledger.agrees(figures)
    )
    finish("smoke_failover", figures, GOALS, ok, LAST)


if __name__ == "__main__":
    main()
