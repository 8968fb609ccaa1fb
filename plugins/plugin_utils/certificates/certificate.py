# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate chain says, and whether it serves a relay. Runs on the controller."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization

__all__ = [
    "CertificateError",
    "ProvidedCheck",
    "check_provided",
    "covers",
    "describe",
    "general_names",
    "issued_by",
    "names_of",
    "parse_chain",
    "private_key_matches",
]

WARN_BEFORE = timedelta(days=21)


class CertificateError(Exception):
    """A certificate, key or name does not serve; the text says which and why."""


@dataclass(frozen=True, kw_only=True)
class ProvidedCheck:
    """What is wrong with a provided certificate: errors forbid its use, warnings do not."""

    errors: Sequence[str]
    warnings: Sequence[str]


def parse_chain(pem: str, what: str) -> list[x509.Certificate]:
    """The certificates in `pem`, the host's own first. Raises CertificateError, which calls them `what`."""
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise CertificateError(f"{what} holds no certificate in PEM form: {error}") from error


def general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Host names and addresses as a certificate carries them. Raises CertificateError for what is neither."""
    result: list[x509.GeneralName] = []
    for name in names:
        try:
            result.append(x509.IPAddress(ipaddress.ip_address(name)))
            continue
        except ValueError:
            pass
        try:
            ascii_name = name.encode("idna").decode("ascii").lower()
        except UnicodeError as error:
            raise CertificateError(f"relay_tls_certificate.names: {name!r} is not a host name: {error}") from error
        if not ascii_name or any(not (c.isalnum() or c in "-.*_") for c in ascii_name):
            raise CertificateError(f"relay_tls_certificate.names: {name!r} is neither a host name nor an address")
        result.append(x509.DNSName(ascii_name))
    return result


def names_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses that the certificate is for, sorted (RFC 9525: the subject's CN does not count)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    names = {name.lower() for name in extension.get_values_for_type(x509.DNSName)}
    addresses = {str(address) for address in extension.get_values_for_type(x509.IPAddress)}
    return sorted(names | addresses)


def covers(certificate: x509.Certificate, name: str) -> bool:
    """Whether a client that connects to `name` accepts the certificate's names (RFC 9525, 6.3 and 6.4)."""
    (wanted,) = general_names([name])
    wanted_text = str(wanted.value)
    for offered in names_of(certificate):
        if offered == wanted_text:
            return True
        if offered.startswith("*.") and isinstance(wanted, x509.DNSName):
            _, dot, parent = wanted_text.partition(".")
            if dot and parent == offered[2:]:
                return True
    return False


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether `authority` signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def private_key_matches(certificate: x509.Certificate, key_pem: str, what: str) -> bool:
    """Whether the private key belongs to the certificate. Raises CertificateError when `what` holds no usable key."""
    try:
        key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    except (TypeError, ValueError) as error:
        raise CertificateError(f"{what} holds no private key without a passphrase: {error}") from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def check_provided(certificate: x509.Certificate, names: Iterable[str], now: datetime | None = None) -> ProvidedCheck:
    """Judge a certificate that the operator brings: in force, for these names, with time left."""
    now = now or datetime.now(UTC)
    errors: list[str] = []
    warnings: list[str] = []
    ends = certificate.not_valid_after_utc
    if ends <= now:
        errors.append(f"expired on {_day(ends)}")
    elif ends - now < WARN_BEFORE:
        warnings.append(f"expires on {_day(ends)}, in {(ends - now).days} days")
    if certificate.not_valid_before_utc > now:
        errors.append(f"is not valid before {_day(certificate.not_valid_before_utc)}")
    missing = [name for name in names if not covers(certificate, name)]
    if missing:
        offered = ", ".join(names_of(certificate)) or "no name at all"
        errors.append(f"is for {offered}, not for {', '.join(missing)}")
    return ProvidedCheck(errors=errors, warnings=warnings)


def describe(certificate: x509.Certificate) -> str:
    """The certificate in the lines that a diff shows."""
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":")
    return (
        f"subject: {certificate.subject.rfc4514_string()}\n"
        f"names: {', '.join(names_of(certificate))}\n"
        f"issuer: {certificate.issuer.rfc4514_string()}\n"
        f"not after: {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC\n"
        f"sha256: {fingerprint}\n"
    )


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
