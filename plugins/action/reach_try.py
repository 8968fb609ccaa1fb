# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin reach_try: every port of every relay, tried from the host that the task is delegated to."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.bounded import launcher
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.program import (
    ReachError,
    answer,
    command,
    most_said,
    program,
    time_for,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import relays_of

ARGUMENTS: dict[str, Any] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "vantage": {"type": "str", "required": True},
    "listeners": {"type": "list", "elements": "dict", "required": True},
    "ports": {"type": "list", "elements": "int", "default": []},
    "authorities": {"type": "str", "default": ""},
    "within": {"type": "float", "default": 9.5},
}


class ActionModule(ActionBase):
    """Sends a program to the vantage's Python; nothing is written there, so there is nothing to be removed."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/reach_try.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        known: Mapping[str, Any] = task_vars or {}
        vantage: str = options["vantage"]
        result["changed"] = False
        for port in options["ports"]:
            if not 0 < port < 65536:
                return result | {"failed": True, "msg": f"relay_reach_ports: {port} is no port (expected 1 to 65535)"}
        relays = relays_of(options["hosts"], known["hostvars"], options["listeners"], options["ports"])
        asked = [{"name": one.name, "host": one.host, "ports": list(one.ports)} for one in relays]
        with tempfile.TemporaryDirectory(prefix="reach-", dir=C.DEFAULT_LOCAL_TMP) as scratch:
            executable = self._bound(Path(scratch), len(relays), options["within"])
            try:
                done = self._low_level_execute_command(
                    command(self._interpreter(known, vantage)),
                    sudoable=False,
                    in_data=program(asked, options["authorities"], options["within"]),
                )
            finally:
                if executable:
                    self._connection.set_option("ssh_executable", executable)
        try:
            return result | answer(vantage, done["rc"], done["stdout"], done["stderr"], options["hosts"])
        except ReachError as error:
            return result | {"failed": True, "msg": str(error)}

    def _bound(self, scratch: Path, relays: int, within: float) -> str:
        """Have ssh cut off when it says more, or takes longer, than an answer can: Ansible knows no such limit. Returns
        the program to go back to, "" where nothing was changed."""
        if self._connection.transport != "ssh":
            return ""  # the controller itself, or containers of it; their answer is measured when it is there
        executable = str(self._connection.get_option("ssh_executable"))
        bounded = launcher(scratch / "ssh", executable, most=most_said(relays), within=time_for(relays, within))
        self._connection.set_option("ssh_executable", bounded)
        return executable

    def _interpreter(self, known: Mapping[str, Any], vantage: str) -> str:
        """The Python that is named for the vantage; "" when it is to be looked for."""
        if self._connection.transport == "local":
            return sys.executable
        delegated = known.get("ansible_delegated_vars", {}).get(vantage, {})
        named = str(delegated.get("ansible_python_interpreter") or "")
        return named if named.startswith("/") else ""
