# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers from DNS whose signatures a validating resolver has checked (RFC 4035 3.2.3): the bit AD.

The bit travels unprotected, so it counts only from a resolver on this host, or where the operator says that the way
to it is safe. The resolver validates; this asks, and believes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.TLSA

from relay_agent.delivery.reply import printable
from relay_agent.delivery.tls.policy import NOTHING_KNOWN, TlsaAnswer
from relay_agent.delivery.tls.resolvers import NotSecureError
from relay_agent.delivery.tls.tlsa import Tlsa

__all__ = ["SecureDns"]

_WAIT = 5.0  # seconds for one resolver
_ROUNDS = 2  # through all resolvers
_PAYLOAD = 1232  # octets in a datagram: what passes everywhere unfragmented
_SHORTEST_KEPT = 5.0  # seconds that a host's records are kept, whatever their TTL
_LONGEST_KEPT = 300.0
_MOST_KEPT = 10_000  # hosts
_MOST_RECORDS = 32  # of one host


@dataclass(slots=True, frozen=True)
class _Answer:
    """secure: validated. found: name and type exist."""

    message: dns.message.Message
    secure: bool

    @property
    def exists(self) -> bool:
        return self.message.rcode() == dns.rcode.NOERROR and bool(self.message.answer)

    @property
    def ttl(self) -> float:
        return float(min((rrset.ttl for rrset in self.message.answer), default=_SHORTEST_KEPT))


class SecureDns:
    """Asks `servers` (address, port) in turn; each must be a validating resolver."""

    def __init__(self, servers: Sequence[tuple[str, int]]) -> None:
        self._servers = list(servers)
        self._kept: dict[tuple[str, int], tuple[float, TlsaAnswer]] = {}

    async def is_secure(self, name: str, kind: str) -> bool:
        """Whether the answer to this question, which may be that there is nothing, was validated.

        Raises NotSecureError when there is no answer that can be believed.
        """
        return (await self._ask(name, kind)).secure

    async def tlsa(self, host: str, port: int) -> TlsaAnswer:
        """The TLSA records of a mail host (A-labels) and port, by RFC 7672 2.2.2. Raises NotSecureError.

        Without validated address records there is no question for TLSA: many servers of unsigned zones answer it
        wrongly, and it could not count.
        """
        kept = self._kept.get((host, port))
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        lifetime, answer = await self._tlsa(host, port)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        lifetime = min(max(lifetime, _SHORTEST_KEPT), _LONGEST_KEPT)
        self._kept[host, port] = time.monotonic() + lifetime, answer
        return answer

    async def _tlsa(self, host: str, port: int) -> tuple[float, TlsaAnswer]:
        addresses = await asyncio.gather(self._ask(host, "A"), self._ask(host, "AAAA"))
        lifetime = min(each.ttl for each in addresses)
        bases: list[str] = []
        if all(each.secure for each in addresses):
            expanded = next((name for each in addresses if (name := _end_of_aliases(each.message, host))), host)
            bases = [expanded, host]
        elif any(_is_alias(each.message, host) for each in addresses):
            # The alias may be signed though what it leads to is not.
            alias = await self._ask(host, "CNAME")
            bases = [host] if alias.secure and alias.exists else []
        for base in dict.fromkeys(bases):
            owner = f"_{port}._tcp.{base}"
            answer = await self._ask(owner, "TLSA")
            lifetime = min(lifetime, answer.ttl)
            records = _records(answer.message)
            if answer.secure and records:
                return lifetime, TlsaAnswer(owner, base, tuple(dict.fromkeys((base, host))), records)
        return lifetime, NOTHING_KNOWN

    def forget(self) -> None:
        """Ask anew for every host."""
        self._kept.clear()

    async def _ask(self, name: str, kind: str) -> _Answer:
        """Ask until a resolver gives an answer. Raises NotSecureError, in words of what was wrong."""
        try:
            query = _query(name, kind)
        except dns.exception.DNSException as error:
            raise NotSecureError(
                f"{printable(name, 300)} cannot be asked for in DNS: {printable(str(error), 100)}"
            ) from None
        trouble, bogus = "no answer in time", False
        for address, port in self._servers * _ROUNDS:
            try:
                message, _ = await dns.asyncquery.udp_with_fallback(query, address, timeout=_WAIT, port=port)
            except (OSError, dns.exception.DNSException) as error:
                trouble = printable(str(error), 100) or type(error).__name__
                continue
            if message.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return _Answer(message, bool(message.flags & dns.flags.AD))
            trouble = dns.rcode.to_text(message.rcode())
            if message.rcode() == dns.rcode.SERVFAIL and await self._is_there(name, kind, address, port):
                trouble, bogus = "the signatures (DNSSEC) do not validate", True
                break
        raise NotSecureError(f"DNS has no answer for {name} ({kind}) that can be believed: {trouble}", bogus=bogus)

    async def _is_there(self, name: str, kind: str, address: str, port: int) -> bool:
        """Whether there is an answer when nobody checks its signatures (CD): for the words alone."""
        query = _query(name, kind)
        query.flags |= dns.flags.CD
        try:
            message, _ = await dns.asyncquery.udp_with_fallback(query, address, timeout=_WAIT, port=port)
        except (OSError, dns.exception.DNSException):
            return False
        return message.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def _query(name: str, kind: str) -> dns.message.QueryMessage:
    query = dns.message.make_query(f"{name}.", kind, use_edns=0, want_dnssec=True, payload=_PAYLOAD)
    query.flags |= dns.flags.AD
    return query


def _is_alias(message: dns.message.Message, host: str) -> bool:
    name = dns.name.from_text(f"{host}.")
    return any(rrset.rdtype == dns.rdatatype.CNAME and rrset.name == name for rrset in message.answer)


def _end_of_aliases(message: dns.message.Message, host: str) -> str:
    """The name that a host's aliases lead to; "" when there are none, or they lead nowhere."""
    if not message.answer or not isinstance(message, dns.message.QueryMessage) or not _is_alias(message, host):
        return ""
    try:
        name = message.canonical_name()
    except dns.exception.DNSException:
        return ""
    text = name.to_text(omit_final_dot=True).lower()
    return "" if text == host else text


def _records(message: dns.message.Message) -> tuple[Tlsa, ...]:
    data = (each for rrset in message.answer for each in rrset if isinstance(each, dns.rdtypes.ANY.TLSA.TLSA))
    found = [Tlsa(each.usage, each.selector, each.mtype, each.cert) for each in data]
    return tuple(sorted(found, key=lambda each: (each.usage, each.selector, each.matching, each.data)))[:_MOST_RECORDS]
