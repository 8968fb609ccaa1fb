# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses that other hosts see us by."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from relay_agent.delivery.outcome import UnresolvedError

if TYPE_CHECKING:
    from relay_agent.delivery.resolve import Resolver

__all__ = ["own_addresses", "public", "source_addresses"]

# Addresses for documentation (RFC 5737, RFC 3849): only the routes to everywhere lead there.
_ELSEWHERE = ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1"))


def source_addresses() -> list[str]:
    """What this host sends from by its routes, one of each family that it has. Nothing is sent to find out."""
    found = []
    for family, elsewhere in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 25))
                found.append(str(probe.getsockname()[0]))
        except OSError:  # no such family here, or no route
            continue
    return found


def public(addresses: Iterable[str]) -> tuple[IPv4Address | IPv6Address, ...]:
    """Those that mean the same everywhere."""
    parsed = (ip_address(each.partition("%")[0]) for each in addresses)
    return tuple(dict.fromkeys(each for each in parsed if each.is_global))


async def own_addresses(resolver: Resolver, hostname: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """The public addresses that this host sends from; behind an address translation, those of its name in DNS."""
    found = public(source_addresses())
    if found:
        return found
    try:
        return public(await resolver.addresses(hostname))
    except UnresolvedError:
        return ()
