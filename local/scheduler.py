"""Cloud Scheduler's part: post to each scheduled function when its time has come, with a signed identity token."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp
import jwt

from infra.manifest import Function

ISSUER = "https://accounts.dumont.local"
AUDIENCE = "dumont-functions"
EMAIL = "scheduler@dumont.local"
DEADLINE_S = 320.0


def jwks(private_key: Any) -> dict[str, Any]:
    """The public half of the scheduler's key, as functions fetch it."""
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private_key.public_key()))
    return {"keys": [{**key, "kid": "local", "alg": "RS256", "use": "sig"}]}


def token(private_key: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "scheduler",
        "email": EMAIL,
        "email_verified": True,
        "iat": now,
        "exp": now + 600,
    }
    return jwt.encode(claims, private_key, algorithm="RS256", headers={"kid": "local"})


def every_s(schedule: str) -> float:
    """The interval of the two forms of cron lines we use: every minute, every n minutes."""
    minute = schedule.split(maxsplit=1)[0]
    if minute == "*":
        return 60.0
    if minute.startswith("*/"):
        return 60.0 * int(minute[2:])
    raise ValueError(f"the local scheduler does not know {schedule!r}")


async def run(functions: dict[str, Function], base_url: str, private_key: Any, tick_s: float | None) -> None:
    """Until cancelled. `tick_s` stands for a minute where time is scaled. A job never overlaps itself."""
    scale = tick_s / 60.0 if tick_s else 1.0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session:
        jobs = [
            _job(
                session, f"{base_url}/api/v1{function.routes[0].path}", every_s(function.schedule) * scale, private_key
            )
            for function in functions.values()
            if function.schedule
        ]
        await asyncio.gather(*jobs)


async def _job(session: aiohttp.ClientSession, url: str, interval_s: float, private_key: Any) -> None:
    while True:
        started = time.monotonic()
        try:
            async with session.post(url, headers={"Authorization": f"Bearer {token(private_key)}"}) as answer:
                if answer.status >= 400:
                    sys.stderr.write(f"scheduler: {url} answered {answer.status}: {(await answer.text())[:300]}\n")
        except (aiohttp.ClientError, TimeoutError) as error:
            sys.stderr.write(f"scheduler: {url}: {type(error).__name__}\n")
        await asyncio.sleep(max(0.1, interval_s - (time.monotonic() - started)))
