# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a relay greets: a connection to a submission port, TLS, and an answer to EHLO, as a mail program has it."""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

from relay_agent.failover.address_list import kind_of
from relay_agent.failover.settings import FailoverSettings
from relay_agent.probe.attempt import End, Target, attempt

__all__ = ["answers", "greets", "reached"]

_LOOPBACK = {"A": "127.0.0.1", "AAAA": "::1"}
_MOST_AT_ONCE = 16


def greets(settings: FailoverSettings, address: str) -> bool:
    """Whether TLS and SMTP answer at this address in time."""
    # The names in the certificate are not looked at: a relay whose certificate has ended is one to be mended, and the
    # others' are no younger.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    target = Target(
        settings.service,
        "ipv6" if kind_of(address) == "AAAA" else "ipv4",
        address,
        settings.port,
        "tls" if settings.security == "implicit" else "greeting",
    )
    found = attempt(target, context, time.monotonic() + settings.timeout)
    # Turned away is who comes to a relay that is busy; without it the others would have its load on top of theirs.
    return found.end is End.TURNED_AWAY or (found.end is End.SPOKE and found.shown is not None)


def answers(settings: FailoverSettings) -> dict[str, bool]:
    """For each address of the fleet whether it greets. This host's own count by the loopback address, too."""
    own = next(each for each in settings.member if each.name.lower() == settings.own.lower())
    wanted = [str(address) for each in settings.member for address in each.addresses]
    with ThreadPoolExecutor(max_workers=_MOST_AT_ONCE) as pool:
        found = dict(zip(wanted, pool.map(lambda address: greets(settings, address), wanted), strict=True))
    for address in map(str, own.addresses):
        # Behind a translation of addresses a host may not get to itself by the public one.
        found[address] = found[address] or greets(settings, _LOOPBACK[kind_of(address)])
    return found


def reached(settings: FailoverSettings) -> dict[str, bool]:
    """For each kind of address whether something that is no relay takes a connection (TCP) by it.

    Without witnesses that is the name server: by the other family it says nothing of this one.
    """
    witnesses = [(str(each.host), each.port) for each in settings.witness]
    chosen = witnesses or [(str(settings.dns.server), settings.dns.port)]
    return {
        kind: any(_connects(host, port, family, settings.timeout) for host, port in chosen)
        for kind, family in (("A", socket.AF_INET), ("AAAA", socket.AF_INET6))
    }


def _connects(host: str, port: int, family: socket.AddressFamily, within: float) -> bool:
    try:
        places = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except OSError:
        return False
    for *_, place in places[:1]:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                connection.settimeout(within)
                connection.connect(place)
                return True
        except OSError:
            continue
    return False
