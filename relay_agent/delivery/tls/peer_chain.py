# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that the other side of a TLS connection sent, unverified."""

from __future__ import annotations

import ssl
from typing import Any

__all__ = ["peer_chain"]

_DER = 2  # _ssl.ENCODING_DER


def peer_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The chain in DER, the server's own certificate first; empty when it showed none.

    Python 3.13 has a method for it. Before, the object underneath has one of the same name, which is private, but
    does not change any more in 3.11 and 3.12. Without either there is only the server's own certificate: that
    suffices for DANE-EE(3), and DANE-TA(2) then defers, as it finds no anchor.
    """
    method: Any = getattr(tls, "get_unverified_chain", None)
    if method is not None:
        return [bytes(each) for each in method() or ()]
    inner: Any = getattr(tls, "_sslobj", None)
    method = getattr(inner, "get_unverified_chain", None)
    if method is not None:
        return [each.public_bytes(_DER) for each in method() or ()]
    own = tls.getpeercert(binary_form=True)
    return [own] if own else []
