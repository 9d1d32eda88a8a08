"""One door to everything: the API's routes to the function the manifest names, and the console's static files."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from infra import hosting
from infra.manifest import Function
from shared.web.endpoint import HEADERS

PREFIX = "/api/v1"
UNCHANGED_HEADERS = {"If-None-Match", "If-Modified-Since"}
HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-length"}
LONGEST = 64 << 10
"""Bytes of a request's first line: a cursor's letters may take twelve each. The functions' servers set no limit."""
RESTART_S = 4.0
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Dumont Cloud</title>
<body style="font-family:sans-serif;max-width:40em;margin:3em auto">
<h1>Dumont Cloud is running</h1><p>The API answers below <code>/api/v1</code>. Log in from a terminal:</p>
<p>The console is not built: <code>make console</code>.</p>
<pre>bin/dumont login --local\nbin/dumont provision --gpu "RTX 4090"\nbin/dumont ls</pre></body></html>"""


def runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(app, access_log=None, max_line_size=LONGEST)


def application(gateway: Gateway, jwks: dict[str, Any]) -> web.Application:
    app = web.Application(client_max_size=64 << 20)

    async def keys(request: web.Request) -> web.Response:
        return web.json_response(jwks)

    async def open_session(app: web.Application) -> None:
        gateway.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=330), connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        )

    async def close_session(app: web.Application) -> None:
        assert gateway.session is not None
        await gateway.session.close()

    app.on_startup.append(open_session)
    app.on_cleanup.append(close_session)
    app.router.add_get("/.local/jwks.json", keys)
    app.router.add_route("*", "/{path:.*}", gateway.handle)
    return app


class Gateway:
    def __init__(self, functions: dict[str, Function], ports: dict[str, int], static: Path) -> None:
        self._functions = functions
        self._ports = ports
        self._static = static
        self._open: Counter[int] = Counter()
        """Requests that are being answered, by the port of who answers."""
        self.session: aiohttp.ClientSession | None = None

    async def lead(self, name: str, port: int, patience_s: float) -> None:
        """New requests of a function go to another process from now on; returns once the old one has answered all of its own."""
        old, self._ports[name] = self._ports[name], port
        until = asyncio.get_running_loop().time() + patience_s
        while self._open[old] and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.05)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith(PREFIX + "/"):
            return await self._forward(request)
        return self._page(request)

    def _function(self, request: web.Request) -> str | None:
        path = request.path.removeprefix(PREFIX)
        matching = [(f.name, r) for f in self._functions.values() for r in f.routes if r.matches(path)]
        # As static hosting chooses: by the path alone, a fixed one before one with a parameter.
        matching.sort(key=lambda pair: pair[1].path.count("{"))
        return matching[0][0] if matching else None

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        name = self._function(request)
        if name is None:
            return _error(404, "not_found", f"there is no {request.path}")
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_HEADERS}
        headers["X-Forwarded-For"] = ", ".join(filter(None, (headers.get("X-Forwarded-For"), request.remote)))
        assert self.session is not None
        until = asyncio.get_running_loop().time() + RESTART_S
        while True:
            port = self._ports[name]
            url = f"http://127.0.0.1:{port}{request.path_qs}"
            self._open[port] += 1
            try:
                async with self.session.request(
                    request.method, url, data=body or None, headers=headers, allow_redirects=False
                ) as answer:
                    kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_HEADERS}
                    if "text/event-stream" not in answer.headers.get("Content-Type", ""):
                        return web.Response(status=answer.status, headers=kept, body=await answer.read())
                    stream = web.StreamResponse(status=answer.status, headers=kept)
                    await stream.prepare(request)
                    async for piece in answer.content.iter_any():
                        await stream.write(piece)
                    await stream.write_eof()
                    return stream
            except aiohttp.ClientConnectorError:
                # Nothing was sent: the function is starting again.
                if asyncio.get_running_loop().time() > until:
                    return _error(503, "unavailable", f"function {name} does not answer")
                await asyncio.sleep(0.1)
            except (aiohttp.ClientError, TimeoutError):
                return _error(502, "unavailable", f"function {name} broke off; what it did is unknown")
            finally:
                self._open[port] -= 1

    def _page(self, request: web.Request) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return _error(405, "method_not_allowed", "only GET here")
        index = self._static / "index.html"
        if not index.exists():
            return web.Response(text=PAGE, content_type="text/html")
        wanted = (self._static / request.path.lstrip("/")).resolve()
        inside = wanted.is_file() and wanted.is_relative_to(self._static.resolve())
        if not inside and request.path.startswith("/assets/"):
            # An old page asks for a chunk of an older build: the page itself would be nonsense as a script.
            return _error(404, "not_found", "there is no such file")
        answer = web.FileResponse(wanted if inside else index, headers=hosting.headers(request.path))
        # As static hosting does; what a browser measures here is then what it meets there. Not where no body may follow: aiohttp
        # ends the compressed stream after a 304 as well, and a browser reads that as the beginning of its next answer.
        if request.method == "GET" and not request.headers.keys() & UNCHANGED_HEADERS:
            answer.enable_compression()
        return answer


def _error(status: int, code: str, message: str) -> web.Response:
    body = {"success": False, "error": {"code": code, "message": message, "request_id": "gateway"}}
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        content_type="application/json",
        headers=HEADERS,
    )
