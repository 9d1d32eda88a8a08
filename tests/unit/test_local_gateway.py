"""The local gateway serves the console's files as static hosting does."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import aiohttp
from aiohttp.test_utils import TestClient, TestServer

from local import gateway


def test_files_come_compressed_to_who_takes_that_and_plain_to_others(tmp_path: Path) -> None:
    script = "console.log('again and again');\n" * 200
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "a.js").write_text(script)

    async def ask(encoding: str) -> tuple[str | None, bytes]:
        server = TestServer(gateway.application({}, {}, {}, tmp_path))
        async with TestClient(server, auto_decompress=False) as client:
            answer = await client.get("/assets/a.js", headers={aiohttp.hdrs.ACCEPT_ENCODING: encoding})
            assert answer.status == 200
            return answer.headers.get("Content-Encoding"), await answer.read()

    encoding, body = asyncio.run(ask("gzip"))
    assert encoding == "gzip"
    assert gzip.decompress(body).decode() == script
    assert asyncio.run(ask("identity")) == (None, script.encode())
