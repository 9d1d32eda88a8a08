"""Build the agent as one file: its code, the wheels it needs for each Python, and a start that unpacks them once.

The code is unpacked too, as Python compiles what it imports from a zip file again at each start, and workers start often.

python -m infra.agent_bundle build/agent.pyz [--abi 3.11 --abi 3.12 | --abi all]
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ABIS = ("3.10", "3.11", "3.12", "3.13", "3.14")
WHEELS = ("cryptography==50.0.2", "cffi==2.1.1", "pycparser==3.0", "blake3==1.0.10")
"""The newest that all of these Pythons have: a later blake3 has none for 3.10."""
LIBRARY, LIBRARY_ABI = "blosc2==4.14.1", "3.11"
"""Its library is the same for every Python; the package around it has no wheel for 3.10."""
PART_OF = {"blosc2/": ("blosc2/lib/libblosc2.so",)}
"""Of these packages only some files: of Blosc2 its library, not the package that needs NumPy."""
ZSTD = "backports.zstd==1.8.0"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64")
CODE = (
    "agent/**/*.py",
    "shared/__init__.py",
    "shared/errors.py",
    "shared/domain/__init__.py",
    "shared/domain/manifest.py",
)

START = '''\
"""Unpack the code and the wheels that fit this Python, once, and start the agent."""
import os, sys, zipfile

if sys.version_info < (3, 10):
    sys.exit("dumont agent: Python 3.10 or newer is needed, this is " + sys.version.split()[0]
             + "; use an image that has it, or install it in the image")
bundle = sys.argv[0]
tag = "%d.%d" % sys.version_info[:2]
digest = "@DIGEST@"
target = os.path.join(os.environ.get("HOME") or "/root", ".dumont", "lib", digest + "-" + tag)
if not os.path.isdir(target):
    part = "%s.%d.part" % (target, os.getpid())
    with zipfile.ZipFile(bundle) as whole:
        places = {}
        for name in whole.namelist():
            if not name.startswith("wheels/"):
                places[name] = name
            elif tag in name.split("/")[1].split("+"):
                places[name] = name.split("/", 2)[2]
        if not any(name.startswith("wheels/") for name in places):
            sys.exit("dumont agent: this bundle has nothing for Python " + tag + " on this machine")
        for name, place in places.items():
            path = os.path.join(part, place)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(whole.read(name))
    try:
        os.rename(part, target)
    except OSError:
        pass
sys.path.insert(0, target)
# Many images ask for no compiled files; ours lie in a folder of their own.
sys.dont_write_bytecode = False
from agent.main import main

sys.exit(main())
'''


def wheels(abi: str, cache: Path) -> list[Path]:
    """The wheels for one Python, fetched once for each list of them."""
    return _fetched(abi, [*WHEELS, *([] if abi == "3.14" else [ZSTD])], cache) + _fetched(LIBRARY_ABI, [LIBRARY], cache)


def _fetched(abi: str, needed: list[str], cache: Path) -> list[Path]:
    listed = hashlib.sha256(" ".join(needed).encode()).hexdigest()[:8]
    folder = cache / f"{abi}-{listed}"
    if not folder.is_dir():
        part = cache / f"{folder.name}.part"
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--only-binary=:all:",
                "--no-deps",
                "--dest",
                str(part),
                "--python-version",
                abi,
                *platforms,
                *needed,
            ],
            check=True,
        )
        part.rename(folder)
    return sorted(folder.glob("*.whl"))


def used(name: str) -> bool:
    return all(name in files for package, files in PART_OF.items() if name.startswith(package))


def build(out: Path, abis: list[str], cache: Path, level: int = 6) -> None:
    """Write the bundle; the same inputs give the same bytes. `level`: of compression."""
    files: dict[str, bytes] = {}
    for pattern in CODE:
        for path in sorted(ROOT.glob(pattern)):
            files[str(path.relative_to(ROOT))] = path.read_bytes()
    fits: dict[tuple[str, bytes], list[str]] = defaultdict(list)
    for abi in abis:
        for wheel in wheels(abi, cache):
            with zipfile.ZipFile(wheel) as whole:
                for name in whole.namelist():
                    if not name.endswith("/") and ".dist-info/" not in name and used(name):
                        fits[name, whole.read(name)].append(abi)
    # What several Pythons share is in it once: half of the file.
    files |= {f"wheels/{'+'.join(shared)}/{name}": body for (name, body), shared in fits.items()}
    digest = hashlib.sha256(b"".join(name.encode() + body for name, body in sorted(files.items()))).hexdigest()[:16]
    files["__main__.py"] = START.replace("@DIGEST@", digest).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as whole:
        for name, body in sorted(files.items()):
            whole.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), body, zipfile.ZIP_DEFLATED)
    part.replace(out)


def build_for_all() -> Path:
    """The bundle that is deployed: for every supported Python."""
    out = ROOT / "build" / "agent-all.pyz"
    build(out, list(ABIS), ROOT / "build" / "wheels")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--abi", action="append", help="a Python version, or all; default: this interpreter's")
    given = parser.parse_args()
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    abis = list(ABIS) if given.abi == ["all"] else given.abi or [here]
    build(given.out, abis, ROOT / "build" / "wheels")


if __name__ == "__main__":
    main()
