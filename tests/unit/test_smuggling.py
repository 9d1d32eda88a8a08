"""However a request writes its length, by both doors: none is ever taken for two, and a body never becomes a request."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from infra import manifest
from infra.manifest import ROOT
from local import gateway
from local.emulator import free_port

FUNCTION = """
import functions_framework
from shared.web.endpoint import endpoint, routes
from shared.wire.base import Done


@endpoint("POST", "/instances/{instance}", caller="public")
def act(call):
    return Done()


main = functions_framework.http(routes(act, deps=None))
"""
HIDDEN = b"GET /api/v1/instances/hidden HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
SIZE = str(len(HIDDEN)).encode()
AS_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
SILENCE_S = 0.7
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def open_() -> bytes:
    return b"POST /api/v1/instances/open HTTP/1.1\r\nHost: h\r\n"


@dataclass
class Doors:
    """The local gateway, and the function's own server behind it; every request that reaches the function is in its log."""

    ports: dict[str, int]
    log: Path

    def send(self, door: str, raw: bytes) -> tuple[bytes, list[str]]:
        """What comes back until the connection ends or waits for more, and what the function was asked meanwhile."""
        before = len(self.log.read_text())
        with socket.create_connection(("127.0.0.1", self.ports[door]), SILENCE_S) as connection:
            connection.sendall(raw)
            answer = b""
            with suppress(ConnectionResetError, TimeoutError):
                while piece := connection.recv(65536):
                    answer += piece
        told = [json.loads(line)["message"].split() for line in self.log.read_text()[before:].splitlines()]
        return answer, [path.rpartition("/")[2] for _, path, _ in told]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("function")
    (folder / "main.py").write_text(FUNCTION)
    function, door = free_port(), free_port()
    framework = str(Path(sys.executable).with_name("functions-framework"))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [framework, "--target", "main", "--source", str(folder / "main.py"), "--host", "127.0.0.1", "--port", str(function)],
            stdout=log, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    loop = asyncio.new_event_loop()
    served = gateway.Gateway({"instances": manifest.load()["instances"]}, {"instances": function}, folder)
    runner = gateway.runner(gateway.application(served, {}))
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", door).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        for _ in range(200):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", function)) == 0:
                    break
            time.sleep(0.05)
        yield Doors({"gateway": door, "function": function}, folder / "log")
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        server.terminate()
        server.wait(10)


both_doors = pytest.mark.parametrize("door", ["gateway", "function"])


@both_doors
def test_a_body_is_no_request_and_what_follows_it_is_one(doors: Doors, door: str) -> None:
    whole = open_() + b"Content-Length: " + SIZE + b"\r\n\r\n" + HIDDEN
    assert doors.send(door, whole)[1] == ["open"]
    assert doors.send(door, open_() + CHUNKED + b"\r\n" + AS_CHUNK)[1] == ["open"]
    assert doors.send(door, open_() + b"Content-Length: 0\r\n\r\n" + HIDDEN)[1] == ["open", "hidden"]


@both_doors
def test_an_address_may_be_as_long_as_its_fields_allow(doors: Doors, door: str) -> None:
    line = (
        b"POST /api/v1/instances/open?cursor="
        + b"%F3%86%BC%83" * 2000
        + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
    )
    answer, asked = doors.send(door, line + b"Content-Length: 0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ") and asked == ["open"]


LENGTHS = {
    "a length and chunks": b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks and a length": CHUNKED + b"Content-Length: " + SIZE + b"\r\n\r\n0\r\n\r\n",
    "chunks written otherwise and a length": b"transfer-ENCODING: Chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "no body and chunks": b"Content-Length: 0\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: " + SIZE + b"\r\n\r\n",
    "two lengths, the other first": b"Content-Length: " + SIZE + b"\r\nContent-Length: 0\r\n\r\n",
    "two lengths in a line": b"Content-Length: 0, " + SIZE + b"\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a length with a sign": b"Content-Length: +0\r\n\r\n",
    "a length in hexadecimal": b"Content-Length: 0x0\r\n\r\n",
    "a length with an underscore": b"Content-Length: 0_0\r\n\r\n",
    "a length of nothing": b"Content-Length: \r\n\r\n",
    "a length in other digits": "Content-Length: \u0660\r\n\r\n".encode(),
    "a length without end": b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
    "a length of more than 64 bits": b"Content-Length: 18446744073709551616\r\n\r\n",
    "a blank before the colon": b"Content-Length : 0\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks with a blank before the colon": b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "a coding nobody knows": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked, then another": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked with a tab of its own kind": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a bare line feed between two": b"X: 1\n" + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "a bare line feed before chunks": b"Content-Length: 5\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare carriage return": b"X: 1\rContent-Length: 0\r\n" + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "a folded line": b"X: 1\r\n Content-Length: " + SIZE + b"\r\nContent-Length: x\r\n\r\n",
    "a name with a nul": b"Content-Length\0: 0\r\n" + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
}
CHUNKS = {
    "negative": b"-1\r\n",
    "with a sign": b"+0\r\n\r\n",
    "with a prefix": b"0x0\r\n\r\n",
    "with an underscore": b"0_0\r\n\r\n",
    "of nothing": b"\r\n\r\n",
    "no number": b"z\r\n\r\n",
    "of more than 64 bits": b"10000000000000000\r\n\r\n",
    "without end": b"F" * 400 + b"\r\n\r\n",
    "with a blank before": b" 0\r\n\r\n",
    "that ends with a bare line feed": b"0\n\n",
    "with an extension that hides a line": b"0;a\n\r\n\r\n",
    "longer than it says": b"1\r\nxx\r\n0\r\n\r\n",
    "without the line's end": b"1\r\nx0\r\n\r\n",
}


@both_doors
@pytest.mark.parametrize("head", LENGTHS.values(), ids=LENGTHS.keys())
def test_a_length_that_can_be_read_in_two_ways_lets_nothing_through_behind_it(
    doors: Doors, door: str, head: bytes
) -> None:
    answer, asked = doors.send(door, open_() + head + HIDDEN)

    assert asked in ([], ["open"])
    assert answer.count(b"HTTP/1.1 ") <= 1 and b" 500 " not in answer, answer


@both_doors
@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS.keys())
def test_a_chunk_of_an_odd_size_lets_nothing_through_behind_it(doors: Doors, door: str, chunk: bytes) -> None:
    answer, asked = doors.send(door, open_() + CHUNKED + b"\r\n" + chunk + HIDDEN)

    assert asked in ([], ["open"])
    assert answer.count(b"HTTP/1.1 ") <= 1 and b" 500 " not in answer, answer
