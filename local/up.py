"""The local cloud: every function, its store, S3, the simulated market, the scheduler and the door to them.

    python -m local.up [--dir .local] [--port 8700] [--scenario FILE] [--tick-s S] [--store sqlite]

State lies below --dir and survives a restart. Ctrl-C (or SIGTERM) stops every child and waits for it. `python -m local.upgrade`
replaces the functions while all of it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, web

from infra import agent_bundle, manifest
from infra.manifest import Function
from local import emulator, gateway, scheduler, weed
from local.scenario import load as load_scenario

ROOT = Path(__file__).resolve().parent.parent
EMAIL = "demo@dumont.local"
BUCKET = "dumont"
READY_S = 60.0
STOP_S = 10.0
DRAIN_S = 70.0
"""An old process has so long to answer what it was asked; a request of the API waits at most 50 s."""


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


THREADS = 24
"""Of a function at least: the scheduler's own, which serve one at a time, are asked by people here as well."""


def any_port(but: Collection[int] = ()) -> int:
    """A free one. `but`: what was given out already; nothing listens there yet, so the system may well name it again."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in but:
            return port


def weed_base() -> int:
    """Below the ports that the system hands out by itself, with room for gRPC above."""
    for _ in range(200):
        base = 11_000 + secrets.randbelow(1000) * 10
        if all(free(base + n) and free(base + n + weed.GRPC_OFFSET) for n in range(8)):
            return base
    raise SystemExit("no free ports for the S3 server")


@dataclass
class Kept:
    """What a restart finds again: ports and secrets."""

    ports: dict[str, int]
    secrets: dict[str, str]


def keep(folder: Path, port: int | None, names: list[str]) -> Kept:
    """Ports and secrets of this local cloud, made on its first start."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "secrets.json"
    if file.exists():
        kept = Kept(**json.loads(file.read_text()))
        # What a newer version needs is added to what an older one kept.
        kept.secrets = {**_secrets(), **kept.secrets}
    else:
        kept = Kept({"weed": weed_base()}, _secrets())
    for name in ("gateway", "vast", "tensordock", "gce", "control", "firestore", *names):
        others = [one for known, one in kept.ports.items() if known != name]
        if name == "gateway" and port is not None:
            kept.ports[name] = port
        elif name not in kept.ports or kept.ports[name] in others or not free(kept.ports[name]):
            kept.ports[name] = any_port(others)
    write_private(file, json.dumps({"ports": kept.ports, "secrets": kept.secrets}))
    return kept


def _secrets() -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    session_key = ed25519.Ed25519PrivateKey.generate()
    return {
        "jwt_private": _pem(session_key),
        "oidc_private": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "master_key": base64.b64encode(os.urandom(32)).decode(),
        "s3_access_key": secrets.token_hex(10),
        "s3_secret_key": secrets.token_hex(20),
        "vast_api_key": secrets.token_hex(16),
        "tensordock_token": secrets.token_hex(16),
        "password": secrets.token_urlsafe(12),
    }


