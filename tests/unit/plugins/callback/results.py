# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback plugin of the tests: the result of each task in a file of the task's name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: results
type: notification
short_description: the result of each task in a file of its own
description: [What a test looks at.]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible's base classes have no types
    """Writes into the directory that POSTROAD_RESULTS names."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "results"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task that ended well."""
        self._keep(result, failed=False)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task that failed, whether or not the play goes on."""
        self._keep(result, failed=True)

    def _keep(self, result: Any, *, failed: bool) -> None:
        path = Path(os.environ["POSTROAD_RESULTS"]) / result._task.get_name()
        path.write_text(json.dumps({"changed": False, **result._result, "failed": failed}, default=str))
