"""A deliberately cheap S3 server on loopback, so that a bench on few cores measures the clients and not the server.

A thread per connection; bodies go from the socket into files and back by sendfile; no checksums, no signatures. It knows
what restic, boto3 and presigned addresses need: put (plain and in signed chunks), ranged get, head, delete, list.

    python -m bench.light_s3 --port P --dir D [--latency-ms 25] [--line-mb-s 90] [--total-mb-s 600]
"""

from __future__ import annotations

import argparse
import os
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

STEP = 1 << 20


class Pace:
    """So many bytes a second, for whoever shares it."""

    def __init__(self, mb_s: float) -> None:
        self._rate = mb_s * 1e6
        self._until = 0.0
        self._guard = threading.Lock()

    def take(self, count: int) -> None:
        if not self._rate:
            return
        with self._guard:
            now = time.monotonic()
            self._until = max(self._until, now) + count / self._rate
            wait = self._until - now
        if wait > 0.002:
            time.sleep(wait)


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, tuple[Path, int, float]] = {}
        self.guard = threading.Lock()
        self._count = 0

    def new_file(self) -> Path:
        with self.guard:
            self._count += 1
            return self.folder / str(self._count)

    def keep(self, key: str, path: Path, size: int) -> None:
        with self.guard:
            old = self.objects.get(key)
            self.objects[key] = (path, size, time.time())
        if old:
            old[0].unlink(missing_ok=True)

    def drop(self, key: str) -> None:
        with self.guard:
            old = self.objects.pop(key, None)
        if old:
            old[0].unlink(missing_ok=True)


