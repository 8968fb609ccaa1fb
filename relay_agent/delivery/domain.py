# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail domains in the form that goes on the wire: A-labels (RFC 5890) and address literals."""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address

__all__ = ["ascii_address", "ascii_domain", "literal_address"]

_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # what people type for a dot (RFC 3490 3.1)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
# Letters, marks and digits are what IDNA 2008 lets into labels, with the joiners and the Catalan middle dot.
_CATEGORIES = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"})
_JOINERS = frozenset("\u200c\u200d\u00b7\u0375\u05f3\u05f4\u30fb")


def ascii_domain(domain: str) -> str:
    """The domain in lower-case A-labels, without a final dot. Raises ValueError when it is no domain.

    IDNA 2008 (RFC 5891) for lookup: lower case and NFC, then Punycode, so that ``ß`` stays itself, unlike
    in the standard library's codec, which is IDNA 2003.
    """
    labels = []
    for label in _DOTS.split(domain.removesuffix(".")):
        encoded = label
        if not label.isascii():
            folded = unicodedata.normalize(
                "NFC", unicodedata.normalize("NFKC", label).lower() if _wide(label) else label.lower()
            )
            if not all(char in "-" or char in _JOINERS or unicodedata.category(char) in _CATEGORIES for char in folded):
                raise ValueError(f"{domain!r} is not a mail domain")
            if unicodedata.category(folded[0])[0] == "M":
                raise ValueError(f"{domain!r} is not a mail domain")
            encoded = folded if folded.isascii() else "xn--" + folded.encode("punycode").decode("ascii")
        if not _LABEL.fullmatch(encoded):
            raise ValueError(f"{domain!r} is not a mail domain")
        labels.append(encoded.lower())
    name = ".".join(labels)
    if len(name) > 253:
        raise ValueError(f"{domain!r} is longer than a domain can be")
    return name


def _wide(label: str) -> bool:
    """Whether the label holds full- or half-width forms, as East Asian keyboards make them."""
    return any("\uff01" <= char <= "\uffef" for char in label)


def ascii_address(address: str) -> str | None:
    """The address with its domain in A-labels, or None when its local part needs SMTPUTF8 (RFC 6531)."""
    local, at, domain = address.rpartition("@")
    if not local.isascii():
        return None
    if not at or address.isascii():
        return address
    return f"{local}@{ascii_domain(domain)}"


def literal_address(domain: str) -> str | None:
    """The IP address of a literal such as ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``; None for a name.

    Raises ValueError for brackets around anything else (RFC 5321 4.1.3).
    """
    if not domain.startswith("["):
        return None
    if not domain.endswith("]"):
        raise ValueError(f"{domain!r} is not an address literal")
    inner = domain[1:-1]
    try:
        return str(IPv6Address(inner[5:]) if inner[:5].lower() == "ipv6:" else IPv4Address(inner))
    except ValueError:
        raise ValueError(f"{domain!r} is not an address literal") from None
