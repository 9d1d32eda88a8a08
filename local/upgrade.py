"""A local cloud that runs gets the functions of this working tree, one after another, and nobody who calls it notices.

    python -m local.upgrade [--dir .local]

Each function is laid out as it is deployed, the agent's file with it. Its new process takes over once it has read its database;
the old one answers what it was asked and ends. Machines fetch a newer agent by themselves once they rest.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

from infra import agent_bundle, manifest
from infra.stage import stage
from local.up import ROOT

PATIENCE_S = 900.0


def lay_out(folder: Path) -> Path:
    """A new revision of every function."""
    bundle = folder / "agent.pyz"
    agent_bundle.build(bundle, [f"{sys.version_info[0]}.{sys.version_info[1]}"], ROOT / "build" / "wheels")
    for function in manifest.load().values():
        stage(function, folder, bundle)
    return folder


def switch(cloud: Path, stages: Path) -> dict[str, Any]:
    """Let a running cloud take these stages; its state once it has."""
    state = json.loads((cloud / "state.json").read_text())
    part = cloud / "stages.part"
    part.unlink(missing_ok=True)
    part.symlink_to(stages.resolve())
    part.replace(cloud / "stages")
    os.kill(state["pids"]["up"], signal.SIGHUP)
    until = time.monotonic() + PATIENCE_S
    while state["revision"] != stages.name:
        if time.monotonic() > until:
            raise SystemExit(f"the functions were not replaced within {PATIENCE_S:.0f} s; see {cloud}/logs")
        time.sleep(0.2)
        state = json.loads((cloud / "state.json").read_text())
    return dict(state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=ROOT / ".local")
    given = parser.parse_args()
    if not (given.dir / "state.json").exists():
        raise SystemExit(f"no local cloud runs in {given.dir}: make up")
    name, began = f"r-{secrets.token_hex(4)}", time.monotonic()
    before = json.loads((given.dir / "state.json").read_text())["pids"]
    after = switch(given.dir, lay_out(given.dir / "revisions" / name))["pids"]
    kept = [one for one in manifest.load() if before[f"fn-{one}"] == after[f"fn-{one}"]]
    seconds = round(time.monotonic() - began, 1)
    sys.stdout.write(json.dumps({"ok": not kept, "revision": name, "not_replaced": kept, "seconds": seconds}) + "\n")
    sys.exit(bool(kept))


if __name__ == "__main__":
    main()
