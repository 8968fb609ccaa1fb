# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin rotation_variables: judges the variables of a playbook that rotates keys, on the controller."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.plugin_utils.rotation_variables import (
    PLAYBOOKS,
    chosen_values,
    misspelt,
)

ARGUMENTS = {"playbook": {"type": "str", "required": True, "choices": list(PLAYBOOKS)}}


class ActionModule(ActionBase):
    """Every problem at once."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/rotation_variables.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        playbook: str = options["playbook"]
        variables = task_vars or {}
        names = [f"{playbook}_{option}" for option in PLAYBOOKS[playbook]]
        given = {name: self._templar.template(variables[name]) for name in names if name in variables}
        chosen, problems = chosen_values(playbook, given)
        problems = misspelt(variables) + problems
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            return result | {"failed": True, "msg": f"nothing was touched; to be mended:{lines}"}
        return result | {"changed": False, "chosen": chosen}
