# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading certificates for DANE: the key as it is encoded, names, dates, who issued whom. Everything is hostile."""

from __future__ import annotations

import datetime as dt
import warnings
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from relay_agent.delivery.reply import printable

_MALFORMED = (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)
#: Extensions that mean something here; one that a certificate calls critical and that is not among them forbids its
#: use (RFC 5280 4.2), the limits on names of some authorities included.
_KNOWN = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_FOR_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

__all__ = [
    "Certificate",
    "CertificateFault",
    "Unreadable",
    "certificate_names",
    "fault_of_authority",
    "fault_of_dates",
    "fault_of_server",
    "is_issued_by",
    "matches_name",
    "parse_certificate",
    "subject_key",
]


class Unreadable(Exception):
    """Not a certificate, or one that makes no sense; the text says what."""


class CertificateFault(Exception):
    """A certificate may not be used in this place; the text says why."""

    def __init__(self, text: str, *, expired: bool = False) -> None:
        super().__init__(text)
        self.expired = expired


@dataclass(slots=True, frozen=True)
class Certificate:
    """A certificate and its bytes (DER)."""

    der: bytes
    parsed: x509.Certificate

    @property
    def title(self) -> str:
        """Its subject, for people."""
        try:
            return printable(self.parsed.subject.rfc4514_string(), 200) or "a certificate without subject"
        except _MALFORMED:
            return "a certificate with an unreadable subject"


def parse_certificate(der: bytes) -> Certificate:
    """Raises Unreadable."""
    try:
        # What is only frowned upon (a negative serial number, say) is the other side's affair, and no line in our log.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return Certificate(der, x509.load_der_x509_certificate(der))
    except (ValueError, x509.InvalidVersion) as error:
        raise Unreadable(printable(str(error), 200)) from None


def subject_key(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo exactly as it stands in a certificate: what selector 1 is about (RFC 6698 2.1.2).

    Cut out rather than encoded anew: the same key can be encoded in several ways. Raises Unreadable.
    """
    start, end = _inside(der, 0, len(der), 0x30)  # Certificate
    start, end = _inside(der, start, end, 0x30)  # TBSCertificate
    if der[start : start + 1] == b"\xa0":  # version
        start = _inside(der, start, end, 0xA0)[1]
    for tag in (0x02, 0x30, 0x30, 0x30, 0x30):  # serial number, signature, issuer, validity, subject
        start = _inside(der, start, end, tag)[1]
    return der[start : _inside(der, start, end, 0x30)[1]]


def _inside(der: bytes, start: int, limit: int, tag: int) -> tuple[int, int]:
    """Where the contents of the element at `start` begin and end (X.690 8.1.3)."""
    if start + 2 > limit or der[start] != tag:
        raise Unreadable("it is not built as a certificate is")
    length, begin = der[start + 1], start + 2
    if length & 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 4 or begin + octets > limit:
            raise Unreadable("it is not built as a certificate is")
        length, begin = int.from_bytes(der[begin : begin + octets], "big"), begin + octets
    if begin + length > limit:
        raise Unreadable("it ends too early")
    return begin, begin + length


def fault_of_dates(certificate: Certificate, now: dt.datetime) -> None:
    """Raises CertificateFault when the certificate has ended or not begun."""
    try:
        begin, end = certificate.parsed.not_valid_before_utc, certificate.parsed.not_valid_after_utc
    except _MALFORMED as error:
        raise _unreadable(certificate, error) from None
    if now > end:
        raise CertificateFault(f"the certificate {certificate.title} ended on {end:%Y-%m-%d}", expired=True)
    if now < begin:
        raise CertificateFault(f"the certificate {certificate.title} begins only on {begin:%Y-%m-%d}", expired=True)


def fault_of_authority(issuer: Certificate, below: int) -> None:
    """Raises CertificateFault when a certificate may not issue others, with `below` authorities under it
    (RFC 5280 6.1.4)."""
    extensions = _extensions(issuer)
    try:
        limits = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise CertificateFault(f"the certificate {issuer.title} is not an authority's") from None
    if not limits.ca or (limits.path_length is not None and limits.path_length < below):
        raise CertificateFault(f"the certificate {issuer.title} may not issue the one below it")
    try:
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            raise CertificateFault(f"the certificate {issuer.title} may not issue others")
    except x509.ExtensionNotFound:
        pass


def fault_of_server(certificate: Certificate) -> None:
    """Raises CertificateFault when a certificate may not be a server's."""
    try:
        uses = _extensions(certificate).get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not _FOR_SERVERS.intersection(uses):
        raise CertificateFault(f"the certificate {certificate.title} is not for servers")


def _extensions(certificate: Certificate) -> x509.Extensions:
    """Raises CertificateFault when they cannot be read, or one that we do not know is critical."""
    try:
        extensions = certificate.parsed.extensions
    except _MALFORMED as error:
        raise _unreadable(certificate, error) from None
    for each in extensions:
        if each.critical and each.oid not in _KNOWN:
            what = f"a critical extension that is not known here ({each.oid.dotted_string})"
            raise CertificateFault(f"the certificate {certificate.title} has {what}")
    return extensions


def _unreadable(certificate: Certificate, error: Exception) -> CertificateFault:
    return CertificateFault(f"the certificate {certificate.title} cannot be read: {printable(str(error), 100)}")


def is_issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether name and signature say so."""
    try:
        certificate.parsed.verify_directly_issued_by(issuer.parsed)
    except (*_MALFORMED, InvalidSignature):
        return False
    return True


def certificate_names(certificate: Certificate) -> list[str]:
    """The DNS names that it is for; its common name where it has none (RFC 7672 3.2.3). Lower case."""
    try:
        extension = certificate.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    except _MALFORMED:
        return []
    if not names:
        try:
            common = certificate.parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        except _MALFORMED:
            return []
        names = [str(each.value) for each in common]
    return [printable(name, 255).lower().rstrip(".") for name in names]


def matches_name(pattern: str, name: str) -> bool:
    """Whether a certificate's name, maybe ``*.example.org``, is for this host: the star is one whole label."""
    name = name.lower().rstrip(".")
    if not pattern.startswith("*."):
        return pattern == name
    label, dot, rest = name.partition(".")
    return bool(label and dot) and pattern[2:] == rest and "." in rest