class Line:
    """One connection."""

    def __init__(self, sock: socket.socket, store: Store, given: argparse.Namespace, total: Pace) -> None:
        self._sock, self._store, self._given, self._total = sock, store, given, total
        self._own = Pace(given.line_mb_s)
        self._buffer = b""
        self._room = memoryview(bytearray(STEP))

    def serve(self) -> None:
        try:
            while (head := self._until(b"\r\n\r\n")) is not None:
                self._answer(head.decode("latin-1"))
        except (OSError, EOFError):
            pass
        finally:
            self._sock.close()

    def _until(self, end: bytes) -> bytes | None:
        while end not in self._buffer:
            more = self._sock.recv(65536)
            if not more:
                return None
            self._buffer += more
        found, self._buffer = self._buffer.split(end, 1)
        return found

    def _answer(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        path, _, query = target.partition("?")
        key = urllib.parse.unquote(path).lstrip("/")
        words = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        if headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._given.latency_ms:
            time.sleep(self._given.latency_ms / 1000)
        if method == "PUT" and "/" in key.rstrip("/"):
            self._put(key, headers)
        elif method == "POST" and "delete" in words:
            self._delete_many(key.rstrip("/"), self._take(int(headers["content-length"])))
        elif method == "DELETE":
            self._take(int(headers.get("content-length", 0)))
            self._store.drop(key)
            self._say("204 No Content")
        elif "/" in key.rstrip("/"):
            self._get(key, headers, method == "HEAD")
        elif "location" in words:
            self._say("200 OK", b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>')
        elif method == "GET":
            self._list(key.rstrip("/"), words)
        else:
            self._take(int(headers.get("content-length", 0)))
            self._say("200 OK")

    def _say(self, status: str, body: bytes = b"", extra: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        self._sock.sendall(head.encode() + body)

    # Bodies -----------------------------------------------------------------------------------------------------------

    def _pieces(self, count: int) -> Iterator[memoryview]:
        """Views of the next `count` bytes of the connection, without copying them."""
        while count:
            if self._buffer:
                piece = memoryview(self._buffer[:count])
                self._buffer = self._buffer[count:]
            else:
                room = self._room[: min(count, STEP)]
                got = self._sock.recv_into(room, len(room), socket.MSG_WAITALL)
                if not got:
                    raise EOFError
                piece = room[:got]
            self._own.take(len(piece))
            self._total.take(len(piece))
            count -= len(piece)
            yield piece

    def _take(self, count: int) -> bytes:
        return b"".join(bytes(piece) for piece in self._pieces(count))

    def _put(self, key: str, headers: dict[str, str]) -> None:
        path, size = self._store.new_file(), 0
        with open(path, "wb", buffering=0) as file:
            if headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
                while True:
                    line = self._until(b"\r\n")
                    if line is None:
                        raise EOFError
                    length = int(line.split(b";")[0], 16)
                    if not length:
                        # Trailers, if any, end with an empty line.
                        while self._until(b"\r\n"):
                            pass
                        break
                    for piece in self._pieces(length):
                        size += file.write(piece)
                    self._take(2)
            else:
                for piece in self._pieces(int(headers["content-length"])):
                    size += file.write(piece)
        self._store.keep(key, path, size)
        self._say("200 OK", extra='ETag: "00000000000000000000000000000000-1"\r\n')

    def _get(self, key: str, headers: dict[str, str], only_head: bool) -> None:
        found = self._store.objects.get(key)
        if found is None:
            self._say("404 Not Found", b"" if only_head else b"<Error><Code>NoSuchKey</Code></Error>")
            return
        path, size, at = found
        start, end, status = 0, size, "200 OK"
        wanted = headers.get("range", "")
        if wanted.startswith("bytes="):
            low, _, high = wanted[6:].partition("-")
            start, end = (
                (int(low), min(size, int(high) + 1) if high else size) if low else (max(0, size - int(high)), size)
            )
            status = "206 Partial Content"
        when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(at))
        head = (
            f"HTTP/1.1 {status}\r\nContent-Length: {end - start}\r\nLast-Modified: {when}\r\n"
            f'ETag: "00000000000000000000000000000000-1"\r\nAccept-Ranges: bytes\r\n'
        )
        if status.startswith("206"):
            head += f"Content-Range: bytes {start}-{end - 1}/{size}\r\n"
        self._sock.sendall(head.encode() + b"\r\n")
        if only_head:
            return
        with open(path, "rb") as file:
            while start < end:
                sent = os.sendfile(self._sock.fileno(), file.fileno(), start, min(STEP, end - start))
                self._own.take(sent)
                self._total.take(sent)
                start += sent

    # Buckets ----------------------------------------------------------------------------------------------------------

    def _list(self, bucket: str, words: dict[str, str]) -> None:
        prefix, delimiter = words.get("prefix", ""), words.get("delimiter", "")
        after = words.get("continuation-token") or words.get("start-after") or words.get("marker") or ""
        rows, folders = [], set()
        with self._store.guard:
            known = sorted(self._store.objects.items())
        for key, (_, size, at) in known:
            name = key.partition("/")[2]
            if key.partition("/")[0] != bucket or not name.startswith(prefix) or name <= after:
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
            rows.append(
                f"<Contents><Key>{escape(name)}</Key><LastModified>{when}</LastModified>"
                f"<ETag>&quot;0&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
        common = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders))
        body = (
            f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name>'
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(rows)}</KeyCount><MaxKeys>100000</MaxKeys>"
            f"<IsTruncated>false</IsTruncated>{''.join(rows)}{common}</ListBucketResult>"
        )
        self._say("200 OK", body.encode(), "Content-Type: application/xml\r\n")

    def _delete_many(self, bucket: str, body: bytes) -> None:
        for part in body.decode().split("<Key>")[1:]:
            self._store.drop(f"{bucket}/{part.split('</Key>')[0]}")
        self._say("200 OK", b"<DeleteResult/>", "Content-Type: application/xml\r\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--line-mb-s", type=float, default=0)
    parser.add_argument("--total-mb-s", type=float, default=0)
    given = parser.parse_args()
    given.dir.mkdir(parents=True, exist_ok=True)
    store, total = Store(given.dir), Pace(given.total_mb_s)
    with socket.create_server(("127.0.0.1", given.port), backlog=256) as server:
        while True:
            sock, _ = server.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Line(sock, store, given, total).serve, daemon=True).start()


if __name__ == "__main__":
    main()
