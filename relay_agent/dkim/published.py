# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks DNS for the records of keys, by the resolvers of the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import aiodns
import pycares
from aiodns import error as codes

from relay_agent.config.schema import parse_resolver
from relay_agent.dkim.keys import Key
from relay_agent.dkim.record import RecordError, check_record

__all__ = ["Finding", "Publication", "look_up", "look_up_at_servers"]

_FIRST_WAIT = 3.0  # seconds; each further try waits longer
_TRIES = 2
_LONGEST = 15.0
_AT_ONCE = 20


class Publication(StrEnum):
    """What DNS says of a key."""

    PUBLISHED = "published"
    MISSING = "missing"
    DIFFERENT = "different"
    UNKNOWN = "unknown"  # no answer


@dataclass(slots=True, frozen=True)
class Finding:
    """A key, what DNS says of it, and why in words ("" when it is published). server: the name server of the zone that
    was asked, "" for the resolvers."""

    key: Key
    publication: Publication
    reason: str = ""
    server: str = ""


async def look_up(keys: Sequence[Key], resolvers: Sequence[str]) -> list[Finding]:
    """What DNS says of each key. resolvers: as in the configuration; none for those of the system."""
    resolver = _resolver(resolvers)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(key: Key) -> Finding:
        async with turns:
            return await _find(resolver, key)

    try:
        return list(await asyncio.gather(*map(one, keys)))
    finally:
        await resolver.close()


async def look_up_at_servers(keys: Sequence[Key], resolvers: Sequence[str]) -> list[Finding]:
    """What each name server of the keys' zones says itself: a record that is at one of them only, or that a cache has
    kept, is not there for everybody. A server counts by those of its addresses that answer."""
    resolver = _resolver(resolvers)
    findings: list[Finding] = []
    try:
        for domain in sorted({key.domain for key in keys}):
            chosen = [key for key in keys if key.domain == domain]
            servers = await _servers(resolver, domain)
            if not servers:
                reason = f"DNS does not say which name servers {domain} has"
                findings += [Finding(key, Publication.UNKNOWN, reason, "(none)") for key in chosen]
            for name in servers:
                findings += await _ask_server(name, await _addresses(resolver, name), chosen)
    finally:
        await resolver.close()
    return findings


async def _ask_server(name: str, addresses: Sequence[str], keys: Sequence[Key]) -> list[Finding]:
    """For each key the worst that an address of the server answers; those that do not answer say nothing."""
    answers: dict[str, list[Finding]] = {key.name: [] for key in keys}
    for found in await asyncio.gather(*(look_up(keys, [_with_port(address)]) for address in addresses)):
        for finding in found:
            answers[finding.key.name].append(finding)
    findings = []
    for key in keys:
        answered = [each for each in answers[key.name] if each.publication is not Publication.UNKNOWN]
        wrong = [each for each in answered if each.publication is not Publication.PUBLISHED]
        if not answered:
            findings.append(Finding(key, Publication.UNKNOWN, f"name server {name} does not answer", name))
        else:
            worst = (wrong or answered)[0]
            reason = f"{worst.reason} (so says name server {name})" if worst.reason else ""
            findings.append(Finding(key, worst.publication, reason, name))
    return findings


async def _servers(resolver: aiodns.DNSResolver, domain: str) -> list[str]:
    """The name servers of the zone that the domain is in, by name (RFC 1034 4.2.1)."""
    zone = domain
    while zone:
        records = await _query(resolver, zone, "NS")
        if names := sorted({record.nsdname.lower() for record in records if isinstance(record, pycares.NSRecordData)}):
            return names
        zone = zone.partition(".")[2]
    return []


async def _addresses(resolver: aiodns.DNSResolver, name: str) -> list[str]:
    records = [*await _query(resolver, name, "A"), *await _query(resolver, name, "AAAA")]
    return [record.addr for record in records if isinstance(record, pycares.ARecordData | pycares.AAAARecordData)]


async def _query(resolver: aiodns.DNSResolver, name: str, kind: str) -> Iterable[object]:
    try:
        async with asyncio.timeout(_LONGEST):
            return [record.data for record in (await resolver.query_dns(f"{name}.", kind)).answer]
    except (TimeoutError, aiodns.error.DNSError):
        return []


def _resolver(resolvers: Sequence[str]) -> aiodns.DNSResolver:
    pairs = [parse_resolver(each) for each in resolvers]
    servers = [f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in pairs]
    return aiodns.DNSResolver(servers or None, timeout=_FIRST_WAIT, tries=_TRIES)


def _with_port(address: str) -> str:
    return f"[{address}]:53" if ":" in address else f"{address}:53"


async def _find(resolver: aiodns.DNSResolver, key: Key) -> Finding:
    try:
        async with asyncio.timeout(_LONGEST):
            answer = (await resolver.query_dns(f"{key.name}.", "TXT")).answer
    except TimeoutError:
        return Finding(key, Publication.UNKNOWN, "no resolver answered in time")
    except aiodns.error.DNSError as error:
        if error.args[0] in (codes.ARES_ENOTFOUND, codes.ARES_ENODATA):
            return Finding(key, Publication.MISSING, f"DNS has no TXT record at {key.name}")
        return Finding(key, Publication.UNKNOWN, f"no usable answer from DNS: {error.args[-1]}")
    texts = [record.data.data for record in answer if isinstance(record.data, pycares.TXTRecordData)]
    if len(texts) != 1:
        reason = f"{key.name} has {len(texts)} TXT records (expected one: RFC 6376 3.6.2.2)"
        return Finding(key, Publication.DIFFERENT if texts else Publication.MISSING, reason)
    try:
        check_record(texts[0].decode("utf-8", "replace"), key)
    except RecordError as error:
        return Finding(key, Publication.DIFFERENT, f"the record at {key.name} does not fit: {error}")
    return Finding(key, Publication.PUBLISHED)