def _pem(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization as form

    raw: bytes = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    return raw.decode()


def _public(pem: str) -> str:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(pem.encode(), None).public_key()
    return key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode()


def write_private(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


@dataclass
class Child:
    name: str
    command: list[str]
    env: dict[str, str]
    process: asyncio.subprocess.Process | None = None


@dataclass
class Cloud:
    folder: Path
    kept: Kept
    children: dict[str, Child] = field(default_factory=dict)
    stopping: bool = False

    async def start(self, name: str, command: list[str], env: dict[str, str]) -> None:
        self.children[name] = Child(name, command, env)
        await self._spawn(self.children[name])

    async def _spawn(self, child: Child) -> None:
        (self.folder / "logs").mkdir(exist_ok=True)
        with open(self.folder / "logs" / f"{child.name}.log", "ab") as log:
            child.process = await asyncio.create_subprocess_exec(
                *child.command,
                env=child.env,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def watch(self) -> None:
        """A child that ends is started again, as Cloud Run would."""
        while not self.stopping:
            await asyncio.sleep(0.2)
            for child in self.children.values():
                if child.process is not None and child.process.returncode is not None and not self.stopping:
                    sys.stderr.write(f"{child.name} ended with {child.process.returncode}; starting it again\n")
                    await self._spawn(child)

    async def replace(
        self, name: str, command: list[str], env: dict[str, str], handed_over: Callable[[], Awaitable[None]]
    ) -> None:
        """Another process for a child: the old one ends once the new one has its work, and stays if it cannot take it."""
        child = Child(name, command, env)
        await self._spawn(child)
        assert child.process is not None
        try:
            await handed_over()
        except TimeoutError as error:
            sys.stderr.write(f"{error}; the old one stays\n")
            old = child
        else:
            old, self.children[name] = self.children[name], child
        if old.process is not None and old.process.returncode is None:
            old.process.terminate()
            await old.process.wait()

    async def stop(self) -> None:
        self.stopping = True
        running = [c.process for c in self.children.values() if c.process and c.process.returncode is None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            await asyncio.wait_for(asyncio.gather(*(p.wait() for p in running)), STOP_S)
        except TimeoutError:
            for process in running:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()

    def pids(self) -> dict[str, int]:
        return {c.name: c.process.pid for c in self.children.values() if c.process}


async def answers(port: int) -> None:
    """Until something listens there. Raises SystemExit when nothing ever does."""
    until = time.monotonic() + READY_S
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        except OSError:
            if time.monotonic() > until:
                raise SystemExit(f"nothing answers on port {port}; see the logs") from None
            await asyncio.sleep(0.1)


def settings_env(given: argparse.Namespace, kept: Kept, url: str) -> dict[str, str]:
    """The settings of the functions, as environment variables."""
    public = _public(kept.secrets["jwt_private"])
    store = given.store
    if store == "sqlite":
        store = f"sqlite:{(given.dir / 'dumont.db').resolve()}"
    elif store == "firestore":
        store = "firestore:dumont-local"
    return {
        "DUMONT_ENV": "local",
        "DUMONT_STORE": store,
        "DUMONT_PUBLIC_URL": url,
        "DUMONT_AGENT_BUNDLE_PATH": str(ROOT / "build" / "agent.pyz"),
        "DUMONT_PRIVATE_ADDRESSES": "1",
        "DUMONT_TINY_MODEL_PATH": str(ROOT / "local" / "tiny_model.py"),
        "DUMONT_MASTER_KEY": kept.secrets["master_key"],
        "DUMONT_JWT_PUBLIC_KEYS": public,
        "DUMONT_OIDC_MODE": "verify",
        "DUMONT_OIDC_JWKS_URL": f"{url}/.local/jwks.json",
        "DUMONT_OIDC_ISSUER": scheduler.ISSUER,
        "DUMONT_OIDC_AUDIENCE": scheduler.AUDIENCE,
        "DUMONT_OIDC_EMAIL": scheduler.EMAIL,
        "DUMONT_VAST_API_KEY": kept.secrets["vast_api_key"],
        "DUMONT_VAST_URL": f"http://127.0.0.1:{kept.ports['vast']}",
        "DUMONT_TENSORDOCK_TOKEN": kept.secrets["tensordock_token"],
        "DUMONT_TENSORDOCK_URL": f"http://127.0.0.1:{kept.ports['tensordock']}/api/v2",
        "DUMONT_GCE_PROJECT": "dumont-local",
        "DUMONT_GCE_URL": f"http://127.0.0.1:{kept.ports['gce']}",
        "DUMONT_S3_ENDPOINT": f"http://127.0.0.1:{weed.Ports(kept.ports['weed']).s3}",
        "DUMONT_S3_BUCKET": BUCKET,
        "DUMONT_S3_ACCESS_KEY": kept.secrets["s3_access_key"],
        "DUMONT_S3_SECRET_KEY": kept.secrets["s3_secret_key"],
        **load_scenario(given.scenario).settings,
    }


async def bucket_ready(kept: Kept) -> None:
    """SeaweedFS answers a moment before its bucket is there."""
    from shared.errors import StorageError
    from shared.objects.s3 import S3Objects

    ports, known = weed.Ports(kept.ports["weed"]), kept.secrets
    await answers(ports.s3)
    objects = S3Objects(
        BUCKET, f"http://127.0.0.1:{ports.s3}", "us-east-1", known["s3_access_key"], known["s3_secret_key"]
    )
    until = time.monotonic() + READY_S
    while True:
        try:
            await asyncio.to_thread(objects.put, "probe/ready", b"1")
            await asyncio.to_thread(objects.delete, "probe/ready")
            return
        except StorageError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.2)


def demo_user(env: dict[str, str], password: str) -> str:
    """The demo user and an API key of its own; the key."""
    from shared.bootstrap import build
    from shared.flows.auth import create_key, ensure_user
    from shared.settings import Settings
    from shared.wire.auth import KeyRequest

    values = {k.removeprefix("DUMONT_").lower(): v for k, v in env.items() if k.startswith("DUMONT_")}
    deps = build(Settings.model_validate(values))
    user = ensure_user(EMAIL, password, True, deps)
    key = create_key(KeyRequest(name="local demo"), user, deps).key
    deps.store.close()
    return key


def revision(folder: Path) -> str | None:
    """Of the functions: the stages that the last upgrade laid out, None before the first."""
    link = folder / "stages"
    return link.resolve().name if link.exists() else None


def serving(
    folder: Path, function: Function, port: int, env: dict[str, str], known: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a function's process: from its stage after an upgrade, before it from the sources."""
    stage = (folder / "stages").resolve() / function.name
    source = stage / "main.py" if stage.is_dir() else ROOT / "functions" / function.name / "main.py"
    own = {**env, "K_SERVICE": function.name, "THREADS": str(max(THREADS, function.concurrency))}
    if stage.is_dir():
        own["PYTHONPATH"] = str(stage)
    if (stage / "agent.pyz").exists():
        own["DUMONT_AGENT_BUNDLE_PATH"] = str(stage / "agent.pyz")
    if function.name == "auth":
        own["DUMONT_JWT_PRIVATE_KEY"] = known["jwt_private"]
    framework = str(Path(sys.executable).with_name("functions-framework"))
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [framework, "--target", "main", "--source", str(source), *where], own


async def handed_over(door: gateway.Gateway, name: str, port: int) -> None:
    """Once the new process has read its database it gets the requests, as a revision does on Cloud Run."""
    until = time.monotonic() + READY_S
    async with ClientSession() as session:
        while True:
            with contextlib.suppress(ClientError):
                async with session.get(f"http://127.0.0.1:{port}/ready") as answer:
                    if answer.status == 200:
                        break
            if time.monotonic() > until:
                raise TimeoutError(f"the new {name} is not ready; see its log")
            await asyncio.sleep(0.05)
    await door.lead(name, port, DRAIN_S)


async def up(given: argparse.Namespace) -> None:
    functions = manifest.load()
    kept = keep(given.dir, given.port, [f"fn-{name}" for name in functions])
    port = kept.ports["gateway"]
    if not free(port):
        raise SystemExit(f"port {port} is taken; give another with --port, or end what uses it")
    url = f"http://127.0.0.1:{port}"
    bundle = ROOT / "build" / "agent.pyz"
    agent_bundle.build(bundle, [f"{sys.version_info[0]}.{sys.version_info[1]}"], ROOT / "build" / "wheels")
    settings = settings_env(given, kept, url)
    if given.store == "firestore":
        os.environ["FIRESTORE_EMULATOR_HOST"] = f"127.0.0.1:{kept.ports['firestore']}"
    base_env = {k: v for k, v in os.environ.items() if not k.startswith("DUMONT_")}
    env = {**base_env, **settings, "PYTHONPATH": str(ROOT)}
    cloud = Cloud(given.dir, kept)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    known = kept.secrets
    ports = weed.Ports(kept.ports["weed"])
    runner: web.AppRunner | None = None
    tasks: list[asyncio.Task[None]] = []
    try:
        s3 = weed.command(given.dir / "s3", ports, BUCKET, known["s3_access_key"], known["s3_secret_key"])
        await cloud.start("s3", s3, base_env)
        await cloud.start(
            "simulators",
            [
                sys.executable,
                "-m",
                "local.simulators",
                "--state-dir",
                str(given.dir / "market"),
                "--vast-port",
                str(kept.ports["vast"]),
                "--tensordock-port",
                str(kept.ports["tensordock"]),
                "--gce-port",
                str(kept.ports["gce"]),
                "--control-port",
                str(kept.ports["control"]),
                "--scenario",
                str(given.scenario.resolve()),
                "--api-key",
                known["vast_api_key"],
                "--tensordock-token",
                known["tensordock_token"],
            ],
            {**base_env, "PYTHONPATH": str(ROOT)},
        )
        if given.store == "firestore":
            jar = emulator.find_jar()
            if jar is None:
                raise SystemExit(
                    "STORE=firestore needs Java and the emulator: gcloud components install cloud-firestore-emulator"
                )
            await cloud.start("firestore", emulator.command(jar, kept.ports["firestore"]), base_env)
            await answers(kept.ports["firestore"])
        # The first connection makes the store's tables; functions that start together need not race for that.
        key = await asyncio.to_thread(demo_user, settings, known["password"])
        for name, function in functions.items():
            await cloud.start(f"fn-{name}", *serving(given.dir, function, kept.ports[f"fn-{name}"], env, known))
        from cryptography.hazmat.primitives import serialization

        oidc = serialization.load_pem_private_key(known["oidc_private"].encode(), None)
        door = gateway.Gateway(
            functions, {name: kept.ports[f"fn-{name}"] for name in functions}, ROOT / "frontend" / "dist"
        )
        app = gateway.application(door, scheduler.jwks(oidc))
        runner = gateway.runner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        waits = [answers(kept.ports[f"fn-{name}"]) for name in functions]
        await asyncio.gather(bucket_ready(kept), answers(kept.ports["vast"]), *waits)
        tasks = [
            asyncio.create_task(cloud.watch()),
            asyncio.create_task(scheduler.run(functions, url, oidc, given.tick_s)),
        ]
        state = {
            "api_url": url,
            "console_url": url,
            "vast_url": f"http://127.0.0.1:{kept.ports['vast']}",
            "vast_api_key": known["vast_api_key"],
            "tensordock_url": settings["DUMONT_TENSORDOCK_URL"],
            "tensordock_token": known["tensordock_token"],
            "gce_url": settings["DUMONT_GCE_URL"],
            "gce_project": settings["DUMONT_GCE_PROJECT"],
            "s3": {
                "endpoint": f"http://127.0.0.1:{ports.s3}",
                "bucket": BUCKET,
                "access_key": known["s3_access_key"],
                "secret_key": known["s3_secret_key"],
            },
            "control_url": f"http://127.0.0.1:{kept.ports['control']}",
            "demo": {"email": EMAIL, "password": known["password"], "api_key": key},
            "store": settings["DUMONT_STORE"],
        }

        def tell() -> None:
            whole = {**state, "revision": revision(given.dir), "pids": {**cloud.pids(), "up": os.getpid()}}
            write_private(given.dir / "state.json", json.dumps(whole, indent=2))

        async def upgrade() -> None:
            """Every function, one after another, by the newest revision's process; nobody who calls notices."""
            for name, function in functions.items():
                fresh = any_port()
                await cloud.replace(
                    f"fn-{name}",
                    *serving(given.dir, function, fresh, env, known),
                    partial(handed_over, door, name, fresh),
                )
            tell()

        upgrades: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: upgrades.add(asyncio.create_task(upgrade()))
        )
        tell()
        # `--local` looks for the usual folder.
        usual = given.dir.resolve() == Path(".local").resolve()
        login = "--local" if usual else f"--url {url} --email {EMAIL} --password {known['password']}"
        sys.stdout.write(
            f"\nDumont Cloud runs.\n\n  console   {url}\n  API       {url}/api/v1\n"
            f"  login     {EMAIL}  {known['password']}\n\n  bin/dumont login {login}\n"
            f"  bin/dumont provision --gpu 'RTX 4090'\n\nCtrl-C stops everything; logs are in {given.dir}/logs.\n"
        )
        sys.stdout.flush()
        await stop.wait()
        tasks += upgrades
    finally:
        for task in tasks:
            task.cancel()
        await cloud.stop()
        if runner is not None:
            await runner.cleanup()
        (given.dir / "state.json").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=ROOT / ".local")
    parser.add_argument("--port", type=int, help="of the console and the API; default: the one it had, or a free one")
    parser.add_argument("--scenario", type=Path, default=ROOT / "local" / "scenarios" / "default.json")
    parser.add_argument("--tick-s", type=float, help="seconds that stand for the scheduler's minute")
    parser.add_argument(
        "--store", default="sqlite", help="sqlite; firestore (Google's emulator, kept in memory); or firestore:PROJECT"
    )
    asyncio.run(up(parser.parse_args()))


if __name__ == "__main__":
    main()
