# SPDX-License-Identifier: GPL-3.0-or-later
"""TLSA records, and which of them can be used for SMTP (RFC 6698, 7671, 7672)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["DIGESTS", "Tlsa", "Usage", "usable"]

DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}


class Usage(IntEnum):
    """Certificate usages that count for SMTP; PKIX-TA(0) and PKIX-EE(1) do not (RFC 7672 3.1.3)."""

    DANE_TA = 2
    DANE_EE = 3


@dataclass(slots=True, frozen=True)
class Tlsa:
    """One TLSA record, its numbers as in DNS."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        digits = self.data.hex()
        return f"{self.usage} {self.selector} {self.matching} {digits[:16]}{'...' if len(digits) > 16 else ''}"


def usable(record: Tlsa) -> bool:
    """Whether a record says something that we can check (RFC 7671 4, RFC 7672 3.1)."""
    if record.usage not in tuple(Usage) or record.selector not in (0, 1):
        return False
    if record.matching == 0:
        return bool(record.data)
    return record.matching in DIGESTS and len(record.data) == DIGESTS[record.matching]().digest_size
