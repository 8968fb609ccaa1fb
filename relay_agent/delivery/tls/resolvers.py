# SPDX-License-Identifier: GPL-3.0-or-later
"""Which resolvers there are, and whether they can be believed in what they say of DNSSEC."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from relay_agent.delivery.outcome import Deferred, Scope
from relay_agent.delivery.reply import printable
from relay_agent.delivery.resolve import UnresolvedError

__all__ = ["NotSecureError", "on_this_host", "system_resolvers"]


#: Docker's and systemd's stubs: on loopback, but mostly they pass on what a resolver elsewhere says.
_FORWARDERS = frozenset({"127.0.0.11", "127.0.0.53", "127.0.0.54"})


def on_this_host(servers: Sequence[tuple[str, int]]) -> bool:
    """Whether all resolvers (there is one at least) are reached over loopback, and are no mere forwarders."""
    return bool(servers) and all(
        ip_address(address).is_loopback and address not in _FORWARDERS for address, _ in servers
    )


def system_resolvers(path: Path = Path("/etc/resolv.conf")) -> list[tuple[str, int]]:
    """Address and port of the resolvers that the system uses; none when that cannot be told."""
    found = []
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append((str(ip_address(words[1])), 53))
            except ValueError:  # fe80::1%eth0
                return []
    return found[:3]


class NotSecureError(UnresolvedError):
    """DNS gives no answer that can be believed. bogus: there is one, whose signatures do not validate."""

    def __init__(self, text: str, *, bogus: bool = False) -> None:
        super().__init__(Deferred("4.7.5" if bogus else "4.4.3", printable(text, 600), "", Scope.HOST))
        self.bogus = bogus
