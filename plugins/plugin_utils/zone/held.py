# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is held out of the address list (see relay_agent/failover): only a relay that is drained should be.

The mark of a relay that has left the inventory is nobody's any more, and would hold out the next host of that name.
That of a relay which takes mail is told: somebody may have put it there by hand, or a backup has brought the host back.
"""

from __future__ import annotations

import json

from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Fleet, Record
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import absolute, canonical

__all__ = ["held_records"]


def held_records(fleet: Fleet) -> list[Record]:
    """The record of the marks, where the relays keep their address list; else none.

    It is no record that anybody has to put in, so it is in none of the files.
    """
    if not (fleet.failover and fleet.service):
        return []
    drained = tuple(_mark(relay.name) for relay in fleet.relays if relay.drained)
    return [
        Record(
            f"_drained.{absolute(fleet.service)}",
            "TXT",
            drained,
            "the relays that no watcher puts back into the address list",
            fleet.address_ttl,
            rule="held",
            members=tuple(_mark(relay.name) for relay in fleet.relays),
        )
    ]


def _mark(name: str) -> str:
    """As `relay-agent failover leave` writes it."""
    return canonical("TXT", json.dumps(absolute(name).rstrip(".")))
