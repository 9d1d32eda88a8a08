"""What the GPUs do, once a second, from one long-running nvidia-smi. Telemetry that is missing or old is unknown."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

STALE_S = 5.0
FIELDS = "index,name,memory.total,memory.used,utilization.gpu"


@dataclass(frozen=True)
class Gpu:
    index: int
    name: str
    memory_total_mb: float
    memory_used_mb: float
    utilization: float

    def wire(self) -> dict[str, Any]:
        return asdict(self)


def parse(line: str) -> Gpu | None:
    """One line of nvidia-smi's CSV; None when it is something else."""
    parts = [part.strip() for part in line.split(",")]
    try:
        return Gpu(int(parts[0]), parts[1], float(parts[2]), float(parts[3]), float(parts[4]))
    except (IndexError, ValueError):
        return None


class Monitor:
    def __init__(self, command: str = "nvidia-smi") -> None:
        self._command = command
        self._seen: dict[int, tuple[float, Gpu]] = {}
        self._guard = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def now(self) -> list[Gpu] | None:
        """Every GPU's newest sample; None when any is missing or stale."""
        limit = time.monotonic() - STALE_S
        with self._guard:
            if not self._seen or any(at < limit for at, _ in self._seen.values()):
                return None
            return [gpu for _, (_, gpu) in sorted(self._seen.items())]

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _read(self) -> None:
        arguments = [self._command, f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits", "-l", "1"]
        while True:
            try:
                self._process = subprocess.Popen(
                    arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
                assert self._process.stdout is not None
                for line in self._process.stdout:
                    gpu = parse(line)
                    if gpu is not None:
                        with self._guard:
                            self._seen[gpu.index] = (time.monotonic(), gpu)
                self._process.wait()
            except OSError:
                # No nvidia-smi: telemetry stays unknown, and unknown is active.
                pass
            time.sleep(2)


def cuda_version(command: str = "nvidia-smi") -> str | None:
    try:
        out = subprocess.run([command], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"CUDA Version:\s*([\d.]+)", out)
    return found.group(1) if found else None
