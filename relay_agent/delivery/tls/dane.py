# SPDX-License-Identifier: GPL-3.0-or-later
"""DANE for SMTP (RFC 6698, 7671, 7672): whether a server's chain satisfies its TLSA records; no I/O.

Python's ssl knows nothing of DANE: the handshake is made without verification, and the chain is judged here.
"""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Iterable, Sequence

from relay_agent.delivery.tls.certificates import (
    Certificate,
    CertificateFault,
    Unreadable,
    certificate_names,
    fault_of_authority,
    fault_of_dates,
    fault_of_server,
    is_issued_by,
    matches_name,
    parse_certificate,
    subject_key,
)
from relay_agent.delivery.tls.tlsa import DIGESTS, Tlsa, Usage, usable

__all__ = ["DaneFault", "chain_fault"]

_LONGEST_CHAIN = 10  # certificates looked at; a handshake may bring more


class DaneFault(Exception):
    """A chain does not satisfy the records; the text says in what way. expired, name: which kind of fault."""

    def __init__(self, text: str, *, expired: bool = False, name: bool = False) -> None:
        super().__init__(text)
        self.expired = expired
        self.name = name


def _matches(record: Tlsa, der: bytes) -> bool:
    """Whether the record is of this certificate."""
    try:
        selected = der if record.selector == 0 else subject_key(der)
    except Unreadable:
        return False
    if record.matching:
        selected = DIGESTS[record.matching](selected).digest()
    return hmac.compare_digest(selected, record.data)


def chain_fault(
    chain: Sequence[bytes], records: Iterable[Tlsa], names: Sequence[str], now: dt.datetime
) -> DaneFault | None:
    """What is wrong with a server's chain (DER, its own certificate first), None when a record accepts it.

    names: what the certificate may be for; it matters for usage 2 only. With usage 3 neither names nor dates count:
    the record, which is signed and has an end, vouches for the key (RFC 7672 3.1.1).
    """
    use = [record for record in records if usable(record)]
    if not chain:
        return DaneFault("the server showed no certificate")
    if any(record.usage == Usage.DANE_EE and _matches(record, chain[0]) for record in use):
        return None
    anchors = [record for record in use if record.usage == Usage.DANE_TA]
    shown = ", ".join(map(str, use[:4]))
    mismatch = DaneFault(f"the server's certificate matches none of the TLSA records ({shown})")
    if not anchors:
        return mismatch
    try:
        return _fault_below_anchor([parse_certificate(der) for der in chain[:_LONGEST_CHAIN]], anchors, names, now)
    except Unreadable as error:
        return DaneFault(f"the server's certificate cannot be read: {error}")
    except _NoAnchor:
        return mismatch


class _NoAnchor(Exception):
    """No certificate of the chain is one of the trust anchors."""


def _fault_below_anchor(
    chain: Sequence[Certificate], anchors: Sequence[Tlsa], names: Sequence[str], now: dt.datetime
) -> DaneFault | None:
    """Follow the chain from the server's certificate to an anchor (RFC 7671 5.2). Raises _NoAnchor."""
    known = [*chain[1:], *_given_whole(anchors)]
    current, below = chain[0], 0
    path = [current]
    while True:
        issuers = [each for each in known if each not in path and is_issued_by(current, each)]
        anchor = next((each for each in issuers if any(_matches(record, each.der) for record in anchors)), None)
        if not issuers:
            raise _NoAnchor
        issuer = anchor or issuers[0]
        try:
            fault_of_dates(current, now)
            fault_of_authority(issuer, below)
            if anchor is not None:
                fault_of_dates(anchor, now)
                fault_of_server(chain[0])
                break
        except CertificateFault as error:
            return DaneFault(str(error), expired=error.expired)
        path.append(issuer)
        current, below = issuer, below + 1
    found = certificate_names(chain[0])
    if any(matches_name(pattern, name) for pattern in found for name in names):
        return None
    for_what = ", ".join(found[:4]) or "no name"
    return DaneFault(f"the server's certificate is for {for_what}, not for {' or '.join(names)}", name=True)


def _given_whole(anchors: Iterable[Tlsa]) -> list[Certificate]:
    """Anchors whose record holds the certificate itself: the server need not send it (RFC 7671 5.2.2)."""
    given = []
    for record in anchors:
        if record.selector == 0 and record.matching == 0:
            try:
                given.append(parse_certificate(record.data))
            except Unreadable:
                continue
    return given
