# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback plugin: what each run of a playbook says that it changed, in a file for each run."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: changes
type: notification
short_description: what each run says that it changed
description: [A check run and the run after it are compared by it.]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible's base classes have no types
    """Writes into the directory that POSTROAD_CHANGES names, once there is a lab."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "changes"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._playbook = ""
        self._started = time.time()
        self._tasks: dict[str, dict[str, Any]] = defaultdict(dict)

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Remember its name."""
        self._playbook = Path(playbook._file_name).stem

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task that changed something, or would: with its diff."""
        found = result._result
        if found.get("changed"):
            diff = found.get("diff") or []
            name = result._task.get_name()
            self._tasks[result._host.get_name()][name] = {
                "diff": diff if isinstance(diff, list) else [diff],
                "action": found.get("action"),
            }

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end of the run."""
        directory = Path(os.environ["POSTROAD_CHANGES"])
        if not directory.parent.is_dir():
            return
        directory.mkdir(exist_ok=True)
        run = {"playbook": self._playbook, "check": bool(context.CLIARGS["check"]), "changes": self._tasks}
        (directory / f"{self._started:.3f}-{os.getpid()}.json").write_text(json.dumps(run))
