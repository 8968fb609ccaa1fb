# SPDX-License-Identifier: GPL-3.0-or-later
"""What a measured relay is to the runner, whichever program it is."""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = [
    "ACCOUNT",
    "MASS_ACCOUNT",
    "PASSWORD",
    "Certificate",
    "Ports",
    "Relay",
    "RelayError",
    "free_ports",
    "greets",
    "make_certificate",
    "wait_for_greeting",
]

ACCOUNT = "alice"
MASS_ACCOUNT = "news"  # the agent's only: for what many messages of one account do to another
PASSWORD = "bench-only-2f1c"  # of an account that exists for a benchmark on loopback


class RelayError(Exception):
    """A relay did not start or is not installed; the message ends with what it logged."""


@dataclass(frozen=True)
class Ports:
    """Where a relay listens on 127.0.0.1: without TLS and sign-in, with STARTTLS, with TLS from the start."""

    plain: int
    starttls: int
    implicit: int


class Relay(Protocol):
    """A relay program with a configuration of its own."""

    name: str
    ports: Ports
    pid: int

    def start(self) -> None:
        """Start it and return when it greets. Raises RelayError."""

    def stop(self) -> None:
        """Stop it and wait until it is gone."""

    def logged(self) -> str:
        """The end of its log."""


@dataclass(frozen=True)
class Certificate:
    """PEM files of a self-signed ECDSA P-256 certificate: both relays show the same."""

    certificate: Path
    key: Path


def make_certificate(directory: Path) -> Certificate:
    """A certificate for `bench.test`, valid for two days."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench.test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bench.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = Certificate(directory / "bench.pem", directory / "bench.key")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    files.key.chmod(0o600)
    return files


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def greets(port: int, timeout: float = 1.0) -> bool:
    """Whether a mail server on 127.0.0.1 answers a connection with 220."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as probe:
            probe.settimeout(timeout)
            return probe.recv(4).startswith(b"220")
    except OSError:
        return False


def wait_for_greeting(port: int, process: subprocess.Popen[bytes], seconds: float = 30.0) -> bool:
    """Wait until the port greets; False when the process ended or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if greets(port):
            return True
        time.sleep(0.02)
    return False
