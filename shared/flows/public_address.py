"""Addresses that users give and we call: public ones only, so that nobody reaches what is beside us."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from shared import errors


def require_public(field: str, url: str, private_ok: bool) -> None:
    """Raises InvalidRequest unless it is https to a public host; asked when it is saved and again at each use."""
    parts = urlsplit(url)
    if parts.scheme not in (("https", "http") if private_ok else ("https",)) or not parts.hostname:
        raise errors.InvalidRequest(f"{field}: it must be an https address")
    if parts.username or parts.password:
        raise errors.InvalidRequest(f"{field}: credentials in an address end in logs; leave them out")
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        raise errors.InvalidRequest(f"{field}: {parts.hostname} has no address") from error
    for row in found:
        address = ipaddress.ip_address(str(row[4][0]).split("%")[0])
        if not private_ok and not address.is_global:
            raise errors.InvalidRequest(f"{field}: {parts.hostname} is {address}, which is not a public address")
