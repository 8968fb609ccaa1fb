# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin probe_report: shows the table of probes and fails when a message did not arrive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.postroad.relay.plugins.plugin_utils.probe_table import judge, not_probed, render, verdict

ARGUMENTS: dict[str, Any] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "submitted": {"type": "str", "required": True},
    "arrived": {"type": "str", "required": True},
    "drained": {"type": "str"},
    "file": {"type": "path"},
}


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/probe_report.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        if self._task.check_mode:
            return result | {"changed": False, "rows": [], "msg": "check mode: nothing was submitted"}
        hostvars = (task_vars or {})["hostvars"]
        rows = []
        notes = []
        for host in options["hosts"]:
            known = hostvars[host]
            if ((known.get(options["drained"]) or {}).get("stat") or {}).get("exists"):
                notes.append(f"{host}: drained: not probed")
                continue
            submitted = known.get(options["submitted"]) or {}
            rows += judge(known.get("relay_agent_hostname", host), submitted, known.get(options["arrived"]) or {})
            notes += [f"{host}: {note}" for note in not_probed(submitted)]
        shown = [asdict(row) for row in rows]
        if options["file"]:
            path = Path(options["file"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")
        problem = verdict(rows) if rows or not notes else "\n".join(["no relay could be probed:", *notes])
        if problem or notes or not options["file"]:
            Display().display("\n".join(["", render(rows), *notes, ""]))
        result |= {"changed": False, "not_probed": notes}
        return result | ({"failed": True, "msg": problem} if problem else {"rows": shown})
