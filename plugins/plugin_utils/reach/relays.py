# SPDX-License-Identifier: GPL-3.0-or-later
"""The relays whose ports are tried, as the inventory has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.direct_ports import direct_listeners

__all__ = ["Relay", "relays_of"]


@dataclass(frozen=True)
class Relay:
    """name: in the inventory. host: as mail programs know it. siblings: with whom it is compared.

    listeners: port and TLS mode, in the inventory's order, less those that only the relay itself or a balancer
    (`proxy_from`) can reach. others: ports that are tried besides.
    """

    name: str
    host: str
    siblings: str
    listeners: tuple[tuple[int, str], ...]
    others: tuple[int, ...] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        """All that are tried."""
        return tuple(dict.fromkeys([*(port for port, _ in self.listeners), *self.others]))


def relays_of(
    hosts: Sequence[str],
    hostvars: Mapping[str, Mapping[str, Any]],
    listeners: Sequence[Mapping[str, Any]],
    others: Sequence[int],
) -> list[Relay]:
    """The relays. listeners: of one that has no relay_agent_listeners of its own. others: further ports."""
    relays = []
    for name in hosts:
        known = hostvars[name]
        given = known.get("relay_agent_listeners") or listeners
        ports = {int(each["port"]): str(each.get("tls") or "starttls") for each in direct_listeners(given)}
        relays.append(
            Relay(
                name,
                str(known.get("relay_agent_hostname") or name),
                str(known.get("relay_status_siblings") or "relays"),
                tuple(ports.items()),
                tuple(port for port in others if port not in ports),
            )
        )
    return relays
