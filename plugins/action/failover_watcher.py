# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin failover_watcher: the settings of a relay's watcher, made of what is known of all relays."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.failover import watcher_settings
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.fleet import FAILOVER_ARGUMENT
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Fleet, relay_of
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import DnsValueError

MODULE = "postroad.relay.failover_service"
ARGUMENTS: dict[str, Any] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "facts": {"type": "str", "required": True},
    "service": {"type": "str", "default": ""},
    "domains": {"type": "list", "elements": "str", "default": []},
    "zones": {"type": "list", "elements": "str", "default": []},
    "server": {"type": "dict", "default": {}},
    "failover": FAILOVER_ARGUMENT,
}


class ActionModule(ActionBase):
    """One module run on the host."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/failover_watcher.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        arguments: dict[str, Any] = {"state": "absent"}
        if options["failover"].get("enabled"):
            hostvars = variables["hostvars"]
            relays = tuple(relay_of(hostvars[host][options["facts"]]) for host in options["hosts"])
            fleet = Fleet(relays, tuple(options["domains"]), options["service"])
            try:
                settings, secret = watcher_settings(
                    fleet, variables["inventory_hostname"], options["zones"], options["server"], options["failover"]
                )
            except DnsValueError as error:
                return result | {"failed": True, "msg": f"relay_dns_failover: {error}"}
            arguments = {"state": "present", "settings": settings, "key_secret": secret}
        done: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables)
        return result | done
