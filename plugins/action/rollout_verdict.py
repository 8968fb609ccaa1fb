# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin rollout_verdict: judges a step of rollout.yml by what is registered for its hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.postroad.relay.plugins.plugin_utils.rollout_verdict import (
    foreseen_problems,
    kept_problems,
    notes,
    outcome,
    proved_problems,
    staged_problems,
)

STRINGS = {"type": "list", "elements": "str"}
ARGUMENTS: dict[str, Any] = {
    "step": {"type": "str", "choices": ["staged", "proved", "kept", "outcome"], "required": True},
    "hosts": STRINGS | {"required": True},
    "all_hosts": STRINGS | {"default": []},
    "verdict": {"type": "dict", "default": {}},
    "confirm_within": {"type": "int", "default": 0},
}


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/rollout_verdict.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        hostvars = (task_vars or {})["hostvars"]
        known = {host: hostvars[host] for host in options["hosts"]}
        result |= {"changed": False}
        earlier = options["verdict"].get("problems", {})
        match options["step"]:
            case "staged":
                problems = {host: staged_problems(each) for host, each in known.items()}
                if any(problems.values()):
                    told = "".join(f"\n  {host}: {each}" for host, found in problems.items() for each in found)
                    return result | {"failed": True, "msg": f"the rollout was stopped, nothing was changed:{told}"}
                return result
            case "proved":
                # In check mode nothing is on trial, and what could not even be told fails all the same.
                looked = proved_problems if not self._task.check_mode else foreseen_problems
                problems = {host: looked(host, each) for host, each in known.items()}
                return result | {"good": not any(problems.values()), "problems": problems}
            case "kept":
                if self._task.check_mode or any(earlier.values()):
                    return result | {"undo": False, "problems": earlier}
                problems = {host: kept_problems(each) for host, each in known.items()}
                return result | {"undo": any(problems.values()), "problems": problems}
        untouched = _after(options["all_hosts"], options["hosts"])
        text = outcome(earlier, known, untouched, confirm_within=options["confirm_within"])
        unproved = [f"{host}: {note}" for host, each in known.items() for note in notes(each)]
        if unproved:
            Display().display("\n" + "\n".join(unproved) + "\n")
        return result | {"unproved": unproved} | ({"failed": True, "msg": text} if text else {})


def _after(all_hosts: list[str], step: list[str]) -> list[str]:
    """The hosts whose turn comes after that of a step's last."""
    last = max((all_hosts.index(host) for host in step if host in all_hosts), default=-1)
    return all_hosts[last + 1 :]
