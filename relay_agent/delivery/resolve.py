# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts take a domain's mail, and their addresses, by DNS (RFC 5321 5.1, RFC 7505)."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import aiodns
import pycares
from aiodns import error as codes

from relay_agent.config.schema import parse_resolver
from relay_agent.delivery.domain import ascii_domain, literal_address
from relay_agent.delivery.outcome import Deferred, Failed, Scope, UnresolvedError
from relay_agent.delivery.reply import printable
from relay_agent.observability import measured

__all__ = ["Exchangers", "MailHost", "Resolver", "UnresolvedError"]

_NO_NAME = codes.ARES_ENOTFOUND
_NO_DATA = codes.ARES_ENODATA
_TRIES = 2
_FIRST_WAIT = 4.0  # seconds; the second try waits twice as long
_LONGEST = 30.0  # seconds for one question, over all resolvers
_MOST_HOSTS = 50  # MX records used of one domain
_MOST_ADDRESSES = 16  # of one host
_MOST_TEXTS = 50  # TXT records at one name
_ADDRESS_RECORDS = (pycares.ARecordData, pycares.AAAARecordData)


@dataclass(slots=True, frozen=True)
class MailHost:
    """A host that takes mail. `address` only where no look-up is needed (an address literal)."""

    name: str
    preference: int = 0
    address: str | None = None


@dataclass(slots=True, frozen=True)
class Exchangers:
    """The hosts of one domain, and how long (seconds) the answer is good for."""

    hosts: tuple[MailHost, ...]
    ttl: float


