"""Users, sessions and API keys.

Access tokens are EdDSA JWTs of a few minutes; refresh tokens are opaque, stored hashed and rotated at each use: one
that is used again after its successor was made ends every session of its login.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from shared import errors
from shared.clock import Clock
from shared.deps import Deps
from shared.domain.instance import Instance, State
from shared.domain.user import Key, Session, User
from shared.settings import Settings
from shared.store import codec
from shared.store.base import Create, Delete, Put, Replace
from shared.store.records import Transaction
from shared.store.shapes import INSTANCES_OF_USER, KEYS_OF_USER, SESSIONS_OF_FAMILY, SESSIONS_OF_USER
from shared.strategies import STRATEGIES
from shared.wire import auth as wire
from shared.wire.base import Done
from shared.wire.instances import SshKeysBody, SshKeysView
from shared.wire.machines import DefaultsBody, DefaultsView

AUDIENCE = "dumont-api"
GRACE = timedelta(seconds=20)
"""Two tabs may use the same refresh token at once."""
LOGIN_TRIES = 10
LOGIN_WINDOW = timedelta(minutes=5)
KEY_USE_NOTED = timedelta(hours=1)
SSH_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-[\w@.-]+) [A-Za-z0-9+/]{16,}={0,3}( [^\r\n]*)?"
)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# Passwords -----------------------------------------------------------------------------------------------------------


@cache
def _hasher() -> Any:
    from argon2 import PasswordHasher

    # OWASP's second choice: 19 MiB, two passes; 64 MiB a login would not fit the function's memory.
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _dummy_hash() -> str:
    return str(_hasher().hash(secrets.token_hex(16)))


def _password_holds(stored: str | None, password: str) -> bool:
    """Takes as long for an unknown user as for a known one."""
    from argon2.exceptions import VerifyMismatchError

    try:
        _hasher().verify(stored or _dummy_hash(), password)
    except VerifyMismatchError:
        return False
    return stored is not None


# Users ---------------------------------------------------------------------------------------------------------------


def _email(text: str) -> str:
    return text.strip().lower()


def create_user(email: str, password: str, admin: bool, deps: Deps) -> User:
    """Raises Conflict when the address is taken."""
    user = User(id=f"u-{uuid.uuid4().hex[:16]}", email=_email(email), created_at=deps.clock.now(), admin=admin)
    try:
        deps.store.commit(
            [
                Create("emails", _sha(user.email), {"user_id": user.id}),
                Create("users", user.id, codec.encode(user)),
                Create("credentials", user.id, {"password": _hasher().hash(password)}),
            ]
        )
    except errors.StoreConflict as error:
        raise errors.Conflict(f"there is a user {user.email} already") from error
    return user


def ensure_user(email: str, password: str, admin: bool, deps: Deps) -> User:
    """The user with this address, made when missing; for the local cloud and a first administrator."""
    found = _user_by_email(email, deps)
    return found or create_user(email, password, admin, deps)


def _user_by_email(email: str, deps: Deps) -> User | None:
    claim = deps.store.get("emails", _sha(_email(email)))
    return _user(str(claim.data["user_id"]), deps) if claim else None


def _user(user_id: str, deps: Deps) -> User | None:
    document = deps.store.get("users", user_id)
    user = codec.decode(User, document.data) if document else None
    return None if user is None or user.disabled else user


def user_view(user: User) -> wire.UserView:
    return wire.UserView(id=user.id, email=user.email, admin=user.admin, created_at=user.created_at)


# Sessions ------------------------------------------------------------------------------------------------------------


def login(body: wire.LoginRequest, address: str, deps: Deps, device: str = "") -> wire.SessionView:
    """Raises TooManyRequests after too many wrong tries for an account or from an address."""
    buckets = [f"account|{_email(body.email)}", f"address|{address}"]
    for bucket in buckets:
        _throttle(bucket, deps)
    user = _user_by_email(body.email, deps)
    credential = deps.store.get("credentials", user.id) if user else None
    if not _password_holds(credential.data["password"] if credential else None, body.password) or user is None:
        raise errors.Unauthenticated("email or password is wrong")
    deps.store.commit([Delete("throttles", _sha(buckets[0]))])
    _give_back(buckets[1], deps)
    session, view = _new_session(user, uuid.uuid4().hex, deps.clock.now(), device, deps)
    deps.store.commit([Create("sessions", session.id, codec.encode(session))])
    return view


def _throttle(bucket: str, deps: Deps) -> None:
    """Take one try of a bucket that fills again with time."""
    id, now = _sha(bucket), deps.clock.now()
    for _ in range(8):
        document = deps.store.get("throttles", id)
        left, at = (document.data["left"], document.data["at"]) if document else (float(LOGIN_TRIES), now)
        left = min(LOGIN_TRIES, left + LOGIN_TRIES * ((now - at) / LOGIN_WINDOW))
        if left < 1:
            raise errors.TooManyRequests(
                "too many tries to log in; wait a little", (1 - left) * LOGIN_WINDOW.total_seconds() / LOGIN_TRIES
            )
        data = {"left": left - 1, "at": now, "expires_at": now + 2 * LOGIN_WINDOW}
        try:
            deps.store.commit(
                [Replace("throttles", id, data, document.rev) if document else Create("throttles", id, data)]
            )
            return
        except errors.StoreConflict:
            continue
    raise errors.TooManyRequests("too many tries to log in at once; wait a little", 5)


def _give_back(bucket: str, deps: Deps) -> None:
    """A right password takes no try from its address: an office logs in from one. A lost race gives nothing back."""
    document = deps.store.get("throttles", _sha(bucket))
    if document:
        data = {**document.data, "left": min(LOGIN_TRIES, document.data["left"] + 1)}
        with suppress(errors.StoreConflict):
            deps.store.commit([Replace("throttles", document.id, data, document.rev)])


def _new_session(
    user: User, family: str, first_at: datetime, device: str, deps: Deps
) -> tuple[Session, wire.SessionView]:
    """A session to be stored, and what its owner is told."""
    now, settings = deps.clock.now(), deps.settings
    token = secrets.token_urlsafe(32)
    absolute = first_at + timedelta(days=settings.refresh_absolute_days)
    session = Session(
        id=_sha(token),
        user_id=user.id,
        family=family,
        created_at=first_at,
        expires_at=min(absolute, now + timedelta(days=settings.refresh_days)),
        absolute_at=absolute,
        issued_at=now,
        device=device[:200],
    )
    return session, wire.SessionView(
        access_token=access_token(user.id, family, settings, deps.clock),
        expires_in=round(settings.access_minutes * 60),
        refresh_token=token,
    )


def refresh(body: wire.RefreshRequest, deps: Deps) -> wire.SessionView:
    """A new pair for an old refresh token; an old one used again ends the whole login."""
    document = deps.store.get("sessions", _sha(body.refresh_token))
    if document is None:
        raise errors.Unauthenticated("this session is over; log in again")
    session, now = codec.decode(Session, document.data), deps.clock.now()
    if now >= session.expires_at:
        raise errors.Unauthenticated("this session is over; log in again")
    if session.rotated_at is not None and now - session.rotated_at > GRACE:
        end_family(session.family, deps)
        raise errors.Unauthenticated("this refresh token was used before; every session of its login is ended")
    user = _user(session.user_id, deps)
    if user is None:
        raise errors.Unauthenticated("this user is gone")
    fresh, view = _new_session(user, session.family, session.created_at, session.device, deps)
    create = Create("sessions", fresh.id, codec.encode(fresh))
    # Together with the old one, so that a session that is being ended leaves no successor behind.
    rotated = codec.encode(replace(session, rotated_at=session.rotated_at or now, current=False))
    try:
        deps.store.commit([Replace("sessions", session.id, rotated, document.rev), create])
    except errors.StoreConflict:
        again = deps.store.get("sessions", session.id)
        if again is None:
            raise errors.Unauthenticated("this session is over; log in again") from None
        # The other tab was first; within the grace both go on.
        with suppress(errors.StoreConflict):
            deps.store.commit([Replace("sessions", session.id, again.data, again.rev), create])
            return view
        raise errors.Unavailable("this session is being renewed elsewhere; ask again") from None
    return view


def logout(body: wire.RefreshRequest, deps: Deps) -> Done:
    document = deps.store.get("sessions", _sha(body.refresh_token))
    if document is not None:
        end_family(str(document.data["family"]), deps)
    return Done()


def end_family(family: str, deps: Deps) -> None:
    cursor = None
    while True:
        page = deps.store.query(SESSIONS_OF_FAMILY, {"family": family}, limit=200, cursor=cursor)
        deps.records.delete(page.documents)
        cursor = page.cursor
        if cursor is None:
            return


def _live(user: User, deps: Deps) -> list[Session]:
    """The newest of each login that has not ended, newest first."""
    found: dict[str, Session] = {}
    cursor, now = None, deps.clock.now()
    while True:
        page = deps.store.query(SESSIONS_OF_USER, {"user_id": user.id, "current": True}, limit=200, cursor=cursor)
        for document in page.documents:
            one = codec.decode(Session, document.data)
            known = found.get(one.family)
            if one.expires_at > now and (known is None or known.expires_at < one.expires_at):
                found[one.family] = one
        cursor = page.cursor
        if cursor is None:
            return sorted(found.values(), key=lambda one: one.issued_at or one.created_at, reverse=True)


def list_sessions(user: User, deps: Deps) -> wire.SessionList:
    return wire.SessionList(
        sessions=[
            wire.LiveSessionView(
                id=one.family,
                device=one.device,
                created_at=one.created_at,
                renewed_at=one.issued_at or one.created_at,
                expires_at=one.expires_at,
            )
            for one in _live(user, deps)
        ]
    )


def end_session(family: str, user: User, deps: Deps) -> Done:
    """Its refresh token is void at once, its access tokens within their minutes."""
    if family not in {one.family for one in _live(user, deps)}:
        raise errors.NotFound(f"there is no session {family}")
    end_family(family, deps)
    return Done()


def end_other_sessions(body: wire.RefreshRequest, user: User, deps: Deps) -> wire.EndedView:
    """All but the one whose refresh token this is. Raises InvalidRequest when it is none of the user's."""
    document = deps.store.get("sessions", _sha(body.refresh_token))
    if document is None or document.data["user_id"] != user.id:
        raise errors.InvalidRequest("refresh_token: it is not of a session of yours, so all would end")
    others = [one.family for one in _live(user, deps) if one.family != document.data["family"]]
    for family in others:
        end_family(family, deps)
    return wire.EndedView(ended=len(others))


