# SPDX-License-Identifier: GPL-3.0-or-later
"""SASL EXTERNAL (RFC 4422 appendix A): for which accounts a client's certificate speaks, without I/O.

The TLS handshake has verified the certificate against `[tls] client_ca` before anything here sees it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from relay_agent.accounts.store import Account, normalise_name
from relay_agent.submission.sign_in import SignInError

__all__ = ["NAME", "CertificateError", "account_of", "certified_names", "read_authorization"]

NAME = "EXTERNAL"


class CertificateError(Exception):
    """A verified certificate is nobody's here; the text says why, for the log."""


def certified_names(certificate: Mapping[str, Any], now: float) -> tuple[str, ...]:
    """The names of accounts, normalised, that a certificate is for, in its own order.

    certificate: as `SSLSocket.getpeercert` gives it, {} for none. now: seconds since the epoch.

    These are its e-mail addresses in the subject alternative name (rfc822Name, RFC 5280 4.2.1.6). Only a
    certificate without any alternative name is taken at its common name, if that is an address: where there are
    alternative names, they are what the authority has checked (RFC 6125 6.4.4). Names beyond ASCII are left out,
    because letters that look alike must not make one account of another. Nothing is left of one that has ended: a
    resumed TLS session brings back a certificate that was verified when it began.
    """
    if not certificate or ssl.cert_time_to_seconds(certificate["notAfter"]) <= now:
        return ()
    alternative = certificate.get("subjectAltName")
    if alternative is not None:
        found = [value for kind, value in alternative if kind == "email"]
    else:
        pairs = [pair for part in certificate.get("subject", ()) for pair in part]
        found = [value for key, value in pairs if key == "commonName"]
        if len(found) != 1:
            return ()
    names = dict.fromkeys(name for value in found if (name := _address(value)))
    return tuple(names)


def _address(value: str) -> str:
    if not value.isascii() or "@" not in value.strip("@"):
        return ""
    try:
        return normalise_name(value)
    except ValueError:
        return ""


def account_of(names: tuple[str, ...], wanted: str, account: Callable[[str], Account | None]) -> Account:
    """The account that somebody with a certificate for `names` signs in to.

    wanted: the authorization identity, "" for none; it has to be one of the names. Without it the first name that
    has an account counts. account: the account of a normalised name, None for a locked one, too.
    Raises CertificateError.
    """
    if not names:
        raise CertificateError("the certificate has ended, or has no e-mail address in it")
    if wanted:
        try:
            wanted = normalise_name(wanted)
        except ValueError:
            wanted = ""
        if wanted not in names:
            raise CertificateError(f"the certificate is for {', '.join(names)}")
        names = (wanted,)
    for name in names:
        if (found := account(name)) is not None:
            return found
    raise CertificateError(f"{', '.join(names)}: no such account, or it is disabled")


def read_authorization(message: bytes) -> str:
    """The authorization identity of a decoded response, "" for none (RFC 4422 A.1). Raises SignInError."""
    try:
        text = message.decode()
    except UnicodeDecodeError:
        raise SignInError("501 5.5.2 The authorization identity is not UTF-8") from None
    if "\0" in text:
        raise SignInError("501 5.5.2 The authorization identity has a NUL in it")
    return text
