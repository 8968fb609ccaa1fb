# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin status_report: the state of the fleet on the terminal, as a page, as JSON, and as an exit status."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import (
    FAIL_ON,
    Thresholds,
    failing,
    judge,
    verdict,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.status.page import page
from ansible_collections.postroad.relay.plugins.plugin_utils.status.record import as_record, last_run
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import Finding, RelayState, read_state
from ansible_collections.postroad.relay.plugins.plugin_utils.status.table import render

ARGUMENTS: dict[str, Any] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "read": {"type": "str", "required": True},
    "knocked": {"type": "str", "required": True},
    "html": {"type": "path"},
    "json": {"type": "path"},
    "thresholds": {"type": "dict"},
    "fail_on": {"type": "str", "choices": list(FAIL_ON), "default": "difference"},
}
SIBLINGS = "relay_status_siblings"


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/status_report.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        hostvars = (task_vars or {})["hostvars"]
        last = self._last_run(options["json"])
        relays = []
        for host in options["hosts"]:
            known = hostvars[host]
            siblings = str(known.get(SIBLINGS) or "relays")
            read, knocked = known.get(options["read"]) or {}, known.get(options["knocked"]) or {}
            relays.append(read_state(host, siblings, read, knocked, last.get(host)))
        findings = judge(relays, Thresholds.given(options["thresholds"]))
        at = time.time()
        Display().display(f"\n{render(relays, findings)}\n")
        for name, content in self._wanted(options, relays, findings, at):
            if self._task.check_mode:
                Display().display(f"check mode: {name} was not written")
                continue
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        told = failing(findings, options["fail_on"])
        result |= {"changed": False, "verdict": verdict(relays, findings)}
        if told:
            hosts = ", ".join(dict.fromkeys(finding.host for finding in told))
            return result | {"failed": True, "msg": f"{hosts}: see the table above ({result['verdict']})"}
        return result

    @staticmethod
    def _last_run(name: str | None) -> dict[str, Any]:
        """What the file has that this run replaces; failures are counted from there on."""
        try:
            return last_run(Path(name).read_text(encoding="utf-8")) if name else {}
        except (OSError, UnicodeDecodeError):
            return {}

    @staticmethod
    def _wanted(
        options: Mapping[str, Any], relays: Sequence[RelayState], findings: Sequence[Finding], at: float
    ) -> Iterator[tuple[str, str]]:
        """Name and content of each file that is asked for."""
        if options["html"]:
            yield options["html"], page(relays, findings, Thresholds.given(options["thresholds"]), at)
        if options["json"]:
            yield options["json"], json.dumps(as_record(relays, findings, at), indent=2) + "\n"
