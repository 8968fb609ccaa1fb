# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a relay's listeners others can use at the relay's own addresses.

Whoever tells somebody of a port, or tries one from elsewhere, goes by this: the settings page, the DNS records, the
watchers of failover, status.yml and reach.yml. Left out is what only the host itself reaches (loopback), and what a
balancer stands in front of: there the relay takes connections from the balancer alone, and the balancer's own address
is nothing that the inventory knows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["direct_listeners", "is_loopback"]


def direct_listeners(listeners: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that others can use directly, in their order. listeners: as in the variable `relay_agent_listeners`."""
    return [each for each in listeners if not (is_loopback(each) or each.get("proxy_from"))]


def is_loopback(listener: Mapping[str, Any]) -> bool:
    """Whether only the relay itself can reach the listener."""
    address = listener.get("address")
    if not address:
        return False
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return str(address) == "localhost"
