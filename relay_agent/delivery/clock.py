# SPDX-License-Identifier: GPL-3.0-or-later
"""When the wall clock was ahead and is put right, what it put off meanwhile is tried at once, not that much later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from relay_agent.observability.log import EventLog
from relay_agent.queue.model import QueueStore

__all__ = ["ClockWatch"]

_LOOK_EVERY = 5.0  # seconds
_AHEAD = 10.0  # seconds: less is not worth reading the queue through


class ClockWatch:
    """Compares the wall clock with the monotonic one, which nobody sets. woken: called when mail was made due."""

    def __init__(self, store: QueueStore, log: EventLog, woken: Callable[[], None]) -> None:
        self._store = store
        self._log = log
        self._woken = woken
        self._lead = _lead()

    async def run(self) -> None:
        """Work until cancelled. At first for what is in the queue from before the start: the clock may have been put
        right while no agent ran."""
        set_back = 0.0
        due = True
        while True:
            if due:
                due = not await self._catch_up(set_back)
            await asyncio.sleep(_LOOK_EVERY)
            lead = _lead()
            if lead < self._lead - _AHEAD:
                set_back, due = self._lead - lead, True
                self._lead = lead
            else:
                self._lead = max(self._lead, lead)

    async def _catch_up(self, set_back: float) -> bool:
        try:
            count = await self._store.catch_up(_AHEAD)
        except Exception as error:
            self._log.event("clock_not_caught_up", level="error", error=f"{type(error).__name__}: {error}")
            return False
        if count or set_back:
            seconds = round(set_back) or None
            self._log.event("clock_was_ahead", level="warning", seconds=seconds, made_due=count)
        if count:
            self._woken()
        return True


def _lead() -> float:
    return time.time() - time.monotonic()
