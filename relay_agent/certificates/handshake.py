# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of a certificate: TLS handshakes with the relay's own ports, which have to show it."""

from __future__ import annotations

import hashlib
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from relay_agent.config.schema import Listener

__all__ = ["Port", "prove", "shown", "tls_ports"]

_ANSWER_WITHIN = 10.0  # seconds
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Port:
    """Where a mail program would meet the certificate. implicit: TLS from the first byte."""

    address: str
    port: int
    implicit: bool


def tls_ports(listeners: Iterable[Listener]) -> list[Port]:
    """The ports to look at. Those behind a balancer are left out: they answer nobody else."""
    return [
        Port(listener.address or "127.0.0.1", listener.port, listener.tls != "starttls")
        for listener in listeners
        if listener.tls != "none" and not listener.proxy_from
    ]


def shown(port: Port) -> str:
    """The fingerprint (SHA-256) of the certificate that is shown there. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # What is asked is which certificate it is, not whether somebody trusts it.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if port.implicit:
        with (
            socket.create_connection((port.address, port.port), timeout=_ANSWER_WITHIN) as plain,
            context.wrap_socket(plain) as secured,
        ):
            return _fingerprint(secured)
    with smtplib.SMTP(port.address, port.port, local_hostname="localhost", timeout=_ANSWER_WITHIN) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return _fingerprint(client.sock)


def prove(ports: Sequence[Port], fingerprint: str, *, within: float, look: Callable[[Port], str] = shown) -> str:
    """Wait until every port has shown the certificate; "" then, else what a port showed instead, in words.

    within: seconds; a reload starts new workers, and the old ones answer until those are there.
    """
    deadline = time.monotonic() + within
    for port in ports:
        while True:
            try:
                found = look(port)
                problem = "" if found == fingerprint else f"shows another certificate ({found[:16]}...)"
            except OSError as error:  # of ssl and smtplib, too
                problem = f"has no handshake: {error}"
            if not problem:
                break
            if time.monotonic() >= deadline:
                return f"port {port.port} {problem}"
            time.sleep(_PAUSE)
    return ""


def _fingerprint(secured: ssl.SSLSocket) -> str:
    return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
