# SPDX-License-Identifier: GPL-3.0-or-later
"""Tries a relay's port as a mail program would, up to before the sign-in: connection, greeting, TLS, certificate.

Nothing is signed in to and nothing is sent. SMTP over TLS: RFC 8314 3.3; STARTTLS: RFC 3207.
"""

from __future__ import annotations

import hashlib
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["knock", "knock_all"]

_AT_ONCE = 12
_ISSUER = {18, 19, 20, 21}
_NAME = "status.invalid"  # of a host that nobody has (RFC 6761)

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")


def knock_all(host: str, listeners: Sequence[Mapping[str, Any]], ca: str, timeout: float) -> list[dict[str, Any]]:
    """What `knock` found at each listener, in their order. Raises ssl.SSLError when `ca` holds no certificate."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(lambda each: knock(host, int(each["port"]), str(each["tls"]), ca, timeout), listeners))


def knock(host: str, port: int, tls: str, ca: str, timeout: float) -> dict[str, Any]:
    """State of a port, JSON-ready.

    `tls` is the listener's mode; `ca` is PEM text of the authority to trust, "" for those of this system; `timeout`
    in seconds is for each step. `state` is open (all went well), troubled (connected, and then `problem`), or closed.
    Raises ssl.SSLError when `ca` holds no certificate.
    """
    found: dict[str, Any] = {
        "port": port, "tls": tls, "state": "closed", "problem": "", "greeting": "", "version": "",
        "verified": None, "fingerprint": "", "offers": [], "seconds": None,
    }  # fmt: skip
    context = _context(ca)
    began = time.monotonic()
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        return found | {"problem": _in_words(error, host)}
    found |= {"state": "troubled", "seconds": round(time.monotonic() - began, 4)}
    try:
        return found | _speak(host, port, tls, context, timeout) | {"state": "open"}
    except ssl.SSLCertVerificationError as error:
        # OpenSSL's numbers for an issuer that is not known (verify(1)).
        unknown = " (an authority of your own is named in relay_status_ca_file)" if error.verify_code in _ISSUER else ""
        found |= {"verified": False, "problem": f"the certificate does not verify: {error.verify_message}{unknown}"}
    except (OSError, smtplib.SMTPException) as error:
        return found | {"problem": _in_words(error, host)}
    # What it shows is worth knowing all the same.
    unverified = _context(ca)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        return found | {key: value for key, value in _speak(host, port, tls, unverified, timeout).items() if value}
    except (OSError, smtplib.SMTPException):
        return found


def _context(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca or None)


class _Keeping:
    """Keeps the greeting, which smtplib's constructor reads and forgets."""

    greeting = b""

    def connect(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        answer: tuple[int, bytes] = super().connect(*args, **kwargs)  # type: ignore[misc]
        self.greeting = answer[1]
        return answer


class _Plain(_Keeping, smtplib.SMTP):
    pass


class _Secure(_Keeping, smtplib.SMTP_SSL):
    pass


def _speak(host: str, port: int, tls: str, context: ssl.SSLContext, timeout: float) -> dict[str, Any]:
    """A session that ends before the sign-in. Raises OSError and SMTPException."""
    client: _Plain | _Secure
    if tls == "implicit":
        client = _Secure(host, port, _NAME, timeout=timeout, context=context)
    else:
        client = _Plain(host, port, _NAME, timeout=timeout)
    try:
        client.ehlo_or_helo_if_needed()
        if tls in ("starttls", "auto"):
            client.starttls(context=context)
            client.ehlo_or_helo_if_needed()
        found: dict[str, Any] = {
            "greeting": client.greeting.decode("utf-8", "replace").partition("\n")[0],
            "offers": sorted(_offer(name, value) for name, value in client.esmtp_features.items()),
        }
        if isinstance(client.sock, ssl.SSLSocket):
            certificate = client.sock.getpeercert(binary_form=True) or b""
            found |= {
                "version": client.sock.version() or "",
                "verified": True if context.verify_mode == ssl.CERT_REQUIRED else None,
                "fingerprint": hashlib.sha256(certificate).hexdigest(),
            }
        client.quit()
    finally:
        client.close()
    return found


def _offer(name: str, value: str) -> str:
    """A line of the answer to EHLO, without the time of day that FUTURERELEASE has (RFC 4865 3).

    smtplib adds what old servers say behind "AUTH=" to AUTH, so words go once.
    """
    return " ".join([name.upper(), *sorted(word for word in set(value.split()) if not _MOMENT.match(word))])


def _in_words(error: Exception, host: str) -> str:
    if isinstance(error, socket.gaierror):
        return f"no address for {host} here: {error.strerror or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time (a packet filter drops it, or the host is away)"
    if isinstance(error, ConnectionRefusedError):
        return "refused: nothing listens there"
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return f"the server said {error.smtp_code} {said}"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        # smtplib's own words for a timeout inside of the session.
        if "timed out" in str(error):
            return "connected, and then no answer in time"
        return "the connection was closed before a greeting"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS failed: {error.reason.replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
