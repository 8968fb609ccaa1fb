# SPDX-License-Identifier: GPL-3.0-or-later
"""The TLS settings that mail programs meet."""

from __future__ import annotations

import ssl

from relay_agent.config.schema import Tls

__all__ = ["server_context"]


def server_context(tls: Tls) -> ssl.SSLContext:
    """A context with this certificate: TLS 1.2 and up (RFC 8996, RFC 9325), no compression, no renegotiation.

    A new one is made for every reload, because OpenSSL keeps a chain for each key type: loading an ECDSA
    certificate into a context that had an RSA one would leave both. Raises OSError (ssl.SSLError among them).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(tls.certificate, tls.key)
    return context
