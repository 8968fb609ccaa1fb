# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of playbook_variables: a playbook's own variables, checked before anything is done with them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.plugin_utils.inventory_check import spec_problems, unknown_variables

ARGUMENTS: dict[str, Any] = {
    "prefix": {"type": "str", "required": True},
    "argument_spec": {"type": "dict", "required": True},
}


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/playbook_variables.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        spec: dict[str, Any] = options["argument_spec"]
        prefix: str = options["prefix"]
        problems: list[str] = []
        hostvars = (task_vars or {}).get("hostvars", {})
        for host in (task_vars or {}).get("ansible_play_hosts_all", ()):
            known = hostvars[host]
            own = {name for name in known if name.startswith(prefix)}
            told = list(unknown_variables(own, {prefix.rstrip("_"): spec}))
            values = {name: known[name] for name in own & set(spec)}
            told += spec_problems(values, spec)[1]
            problems += [f"{host}: {problem}" for problem in told]
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            return result | {"changed": False, "failed": True, "msg": f"nothing was looked at; to be mended:{lines}"}
        # Drawn for the run: see the module's documentation. Not shown, however loud the run is.
        return result | {"changed": False, "key": secrets.token_hex(16), "_ansible_no_log": True}
