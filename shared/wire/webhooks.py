"""Webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from shared.wire.base import Body, View


class WebhookBody(Body):
    url: str = Field(min_length=8, max_length=2000)
    form: Literal["json", "slack"] = "json"


class DeliveryView(View):
    at: datetime
    event_id: str
    kind: str
    status: int | None
    problem: str | None


class WebhookView(View):
    id: str
    url: str
    form: str
    created_at: datetime
    tries: int
    deliveries: list[DeliveryView]


class NewWebhookView(WebhookView):
    secret: str
    """Shown once. Each delivery bears X-Dumont-Signature: t=SECONDS,v1=HMAC-SHA256(secret, SECONDS + "." + body)."""


class WebhookList(View):
    webhooks: list[WebhookView]
