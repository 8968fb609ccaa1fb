# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin dkim_rotation: decides on the next step for all relays, and tells the operator what is theirs to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.postroad.relay.plugins.plugin_utils.dkim_rotation import (
    RotationError,
    RotationWish,
    plan_rotation,
)

ARGUMENTS: dict[str, Any] = {
    "domain": {"type": "str", "required": True},
    "hosts": {"type": "list", "elements": "str", "required": True},
    "relays": {"type": "list", "elements": "str", "required": True},
    "found": {"type": "str", "required": True},
    "selector": {"type": "str", "default": ""},
    "algorithm": {"type": "str", "default": "both"},
    "after_days": {"type": "float", "default": 30},
    "keep_days": {"type": "float"},
    "ahead": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/dkim_rotation.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        left_out = sorted(set(options["relays"]) - set(options["hosts"]))
        if left_out:
            text = (
                f"{', '.join(left_out)} cannot be asked or is left out by --limit: a key is changed on all relays of "
                "the domain or on none"
            )
            return result | {"failed": True, "msg": text}
        hostvars = (task_vars or {})["hostvars"]
        found = {host: hostvars[host][options["found"]] for host in options["hosts"]}
        names = ("domain", "selector", "algorithm", "after_days", "keep_days")
        try:
            plan = plan_rotation(found, RotationWish(**{name: options[name] for name in names}), datetime.now(UTC))
        except RotationError as error:
            return result | {"failed": True, "msg": str(error)}
        later = options["ahead"] and plan.step in ("make", "share", "activate", "delete")
        Display().display(f"\n{'With the next run: ' if later else ''}{plan.text}\n")
        return result | {"changed": False} | asdict(plan)
