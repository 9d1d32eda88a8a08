"""A proxy before a real S3 server that refuses what a vendor refuses. Time passes only when it is told to."""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Refusal = tuple[int, str]
BURST = 5
"""Every so many requests a busy vendor refuses one."""


class QuirkProxy:
    def __init__(self, vendor: str, upstream: str) -> None:
        self.vendor, self.upstream = vendor, urllib.parse.urlsplit(upstream).netloc
        self.refused: Counter[str] = Counter()
        self.now = 0.0
        self.refuses: dict[str, Refusal] = {}
        """Every request of a method, whatever the vendor."""
        self.endpoint = ""
        self._guard = threading.Lock()
        self._requests = 0
        self._written: dict[str, float] = {}

    def sleep(self, seconds: float) -> None:
        """For whoever waits before asking again."""
        self.now += max(1.0, seconds)

    def refusal(self, method: str, path: str, headers: dict[str, str]) -> Refusal | None:
        with self._guard:
            self._requests += 1
            found = self.refuses.get(method) or getattr(self, f"_{self.vendor}")(method, path, headers)
            if found is not None:
                self.refused[found[1]] += 1
            return found

    def _b2(self, method: str, path: str, headers: dict[str, str]) -> Refusal | None:
        if any(name.startswith("x-amz-checksum-") or name == "x-amz-sdk-checksum-algorithm" for name in headers):
            return 400, "InvalidArgument"
        if method == "PUT" and ("if-none-match" in headers or "if-match" in headers):
            return 501, "NotImplemented"
        return None

    def _r2(self, method: str, path: str, headers: dict[str, str]) -> Refusal | None:
        if "x-amz-acl" in headers or "x-amz-tagging" in headers:
            return 501, "NotImplemented"
        if method == "PUT":
            if self.now - self._written.get(path, -1.0) < 1.0:
                return 429, "TooManyRequests"
            self._written[path] = self.now
        return None

    def _wasabi(self, method: str, path: str, headers: dict[str, str]) -> Refusal | None:
        return (400, "RequestRateLimitExceeded") if self._requests % BURST == 0 else None

    def _s3(self, method: str, path: str, headers: dict[str, str]) -> Refusal | None:
        return (503, "SlowDown") if self._requests % BURST == 0 else None


@contextmanager
def running(vendor: str, upstream: str) -> Iterator[QuirkProxy]:
    proxy = QuirkProxy(vendor, upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            refused = proxy.refusal(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
            if refused is not None:
                text = f"<Error><Code>{refused[1]}</Code><Message>refused</Message></Error>".encode()
                self._answer(refused[0], {"Content-Type": "application/xml"}, text)
                return
            # The Host stays as it was signed.
            line = http.client.HTTPConnection(proxy.upstream, timeout=30)
            line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    line.putheader(name, value)
            line.endheaders(body)
            answer = line.getresponse()
            hop = ("connection", "transfer-encoding", "content-length")
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in hop}
            self._answer(answer.status, kept, answer.read(), answer.headers.get("Content-Length"))
            line.close()

        def _answer(self, status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