class Resolver:
    """Asks the configured DNS servers, or those of the system when there are none.

    servers: as in the configuration, ``address`` or ``address:port``. own_name: the relay's host name; MX
    hosts not better than ourselves are passed over, so that mail does not go in a circle. is_own: whether an address
    is one where this relay itself takes mail; None where it takes none on the port of MX hosts.
    """

    def __init__(self, servers: Sequence[str], own_name: str, is_own: Callable[[str], bool] | None = None) -> None:
        self._own_name = own_name.rstrip(".").lower()
        self._is_own = is_own
        pairs = [parse_resolver(server) for server in servers]
        self._dns = aiodns.DNSResolver(
            [f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in pairs] or None,
            timeout=_FIRST_WAIT,
            tries=_TRIES,
        )

    async def exchangers(self, domain: str) -> Exchangers:
        """The hosts for `domain`, a name (U- or A-labels) or an address literal. Raises UnresolvedError."""
        try:
            literal = literal_address(domain)
            name = domain if literal else ascii_domain(domain)
        except ValueError as error:
            raise UnresolvedError(Failed("5.1.2", printable(str(error)))) from None
        if literal:
            return Exchangers((MailHost(domain, address=literal),), _LONGEST)
        try:
            answer = (await self._ask(name, "MX")).answer
            records = [(record.data, record.ttl) for record in answer if isinstance(record.data, pycares.MXRecordData)]
        except aiodns.error.DNSError as error:
            if error.args[0] != _NO_DATA:
                raise self._unresolved(error, name, "MX") from None
            records = []
        if not records:
            # No MX: the domain itself is the host (RFC 5321 5.1), if it has an address.
            addresses = await self.addresses(name, nothing=Failed("5.1.2", f"domain {name} has neither MX nor address"))
            if name == self._own_name or (self._is_own is not None and any(map(self._is_own, addresses))):
                raise _circle(name)
            return Exchangers((MailHost(name),), _LONGEST)
        hosts = self._named([mx for mx, _ in records], name)
        return Exchangers(await self._better_than_us(hosts), min(ttl for _, ttl in records))

    def _named(self, records: list[pycares.MXRecordData], domain: str) -> tuple[MailHost, ...]:
        hosts: dict[str, MailHost] = {}
        for record in sorted(records, key=lambda each: each.priority)[:_MOST_HOSTS]:
            host = record.exchange.rstrip(".").lower()
            hosts.setdefault(host, MailHost(host, record.priority))
        if set(hosts) == {""}:
            raise UnresolvedError(Failed("5.1.10", f"domain {domain} takes no mail (null MX)"))
        hosts.pop("", None)
        return tuple(hosts.values())

    async def _better_than_us(self, hosts: tuple[MailHost, ...]) -> tuple[MailHost, ...]:
        """The hosts that are preferred to this relay, if it is one of them (RFC 5321 5.1); else all."""
        own = [host for host in hosts if host.name == self._own_name]
        if self._is_own is not None and not own:
            flags = await asyncio.gather(*(self._leads_here(host) for host in hosts))
            own = [host for host, leads_here in zip(hosts, flags, strict=True) if leads_here]
        if not own:
            return hosts
        best = min(own, key=lambda host: host.preference)
        better = tuple(host for host in hosts if host.preference < best.preference)
        if not better:
            raise _circle(best.name)
        return better

    async def _leads_here(self, host: MailHost) -> bool:
        assert self._is_own is not None
        try:
            return any(map(self._is_own, await self.addresses(host.name)))
        except UnresolvedError:
            return False  # it has its say when its turn comes

    async def addresses(self, name: str, *, nothing: Failed | None = None) -> tuple[str, ...]:
        """The addresses of an MX host, IPv6 and IPv4 in turn. Raises UnresolvedError.

        nothing: the outcome when the name exists without address, or does not exist; by default a failure
        that names it as the domain's mail host.
        """
        found = await asyncio.gather(self._ask(name, "AAAA"), self._ask(name, "A"), return_exceptions=True)
        families: list[list[str]] = []
        trouble: UnresolvedError | None = None
        for kind, result in zip(("AAAA", "A"), found, strict=True):
            if isinstance(result, aiodns.error.DNSError):
                if result.args[0] not in (_NO_DATA, _NO_NAME):
                    trouble = self._unresolved(result, name, kind)
            elif isinstance(result, BaseException):
                raise result
            else:
                data = (record.data for record in result.answer)
                families.append([each.addr for each in data if isinstance(each, _ADDRESS_RECORDS)])
        addresses = _in_turn(families)
        if addresses:
            return addresses
        if trouble is not None:
            raise trouble
        raise UnresolvedError(nothing or Failed("5.4.4", f"mail host {name} has no address"))

    async def texts(self, name: str) -> tuple[str, ...]:
        """The TXT records at a name, each in one piece; none when there are none. Raises UnresolvedError."""
        try:
            answer = (await self._ask(name, "TXT")).answer
        except aiodns.error.DNSError as error:
            if error.args[0] in (_NO_DATA, _NO_NAME):
                return ()
            raise self._unresolved(error, name, "TXT") from None
        data = [record.data for record in answer[:_MOST_TEXTS]]
        return tuple(each.data.decode("utf-8", "replace") for each in data if isinstance(each, pycares.TXTRecordData))

    async def listed(self, name: str) -> tuple[str, ...]:
        """The A records of a name in a DNS block list (RFC 5782); none when it is not listed.

        Raises UnresolvedError when there is no usable answer.
        """
        try:
            answer = (await self._ask(name, "A", counted=False)).answer
        except aiodns.error.DNSError as error:
            if error.args[0] in (_NO_DATA, _NO_NAME):
                return ()
            raise self._unresolved(error, name, "A") from None
        return tuple(each.data.addr for each in answer if isinstance(each.data, pycares.ARecordData))

    async def upstream_addresses(self, host: str) -> tuple[str, ...]:
        """The addresses of an upstream relay, which may be an IP address or stand in /etc/hosts.

        Raises UnresolvedError, always with a deferral: an upstream that the operator named is expected back.
        """
        try:
            return (str(ip_address(host)),)
        except ValueError:
            pass
        try:
            async with asyncio.timeout(_LONGEST):
                answer = await self._dns.getaddrinfo(host, type=socket.SOCK_STREAM)
            measured.DNS_LOOKUPS["host", "found"] += 1
        except (aiodns.error.DNSError, TimeoutError) as error:
            measured.DNS_LOOKUPS["host", _result(error)] += 1
            why = error.args[1] if isinstance(error, aiodns.error.DNSError) else "no answer in time"
            text = f"upstream relay {host} not found in DNS: {why}"
            raise UnresolvedError(Deferred("4.4.3", text, host, Scope.HOST)) from None
        found = [_text(node.addr[0]) for node in answer.nodes]
        return _in_turn([[each for each in found if ":" in each], [each for each in found if ":" not in each]])

    async def _ask(self, name: str, kind: str, *, counted: bool = True) -> pycares.DNSResult:
        """counted: whether it tells how well the resolvers work; block lists have a count of their own."""

        def count(result: str) -> None:
            if counted:
                measured.DNS_LOOKUPS[kind, result] += 1

        try:
            async with asyncio.timeout(_LONGEST):
                # A final dot: the name is complete, no search domain is to be tried.
                answer = await self._dns.query_dns(f"{name}.", kind)
        except aiodns.error.DNSError as error:
            count(_result(error))
            raise
        except TimeoutError as error:
            count(_result(error))
            raise aiodns.error.DNSError(codes.ARES_ETIMEOUT, "Timeout while contacting DNS servers") from None
        count("found")
        return answer

    def _unresolved(self, error: aiodns.error.DNSError, name: str, kind: str) -> UnresolvedError:
        number = error.args[0]
        if number == _NO_NAME:
            return UnresolvedError(Failed("5.1.2", f"domain {name} does not exist"))
        if number in (codes.ARES_EBADNAME, codes.ARES_EBADQUERY):
            return UnresolvedError(Failed("5.1.2", f"{printable(name, 300)} is not a domain name"))
        words = error.args[1] if len(error.args) > 1 else str(number)
        text = f"no usable answer from DNS for {name} ({kind}): {words}"
        return UnresolvedError(Deferred("4.4.3", text, "", Scope.HOST))

    async def close(self) -> None:
        """Give up what is under way and free the sockets."""
        await self._dns.close()


def _circle(host: str) -> UnresolvedError:
    return UnresolvedError(Failed("5.4.6", f"the mail host is {host}, which is this relay: mail would go in a circle"))


def _result(error: Exception) -> str:
    """How a question ended, for the metrics."""
    return "absent" if error.args and error.args[0] in (_NO_DATA, _NO_NAME) else "failed"


def _text(address: str | bytes) -> str:
    return address.decode("ascii") if isinstance(address, bytes) else address


def _in_turn(families: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """One address of each family in turn, so that a dead family costs one attempt, not all of them."""
    pairs = itertools.chain.from_iterable(itertools.zip_longest(*families))
    return tuple(dict.fromkeys(address for address in pairs if address is not None))[:_MOST_ADDRESSES]