# Tokens --------------------------------------------------------------------------------------------------------------


def access_token(user_id: str, family: str, settings: Settings, clock: Clock) -> str:
    import jwt

    if settings.jwt_private_key is None:
        raise errors.Unavailable("this function has no signing key")
    now = clock.now()
    claims = {
        "iss": settings.jwt_issuer,
        "aud": AUDIENCE,
        "sub": user_id,
        "sid": family,
        "use": "access",
        "iat": now,
        "exp": now + timedelta(minutes=settings.access_minutes),
    }
    return jwt.encode(claims, settings.jwt_private_key.get_secret_value(), algorithm="EdDSA")


@cache
def _public_keys(text: str) -> list[str]:
    return re.findall(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", text, re.S)


def user_of_access_token(token: str, deps: Deps) -> User:
    import jwt

    for key in _public_keys(deps.settings.jwt_public_keys):
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=deps.settings.jwt_issuer,
                # The end is judged by our clock, below.
                options={"require": ["exp", "iat", "aud", "iss", "sub"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.PyJWTError as error:
            raise errors.Unauthenticated("the access token does not hold") from error
        if not isinstance(claims["exp"], int) or claims["exp"] <= deps.clock.now().timestamp():
            raise errors.Unauthenticated("the access token has expired; refresh it")
        user = _user(str(claims["sub"]), deps) if claims.get("use") == "access" else None
        if user is None:
            break
        return user
    raise errors.Unauthenticated("the access token does not hold")


# API keys ------------------------------------------------------------------------------------------------------------


def create_key(body: wire.KeyRequest, user: User, deps: Deps) -> wire.NewKeyView:
    """The key itself is in this answer and nowhere else."""
    id, secret = uuid.uuid4().hex[:16], secrets.token_urlsafe(32)
    key = Key(id=id, user_id=user.id, name=body.name, secret_hash=_sha(secret), created_at=deps.clock.now())
    deps.store.commit([Create("keys", id, codec.encode(key))])
    return wire.NewKeyView(**_key_view(key).model_dump(), key=f"dk_{id}_{secret}")


def _key_view(key: Key) -> wire.KeyView:
    return wire.KeyView.model_validate(key, from_attributes=True)


def list_keys(user: User, deps: Deps) -> wire.KeyList:
    page = deps.store.query(KEYS_OF_USER, {"user_id": user.id}, limit=200)
    keys = [codec.decode(Key, d.data) for d in page.documents]
    return wire.KeyList(keys=[_key_view(k) for k in sorted(keys, key=lambda k: k.created_at)])


def revoke_key(key_id: str, user: User, deps: Deps) -> Done:
    document = deps.store.get("keys", key_id)
    if document is None or document.data["user_id"] != user.id:
        raise errors.NotFound(f"there is no key {key_id}")
    key = codec.decode(Key, document.data)
    if key.revoked_at is None:
        revoked = codec.encode(replace(key, revoked_at=deps.clock.now()))
        deps.store.commit([Put("keys", key_id, revoked)])
    return Done()


def user_of_key(token: str, deps: Deps) -> User:
    match = re.fullmatch(r"dk_([0-9a-f]{16})_([\w-]{20,100})", token)
    document = deps.store.get("keys", match.group(1)) if match else None
    key = codec.decode(Key, document.data) if document else None
    if match is None or key is None or not hmac.compare_digest(key.secret_hash, _sha(match.group(2))):
        raise errors.Unauthenticated("this API key does not hold")
    if key.revoked_at is not None:
        raise errors.Unauthenticated("this API key was revoked")
    user = _user(key.user_id, deps)
    if user is None:
        raise errors.Unauthenticated("this user is gone")
    now = deps.clock.now()
    if document is not None and (key.last_used_at is None or now - key.last_used_at > KEY_USE_NOTED):
        try:
            deps.store.commit([Replace("keys", key.id, codec.encode(replace(key, last_used_at=now)), document.rev)])
        except errors.StoreConflict:
            # Another request noted it, or the key was just revoked; the next call sees that.
            pass
    return user


# SSH keys ------------------------------------------------------------------------------------------------------------


def set_ssh_keys(body: SshKeysBody, user: User, deps: Deps) -> SshKeysView:
    """The user's public keys; running machines get them with their next heartbeat."""
    keys = [key.strip() for key in body.ssh_keys]
    for key in keys:
        if not SSH_KEY.fullmatch(key):
            raise errors.InvalidRequest(f"ssh_keys: {key[:40]!r} is not a public key in OpenSSH's form")
    document = deps.store.get("users", user.id)
    if document is None:
        raise errors.NotFound("this user is gone")
    changed = replace(codec.decode(User, document.data), ssh_keys=list(dict.fromkeys(keys)))
    deps.store.commit([Replace("users", user.id, codec.encode(changed), document.rev)])
    for instance in deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": user.id}):
        if instance.state is State.RUNNING and instance.attempt_id:
            deps.records.transact(lambda tx, id=instance.id: _order_keys(tx, id, changed.ssh_keys))  # type: ignore[misc]
    return SshKeysView(ssh_keys=changed.ssh_keys)


def _order_keys(tx: Transaction, instance_id: str, ssh_keys: list[str]) -> None:
    # Here, as every function checks its callers and few give orders: a third of what starting one would import.
    from shared.flows.agents import new_order

    instance = tx.load(Instance, instance_id)
    if instance.attempt_id is not None:
        for attempt_id in {instance.attempt_id, instance.standby_attempt_id} - {None}:
            tx.save(new_order(tx, instance, str(attempt_id), "keys", {"authorized_keys": ssh_keys}))


# Defaults ------------------------------------------------------------------------------------------------------------


def defaults_view(user: User) -> DefaultsView:
    words = {name: strategy.words for name, strategy in STRATEGIES.items()}
    words["serverless"] = "a warm machine from your pool at once; a race when none is warm"
    return DefaultsView(strategy=user.strategy, strategies=words)


def set_defaults(body: DefaultsBody, user: User, deps: Deps) -> DefaultsView:
    document = deps.store.get("users", user.id)
    if document is None:
        raise errors.NotFound("this user is gone")
    changed = replace(codec.decode(User, document.data), strategy=body.strategy)
    deps.store.commit([Replace("users", user.id, codec.encode(changed), document.rev)])
    return defaults_view(changed)
