"""Snapshots and buckets through the command line, on the local cloud with a second bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.embedded import Embedded
from tests.e2e.conftest import Terminal

BUCKET = "second"


@pytest.fixture
def second(local: Embedded) -> Iterator[str]:
    """Another bucket of the local S3 server."""
    client: Any = local.s3()
    client.create_bucket(Bucket=BUCKET)
    yield BUCKET
    for key in local.objects(BUCKET):
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)


def told(dumont: Terminal, *words: str) -> Any:
    return json.loads(dumont("--json", *words).splitlines()[-1])


def test_an_instance_on_a_bucket_of_its_own_sleeps_wakes_and_ends_there(
    dumont: Terminal, local: Embedded, second: str
) -> None:
    s3 = local.state["s3"]
    place = ("--vendor", "s3", "--bucket", second, "--endpoint", s3["endpoint"], "--access-key", s3["access_key"])
    wrong = dumont("storage", "add", "mine", *place, "--secret-stdin", stdin="wrong\n", expect=2)
    assert "step `write` failed" in wrong and "check the secret key" in wrong
    made = dumont("storage", "add", "mine", *place, "--secret-stdin", stdin=s3["secret_key"] + "\n")
    assert "mine works" in made and "a GB-month" in made and s3["secret_key"] not in made
    assert "delete: good" in dumont("storage", "test", "mine")
    assert "wasabi" in dumont("storage", "vendors")

    dumont("provision", "--gpu", "RTX 4090", "--name", "abroad", "--storage", "mine", "--width", "1")
    id = told(dumont, "show", "abroad")["id"]
    dumont("exec", "abroad", "--", "sh", "-c", "echo kept > note")
    dumont("hibernate", "abroad")
    assert any(key.startswith(f"instances/{id}/m/") for key in local.objects(second))
    assert not [key for key in local.objects() if id in key], "nothing of it is in the deployment's bucket"
    assert "abroad" in dumont("storage", "rm", "mine", expect=5)
    dumont("wake", "abroad")
    assert dumont("exec", "abroad", "--after", "note", "--", "cat", "note") == "kept\n"
    assert second in told(dumont, "snapshots", "key", "abroad")["store"]

    dumont("destroy", "abroad", "--yes")
    assert local.objects(second) == []
    dumont("storage", "rm", "mine")
    assert "mine" not in dumont("storage", "ls")


def test_snapshots_are_cloned_compared_read_and_gone_back_to(dumont: Terminal, local: Embedded, tmp_path: Path) -> None:
    def taken(script: str) -> str:
        dumont("exec", "first", "--", "sh", "-c", script)
        return str(told(dumont, "snapshots", "take", "first")["id"])

    dumont("provision", "--gpu", "RTX 4090", "--name", "first", "--width", "1")
    one = taken("mkdir -p src && echo 1 > src/number && head -c 3000000 /dev/urandom > weights")
    two = taken("echo 2 > src/number; echo more > src/more; rm weights")

    changes = dumont("snapshots", "diff", "first", one, two).splitlines()
    assert changes == ["M src/number", "+ src/more", "- weights"] or sorted(changes) == sorted(
        ["M src/number", "+ src/more", "- weights"]
    )
    assert ": good" in dumont("snapshots", "verify", "first", one)
    assert "2 files" in dumont("snapshots", "pull", "first", one, "--to", str(tmp_path / "pulled"))
    assert (tmp_path / "pulled/workspace/src/number").read_text() == "1\n"

    out = dumont("snapshots", "clone", "first", one, "--name", "twin")
    assert "twin" in out and "runs on" in out
    dumont("wait-for", "twin")
    assert dumont("exec", "twin", "--", "cat", "src/number") == "1\n"
    dumont("snapshots", "restore", "first", one, "--yes")
    dumont("wait-for", "first")
    assert dumont("exec", "first", "--", "sh", "-c", "cat src/number; ls") == "1\nsrc\nweights\n"
    size = dumont("exec", "first", "--", "sha256sum", "weights")

    dumont("destroy", "first", "--yes")
    dumont("hibernate", "twin")
    dumont("wake", "twin")
    assert dumont("exec", "twin", "--after", "weights", "--", "sha256sum", "weights") == size
    dumont("destroy", "twin", "--yes")
    assert not [key for key in local.objects() if key.startswith("instances/")]
