# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate chain says, and keys for new ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .problem import CertificateError

__all__ = ["Leaf", "key_digest", "new_key", "read_key", "read_leaf", "request"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """The relay's own certificate, the first of a chain.

    fingerprint: SHA-256 of the whole, key: of its public key (what TLSA 3 1 1 has), in hexadecimal digits.
    """

    names: frozenset[str]
    begins: datetime
    ends: datetime
    issuer: str
    fingerprint: str
    key: str

    @property
    def lifetime(self) -> timedelta:
        """From beginning to end."""
        return self.ends - self.begins


def read_leaf(chain: str) -> Leaf:
    """The first certificate of a PEM text. Raises CertificateError."""
    try:
        certificate = x509.load_pem_x509_certificates(chain.encode())[0]
    except ValueError as error:
        raise CertificateError(f"there is no certificate in PEM form in it: {error}") from None
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names: frozenset[str] = frozenset()
    else:
        hosts = (name.lower() for name in extension.get_values_for_type(x509.DNSName))
        names = frozenset([*hosts, *map(str, extension.get_values_for_type(x509.IPAddress))])
    return Leaf(
        names=names,
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
        issuer=certificate.issuer.rfc4514_string(),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        key=_digest(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    )


def new_key() -> str:
    """A private key of P-256, in PEM: small, fast, and taken by every mail program."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = (Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form).decode("ascii")


def read_key(pem: str) -> PrivateKeyTypes:
    """Raises CertificateError, which does not repeat any of it."""
    try:
        return serialization.load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError):
        raise CertificateError("the private key is damaged, or has a passphrase") from None


def key_digest(pem: str) -> str:
    """SHA-256 of the public part of a private key, hexadecimal (TLSA selector 1, matching type 1: RFC 6698 2.1)."""
    public = read_key(pem).public_key()
    return _digest(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def request(pem: str, names: Iterable[str]) -> str:
    """A request for a certificate of this key for these names, in PEM (RFC 2986)."""
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    signed = builder.sign(read_key(pem), hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(Encoding.PEM).decode("ascii")


def _digest(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()
