# SPDX-License-Identifier: GPL-3.0-or-later
"""The TLS settings that mail programs meet."""

from __future__ import annotations

import ssl
from pathlib import Path

from relay_agent.config.schema import Tls

__all__ = ["handshake_problem", "server_context"]


def server_context(tls: Tls, *, web: bool = False) -> ssl.SSLContext:
    """A context with this certificate: TLS 1.2 and up (RFC 8996, RFC 9325), no compression, no renegotiation.

    A new one is made for every reload, because OpenSSL keeps a chain for each key type: loading an ECDSA
    certificate into a context that had an RSA one would leave both. Raises OSError (ssl.SSLError among them).

    web: browsers come to some port, too, and say so by ALPN (RFC 7301).

    Sessions can be resumed (RFC 8446 2.2, RFC 5077). The tickets' keys belong to the context, and Python's ssl has
    no way to share them: another worker, or the same one after a reload, makes a full handshake instead.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(tls.certificate, tls.key)
    # OpenSSL sends two in a row for browsers, which open connections side by side. A mail program opens one after the
    # other and gets a new ticket with each; the second one would be 0.045 ms of a core for nothing.
    context.num_tickets = 1
    if web:
        # Who asks for it is a browser; who asks for something else only, or for nothing, is not told anything.
        context.set_alpn_protocols(["http/1.1"])
    if tls.client_ca is not None:
        _ask_for_certificate(context, tls.client_ca)
    return context


def _ask_for_certificate(context: ssl.SSLContext, authorities: Path) -> None:
    """Have clients asked for a certificate, which they may go without (RFC 8446 4.3.2, 4.4.2.4).

    A bad one ends the handshake: OpenSSL leaves no choice that would keep the certificate unused and the session.
    An authority in the file is trusted as it stands, with or without the one above it, so that a company can name
    its own below a public one.
    """
    context.load_verify_locations(authorities)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if context.cert_store_stats()["crl"]:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def handshake_problem(error: BaseException) -> str:
    """Why a handshake failed, for the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate was refused: {error.verify_message} (see tls.client_ca)"
    if isinstance(error, UnicodeDecodeError):  # Python could not read the names in it
        return "the client's certificate was refused: its names cannot be read"
    return getattr(error, "reason", None) or str(error) or type(error).__name__
