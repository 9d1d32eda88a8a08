"""Secrets that a run used, and a search for them where none may stand: in logs and on consoles."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

NAMES = {
    "password": "password",
    "access_token": "session",
    "refresh_token": "refresh token",
    "key": "API, model or snapshot key",
    "api_key": "API key",
    "secret": "webhook's secret",
    "secret_key": "bucket's key",
    "hub_token": "model hub's token",
}
"""Fields of requests and answers that hold one."""
SHORTEST = 8
"""Shorter ones would be found anywhere."""


class Secrets:
    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}

    def add(self, kind: str, *secrets: str) -> None:
        self.kinds |= {secret: kind for secret in secrets if len(secret) >= SHORTEST}

    def add_from(self, value: Any) -> None:
        """Each secret in a request's or an answer's JSON: by its field's name, values of environments, signed addresses."""
        if isinstance(value, list):
            for one in value:
                self.add_from(one)
        elif isinstance(value, dict):
            for name, one in value.items():
                if name in NAMES and isinstance(one, str):
                    self.add(NAMES[name], one)
                elif name == "env" and isinstance(one, dict):
                    self.add("value of an environment", *(str(text) for text in one.values()))
                elif name == "urls" and isinstance(one, dict):
                    for url in one.values():
                        self.add("signature of an address", *parse_qs(urlsplit(url).query).get("X-Amz-Signature", []))
                else:
                    self.add_from(one)

    def counts(self) -> dict[str, int]:
        return dict(Counter(self.kinds.values()))

    def found_in(self, files: Iterable[Path]) -> list[str]:
        """Where one stands written, in whatever form; the secret itself is not told."""
        wanted = [(kind, form) for secret, kind in self.kinds.items() for form in forms(secret)]
        found = []
        for file in files:
            text = file.read_bytes()
            found += [f"{file.name}: {kind}" for kind, form in wanted if form in text]
        return sorted(set(found))


def forms(secret: str) -> set[bytes]:
    """As it is, and as JSON, an address, hexadecimal or base64 (wherever in a longer text) would write it."""
    raw = secret.encode()
    quoted = {quote(secret, safe=safe).encode() for safe in ("", "/")}
    found = {raw, json.dumps(secret)[1:-1].encode(), raw.hex().encode(), *quoted}
    for shift in range(3):
        # The letters at both ends also depend on what stands beside it.
        first, last = -(-shift * 8 // 6), (shift + len(raw)) * 8 // 6
        for code in (b64encode, urlsafe_b64encode):
            found.add(code(bytes(shift) + raw)[first:last])
    # Of a key in PEM, each line is a part that must not be told.
    return found | {line.encode() for line in secret.splitlines() if len(line) >= 40}
