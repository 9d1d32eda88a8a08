"""Simulated machines: each a process group in a directory of its own, with its home, workspace, ports, SSH server and
an `nvidia-smi` that reports the load set for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

SMI = Path(__file__).with_name("nvidia_smi.sh")
DRIVER, CUDA = "570.124.04", "12.8"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Machine:
    """One rented machine, as its processes and directory."""

    dir: Path
    gpu_name: str
    gpu_count: int
    memory_mib: int
    onstart: str
    env: dict[str, str]
    ports: dict[int, int]
    """Inside -> outside, 22 among them."""
    hollow: bool = False
    """Nothing runs and nothing is written: for tests of what providers tell of machines."""
    load: dict[str, float] = field(default_factory=lambda: {"gpu": 0.0, "memory_mib": 500.0})
    process: subprocess.Popen[bytes] | None = None
    groups: set[int] = field(default_factory=set)
    server: Any = None

    def prepare(self) -> None:
        if self.hollow:
            return
        for name in ("root/workspace", "home", "bin", "logs", "gpu", "tmp"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        if self.gpu_count:
            tool = self.dir / "bin" / "nvidia-smi"
            shutil.copyfile(SMI, tool)
            tool.chmod(0o755)
        self.write_gpu()

    def write_gpu(self) -> None:
        """What nvidia-smi prints, rendered ahead: reading a file is all that a query costs."""
        if self.hollow:
            return
        names = [
            "index",
            "name",
            "uuid",
            "memory.total|MiB",
            "memory.used|MiB",
            "memory.free|MiB",
            "utilization.gpu|%",
            "temperature.gpu",
            "driver_version",
            "power.draw|W",
        ]
        full = f"NVIDIA GeForce {self.gpu_name}" if self.gpu_name.startswith("RTX") else f"NVIDIA {self.gpu_name}"
        used, busy = round(self.load["memory_mib"]), round(self.load["gpu"])
        rows, table, cards = ["\t".join(names)], [], []
        for index in range(self.gpu_count):
            uuid = f"GPU-{index:08x}-dumo-ntlo-cal0-{abs(hash(str(self.dir))) % 10**12:012d}"
            values = [
                index,
                full,
                uuid,
                self.memory_mib,
                used,
                self.memory_mib - used,
                busy,
                35 + busy // 3,
                DRIVER,
                20 + busy * 4,
            ]
            rows.append("\t".join(map(str, values)))
            table.append(
                f"|   {index}  {full:<32} | {used:>7}MiB / {self.memory_mib:>6}MiB | {busy:>6}%      Default |"
            )
            cards.append(f"GPU {index}: {full} (UUID: {uuid})")
        line = "+" + "-" * 77 + "+"
        head = f"| NVIDIA-SMI {DRIVER:<18} Driver Version: {DRIVER:<14} CUDA Version: {CUDA:<8} |"
        for name, text in (("values", rows), ("table", [line, head, line, *table, line]), ("list", cards)):
            part = self.dir / "gpu" / f"{name}.part"
            part.write_text("\n".join(text) + "\n")
            part.replace(self.dir / "gpu" / name)

    def environment(self) -> dict[str, str]:
        python = str(Path(sys.executable).parent)
        return {
            **self.env,
            "PATH": f"{self.dir / 'bin'}:{python}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.dir / "home"),
            "TMPDIR": str(self.dir / "tmp"),
            "LANG": "C.UTF-8",
            "PUBLIC_IPADDR": "127.0.0.1",
            "DUMONT_ROOT": str(self.dir / "root"),
            **{f"VAST_TCP_PORT_{inside}": str(outside) for inside, outside in self.ports.items()},
        }

    def start(self) -> None:
        """Run the start script, in a process group of its own."""
        if self.hollow:
            return
        with open(self.dir / "logs" / "onstart.log", "ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", self.onstart],
                cwd=self.dir / "root" / "workspace",
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.groups.add(self.process.pid)

    async def listen(self) -> None:
        """The SSH server, on the outside port of 22."""
        if self.hollow:
            return
        key_file = self.dir / "host_key"
        if not key_file.exists():
            asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(key_file))
        machine = self

        class Server(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                file = machine.dir / "home" / ".ssh" / "authorized_keys"
                if not file.exists():
                    return False
                given = key.export_public_key().split()[:2]
                return any(line.split()[:2] == given for line in file.read_bytes().splitlines())

        self.server = await asyncssh.listen(
            "127.0.0.1",
            self.ports[22],
            server_factory=Server,
            server_host_keys=[str(key_file)],
            process_factory=self._session,
            sftp_factory=True,
            allow_scp=True,
            encoding=None,
        )

    async def _session(self, session: Any) -> None:
        command = session.command
        arguments = ["bash", "-c", command] if command else ["bash", "-l"]
        child = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=self.dir / "root" / "workspace",
            env=self.environment(),
            start_new_session=True,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.groups.add(child.pid)
        await session.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        session.exit(await child.wait())
        await session.wait_closed()

    def signal(self, number: int) -> None:
        """To every process of the machine, those in other sessions too."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        """Every process that carries this machine's root in its environment, or belongs to one of its groups."""
        mark = f"DUMONT_ROOT={self.dir / 'root'}".encode()
        found = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                variables = Path(entry.path, "environ").read_bytes().split(b"\0")
                if mark in variables:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def stop(self) -> None:
        """End every process at once, as when the plug is pulled."""
        if self.hollow:
            return
        for _ in range(5):
            if not self._pids():
                break
            self.signal(signal.SIGKILL)
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
            self.process = None
        if self.server is not None:
            self.server.close()
            self.server = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
