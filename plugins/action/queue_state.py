# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of queue_state: asks the host again and again, and tells of the progress."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.postroad.relay.plugins.plugin_utils.drain_progress import Progress, what_to_do

MODULE = "postroad.relay.queue_state"
ARGUMENTS: dict[str, Any] = {
    "until_empty": {"type": "bool", "default": False},
    "patience": {"type": "int", "default": 300},
    "required": {"type": "bool", "default": False},
}
_EVERY = 2.0  # seconds


class ActionModule(ActionBase):
    """A look costs most of a second, so there is one every two."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        host = str((task_vars or {}).get("inventory_hostname", "the host"))
        waits = options["until_empty"] and not self._task.check_mode
        progress = Progress(host, options["patience"])
        found = self._look(task_vars, retry=waits)
        while waits and not found.get("failed") and found["messages"]:
            line, more = progress.seen(found["messages"], found["recipients"], found["held"], time.monotonic())
            if line:
                Display().display(f"    {line}")
            if not more:
                break
            time.sleep(_EVERY)
            found = self._look(task_vars)
        if found.get("failed"):
            return found
        if found["empty"]:
            return found | {"msg": f"{host}: no mail is left"}
        words = f"{host} still has {found['words']}"
        if options["required"] and not self._task.check_mode:
            return found | {"failed": True, "msg": f"{words}. {what_to_do(host, found['held'], found['leaving'])}"}
        return found | {"msg": words}

    def _look(self, task_vars: Mapping[str, Any] | None, *, retry: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args={"retry": retry}, task_vars=task_vars
        )
        return found
