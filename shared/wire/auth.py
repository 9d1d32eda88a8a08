"""Sessions, keys and users."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from shared.wire.base import Body, View


class LoginRequest(Body):
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)


class RefreshRequest(Body):
    refresh_token: str = Field(max_length=200)


class SessionView(View):
    access_token: str
    expires_in: int
    """Seconds."""
    refresh_token: str
    token_type: str = "Bearer"


class LiveSessionView(View):
    id: str
    """The same as `sid` in the session's access tokens."""
    device: str
    """What it called itself at login; anybody may call themselves anything."""
    created_at: datetime
    renewed_at: datetime
    expires_at: datetime


class SessionList(View):
    sessions: list[LiveSessionView]


class EndedView(View):
    ended: int


class UserView(View):
    id: str
    email: str
    admin: bool
    created_at: datetime


class KeyRequest(Body):
    name: str = Field(min_length=1, max_length=100)


class KeyView(View):
    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewKeyView(KeyView):
    key: str
    """Shown this once."""


class KeyList(View):
    keys: list[KeyView]


class CreateUserRequest(Body):
    email: str = Field(max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")
    password: str = Field(min_length=12, max_length=1024)
    admin: bool = False
