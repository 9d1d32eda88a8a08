"""Addresses that users give and we call: public ones only, so that nobody reaches what is beside us."""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared import errors

if TYPE_CHECKING:
    import httpx

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""Other IPv6 addresses may lead to IPv4 ones: mapped, compatible, through a NAT64."""
TRIED = 3
"""Of a name's addresses, one after the other: so many may be out of reach."""
CONNECT_S, READ_S = 3.0, 5.0
WHOLE_S = 10.0
"""A receiver that sends a byte now and then must not hold up what others are told."""


def require_public(field: str, url: str, private_ok: bool) -> list[str]:
    """The addresses that its host has now; each use asks again.

    Raises InvalidRequest unless it is https, and each of them public.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise errors.InvalidRequest(f"{field}: it is no address: {error}") from error
    if not url.isprintable() or " " in url or "\\" in url:
        # Of these one reader makes another address than the next.
        raise errors.InvalidRequest(f"{field}: an address has neither blanks nor backslashes")
    if parts.scheme not in (("https", "http") if private_ok else ("https",)) or not parts.hostname:
        raise errors.InvalidRequest(f"{field}: it must be an https address")
    if parts.username or parts.password:
        raise errors.InvalidRequest(f"{field}: credentials in an address end in logs; leave them out")
    try:
        port = parts.port or 443
    except ValueError as error:
        raise errors.InvalidRequest(f"{field}: {parts.hostname} has no address") from error
    return _addresses(field, parts.hostname, port, private_ok)


def _addresses(field: str, host: str, port: int, private_ok: bool) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        raise errors.InvalidRequest(f"{field}: {host} has no address") from error
    addresses = [str(row[4][0]) for row in found]
    for address in addresses:
        if not private_ok and not is_public(address):
            raise errors.InvalidRequest(f"{field}: {host} is {address}, which is not a public address")
    return list(dict.fromkeys(addresses))


def is_public(address: str) -> bool:
    known = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(known, ipaddress.IPv6Address) and (known not in GLOBAL_UNICAST or known.sixtofour is not None):
        return False
    return known.is_global and not known.is_multicast


def dial(field: str, host: str, port: int) -> socket.socket:
    """A connection to a public address of the host: what one look-up said is checked and connected to.

    Raises InvalidRequest as above, OSError when no address answers.
    """
    trouble: OSError = ConnectionError(f"{host} has no address")
    for address in _addresses(field, host, port, False)[:TRIED]:
        try:
            return socket.create_connection((address, port), CONNECT_S)
        except OSError as error:
            trouble = error
    raise trouble


def ask(
    method: str, field: str, url: str, body: bytes | None, headers: dict[str, str], private_ok: bool, most: int = 0
) -> tuple[int, bytes]:
    """The answer's status and the first `most` bytes of its body.

    One look-up is checked and connected to: by a second one the name might lead elsewhere. Redirects are not followed.
    Raises InvalidRequest as above, httpx.HTTPError when no address answers.
    """
    import httpx

    addresses = require_public(field, url, private_ok)
    named = httpx.URL(url)
    request: dict[str, Any] = {
        "content": body,
        "headers": {**headers, "Host": named.netloc.decode()},
        # The certificate has to be the name's, not the number's.
        "extensions": {"sni_hostname": named.raw_host.decode()},
    }
    trouble: httpx.HTTPError = httpx.ConnectError("it has no address")
    for address in addresses[:TRIED]:
        # Proxies and passwords of our own environment are nobody else's.
        client = httpx.Client(timeout=httpx.Timeout(READ_S, connect=CONNECT_S), trust_env=False)
        limit = threading.Timer(WHOLE_S, client.close)
        limit.start()
        try:
            with client, client.stream(method, named.copy_with(host=address), **request) as answer:
                return answer.status_code, _first(answer, most)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            # Nothing was sent yet.
            trouble = error
        finally:
            limit.cancel()
    raise trouble


def _first(answer: httpx.Response, most: int) -> bytes:
    """As it came: what expands is not expanded."""
    found = b""
    pieces = answer.iter_raw()
    while len(found) < most and (piece := next(pieces, b"")):
        found += piece
    return found[:most]
