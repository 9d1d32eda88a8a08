"""Names that lead elsewhere by the next look, and servers whose certificates nobody has signed."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec


class Names:
    """A resolver whose answers change: each look-up of a name uses up one, the last stays. Numbers are themselves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self.dialled: list[str] = []
        self._look_up, self._dial = socket.getaddrinfo, socket.create_connection
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)
        monkeypatch.setattr(socket, "create_connection", self.dial)

    def look_up(self, host: Any, port: Any, *args: Any, **kinds: Any) -> Any:
        if host not in self.answers:
            return self._look_up(host, port, *args, **kinds)
        self.asked.append(host)
        answers = self.answers[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [row for address in found for row in self._look_up(address, port, *args, **kinds)]

    def dial(self, address: tuple[str, int], *args: Any, **given: Any) -> socket.socket:
        """Nothing leaves this machine."""
        self.dialled.append(address[0])
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError
        return self._dial(address, *args, **given)


@contextlib.contextmanager
def self_signed(name: str, folder: Path) -> Iterator[tuple[int, list[str | None]]]:
    """A server's port, and the names that whoever calls it asks for."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(name, folder))
    context.sni_callback = lambda _, name, __: asked.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        thread.join(5)


def _certificate(name: str, folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    file = folder / "both.pem"
    file.write_bytes(pem + made.sign(key, hashes.SHA256()).public_bytes(form.Encoding.PEM))
    return file
