"""Users, sessions, API keys."""

from __future__ import annotations

import jwt
import pytest

from shared import errors
from shared.domain.user import User
from shared.flows import auth
from shared.wire import auth as wire
from shared.wire.instances import SshKeysBody
from tests.support.world import PRIVATE_PEM, World

EMAIL, PASSWORD = "Ann@Example.com", "correct horse battery"


@pytest.fixture
def world() -> World:
    world = World()
    auth.create_user(EMAIL, PASSWORD, False, world.deps)
    return world


def log_in(
    world: World, password: str = PASSWORD, email: str = "ann@example.com", address: str = "1.2.3.4"
) -> wire.SessionView:
    return auth.login(wire.LoginRequest(email=email, password=password), address, world.deps)


def who(world: World, session: wire.SessionView) -> User:
    return auth.user_of_access_token(session.access_token, world.deps)


def renew(world: World, token: str) -> wire.SessionView:
    return auth.refresh(wire.RefreshRequest(refresh_token=token), world.deps)


def test_a_login_gives_a_session_that_says_who_it_is(world: World) -> None:
    session = log_in(world, email=" ANN@example.com ")

    assert who(world, session).email == "ann@example.com"
    assert session.expires_in == 900


@pytest.mark.parametrize(("email", "password"), [("ann@example.com", "wrong"), ("bob@example.com", PASSWORD)])
def test_a_wrong_login_says_the_same_whatever_was_wrong(world: World, email: str, password: str) -> None:
    with pytest.raises(errors.Unauthenticated, match="email or password is wrong"):
        log_in(world, password, email)


def test_an_address_is_taken_once(world: World) -> None:
    with pytest.raises(errors.Conflict):
        auth.create_user("ann@EXAMPLE.com", PASSWORD, True, world.deps)


def test_passwords_are_stored_as_argon2id_and_nowhere_else(world: World) -> None:
    user = who(world, log_in(world))
    document = world.store.get("credentials", user.id)

    assert document is not None and document.data["password"].startswith("$argon2id$")
    users = world.store.get("users", user.id)
    assert users is not None and "password" not in users.data


def test_an_access_token_ends_after_fifteen_minutes(world: World) -> None:
    session = log_in(world)
    world.clock.step(minutes=14, seconds=59)
    assert who(world, session)

    world.clock.step(seconds=1)
    with pytest.raises(errors.Unauthenticated, match="expired"):
        who(world, session)


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "another"},
        {"iss": "another"},
        {"use": "refresh"},
        {"sub": "u-nobody"},
    ],
)
def test_a_token_with_another_claim_does_not_hold(world: World, change: dict[str, str]) -> None:
    claims = jwt.decode(log_in(world).access_token, options={"verify_signature": False})
    forged = jwt.encode({**claims, **change}, PRIVATE_PEM, algorithm="EdDSA")

    with pytest.raises(errors.Unauthenticated):
        auth.user_of_access_token(forged, world.deps)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_of_another_algorithm_does_not_hold(world: World, algorithm: str) -> None:
    claims = jwt.decode(log_in(world).access_token, options={"verify_signature": False})
    key = "" if algorithm == "none" else "k" * 32
    forged = jwt.encode(claims, key, algorithm=algorithm)

    with pytest.raises(errors.Unauthenticated):
        auth.user_of_access_token(forged, world.deps)


def test_a_refresh_token_works_once_and_its_reuse_ends_the_whole_login(world: World) -> None:
    first = log_in(world)
    second = renew(world, first.refresh_token)
    world.clock.step(seconds=60)

    with pytest.raises(errors.Unauthenticated, match="used before"):
        renew(world, first.refresh_token)
    with pytest.raises(errors.Unauthenticated):
        renew(world, second.refresh_token)


def test_two_tabs_may_refresh_at_once(world: World) -> None:
    first = log_in(world)
    one, two = renew(world, first.refresh_token), renew(world, first.refresh_token)

    world.clock.step(minutes=1)
    assert renew(world, one.refresh_token).refresh_token != renew(world, two.refresh_token).refresh_token


def test_a_session_ends_for_good_after_thirty_days_of_renewals(world: World) -> None:
    session = log_in(world)
    for _ in range(4):
        world.clock.step(days=7)
        session = renew(world, session.refresh_token)
    world.clock.step(days=3)

    with pytest.raises(errors.Unauthenticated):
        renew(world, session.refresh_token)


def test_logout_ends_the_session_and_says_nothing_of_unknown_ones(world: World) -> None:
    session = log_in(world)

    auth.logout(wire.RefreshRequest(refresh_token=session.refresh_token), world.deps)
    auth.logout(wire.RefreshRequest(refresh_token="unknown"), world.deps)

    with pytest.raises(errors.Unauthenticated):
        renew(world, session.refresh_token)


def test_logins_are_throttled_per_account_and_recover_with_time(world: World) -> None:
    for n in range(10):
        with pytest.raises(errors.Unauthenticated):
            log_in(world, "wrong", address=f"10.0.0.{n}")

    with pytest.raises(errors.TooManyRequests) as caught:
        log_in(world, address="10.0.1.1")
    assert 0 < caught.value.retry_after_s <= 60

    world.clock.step(seconds=caught.value.retry_after_s + 1)
    assert log_in(world, address="10.0.1.1").access_token


def test_right_passwords_do_not_use_up_the_tries_of_an_address(world: World) -> None:
    for _ in range(30):
        assert log_in(world, address="10.0.2.1").access_token


