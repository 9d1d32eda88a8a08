"""The agent's snapshot engine as the agent runs it, with addresses from nobody: `python -m bench.engine save|restore …`.

In the product addresses come from the control plane, presigned; here they are plain, as the bench's server checks none.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path

from agent.snapshot import transport

KEY = bytes(range(32))


class Enough(Exception):
    """The restore is usable, which was all that was asked."""


class Plain:
    plain_addresses = True

    def __init__(self, base: str, snapshot: str) -> None:
        self._base, self._snapshot, self._count = base, snapshot, 0

    def new_pack(self) -> tuple[str, str]:
        self._count += 1
        key = f"p/{self._snapshot}/{self._count}"
        return key, self.url(key)

    def manifest_address(self) -> tuple[str, str]:
        key = f"m/{self._snapshot}"
        return key, self.url(key)

    def put(self, key: str, url: str, body: bytes | bytearray | memoryview) -> None:
        transport.put(url, body)

    def get(self, key: str, offset: int, length: int) -> bytes:
        room = bytearray(length)
        transport.get_into(self.url(key), offset, memoryview(room))
        return bytes(room)

    def url(self, key: str, fresh: bool = False) -> str:
        return f"{self._base}/{key}"

    def know(self, keys: list[str]) -> None:
        """Addresses are known."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("save", "restore"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", required=True)
    parser.add_argument("--snapshot", required=True)
    parser.add_argument("--parent")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--hot", action="append", default=[])
    parser.add_argument("--until-usable", action="store_true", help="end a restore as soon as it is usable")
    given = parser.parse_args()
    given.state.mkdir(parents=True, exist_ok=True)
    store, started = Plain(given.base, given.snapshot), time.monotonic()
    if given.verb == "save":
        from agent.snapshot.save import save

        done = save([str(given.folder)], ["/w"], [], KEY, given.snapshot, given.parent, store, given.state)
        for part in ("packs", "torn", "unreadable"):
            done[part] = len(done[part])
    else:
        from agent.snapshot.restore import restore

        marks: list[float] = []

        def usable(done: int, total: int) -> None:
            marks.append(time.monotonic() - started)
            if given.until_usable:
                raise Enough

        total = 0
        with contextlib.suppress(Enough):
            total = restore(
                lambda _: str(given.folder), KEY, f"m/{given.snapshot}", store, given.state, given.hot, usable
            )
        done = {"bytes": total, "usable_s": marks[0]}
    sys.stdout.write(json.dumps({**done, "seconds": time.monotonic() - started}) + "\n")


if __name__ == "__main__":
    main()
