# SPDX-License-Identifier: GPL-3.0-or-later
"""What the certificate that a port showed says: whose it is, by whom, until when, and with which key."""

from __future__ import annotations

import contextlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from relay_agent.probe.attempt import Attempt, Presented, Shown
from relay_agent.probe.statement import key_of

__all__ = ["describe", "presented"]

_LONGEST = 200  # characters of a name: a stranger's certificate is not to fill the screen
#: What `cryptography` raises for certificates that strangers make up; most of it is no ValueError.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def describe(found: Attempt) -> Attempt:
    """The attempt, with its certificate read."""
    if found.shown is not None and found.certificate is None:
        found.certificate = presented(found.shown)
    return found


def presented(shown: Shown) -> Presented:
    """The certificate, read; one that cannot be read is one with a problem."""
    if not shown.der:
        return Presented(shown.problem or "none was shown", "", "", "", (), "", shown.version)
    try:
        certificate = x509.load_der_x509_certificate(shown.der)
        names: tuple[str, ...] = ()
        with contextlib.suppress(x509.ExtensionNotFound):
            alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = tuple(alternative.get_values_for_type(x509.DNSName))
        return Presented(
            shown.problem,
            key_of(shown.der),
            _name(certificate.subject),
            _name(certificate.issuer),
            names,
            certificate.not_valid_after_utc.strftime("%Y-%m-%d"),
            shown.version,
        )
    except _UNREADABLE as error:
        return Presented(shown.problem or f"cannot be read: {error}", "", "", "", (), "", shown.version)


def _name(name: x509.Name) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        found = name.get_attributes_for_oid(kind)
        if found:
            return str(found[0].value)[:_LONGEST]
    return name.rfc4514_string()[:_LONGEST]
