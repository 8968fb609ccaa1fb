# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates made to measure."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay_agent.delivery.tls.tlsa import Tlsa

__all__ = ["NOW", "Made", "issue", "key_of", "tlsa"]

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Made:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


def issue(
    name: str,
    issuer: Made | None = None,
    *,
    dns: tuple[str, ...] = (),
    ca: bool = False,
    path_length: int | None = None,
    days: tuple[int, int] = (-10, 10),
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> Made:
    """A certificate, self-signed without an issuer. days: begin and end, from NOW."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * _DAY)
        .not_valid_after(NOW + days[1] * _DAY)
    )
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in dns]), False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Made(builder.sign((issuer.key if issuer else key), hashes.SHA256()), key)


def key_of(made: Made) -> bytes:
    """SubjectPublicKeyInfo, as the library encodes it."""
    return made.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def tlsa(made: Made, usage: int, selector: int = 1, matching: int = 1) -> Tlsa:
    """The record of a certificate."""
    data = key_of(made) if selector else made.der
    if matching:
        data = (hashlib.sha256, hashlib.sha512)[matching - 1](data).digest()
    return Tlsa(usage, selector, matching, data)
