# SPDX-License-Identifier: GPL-3.0-or-later
"""TLSA records into DNS (RFC 2136 with TSIG, RFC 8945), and a look whether every name server has them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.tsigkeyring
import dns.update

from .problem import CertificateError
from .settings import NameServer

__all__ = ["Seen", "look", "publish"]

_WITHIN = 10.0  # seconds that a server has for an answer


@dataclass(frozen=True, slots=True)
class Seen:
    """ttl: the longest of the records'. missing: what is not as it should be, in words; "" when all is there."""

    ttl: int
    missing: str = ""


def publish(server: NameServer, owners: Sequence[str], keys: Sequence[str]) -> None:
    """Make 3 1 1 records of these keys, and no others, stand at these names. Raises CertificateError."""
    try:
        zone = dns.resolver.zone_for_name(owners[0])
        keyring = dns.tsigkeyring.from_text({server.key_name: server.key_secret})
        update = dns.update.UpdateMessage(zone, keyring=keyring, keyalgorithm=dns.name.from_text(server.key_algorithm))
        for owner in owners:
            update.replace(dns.name.from_text(owner), server.ttl, "TLSA", *(f"3 1 1 {key}" for key in keys))
        answer = dns.query.tcp(update, _address(server.server), timeout=_WITHIN, port=server.port)
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise CertificateError(f"the TLSA records could not be published at {server.server}: {_said(error)}") from None
    if answer.rcode() != dns.rcode.NOERROR:
        said = dns.rcode.to_text(answer.rcode())
        raise CertificateError(f"{server.server} refuses to publish the TLSA records: {said}")


def look(
    owners: Sequence[str], keys: Sequence[str], ask: Callable[[str, str], tuple[set[str], int]] | None = None
) -> Seen:
    """Whether every name server of the zone has records of all these keys at each of the names.

    The servers are asked themselves: a resolver's memory would show a record that others do not get yet, or keep one
    from us that they get. ask: for tests; `records_at`.
    """
    longest = 0
    try:
        zone = dns.resolver.zone_for_name(owners[0])
        servers = sorted(str(each.target) for each in dns.resolver.resolve(zone, "NS"))
    except (dns.exception.DNSException, OSError) as error:
        return Seen(0, f"the name servers of {owners[0]} cannot be found: {_said(error)}")
    for server in servers:
        for owner in owners:
            try:
                found, ttl = (ask or records_at)(server, owner)
            except (dns.exception.DNSException, OSError) as error:
                return Seen(0, f"the name server {server.rstrip('.')} does not answer: {_said(error)}")
            for key in keys:
                if key not in found:
                    return Seen(0, f"the name server {server.rstrip('.')} has no TLSA record 3 1 1 {key} at {owner}")
            longest = max(longest, ttl)
    return Seen(longest)


def records_at(server: str, owner: str) -> tuple[set[str], int]:
    """The digests of the 3 1 1 records that a name server has at a name, and their TTL.

    Raises DNSException and OSError.
    """
    query = dns.message.make_query(owner, "TLSA")
    query.flags &= ~dns.flags.RD
    answer, _ = dns.query.udp_with_fallback(query, _address(server), timeout=_WITHIN)
    found = answer.get_rrset(answer.answer, dns.name.from_text(owner), dns.rdataclass.IN, dns.rdatatype.TLSA)
    if found is None:
        return set(), 0
    return {each.cert.hex() for each in found if (each.usage, each.selector, each.mtype) == (3, 1, 1)}, found.ttl


def _address(server: str) -> str:
    """Where a server is. Raises OSError."""
    return str(socket.getaddrinfo(server.rstrip("."), 53, type=socket.SOCK_DGRAM)[0][4][0])


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
