# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin dns_check: what the name servers have next to what the fleet needs, as a table and an exit status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.findings import as_json, compare, render, verdict
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.fleet import FLEET_ARGUMENTS, read_fleet
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.held import held_records
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.lookup import Lookup, LookupFailed, own_resolvers
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.spf import SpfError
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import DnsValueError

ARGUMENTS: dict[str, Any] = FLEET_ARGUMENTS | {
    "at": {"type": "str", "choices": ["authoritative", "resolver"], "default": "authoritative"},
    "resolver": {"type": "str", "default": ""},
    "servers": {"type": "list", "elements": "str", "default": []},
    "json": {"type": "path"},
}


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/dns_check.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            fleet, records = read_fleet(options, (task_vars or {})["hostvars"])
            resolvers = [options["resolver"]] if options["resolver"] else own_resolvers()
        except (DnsValueError, LookupFailed, SpfError) as error:
            return result | {"failed": True, "msg": str(error)}
        lookup = Lookup(resolvers, options["servers"], options["at"] == "authoritative")
        rows = [
            compare(record, server, answer)
            for record in [*records, *held_records(fleet)]
            for server, answer in lookup.ask(record.owner, record.kind, frozenset(record.values))
        ]
        Display().display(f"\n{render(rows)}\n")
        if options["json"] and self._task.check_mode:
            Display().display(f"check mode: {options['json']} was not written")
        elif options["json"]:
            path = Path(options["json"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(as_json(rows), indent=2) + "\n", encoding="utf-8")
        told = verdict(rows)
        result |= {"changed": False, "asked": len(rows)}
        return result | ({"failed": True, "msg": told} if told else {})
