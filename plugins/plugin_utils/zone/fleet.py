# SPDX-License-Identifier: GPL-3.0-or-later
"""From a play's variables to the fleet whose records are wanted, for the actions dns_records and dns_check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Fleet, Record, fleet_records, relay_of
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import zones_of as _zones_of
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import DnsValueError

__all__ = ["FAILOVER_ARGUMENT", "FLEET_ARGUMENTS", "by_zone", "certificate_warnings", "read_fleet"]

_STRINGS = {"type": "list", "elements": "str", "default": []}

FAILOVER_ARGUMENT: dict[str, Any] = {
    "type": "dict",
    "default": {},
    "options": {
        "enabled": {"type": "bool", "default": False},
        "ttl": {"type": "int", "default": 30},
        "interval": {"type": "float"},
        "timeout": {"type": "float"},
        "failures": {"type": "int"},
        "successes": {"type": "int"},
        "port": {"type": "int"},
        "witnesses": {"type": "list", "elements": "dict", "default": []},
        "key_name": {"type": "str", "no_log": False},
        "key_algorithm": {"type": "str", "no_log": False},
        "key_secret": {"type": "str", "no_log": True},
    },
}
FLEET_ARGUMENTS: dict[str, Any] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "relays": {"type": "list", "elements": "str", "required": True},
    "facts": {"type": "str", "required": True},
    "zones": _STRINGS,
    "domains": _STRINGS,
    "service": {"type": "str", "default": ""},
    "incoming": {"type": "list", "elements": "dict", "default": []},
    "settings_host": {"type": "str", "default": ""},
    "certificate_names": _STRINGS,
    "ttl": {"type": "int", "default": 3600},
    "failover": FAILOVER_ARGUMENT,
    "tlsa": {"type": "bool", "default": False},
    "spf": {
        "type": "dict",
        "default": {},
        "options": {
            "enabled": {"type": "bool", "default": True},
            "mechanisms": _STRINGS,
            "all": {"type": "str"},
        },
    },
    "dmarc": {
        "type": "dict",
        "default": {},
        "options": {
            "enabled": {"type": "bool", "default": True},
            "policy": {"type": "str"},
            "reports": {"type": "str"},
        },
    },
    "mta_sts": {"type": "list", "elements": "dict", "default": []},
    "tls_reports": {"type": "str", "default": ""},
    "reverse": {"type": "bool", "default": True},
}


def read_fleet(options: Mapping[str, Any], hostvars: Mapping[str, Any]) -> tuple[Fleet, list[Record]]:
    """The fleet and its records. Raises DnsValueError."""
    left_out = sorted(set(options["relays"]) - set(options["hosts"]))
    if left_out:
        raise DnsValueError(
            f"{', '.join(left_out)} cannot be asked or is left out by --limit: the records are those of all relays"
        )
    relays = tuple(relay_of(hostvars[host][options["facts"]]) for host in options["hosts"])
    failover = bool(options["failover"].get("enabled"))
    if failover and (not options["service"] or len(relays) < 2):
        raise DnsValueError("relay_dns_failover: needs relay_dns_service and at least two relays")
    fleet = Fleet(
        relays=relays,
        domains=tuple(options["domains"]),
        service=options["service"],
        incoming=tuple(options["incoming"]),
        ttl=options["ttl"],
        address_ttl=int(options["failover"].get("ttl") or 30) if failover else options["ttl"],
        failover=failover,
        tlsa=options["tlsa"],
        settings_host=options["settings_host"],
        certificate_names=tuple(options["certificate_names"]),
        spf=options["spf"],
        dmarc=options["dmarc"],
        mta_sts=tuple(options["mta_sts"]),
        tls_reports=options["tls_reports"],
        reverse=options["reverse"],
    )
    try:
        return fleet, fleet_records(fleet)
    except KeyError as error:
        raise DnsValueError(
            f"relay_dns variables: {error.args[0]} is missing or has a value that is not known"
        ) from None


def certificate_warnings(fleet: Fleet) -> Iterator[str]:
    """What mail programs would be shown a certificate for that does not fit."""
    covered = {name.rstrip(".").lower() for name in fleet.certificate_names}
    wild = {f"*.{fleet.service.partition('.')[2]}".lower()}
    own = {relay.name.rstrip(".").lower() for relay in fleet.relays}
    name = fleet.service.rstrip(".").lower()
    if name and own != {name} and not covered & ({name} | wild):
        yield (
            f"relay_tls_certificate.names: {name} is not among them, and mail programs that are given this name refuse "
            "the relays' certificates"
        )


def by_zone(records: Sequence[Record], zones: Sequence[str], fleet: Fleet) -> dict[str, list[Record]]:
    """The records of each zone, in their order; under "" those that are in no zone."""
    owners = _zones_of(records, zones, fleet)
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(owners[record.owner], []).append(record)
    return dict(sorted(found.items(), key=lambda item: (item[0] == "", item[0])))
