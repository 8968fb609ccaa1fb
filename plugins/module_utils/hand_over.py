# SPDX-License-Identifier: GPL-3.0-or-later
"""The first step of handing a drained host's mail over: taking its queue out of use, in a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .agent_queue import AgentQueue
from .host_drain import DRAINED, is_drained
from .systemd_units import SERVICE

__all__ = ["HandOver", "HandOverError"]


class HandOverError(Exception):
    """The mail cannot be handed over; the text says why."""


class HandOver:
    """`drained`: the file that says that the host takes no mail."""

    def __init__(
        self, run_command: Callable[..., tuple[int, str, str]], queue: AgentQueue, drained: Path = DRAINED
    ) -> None:
        self._run = run_command
        self._queue = queue
        self._drained = drained

    def take(self, path: Path, *, check_mode: bool) -> dict[str, Any]:
        """Stop the agent, pack its queue, start it again without. Raises HandOverError and AgentQueueError.

        Whatever was packed is out of use until another host has it; a repetition packs it again.
        """
        if not is_drained(self._drained):
            raise HandOverError("the host takes mail: only a drained host's queue is handed over; run drain.yml")
        if check_mode:
            waiting = self._queue.waiting()
            return {"changed": not waiting.nothing, "messages": waiting.messages + waiting.leaving, "entries": []}
        status, _, errors = self._run(["systemctl", "stop", SERVICE])
        if status != 0:
            raise HandOverError(f"the agent does not stop: {errors.strip()}")
        try:
            packed = self._queue.pack(path, leave=True)
        finally:
            started, _, errors = self._run(["systemctl", "start", SERVICE])
        if started != 0:
            raise HandOverError(f"the agent does not start again: {errors.strip()}; its mail is safe, repeat this")
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
        return {"changed": bool(packed["messages"]), **packed}
