"""Workspaces to save and restore, the same bytes at every run: weights, very many small files, and a mixture that changes.

Weights are floats as training leaves them (normal, deviation 0.02): in bf16 the byte with the sign and the exponent's upper
bits takes few values, the other is noise. Sizes are those of the engine's goals at `scale` 1.
"""

from __future__ import annotations

import math
import os
import random
from pathlib import Path

BLOCK = 8 << 20
OLD_S = 10**9
"""Files are this old, as those of a workspace mostly are."""


def exponents() -> bytes:
    """256 values of a float's upper byte, as often as a normal distribution has them."""
    shares: list[tuple[float, int]] = []
    for high in range(64):
        # Two exponents share the upper byte.
        low, up = 2.0 ** (2 * high - 127), 2.0 ** (2 * high - 125)
        share = (math.erf(up / 0.02 / math.sqrt(2)) - math.erf(low / 0.02 / math.sqrt(2))) / 2
        shares += [(share, high), (share, high | 0x80)]
    table = bytearray()
    for share, value in sorted(shares, reverse=True):
        table += bytes([value]) * round(share * 256)
    return bytes((table + bytes([0x3C]) * 256)[:256])


EXPONENTS = exponents()


def floats(dice: random.Random, size: int, width: int) -> bytes:
    """`size` bytes of floats of `width` bytes, little-endian."""
    body = bytearray(dice.randbytes(size))
    body[width - 1 :: width] = bytes(body[width - 1 :: width]).translate(EXPONENTS)
    return bytes(body)


def big(path: Path, size: int, seed: int, width: int = 0) -> None:
    """A file of floats of `width` bytes, or of noise."""
    dice = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        while size > 0:
            count = min(BLOCK, size)
            file.write(floats(dice, count, width)[:count] if width else dice.randbytes(count))
            size -= count


class Prose:
    """Text like source code, cut from a long piece."""

    def __init__(self, seed: int, size: int) -> None:
        dice = random.Random(seed)
        letters = "etaoinshrdlucmfwypvbgkjqxz_"
        words = ["".join(dice.choices(letters, k=dice.randint(2, 11))) for _ in range(9000)]
        weights = [1 / (n + 3) for n in range(len(words))]
        ends = [" ", " ", " ", "(", ")\n    ", ", ", " = ", ":\n        ", ".", "\n"]
        picked = dice.choices(words, weights, k=size // 8)
        marks = dice.choices(ends, k=len(picked))
        self._text = "".join(word + mark for word, mark in zip(picked, marks, strict=True)).encode()

    def cut(self, dice: random.Random, size: int) -> bytes:
        at = dice.randrange(max(1, len(self._text) - size))
        return self._text[at : at + size]


def small_files(folder: Path, count: int, mean: float, seed: int) -> None:
    """Files as package folders have them: mostly text, some compiled, sizes log-normal."""
    dice, prose = random.Random(seed), Prose(seed, 24 << 20)
    sigma = 1.6
    mu = math.log(mean) - sigma * sigma / 2
    for number in range(count):
        path = folder / f"pkg{number % 211:03}" / f"mod{number % 7}" / f"file_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = min(480 << 10, int(dice.lognormvariate(mu, sigma)))
        path.write_bytes(prose.cut(dice, size) if number % 8 else floats(dice, size // 8 * 8, 4))


def aged(folder: Path) -> Path:
    """Times long before now, so that nothing counts as just written."""
    for place, folders, names in os.walk(folder):
        for name in [*names, *folders]:
            path = os.path.join(place, name)
            at = os.stat(path).st_mtime_ns - OLD_S * 10**9
            os.utime(path, ns=(at, at))
    return folder


def weights(folder: Path, scale: float) -> Path:
    """4.29 GB in 4 files: two of bf16, an optimizer's state in fp32, and one that cannot shrink."""
    unit = int(scale * (1 << 30)) // 8 * 8
    big(folder / "model-00001.safetensors", int(unit * 1.5) // 8 * 8, 1, 2)
    big(folder / "model-00002.safetensors", int(unit * 1.5) // 8 * 8, 2, 2)
    big(folder / "optimizer.pt", int(unit * 0.7) // 8 * 8, 3, 4)
    big(folder / "dataset.tar.gz", int(unit * 0.3) // 8 * 8, 4)
    return aged(folder)


def many(folder: Path, scale: float) -> Path:
    """60,000 files, 0.59 GB."""
    small_files(folder, int(60_000 * scale), 9800, 5)
    return aged(folder)


def mixed(folder: Path, scale: float) -> Path:
    """3 GB: a model, a checkpoint, shards of noise, logs, 20,000 small files."""
    mega = int(scale * (1 << 20))
    big(folder / "models/base.safetensors", 1230 * mega, 6, 2)
    big(folder / "checkpoints/step-1000.pt", 820 * mega, 7, 2)
    for number in range(14):
        big(folder / f"data/shard-{number:03}.tar", 25 * mega, 20 + number)
    prose = Prose(9, 24 << 20)
    (folder / "logs").mkdir()
    (folder / "logs/train.log").write_bytes(prose.cut(random.Random(9), min(22 * mega, 22 << 20)))
    small_files(folder / "venv", int(18_000 * scale), 12_000, 10)
    small_files(folder / "project", int(2_000 * scale), 6_000, 11)
    return aged(folder)


def changed(folder: Path, scale: float) -> None:
    """What an afternoon does to the mixture: a new checkpoint, longer logs, edits, deletions, new files."""
    mega, dice = int(scale * (1 << 20)), random.Random(12)
    big(folder / "checkpoints/step-2000.pt", 512 * mega, 13, 2)
    with open(folder / "logs/train.log", "ab") as log:
        log.write(Prose(14, 4 << 20).cut(dice, 2 << 20))
    files = sorted(p for p in (folder / "project").rglob("*") if p.is_file())
    for path in dice.sample(files, min(200, len(files) // 4)):
        path.write_bytes(path.read_bytes() + b"# edited\n")
    for path in dice.sample(files, min(20, len(files) // 8)):
        path.unlink(missing_ok=True)
    for number in range(60):
        (folder / "project" / f"new_{number}.py").write_bytes(b"print('new')\n" * number)
    shard = folder / "data/shard-003.tar"
    body = shard.read_bytes()
    shard.write_bytes(body[: len(body) // 2] + dice.randbytes(4096) + body[len(body) // 2 :])