def test_one_address_cannot_try_many_accounts(world: World) -> None:
    for n in range(10):
        with pytest.raises(errors.Unauthenticated):
            log_in(world, "wrong", f"user{n}@example.com")

    with pytest.raises(errors.TooManyRequests):
        log_in(world, "wrong", "user99@example.com")


def test_an_api_key_is_shown_once_stored_hashed_listed_and_revoked(world: World) -> None:
    user = who(world, log_in(world))
    key = auth.create_key(wire.KeyRequest(name="laptop"), user, world.deps)
    stored = world.store.get("keys", key.id)

    assert auth.user_of_key(key.key, world.deps).id == user.id
    assert stored is not None and key.key.split("_")[2] not in str(stored.data)
    listed = auth.list_keys(user, world.deps).keys
    assert [k.name for k in listed] == ["laptop"] and not hasattr(listed[0], "key")
    assert listed[0].last_used_at is not None

    auth.revoke_key(key.id, user, world.deps)
    with pytest.raises(errors.Unauthenticated, match="revoked"):
        auth.user_of_key(key.key, world.deps)


@pytest.mark.parametrize(
    "key", ["dk_", "dk_0123456789abcdef_" + "x" * 43, "dk_../users_xxxxxxxxxxxxxxxxxxxxxxxx", "dk_a_b_c"]
)
def test_a_wrong_api_key_does_not_hold(world: World, key: str) -> None:
    with pytest.raises(errors.Unauthenticated):
        auth.user_of_key(key, world.deps)


def test_anothers_key_cannot_be_revoked(world: World) -> None:
    ann = who(world, log_in(world))
    bob = auth.create_user("bob@example.com", PASSWORD, False, world.deps)
    key = auth.create_key(wire.KeyRequest(name="k"), ann, world.deps)

    with pytest.raises(errors.NotFound):
        auth.revoke_key(key.id, bob, world.deps)


@pytest.mark.parametrize(
    "key",
    ["not a key", "ssh-ed25519", "ssh-ed25519 AAAA\nssh-rsa BBBB", 'command="x" ssh-ed25519 ' + "A" * 40],
)
def test_what_is_no_public_key_is_refused(world: World, key: str) -> None:
    user = who(world, log_in(world))

    with pytest.raises(errors.InvalidRequest):
        auth.set_ssh_keys(SshKeysBody(ssh_keys=[key]), user, world.deps)


def test_ssh_keys_reach_machines_that_run(world: World) -> None:
    world._user = who(world, log_in(world))
    _, agent = world.running()
    key = "ssh-ed25519 " + "A" * 68 + " ann@laptop"

    auth.set_ssh_keys(SshKeysBody(ssh_keys=[key]), world.user, world.deps)

    assert agent.orders("keys")[0].payload == {"authorized_keys": [key]}


# Where one is logged in -----------------------------------------------------------------------------------------------


def test_each_login_is_listed_once_however_often_it_was_renewed(world: World) -> None:
    first = log_in(world)
    user = who(world, first)
    world.clock.step(minutes=5)
    auth.login(wire.LoginRequest(email=EMAIL, password=PASSWORD), "1.2.3.4", world.deps, "Firefox" + "x" * 500)
    world.clock.step(minutes=5)
    renewed = renew(world, first.refresh_token)

    sessions = auth.list_sessions(user, world.deps).sessions

    assert [one.device[:7] for one in sessions] == ["", "Firefox"]
    assert len(sessions[1].device) == 200
    assert sessions[0].renewed_at == world.clock.now()
    assert sessions[0].created_at < sessions[1].created_at
    sid = jwt.decode(renewed.access_token, options={"verify_signature": False})["sid"]
    assert sessions[0].id == sid


def test_ending_the_others_leaves_this_one(world: World) -> None:
    other, mine = log_in(world), log_in(world)
    user = who(world, mine)

    ended = auth.end_other_sessions(wire.RefreshRequest(refresh_token=mine.refresh_token), user, world.deps)

    assert ended.ended == 1
    with pytest.raises(errors.Unauthenticated):
        renew(world, other.refresh_token)
    assert renew(world, mine.refresh_token)
    assert len(auth.list_sessions(user, world.deps).sessions) == 1


def test_nobody_ends_all_of_theirs_by_a_token_that_is_not_theirs_nor_anothers_session(world: World) -> None:
    session = log_in(world)
    bob = auth.create_user("bob@example.com", PASSWORD, False, world.deps)

    with pytest.raises(errors.InvalidRequest):
        auth.end_other_sessions(wire.RefreshRequest(refresh_token=session.refresh_token), bob, world.deps)
    family = auth.list_sessions(who(world, session), world.deps).sessions[0].id
    with pytest.raises(errors.NotFound):
        auth.end_session(family, bob, world.deps)
    auth.end_session(family, who(world, session), world.deps)
    with pytest.raises(errors.Unauthenticated):
        renew(world, session.refresh_token)


def test_a_session_that_is_ended_while_it_is_renewed_has_no_successor(world: World) -> None:
    session = log_in(world)
    user = who(world, session)
    inner = world.store

    class Ending:
        """Ends the login between a renewal's read and its write."""

        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

        def commit(self, writes: list[object]) -> list[str]:
            auth.end_family(auth.list_sessions(user, world.deps).sessions[0].id, world.deps)
            return inner.commit(writes)  # type: ignore[arg-type]

    from dataclasses import replace
    from typing import Any, cast

    with pytest.raises(errors.Unauthenticated):
        auth.refresh(
            wire.RefreshRequest(refresh_token=session.refresh_token), replace(world.deps, store=cast(Any, Ending()))
        )
    assert auth.list_sessions(user, world.deps).sessions == []
