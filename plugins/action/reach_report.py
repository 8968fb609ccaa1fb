# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin reach_report: what each vantage saw of the relays, on the terminal, as JSON, and as an exit status."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.judgement import judge
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.matrix import read_matrix
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import relays_of
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.table import as_record, render, verdict
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import FAIL_ON, failing

ARGUMENTS: dict[str, Any] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "listeners": {"type": "list", "elements": "dict", "required": True},
    "ports": {"type": "list", "elements": "int", "default": []},
    "authorities": {"type": "str", "default": ""},
    "tried": {"type": "list", "elements": "dict", "required": True},
    "json": {"type": "path"},
    "fail_on": {"type": "str", "choices": list(FAIL_ON), "default": "trouble"},
}


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/reach_report.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        hostvars = (task_vars or {})["hostvars"]
        relays = relays_of(options["hosts"], hostvars, options["listeners"], options["ports"])
        matrix = read_matrix(relays, options["tried"], options["authorities"])
        findings = judge(matrix)
        display = Display()
        # stringc knows whether this is a terminal, and whether the person wants colour.
        display.display(f"\n{render(matrix, findings, stringc)}\n")
        if options["json"]:
            if self._task.check_mode:
                display.display(f"check mode: {options['json']} was not written")
            else:
                path = Path(options["json"])
                path.parent.mkdir(parents=True, exist_ok=True)
                record = as_record(matrix, findings, time.time())
                path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        result |= {"changed": False, "verdict": verdict(matrix, findings)}
        told = failing(findings, options["fail_on"])
        if told:
            hosts = ", ".join(dict.fromkeys(finding.host for finding in told))
            return result | {"failed": True, "msg": f"{hosts}: see the table above ({result['verdict']})"}
        return result
