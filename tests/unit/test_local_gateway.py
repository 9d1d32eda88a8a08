"""The local gateway serves the console's files as static hosting does."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from infra import manifest
from local import gateway, up


def test_files_come_compressed_to_who_takes_that_and_plain_to_others(tmp_path: Path) -> None:
    script = "console.log('again and again');\n" * 200
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "a.js").write_text(script)

    async def ask(encoding: str) -> tuple[str | None, bytes]:
        server = TestServer(gateway.application(gateway.Gateway({}, {}, tmp_path), {}))
        async with TestClient(server, auto_decompress=False) as client:
            answer = await client.get("/assets/a.js", headers={aiohttp.hdrs.ACCEPT_ENCODING: encoding})
            assert answer.status == 200
            return answer.headers.get("Content-Encoding"), await answer.read()

    encoding, body = asyncio.run(ask("gzip"))
    assert encoding == "gzip"
    assert gzip.decompress(body).decode() == script
    assert asyncio.run(ask("identity")) == (None, script.encode())


def test_nothing_follows_the_head_of_an_answer_without_a_body(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>" + "<p>again</p>" * 200)

    async def ask(method: str, *headers: str) -> tuple[bytes, bytes]:
        """Head and rest of what the server writes before it closes."""
        lines = [f"{method} / HTTP/1.1", "Host: console", "Accept-Encoding: gzip", "Connection: close", *headers]
        async with TestServer(gateway.application(gateway.Gateway({}, {}, tmp_path), {})) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head, rest = (await reader.read()).split(b"\r\n\r\n", 1)
            writer.close()
        return head, rest

    head, rest = asyncio.run(ask("GET"))
    assert b" 200 " in head and rest
    (tag,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"etag: ")]
    head, rest = asyncio.run(ask("GET", f"If-None-Match: {tag.decode()[6:]}"))
    assert b" 304 " in head and rest == b""
    head, rest = asyncio.run(ask("HEAD"))
    assert b" 200 " in head and rest == b""


def test_a_function_is_replaced_without_a_call_that_notices(tmp_path: Path) -> None:
    async def serve(name: str, may_answer: asyncio.Event) -> TestServer:
        async def answer(request: web.Request) -> web.Response:
            await may_answer.wait()
            return web.Response(text=name)

        app = web.Application()
        app.router.add_get("/api/v1/instances", answer)
        server = TestServer(app)
        await server.start_server()
        return server

    async def story() -> None:
        slow, at_once = asyncio.Event(), asyncio.Event()
        at_once.set()
        old, new = await serve("old", slow), await serve("new", at_once)
        assert old.port is not None and new.port is not None
        door = gateway.Gateway({"instances": manifest.load()["instances"]}, {"instances": old.port}, tmp_path)
        async with TestClient(TestServer(gateway.application(door, {}))) as client:

            async def ask() -> str:
                async with client.get("/api/v1/instances") as answer:
                    return await answer.text()

            before = asyncio.create_task(ask())
            await asyncio.sleep(0.1)
            led = asyncio.create_task(door.lead("instances", new.port, 30))
            await asyncio.sleep(0.1)
            assert await ask() == "new"
            assert not led.done() and not before.done(), "the old one still answers what it was asked"
            slow.set()
            assert await before == "old"
            await led
        await old.close()
        await new.close()

    asyncio.run(story())


def test_no_two_parts_of_a_local_cloud_get_the_same_port(tmp_path: Path) -> None:
    # So many that the system, which names free ports at random, names some of them twice.
    names = [f"fn-{number}" for number in range(1500)]
    first = up.keep(tmp_path, None, names).ports
    assert len(set(first.values())) == len(first) > 1500
    again = up.keep(tmp_path, first["fn-7"], names).ports
    assert again["gateway"] == first["fn-7"] != again["fn-7"]
    assert len(set(again.values())) == len(again)
