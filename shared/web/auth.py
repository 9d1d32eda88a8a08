"""Credentials of a request: a bearer token is a user's session, a user's API key, or the scheduler's identity."""

from __future__ import annotations

from functools import cache
from typing import Any

from shared import errors
from shared.deps import Deps
from shared.domain.user import User
from shared.settings import Settings

CLAIMS = ["exp", "iat", "aud", "iss", "sub"]


def bearer(headers: Any) -> str:
    """The bearer token. Raises Unauthenticated."""
    kind, _, token = str(headers.get("Authorization") or "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise errors.Unauthenticated("send Authorization: Bearer with a session, an API key or a machine's token")
    return token.strip()


def user_of(token: str, deps: Deps) -> User:
    """Raises Unauthenticated."""
    from shared.flows import auth as flow

    if token.startswith("dk_"):
        return flow.user_of_key(token, deps)
    return flow.user_of_access_token(token, deps)


@cache
def _jwks(url: str) -> Any:
    from jwt import PyJWKClient

    return PyJWKClient(url, lifespan=3600, timeout=10)


def check_scheduler(token: str, settings: Settings) -> None:
    """Only the scheduler's own identity passes. Fails closed: without an expected address nobody does.

    Behind Cloud Run's own check (`iam`) the signature has been verified and removed, so only the claims are looked at;
    otherwise (`verify`) the signature is checked here.
    """
    import jwt

    if not settings.oidc_email or not settings.oidc_audience:
        raise errors.Unauthenticated("no scheduler identity is configured")
    issuers = [settings.oidc_issuer, settings.oidc_issuer.removeprefix("https://")]
    try:
        if settings.oidc_mode == "iam":
            claims = jwt.decode(
                token,
                options={
                    "require": CLAIMS,
                    "verify_signature": False,
                    "verify_exp": True,
                    "verify_aud": True,
                    "verify_iss": True,
                },
                audience=settings.oidc_audience,
                issuer=issuers,
                algorithms=["RS256"],
            )
        else:
            key: Any = _jwks(settings.oidc_jwks_url).get_signing_key_from_jwt(token).key
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=settings.oidc_audience,
                issuer=issuers,
                options={"require": CLAIMS},
            )
    except jwt.PyJWKClientConnectionError as error:
        raise errors.Unavailable("the scheduler's keys cannot be fetched") from error
    except jwt.PyJWTError as error:
        raise errors.Unauthenticated("this is not the scheduler's token") from error
    if claims.get("email") != settings.oidc_email or claims.get("email_verified") is not True:
        raise errors.Forbidden("this identity may not run scheduled functions")
