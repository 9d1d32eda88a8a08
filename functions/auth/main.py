"""Sessions, API keys, SSH keys, users."""

import functions_framework

from shared.bootstrap import deps
from shared.flows import auth
from shared.web.endpoint import Call, endpoint, routes
from shared.wire import auth as wire
from shared.wire.base import Done
from shared.wire.instances import SshKeysBody, SshKeysView
from shared.wire.machines import DefaultsBody, DefaultsView


@endpoint("POST", "/auth/login", caller="public", body=wire.LoginRequest)
def login(call: Call) -> wire.SessionView:
    # Proxies append to this header: only the last hops, which are ours, can be believed.
    hops = [h.strip() for h in call.request.headers.get("X-Forwarded-For", "").split(",") if h.strip()]
    trusted = deps().settings.trusted_hops
    address = hops[-trusted] if len(hops) >= trusted else (call.request.remote_addr or "unknown")
    return auth.login(call.body, address, deps(), call.request.headers.get("User-Agent", ""))


@endpoint("POST", "/auth/refresh", caller="public", body=wire.RefreshRequest)
def refresh(call: Call) -> wire.SessionView:
    return auth.refresh(call.body, deps())


@endpoint("POST", "/auth/logout", caller="public", body=wire.RefreshRequest)
def logout(call: Call) -> Done:
    return auth.logout(call.body, deps())


@endpoint("GET", "/auth/sessions", caller="user")
def sessions(call: Call) -> wire.SessionList:
    return auth.list_sessions(call.user, deps())


@endpoint("DELETE", "/auth/sessions/{session}", caller="user")
def end_session(call: Call) -> Done:
    return auth.end_session(call.params["session"], call.user, deps())


@endpoint("POST", "/auth/sessions/end-others", caller="user", body=wire.RefreshRequest)
def end_others(call: Call) -> wire.EndedView:
    return auth.end_other_sessions(call.body, call.user, deps())


@endpoint("GET", "/auth/me", caller="user")
def me(call: Call) -> wire.UserView:
    return auth.user_view(call.user)


@endpoint("GET", "/auth/keys", caller="user")
def keys(call: Call) -> wire.KeyList:
    return auth.list_keys(call.user, deps())


@endpoint("POST", "/auth/keys", caller="user", body=wire.KeyRequest, success=201)
def create_key(call: Call) -> wire.NewKeyView:
    return auth.create_key(call.body, call.user, deps())


@endpoint("DELETE", "/auth/keys/{key}", caller="user")
def revoke_key(call: Call) -> Done:
    return auth.revoke_key(call.params["key"], call.user, deps())


@endpoint("GET", "/auth/ssh-keys", caller="user")
def ssh_keys(call: Call) -> SshKeysView:
    return SshKeysView(ssh_keys=call.user.ssh_keys)


@endpoint("PUT", "/auth/ssh-keys", caller="user", body=SshKeysBody)
def set_ssh_keys(call: Call) -> SshKeysView:
    return auth.set_ssh_keys(call.body, call.user, deps())


@endpoint("POST", "/auth/users", caller="admin", body=wire.CreateUserRequest, success=201)
def create_user(call: Call) -> wire.UserView:
    user = auth.create_user(call.body.email, call.body.password, call.body.admin, deps())
    return auth.user_view(user)


@endpoint("GET", "/auth/defaults", caller="user")
def show_defaults(call: Call) -> DefaultsView:
    return auth.defaults_view(call.user)


@endpoint("PUT", "/auth/defaults", caller="user", body=DefaultsBody)
def set_defaults(call: Call) -> DefaultsView:
    return auth.set_defaults(call.body, call.user, deps())


main = functions_framework.http(
    routes(
        login, refresh, logout, sessions, end_session, end_others, me, keys, create_key,
        revoke_key, ssh_keys, set_ssh_keys, create_user, show_defaults, set_defaults, deps=deps,
    )
)  # fmt: skip
