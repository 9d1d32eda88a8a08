"""Bare copying, as fast as this machine can: the floor under every engine, and the line that tar's output goes over.

python -m bench.copying save|restore URL FOLDER     whole files in pieces of 32 MiB, no compression, no encryption
… | python -m bench.copying put URL                 standard input; `get` gives it back
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.snapshot.transport import get_into, put

PIECE = 32 << 20
THREADS = 4


def save(url: str, folder: Path) -> None:
    """Big files by pieces, small ones joined to pieces."""
    index: list[tuple[str, int]] = []
    batch: list[bytes] = []
    size = pieces = 0

    def send(number: int, body: bytes) -> None:
        put(f"{url}/{number}", body)

    with ThreadPoolExecutor(THREADS) as pool:
        waiting = []
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            with open(path, "rb") as file:
                index.append((str(path.relative_to(folder)), os.fstat(file.fileno()).st_size))
                while body := file.read(PIECE - size):
                    batch.append(body)
                    size += len(body)
                    if size >= PIECE:
                        waiting.append(pool.submit(send, pieces, batch[0] if len(batch) == 1 else b"".join(batch)))
                        pieces, size, batch = pieces + 1, 0, []
                        if len(waiting) > THREADS:
                            waiting.pop(0).result()
        if batch:
            send(pieces, b"".join(batch))
    put(f"{url}/index", json.dumps(index).encode())


def restore(url: str, folder: Path) -> None:
    index: list[tuple[str, int]] = json.loads(_whole(f"{url}/index"))
    total = sum(size for _, size in index)
    places: list[tuple[int, int, str]] = []
    at = 0
    for name, size in index:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not size:
            path.touch()
        places.append((at, size, str(path)))
        at += size
    starts: dict[int, list[tuple[int, int, str]]] = {n: [] for n in range(-(-total // PIECE))}
    for place in places:
        for number in range(place[0] // PIECE, -(-(place[0] + place[1]) // PIECE)):
            starts[number].append(place)

    def fill(number: int) -> None:
        low, high = number * PIECE, min(total, (number + 1) * PIECE)
        room = memoryview(bytearray(high - low))
        get_into(f"{url}/{number}", 0, room)
        for start, size, path in starts[number]:
            first, last = max(low, start), min(high, start + size)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            os.pwrite(descriptor, room[first - low : last - low], first - start)
            os.close(descriptor)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, starts))


def _whole(url: str) -> bytes:
    parts = urllib.parse.urlsplit(url)
    line = http.client.HTTPConnection(parts.hostname or "", parts.port)
    line.request("GET", parts.path)
    answer = line.getresponse()
    return answer.read() if answer.status == 200 else b""


def put_stream(url: str) -> None:
    number = 0
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = []
        while body := sys.stdin.buffer.read(PIECE):
            waiting.append(pool.submit(put, f"{url}/{number}", body))
            number += 1
            if len(waiting) > THREADS:
                waiting.pop(0).result()


def get_stream(url: str) -> None:
    number = 0
    while body := _whole(f"{url}/{number}"):
        sys.stdout.buffer.write(body)
        number += 1


def main() -> None:
    verb, url, *more = sys.argv[1:]
    if verb in ("save", "restore"):
        (save if verb == "save" else restore)(url, Path(more[0]))
    else:
        (put_stream if verb == "put" else get_stream)(url)


if __name__ == "__main__":
    main()
