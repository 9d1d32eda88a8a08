"""Telling users what happens, at addresses of theirs: at least once, in order; a receiver that fails is tried again."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from dataclasses import replace
from datetime import datetime, timedelta

from shared import errors
from shared.deps import Deps
from shared.domain.event import Event
from shared.domain.webhook import GIVE_UP_AFTER, REMEMBERED, SHOWN, TOLD, Delivery, Webhook
from shared.flows import keys
from shared.flows.snapshot_orders import COPY
from shared.public_address import ask, require_public
from shared.store.records import Transaction
from shared.store.shapes import EVENTS_OF_USER, WEBHOOKS_OF_USER
from shared.wire import webhooks as wire
from shared.wire.base import Done

MOST = 10
"""Webhooks of one user."""
LATE = timedelta(seconds=60)
"""An event may be committed so much after its own time."""
AT_ONCE = 20
BACKOFF_S = 10.0


def create(body: wire.WebhookBody, user_id: str, deps: Deps) -> wire.NewWebhookView:
    require_public("url", body.url, deps.settings.private_addresses)
    if len(deps.records.all(Webhook, WEBHOOKS_OF_USER, {"user_id": user_id})) >= MOST:
        raise errors.Conflict(f"{MOST} webhooks are the most; delete one first")
    now = deps.clock.now()
    id, secret = f"w-{uuid.uuid4().hex[:12]}", secrets.token_urlsafe(32)
    hook = Webhook(
        id=id,
        user_id=user_id,
        url=body.url,
        secret=keys.seal_text(deps.settings, keys.WEBHOOK, id, secret),
        form=body.form,
        created_at=now,
        told_until=now,
    )
    deps.records.transact(lambda tx: tx.save(hook))
    return wire.NewWebhookView(**view(hook).model_dump(), secret=secret)


def delete(id: str, user_id: str, deps: Deps) -> Done:
    def apply(tx: Transaction) -> None:
        hook = tx.find(Webhook, id)
        if hook is None or hook.user_id != user_id:
            raise errors.NotFound(f"there is no webhook {id}")
        tx.delete(Webhook, hook.id)

    deps.records.transact(apply)
    return Done()


def list_webhooks(user_id: str, deps: Deps) -> wire.WebhookList:
    found = deps.records.all(Webhook, WEBHOOKS_OF_USER, {"user_id": user_id})
    return wire.WebhookList(webhooks=[view(one) for one in sorted(found, key=lambda h: h.created_at)])


def view(hook: Webhook) -> wire.WebhookView:
    return wire.WebhookView(
        id=hook.id,
        url=hook.url,
        form=hook.form,
        created_at=hook.created_at,
        tries=hook.tries,
        deliveries=[wire.DeliveryView(**vars(one)) for one in hook.deliveries],
    )


def due_events(hook: Webhook, deps: Deps) -> list[Event]:
    """What has not been told, oldest first."""
    since, found = hook.told_until - LATE, []
    cursor: str | None = None
    while True:
        page, cursor = deps.records.query(Event, EVENTS_OF_USER, {"user_id": hook.user_id}, limit=100, cursor=cursor)
        found += [
            e
            for e in page
            if e.at > since
            and e.at >= hook.created_at
            and e.kind in TOLD
            and e.id not in hook.told
            # A drill is told of by its result: its copy's losses are nobody's.
            and not e.instance_id.startswith(COPY)
        ]
        if cursor is None or (page and page[-1].at <= since):
            return sorted(found, key=lambda e: (e.at, e.id))


def deliver(hook: Webhook, deps: Deps) -> int:
    """Tell what is due, until one fails; how many were told."""
    if hook.not_before is not None and hook.not_before > deps.clock.now():
        return 0
    told = 0
    for event in due_events(hook, deps)[:AT_ONCE]:
        status, problem = _send(hook, event, deps)
        good = problem is None
        settled = _note(hook, event, status, problem, deps)
        if settled is None:
            return told
        hook = settled
        if not good and hook.tries:
            return told
        told += good
    return told


def signature(secret: str, at: int, body: bytes) -> str:
    made = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={made}"


def _send(hook: Webhook, event: Event, deps: Deps) -> tuple[int | None, str | None]:
    """The receiver's status, and what was wrong."""
    text = f"{event.instance_id}: {event.message}" if event.instance_id else event.message
    if hook.form == "slack":
        # Angle brackets and ampersands are Slack's own marks.
        body = json.dumps({"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}).encode()
    else:
        body = json.dumps(
            {
                "id": event.id,
                "kind": event.kind,
                "at": event.at.isoformat(),
                "instance_id": event.instance_id or None,
                "message": event.message,
                "details": event.details,
            }
        ).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "dumont-cloud", "X-Dumont-Event": event.kind}
    secret = keys.open_text(deps.settings, keys.WEBHOOK, hook.id, hook.secret)
    headers["X-Dumont-Signature"] = signature(secret, int(deps.clock.now().timestamp()), body)
    import httpx

    try:
        status, _ = ask("POST", "url", hook.url, body, headers, deps.settings.private_addresses)
    except errors.InvalidRequest as refusal:
        return None, refusal.message
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return None, f"no answer: {type(error).__name__}"
    return status, None if 200 <= status < 300 else f"answered {status}"


def _note(hook: Webhook, event: Event, status: int | None, problem: str | None, deps: Deps) -> Webhook | None:
    """What came of a delivery; None when the webhook was deleted meanwhile."""

    def apply(tx: Transaction) -> Webhook | None:
        fresh = tx.find(Webhook, hook.id)
        if fresh is None:
            return None
        tries = fresh.tries + 1
        settled = problem is None or tries >= GIVE_UP_AFTER
        given_up = f"{problem}; given up after {tries} tries" if problem and settled else problem
        noted = replace(
            fresh,
            deliveries=(Delivery(tx.now, event.id, event.kind, status, given_up), *fresh.deliveries)[:SHOWN],
            tries=0 if settled else tries,
            not_before=None if settled else _later(tx.now, tries),
            told=(event.id, *fresh.told)[:REMEMBERED] if settled else fresh.told,
            told_until=max(fresh.told_until, event.at) if settled else fresh.told_until,
        )
        tx.save(noted)
        return noted

    return deps.records.transact(apply)


def _later(now: datetime, tries: int) -> datetime:
    return now + timedelta(seconds=BACKOFF_S * 2 ** (tries - 1))
