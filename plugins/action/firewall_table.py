# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of firewall_table: proves by a fresh SSH connection that the new rules let the operator in."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

MODULE = "postroad.relay.firewall_table"
RESTORE_AFTER = 45
"""Seconds, unless the task says otherwise: two attempts of an SSH client, and less than the minute promised."""


class ActionModule(ActionBase):
    """Runs the module once when nothing is to be done, else: apply, reconnect, confirm."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result, marked failed when access could not be proved."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        host = task_vars.get("inventory_hostname", "this host")
        arguments = {"restore_after": RESTORE_AFTER, **self._task.args}
        result = self._module(arguments, task_vars)
        if result.get("missing_package"):
            result = self._install_and_retry(result["missing_package"], arguments, task_vars)
        if not result.get("pending"):
            return result
        deadline = time.monotonic() + int(arguments["restore_after"])
        confirmation = self._confirm({**arguments, "step": "confirm", "connection": result["connection"]}, task_vars)
        if confirmation is None:
            return {**result, "pending": False, **self._wait_for_old_rules(host, deadline, task_vars)}
        if confirmation.get("failed"):
            return {**result, "failed": True, "msg": f"{host}: {confirmation.get('msg')}"}
        return {**result, "pending": False}

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        return result

    def _install_and_retry(self, package: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        installed: dict[str, Any] = self._execute_module(
            module_name="ansible.builtin.apt", module_args={"name": package}, task_vars=task_vars
        )
        if installed.get("failed"):
            text = f"nft is not on this host, and the package {package} could not be installed: {installed.get('msg')}"
            return {"failed": True, "msg": text}
        return self._module(arguments, task_vars)

    def _confirm(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any] | None:
        """Reconnect and run the confirmation; None when the host cannot be reached."""
        try:
            self._reconnect()
            return self._module(arguments, task_vars)
        except AnsibleConnectionFailure:
            return None

    def _reconnect(self) -> None:
        """Leave the shared SSH connection, which the rules keep as established, for a new one."""
        if hasattr(self._connection, "reset"):
            self._connection.reset()

    def _wait_for_old_rules(self, host: str, deadline: float, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Stay until the host has put the old rules back, and say whether it can be reached then."""
        time.sleep(max(0.0, deadline - time.monotonic()) + 2)
        cause = f"{host}: no SSH connection could be made under the new firewall rules"
        try:
            self._reconnect()
            self._low_level_execute_command("true")
        except AnsibleError as error:
            return {"failed": True, "msg": f"{cause}, nor after the old ones were due back: {error}"}
        return {"failed": True, "changed": False, "msg": f"{cause}; the host has put the old ones back"}
