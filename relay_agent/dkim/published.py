# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks DNS for the records of keys, by the resolvers of the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import aiodns
import pycares
from aiodns import error as codes

from relay_agent.config.schema import parse_resolver
from relay_agent.dkim.keys import Key
from relay_agent.dkim.record import RecordError, check_record

__all__ = ["Finding", "Publication", "look_up"]

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
    """A key, what DNS says of it, and why in words ("" when it is published)."""

    key: Key
    publication: Publication
    reason: str = ""


async def look_up(keys: Sequence[Key], resolvers: Sequence[str]) -> list[Finding]:
    """What DNS says of each key. resolvers: as in the configuration; none for those of the system."""
    pairs = [parse_resolver(each) for each in resolvers]
    servers = [f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in pairs]
    resolver = aiodns.DNSResolver(servers or None, timeout=_FIRST_WAIT, tries=_TRIES)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(key: Key) -> Finding:
        async with turns:
            return await _find(resolver, key)

    try:
        return list(await asyncio.gather(*map(one, keys)))
    finally:
        await resolver.close()


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
