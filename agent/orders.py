"""Orders: each is followed once, in a thread of its own, and its end is told until it is heard.

Ended orders are kept on disk with their results, so that an agent that was restarted reports instead of repeating.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.api import Api, Refused, Stopped, Unreachable
from agent.settings import Settings, log, write_private
from agent.snapshot.errors import SnapshotError
from agent.snapshot.restore import restore
from agent.snapshot.save import save
from agent.snapshot.transport import Transport
from agent.work import Work

KINDS = ("restore", "snapshot", "exec", "keys", "setup", "stop")
"""What can be ordered; a newer control plane may know more."""
OUTPUT_LIMIT = 256 * 1024
KEPT = 500


class Orders:
    def __init__(self, settings: Settings, api: Api, wake: Callable[[], None]) -> None:
        self._settings = settings
        self._api = api
        self._wake = wake
        self._guard = threading.Lock()
        self._snapshots = threading.Lock()
        """One snapshot at a time: a second waits, and finds little left to do."""
        self._urgent = threading.Event()
        """Somebody waits for the lock: a polite snapshot stops to be."""
        self._running: dict[str, str] = {}
        self._file = settings.state / "orders.json"
        self._ended: dict[str, dict[str, Any]] = self._read()
        self.env: dict[str, str] = {}
        self.workspace: list[str] = ["/workspace"]
        self.work = Work(shared_host=settings.root is not None)
        self.stopped: str | None = None

    def running(self) -> dict[str, str]:
        """Ids and kinds of what runs now."""
        with self._guard:
            return dict(self._running)

    def give(self, orders: list[dict[str, Any]]) -> None:
        """Start what is new; tell again what had ended."""
        for order in orders:
            with self._guard:
                if order["id"] in self._running:
                    continue
                ended = self._ended.get(order["id"])
                self._running[order["id"]] = order["kind"]
            target = self._tell_again if ended is not None else self._follow
            threading.Thread(target=target, args=(order,), daemon=True).start()

    def _tell_again(self, order: dict[str, Any]) -> None:
        self._report(order, self._ended[order["id"]])
        self._end(order)

    def _follow(self, order: dict[str, Any]) -> None:
        kind, trace = order["kind"], order.get("trace")
        log(f"order {order['id']} begins: {kind}", trace)
        try:
            if kind in KINDS:
                outcome = getattr(self, "_" + kind)(order)
            else:
                outcome = {
                    "state": "failed",
                    "error": f"this agent knows no orders to {str(kind)[:40]}; a newer one may",
                }
        except (SnapshotError, Refused, Unreachable, OSError, ValueError) as error:
            outcome = {"state": "failed", "error": f"{type(error).__name__}: {error}"[:1900]}
        except Stopped as stopped:
            self.stopped = str(stopped)
            self._end(order)
            return
        except Exception as error:
            # Our own mistake; whoever waits for the order is told of it all the same.
            log(traceback.format_exc(), trace)
            outcome = {"state": "failed", "error": f"the agent broke: {type(error).__name__}: {error}"[:1900]}
        with self._guard:
            self._ended[order["id"]] = outcome
            while len(self._ended) > KEPT:
                self._ended.pop(next(iter(self._ended)))
            write_private(self._file, json.dumps(self._ended))
        log(f"order {order['id']} ends: {outcome['state']}", trace)
        self._report(order, outcome)
        self._end(order)

    def _end(self, order: dict[str, Any]) -> None:
        with self._guard:
            self._running.pop(order["id"], None)
        if self.stopped is not None or not (order["payload"].get("follow") or order["payload"].get("only_changes")):
            # Somebody may wait for what comes next.
            self._wake()

    def _report(self, order: dict[str, Any], outcome: dict[str, Any]) -> None:
        try:
            self._ask(order).post("/agent/results", {"order_id": order["id"], **outcome}, tries=None)
        except Stopped as stopped:
            self.stopped = str(stopped)
        except Refused as refused:
            log(f"the result of {order['id']} was refused: {refused}")

    def _ask(self, order: dict[str, Any]) -> Api:
        """Our API, in whose log what an order asks for is found with the request that it follows from."""
        return self._api.traced(order.get("trace"))

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            kept = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    # What each kind does ----------------------------------------------------------------------------------------------

    def child_env(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("DUMONT_") or k == "DUMONT_ROOT"}
        env.update(self.env)
        env["WORKSPACE"] = self._settings.place(self.workspace[0])
        return env

    def _exec(self, order: dict[str, Any]) -> dict[str, Any]:
        payload = order["payload"]
        cwd = payload.get("cwd")
        directory = self._settings.place(cwd if cwd else self.workspace[0])
        if not cwd:
            os.makedirs(directory, exist_ok=True)
        env = {**self.child_env(), **payload.get("env", {})}
        return run(payload["command"], payload.get("stdin"), directory, env, float(payload["timeout_s"]), self.work)

    def _setup(self, order: dict[str, Any]) -> dict[str, Any]:
        payload = order["payload"]
        directory = self._settings.place(self.workspace[0])
        os.makedirs(directory, exist_ok=True)
        timeout_s = float(payload["timeout_s"])
        return run(["bash", "-c", payload["command"]], None, directory, self.child_env(), timeout_s, self.work)

    def _keys(self, order: dict[str, Any]) -> dict[str, Any]:
        folder = self._settings.home / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        ours = self._settings.state / "authorized_keys"
        known = set(ours.read_text().splitlines()) if ours.exists() else set()
        target = folder / "authorized_keys"
        # The provider puts keys of its own there: only ours are replaced.
        theirs = [k for k in target.read_text().splitlines() if k not in known] if target.exists() else []
        keys = [str(key) for key in order["payload"]["authorized_keys"]]
        write_private(target, "\n".join([*theirs, *keys]) + "\n")
        write_private(ours, "\n".join(keys) + "\n")
        return {"state": "done"}

    def _stop(self, order: dict[str, Any]) -> dict[str, Any]:
        self.stopped = str(order["payload"].get("reason", "told to stop"))
        return {"state": "done"}

    def _snapshot(self, order: dict[str, Any]) -> dict[str, Any]:
        polite = bool(order["payload"].get("only_changes"))
        if not polite:
            self._urgent.set()
        with self._snapshots:
            if not polite:
                self._urgent.clear()
            return self._take_snapshot(order)

    def _take_snapshot(self, order: dict[str, Any]) -> dict[str, Any]:
        payload = order["payload"]
        started = time.monotonic()
        saved = save(
            roots=[self._settings.place(path) for path in payload["workspace"]],
            names=payload["workspace"],
            excludes=payload["excludes"],
            key=base64.b64decode(payload["key"]),
            snapshot_id=payload["snapshot_id"],
            parent_key=payload.get("parent_manifest_key"),
            transport=Transport(self._ask(order), payload["snapshot_id"]),
            state=self._settings.state,
            only_changes=bool(payload.get("only_changes")),
            # Only snapshots beside the user's work are taken when nothing changed may be an answer.
            polite=bool(payload.get("only_changes")),
            hurry=self._urgent.is_set,
        )
        if saved.get("unchanged"):
            return {"state": "done", "stage": "unchanged"}
        commit = {**saved, "order_id": order["id"], "seconds": time.monotonic() - started}
        answer = self._ask(order).post("/agent/snapshots", commit, tries=30)
        if not answer["verified"]:
            return {"state": "failed", "error": str(answer["problem"])[:1900]}
        return {"state": "done"}

    def _restore(self, order: dict[str, Any]) -> dict[str, Any]:
        payload = order["payload"]

        def usable(done: int, total: int) -> None:
            self._ask(order).post(
                "/agent/results",
                {
                    "order_id": order["id"],
                    "state": "running",
                    "stage": "usable",
                    "done_bytes": done,
                    "total_bytes": total,
                },
                tries=None,
            )

        total = restore(
            place=self._settings.place,
            key=base64.b64decode(payload["key"]),
            manifest_key=payload["manifest_key"],
            transport=Transport(self._ask(order), payload["snapshot_id"]),
            state=self._settings.state,
            hot=payload.get("hot", []),
            # Nobody is let onto a standby before it holds everything.
            usable=(lambda done, total: None) if payload.get("follow") else usable,
            exact=bool(payload.get("exact")),
        )
        return {"state": "done", "stage": "restored", "done_bytes": total, "total_bytes": total}


def run(
    command: list[str], stdin: str | None, cwd: str, env: dict[str, str], timeout_s: float, work: Work
) -> dict[str, Any]:
    """Run a command; its output up to a limit, and its end. A time-out ends the whole process group."""
    try:
        with work.starting() as wanted:
            if not wanted:
                return {"state": "failed", "error": "another machine has taken the instance over"}
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                start_new_session=True,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
    except (OSError, ValueError) as error:
        return {"state": "failed", "exit_code": 127, "error": f"cannot run {command[0]!r}: {error}"[:1900]}
    outputs: list[_Output] = [_Output(process.stdout), _Output(process.stderr)]
    feeder = threading.Thread(target=_feed, args=(process, stdin), daemon=True)
    feeder.start()
    problem = None
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        problem = f"timed out after {timeout_s:g} s"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for output in outputs:
        # A child in the background may hold the pipe open for ever; what came by now is what there is.
        output.thread.join(2.0)
    return {
        "state": "failed" if problem else "done",
        "exit_code": 124 if problem else process.returncode,
        "stdout": outputs[0].text(),
        "stderr": outputs[1].text(),
        "truncated": any(output.truncated for output in outputs),
        "error": problem,
    }


class _Output:
    """Reads a pipe to its end, keeping the first part."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._kept = bytearray()
        self.truncated = False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        while block := self._pipe.read1(65536):
            room = OUTPUT_LIMIT - len(self._kept)
            self._kept += block[:room]
            self.truncated |= len(block) > room

    def text(self) -> str:
        # Replacement characters may lengthen it: the limit on the wire counts characters.
        return bytes(self._kept).decode("utf-8", "replace")[:OUTPUT_LIMIT]


def _feed(process: subprocess.Popen[bytes], stdin: str | None) -> None:
    if stdin is None or process.stdin is None:
        return
    try:
        process.stdin.write(stdin.encode())
        process.stdin.close()
    except OSError:
        # The command ended without reading all of its input.
        return


def disk_free(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def disk_used(folder: str) -> int:
    """What a tree takes of the disk, holes not counted; what vanishes or cannot be read meanwhile is nothing."""
    total, todo = 0, [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
        except OSError:
            continue
    return total
