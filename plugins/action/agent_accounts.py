# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of agent_accounts: runs the module and says in a line what changed on the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

MODULE = "postroad.relay.agent_accounts"


class ActionModule(ActionBase):
    """One round trip; the line is shown without -v, which a module's result is not."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        result: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=self._task.args, task_vars=variables
        )
        if not result.get("failed") and "total" in result:
            host = variables.get("inventory_hostname", "this host")
            Display().display(f"    {host}: {summary(result, check_mode=self._task.check_mode)}")
        return result


def summary(result: Mapping[str, Any], *, check_mode: bool) -> str:
    """What was added, changed and removed, by name, and how many stayed as they were."""
    words = (("added", "added"), ("changed", "updated"), ("removed", "removed"))
    parts = [f"{word} {', '.join(result[key])}" for word, key in words if result[key]]
    same = result["total"] - len(result["added"]) - len(result["updated"])
    rest = f"{same} as before" if parts else f"nothing to change, {same} accounts as before"
    text = "; ".join([*parts, rest])
    if check_mode and parts:
        return f"would be {text}"
    return f"{text} (the agent is not running)" if result["agent"] == "not running" else text
