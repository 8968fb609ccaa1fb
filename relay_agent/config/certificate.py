# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate begins and ends.

Python's ssl tells this only of a peer's certificate. The agent has no other use for a library of X.509, so the
six elements in front of the dates are skipped here.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

__all__ = ["validity"]

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def validity(pem: str) -> tuple[datetime, datetime]:
    """notBefore and notAfter of the first certificate in a PEM text (RFC 5280 4.1.2.5).

    Raises ``ValueError`` when there is none, or it is damaged.
    """
    start = pem.find(_BEGIN)
    end = pem.find(_END, start)
    if start < 0 or end < 0:
        raise ValueError("there is no certificate in it")
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[start : end + len(_END)])
        certificate, _ = _element(der, _SEQUENCE)
        rest, _ = _element(certificate, _SEQUENCE)
        if rest[0] == _VERSION:
            rest = _skip(rest)
        for _ in range(3):  # serial number, signature algorithm, issuer
            rest = _skip(rest)
        dates, _ = _element(rest, _SEQUENCE)
        not_before, dates = _time(dates)
        not_after, _ = _time(dates)
    except (ValueError, IndexError) as error:
        raise ValueError("its first certificate is damaged") from error
    return not_before, not_after


def _split(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content and what follows of the first element (X.690 8.1, definite lengths as DER has them)."""
    length, offset = data[1], 2
    if length & 0x80:
        offset += length & 0x7F
        length = int.from_bytes(data[2:offset], "big")
    if offset + length > len(data):
        raise ValueError("cut short")
    return data[0], data[offset : offset + length], data[offset + length :]


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    found, content, rest = _split(data)
    if found != tag:
        raise ValueError(f"tag {found:#x} instead of {tag:#x}")
    return content, rest


def _skip(data: bytes) -> bytes:
    return _split(data)[2]


def _time(data: bytes) -> tuple[datetime, bytes]:
    tag, content, rest = _split(data)
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits for the year: 50 to 99 are of the last century
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"tag {tag:#x} instead of a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), rest
