"""`dumont snapshots pull` and `diff` read a real S3 server by presigned addresses, with the owner's key."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from agent.snapshot.__main__ import main
from cli import pulling
from cli.client import ApiError, Client
from tests.support.s3_server import S3Server

KEY = base64.b64encode(b"k" * 32).decode()
PREFIX = "instances/i-pull/"


class Api:
    """What the API answers to an owner."""

    def __init__(self, server: S3Server, key: str = KEY) -> None:
        self._objects, self._key = server.objects(), key

    def get(self, path: str) -> dict[str, Any]:
        return {"key": self._key}

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        manifest = "m/" + path.split("/")[4]
        keys = {manifest, *body["keys"]}
        urls = {key: self._objects.presign_get(PREFIX + key, timedelta(minutes=5)) for key in keys}
        return {"manifest_key": manifest, "urls": urls}


def test_files_come_down_as_they_were_and_differences_are_named(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    (tmp_path / "key").write_text(KEY)
    source, objects = tmp_path / "source", s3_server.objects()
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "small.txt").write_text("one")
    (source / "big.bin").write_bytes(bytes(range(256)) * 40_000)
    (source / "gone.txt").write_text("gone")
    tool = ["--store", f"s3://{s3_server.bucket}/{PREFIX}", "--endpoint", s3_server.endpoint]
    save = ["save", str(source), *tool, "--key-file", str(tmp_path / "key")]

    def newly_saved(known: set[str]) -> str:
        assert main(save) == 0
        (key,) = {item.key for item in objects.list(PREFIX + "m/")} - known
        return key

    first = newly_saved(set())
    (source / "gone.txt").unlink()
    (source / "deep" / "small.txt").write_text("another")
    (source / "new.txt").write_text("new")
    second = newly_saved({first})
    api = cast(Client, Api(s3_server))
    old, new = first.rpartition("/")[2], second.rpartition("/")[2]
    try:
        files, total = pulling.pull(api, "i-pull", old, str(tmp_path / "to"))
        assert (files, total) == (3, 256 * 40_000 + 3 + 4)
        assert (tmp_path / "to/workspace/big.bin").read_bytes() == (source / "big.bin").read_bytes()
        assert (tmp_path / "to/workspace/deep/small.txt").read_text() == "one"

        named = {(mark, path.rpartition("/")[2]) for mark, path in pulling.diff(api, "i-pull", old, new)}
        assert named == {("-", "gone.txt"), ("+", "new.txt"), ("M", "small.txt")}

        stranger = cast(Client, Api(s3_server, base64.b64encode(b"x" * 32).decode()))
        with pytest.raises(ApiError, match="another key"):
            pulling.pull(stranger, "i-pull", old, str(tmp_path / "none"))
    finally:
        objects.delete_prefix(PREFIX)
