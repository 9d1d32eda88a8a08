"""Vast.ai's signed webhooks: what happens to a contract is posted to those who subscribed.

Headers, body, signature, retries and limits as the vendor's guide to notification webhooks has them (docs.vast.ai, read
2026-11). One difference: addresses on this machine over plain http are allowed, as everything here runs on one machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

import aiohttp

LIMIT = 4
ATTEMPTS = 5
TIMEOUT_S = 10.0
SUBJECTS = {
    "client:instance_created": "Instance was created",
    "client:instance_started": "Instance started",
    "client:instance_stopped": "Instance has been stopped",
    "client:instance_resumed": "Instance resumed after scheduling",
    "client:instance_deleted": "Instance deleted",
    "client:outbid": "Instance has been outbid",
    "client:instance_offline": "Instance is offline",
    "client:instance_online": "Instance is back online",
    "client:instance_error": "There were some problems with your instance",
    "client:low_credit": "Your credit balance is getting low",
}
"""Of these keys the vendor's guide names `client:outbid` and `client:low_credit`; the others follow its list of events."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    signed = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={signed.hexdigest()}"


class Notices:
    """The account's webhooks and their deliveries."""

    def __init__(self, wait_s: float = 1.0) -> None:
        self.webhooks: dict[int, dict[str, Any]] = {}
        self.wait_s = wait_s
        self._next_id = 41
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create a webhook; the answer alone has its secret. Raises ValueError with what is wrong."""
        if len(self.webhooks) >= LIMIT:
            raise ValueError(f"at most {LIMIT} webhooks per user")
        self._next_id += 1
        hook: dict[str, Any] = {
            "id": self._next_id,
            "user_id": 1,
            "created_at": time.time(),
            "webhook_secret": secrets.token_hex(32),
        }
        self._change(hook, {"name": None, **body})
        self.webhooks[hook["id"]] = hook
        return hook

    def change(self, id: int, body: dict[str, Any]) -> dict[str, Any]:
        """Raises KeyError and ValueError."""
        self._change(self.webhooks[id], body)
        return shown(self.webhooks[id])

    def rotate(self, id: int) -> dict[str, Any]:
        self.webhooks[id]["webhook_secret"] = secrets.token_hex(32)
        return self.webhooks[id]

    def _change(self, hook: dict[str, Any], body: dict[str, Any]) -> None:
        url, events = body.get("webhook_url", hook.get("webhook_url")), body.get("event_types", hook.get("event_types"))
        local = str(url).startswith(("http://127.0.0.1:", "http://localhost:"))
        if not isinstance(url, str) or len(url) > 2048 or not (url.startswith("https://") or local):
            raise ValueError("webhook_url must be https:// with at most 2048 characters")
        unknown = [event for event in events or [] if event not in SUBJECTS]
        if not events or unknown:
            raise ValueError(f"event_types must hold valid keys; unknown: {unknown}")
        hook.update(webhook_url=url, event_types=list(events), updated_at=time.time())
        if "name" in body:
            hook["name"] = body["name"]

    def tell(self, key: str, instance_id: int, message: str = "") -> None:
        """Post an event to whoever subscribed; delivery goes on by itself."""
        event = {
            "event_id": secrets.token_hex(16),
            "user_id": 1,
            "notif_type": key.partition(":")[2],
            "subject": SUBJECTS[key],
            "message": message or f"{SUBJECTS[key]}: {instance_id}",
            "data": {"instance_id": instance_id},
            "data_truncated": False,
            "timestamp": time.time(),
        }
        for hook in self.webhooks.values():
            if key in hook["event_types"]:
                task = asyncio.create_task(self._deliver(hook, event))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def test(self, id: int) -> bool:
        """One delivery of `webhook_test`, never repeated; whether it was accepted."""
        event = {
            "event_id": secrets.token_hex(16),
            "user_id": 1,
            "notif_type": "webhook_test",
            "subject": "Test",
            "message": "A test of this webhook",
            "data": None,
            "data_truncated": False,
            "timestamp": time.time(),
        }
        return 200 <= await self._post(self.webhooks[id], event, 1) < 300

    async def _deliver(self, hook: dict[str, Any], event: dict[str, Any]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            status = await self._post(hook, event, attempt)
            if status not in (0, 408, 429) and status < 500:
                return
            await asyncio.sleep(self.wait_s * 2 ** (attempt - 1))

    async def _post(self, hook: dict[str, Any], event: dict[str, Any], attempt: int) -> int:
        """The status, 0 when there was none."""
        body, timestamp = json.dumps(event).encode(), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "X-Vast-Event-Id": event["event_id"],
            "X-Vast-Delivery-Attempt": str(attempt),
            "X-Vast-Timestamp": timestamp,
            "X-Vast-Signature-256": signature(hook["webhook_secret"], timestamp, body),
        }
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
                session.post(hook["webhook_url"], data=body, headers=headers, allow_redirects=False) as response,
            ):
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0


def shown(hook: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in hook.items() if name != "webhook_secret"}
