"""Files come back with nothing but the bucket and the key, through a real S3 server."""

from __future__ import annotations

import base64
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.snapshot.__main__ import main
from tests.support.s3_server import S3Server

KEY = base64.b64encode(bytes(range(32))).decode()

Tool = Callable[..., tuple[int, str, str]]
"""Exit code, output and complaints of the standalone tool."""


@pytest.fixture
def tool(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Tool:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    prefix = f"instances/i-{tmp_path.name}"

    def run(*words: str, key_file: Path = key) -> tuple[int, str, str]:
        code = main([*words, f"--store=s3://{s3_server.bucket}/{prefix}", f"--endpoint={s3_server.endpoint}",
                     f"--key-file={key_file}"])  # fmt: skip
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def a_tree(folder: Path) -> dict[str, bytes]:
    dice = random.Random(3)
    made = {f"src/file-{n}.py": dice.randbytes(dice.randint(0, 9000)) for n in range(40)}
    made["weights.bin"] = dice.randbytes(9 << 20)
    made["empty"] = b""
    for name, body in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    (folder / "link").symlink_to("weights.bin")
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}


def test_save_change_list_compare_verify_and_restore(tool: Tool, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    made = a_tree(folder)
    assert tool("save", str(folder))[0] == 0
    (folder / "src/file-0.py").write_bytes(b"changed")
    (folder / "new").write_bytes(b"new")
    os.unlink(folder / "empty")
    code, said, _ = tool("save", str(folder))
    assert code == 0 and "newly stored" in said

    _, listed, _ = tool("ls")
    old, new = [line.split()[0] for line in listed.splitlines()]
    _, changes, _ = tool("diff", old, new)
    assert set(changes.splitlines()) == {"- empty", "+ new", "M src/file-0.py"}
    for one in (old, new):
        assert tool("verify", one)[0] == 0
    assert tool("restore", old, "--to", str(tmp_path / "old"))[0] == 0
    assert contents(tmp_path / "old/workspace") == made
    assert os.readlink(tmp_path / "old/workspace/link") == "weights.bin"
    assert tool("restore", "--to", str(tmp_path / "newest"))[0] == 0
    assert contents(tmp_path / "newest/workspace") == contents(folder)


def test_single_files_come_out_without_the_rest(tool: Tool, tmp_path: Path) -> None:
    made = a_tree(tmp_path / "work")
    tool("save", str(tmp_path / "work"))
    assert tool("extract", "--path", "src/file-1*.py", "--to", str(tmp_path / "out"))[0] == 0
    assert contents(tmp_path / "out") == {n: b for n, b in made.items() if n.startswith("src/file-1")}
    code, _, complaint = tool("extract", "--path", "nothing", "--to", str(tmp_path / "out"))
    assert code == 1 and "nothing" in complaint


def test_damage_is_found_and_named(tool: Tool, s3_server: S3Server, tmp_path: Path) -> None:
    a_tree(tmp_path / "work")
    tool("save", str(tmp_path / "work"))
    objects = s3_server.objects()
    pack = next(o.key for o in objects.list(f"instances/i-{tmp_path.name}/p/"))
    body = bytearray(objects.get(pack))
    body[len(body) // 2] ^= 1
    objects.put(pack, bytes(body))

    code, said, _ = tool("verify")
    assert code == 1 and pack.split("/p/")[1] in said


def test_wrong_keys_and_places_are_told_plainly(tool: Tool, tmp_path: Path) -> None:
    code, _, complaint = tool("restore")
    assert code == 1 and "no snapshot here" in complaint
    a_tree(tmp_path / "work")
    tool("save", str(tmp_path / "work"))
    wrong = tmp_path / "wrong"
    wrong.write_text(base64.b64encode(bytes(32)).decode())
    code, _, complaint = tool("restore", "--to", str(tmp_path / "x"), key_file=wrong)
    assert code == 1 and complaint.strip()
    wrong.write_text("not base64 at all!")
    assert "no key" in tool("ls", key_file=wrong)[2]
    assert "there is no snapshot s-none" in tool("verify", "s-none")[2]


def a_large_tree(folder: Path) -> None:
    """More than threads of one process are used for; two files are the same."""
    dice = random.Random(5)
    folder.mkdir()
    for name, size in (("one", 26 << 20), ("two", 19 << 20), ("odd", (13 << 20) + 7)):
        (folder / name).write_bytes(dice.randbytes(size))
    (folder / "again").write_bytes((folder / "one").read_bytes())
    halves = dice.randbytes(12 << 20)
    floats = bytearray(halves)
    # The upper byte of 16-bit floats takes few values.
    floats[1::2] = bytes(byte & 3 | 0x3C for byte in halves[1::2])
    (folder / "weights").write_bytes(floats)
    for number in range(300):
        (folder / f"small-{number}").write_bytes(dice.randbytes(dice.randint(0, 3000)))


def test_a_large_workspace_goes_through_processes_and_comes_back(
    tool: Tool, s3_server: S3Server, tmp_path: Path
) -> None:
    a_large_tree(tmp_path / "work")
    code, _, complaint = tool("save", str(tmp_path / "work"))
    assert code == 0, complaint
    stored = sum(o.size for o in s3_server.objects().list(f"instances/i-{tmp_path.name}/p/"))
    raw = sum(p.stat().st_size for p in (tmp_path / "work").iterdir())
    assert stored < raw - (26 << 20) - (3 << 20), "equal chunks once, and floats shrink"
    assert tool("verify")[0] == 0
    assert tool("restore", "--to", str(tmp_path / "back"))[0] == 0
    assert contents(tmp_path / "back/workspace") == contents(tmp_path / "work")


def lives(pid: int) -> bool:
    """Not when it only waits for whoever inherited it to take note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("which", ["the first", "its fork"])
def test_a_worker_that_dies_commits_nothing(
    tool: Tool, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    from agent.snapshot import crew

    # Whatever this machine has.
    monkeypatch.setattr(crew, "cores", lambda: 2)
    a_large_tree(tmp_path / "work")
    real = crew.Processes._handle
    workers: list[int] = []

    def kill(self: crew.Processes, member: Any, message: Any) -> None:
        if not workers:
            first = self._process.pid
            workers.extend((first, int(Path(f"/proc/{first}/task/{first}/children").read_text())))
            os.kill(workers[which == "its fork"], signal.SIGKILL)
        real(self, member, message)

    with monkeypatch.context() as patched:
        patched.setattr(crew.Processes, "_handle", kill)
        code, _, complaint = tool("save", str(tmp_path / "work"))
    assert code == 1 and "worker" in complaint
    # Neither goes on behind our back.
    assert len(workers) == 2 and not any(map(lives, workers))
    assert not list(s3_server.objects().list(f"instances/i-{tmp_path.name}/m/"))
    assert tool("save", str(tmp_path / "work"))[0] == 0
