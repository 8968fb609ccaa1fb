# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watcher of one relay is told: who the others are, whom to ask, and how patient to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import (
    Fleet,
    Record,
    common_offers,
    zones_of,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import DnsValueError, absolute, ip_address

__all__ = ["watcher_settings"]

_KEY = ("key_name", "key_algorithm", "key_secret")
_PATIENCE = ("interval", "timeout", "failures", "successes")


def watcher_settings(
    fleet: Fleet, host: str, zones: Sequence[str], server: Mapping[str, Any], failover: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """The settings of `relay-agent failover` without the secret, and the secret. Raises DnsValueError.

    host: the relay's name in the inventory. server, failover: the role's variables of these names.
    """
    if not fleet.service or len(fleet.relays) < 2:
        raise DnsValueError("needs relay_dns_service and at least two relays")
    access = {**server, **{key: failover[key] for key in _KEY if failover.get(key)}}
    missing = [key for key in ("server", "key_name", "key_secret") if not access.get(key)]
    if missing:
        raise DnsValueError(f"needs relay_dns_server with {', '.join(missing)}: the relays change the list there")
    names = [absolute(relay.name) for relay in fleet.relays]
    if len(set(names)) < len(names):
        raise DnsValueError("two relays have the same relay_dns_name: they are told apart by it")
    service = absolute(fleet.service)
    zone = zones_of([Record(service, "A", (), "", 0)], zones, fleet)[service]
    if not zone:
        raise DnsValueError(f"{fleet.service} is in none of the zones of relay_dns_zones")
    (own,) = [relay for relay in fleet.relays if relay.host == host]
    port, security = _port(fleet, failover)
    settings: dict[str, Any] = {
        "service": service.rstrip("."),
        "own": absolute(own.name).rstrip("."),
        "port": port,
        "security": security,
        **{key: failover[key] for key in _PATIENCE if failover.get(key) is not None},
        "member": [
            {
                "name": absolute(relay.name).rstrip("."),
                "addresses": [str(ip_address(address)) for address in relay.addresses],
            }
            for relay in fleet.relays
        ],
        "dns": {
            "server": str(access["server"]),
            "port": int(access.get("port") or 53),
            "zone": zone.rstrip("."),
            "key_name": str(access["key_name"]),
            "key_algorithm": str(access.get("key_algorithm") or "hmac-sha256"),
            "ttl": int(failover.get("ttl") or 30),
        },
    }
    witnesses = failover.get("witnesses") or []
    if witnesses:
        settings["witness"] = [{"host": str(each["host"]), "port": int(each["port"])} for each in witnesses]
    return settings, str(access["key_secret"])


def _port(fleet: Fleet, failover: Mapping[str, Any]) -> tuple[int, str]:
    """The port that is looked at: the one that mail programs are offered first, unless told."""
    common = common_offers(fleet.relays)
    if not common:
        raise DnsValueError(
            "the relays have no port with TLS in common that others reach at their own addresses (loopback, 25, and "
            "ports behind a balancer, proxy_from, are not looked at)"
        )
    wanted = failover.get("port")
    fitting = [offer for offer in common if wanted is None or offer.port == int(wanted)]
    if not fitting:
        raise DnsValueError(
            f"port {wanted} is none that every relay has with TLS and others reach at its own addresses"
        )
    return fitting[0].port, fitting[0].security
