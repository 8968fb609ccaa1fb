# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of two relays, for the tests of its records."""

from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Fleet, Record, fleet_records, relay_of

__all__ = ["LISTENERS", "facts", "fleet", "record"]

LISTENERS = [
    {"port": 587, "tls": "starttls"},
    {"port": 465, "tls": "implicit"},
    {"port": 443, "tls": "implicit"},
    {"port": 25, "tls": "starttls"},
    {"port": 2525, "tls": "starttls", "address": "127.0.0.1"},
]


def facts(number: int, **changes: Any) -> dict[str, Any]:
    """What the module dns_facts returns for a relay."""
    return {
        "host": f"relay{number}",
        "name": f"relay{number}.example.org",
        "addresses": [f"192.0.2.{number}", f"2001:db8::{number}"],
        "listeners": LISTENERS,
        "keys": [f"{number}" * 64],
        "dkim": [{"name": "2026._domainkey.example.org", "value": "v=DKIM1; k=rsa; p=" + "A" * 300}],
        **changes,
    }


def fleet(*relays: dict[str, Any], **settings: Any) -> Fleet:
    """Two relays for example.org, unless told otherwise."""
    chosen: dict[str, Any] = {"domains": ("example.org",), "service": "mail.example.org", **settings}
    return Fleet(tuple(relay_of(each) for each in relays or (facts(1), facts(2))), **chosen)


def record(wanted: Fleet, owner: str, kind: str) -> Record:
    """The one record at a name."""
    (found,) = [each for each in fleet_records(wanted) if (each.owner, each.kind) == (owner, kind)]
    return found
