# SPDX-License-Identifier: GPL-3.0-or-later
"""When the wall clock was ahead and is put right, what it put off meanwhile is tried at once, not that much later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from relay_agent.observability.log import EventLog
from relay_agent.queue.model import QueueStore

__all__ = ["ClockWatch"]

_LOOK_EVERY = 5.0  # seconds
_AHEAD = 10.0  # seconds: less is not worth reading the queue through
_SETTLES_WITHIN = 10.0  # seconds, for what is just being recorded


class ClockWatch:
    """Compares the wall clock with the monotonic one, which nobody sets."""

    def __init__(self, store: QueueStore, log: EventLog) -> None:
        self._store = store
        self._log = log
        self._lead = _lead()  # the largest since the queue was last read through

    def note(self) -> None:
        """Something is being put off: whatever the clock says now counts, however soon it is set again."""
        self._lead = max(self._lead, _lead())

    async def run(self, settled: Callable[[float], Awaitable[None]], woken: Callable[[], None]) -> None:
        """Work until cancelled. At first for what is in the queue from before the start: the clock may have been put
        right while no agent ran.

        settled: waits, for so many seconds at most, until what is being recorded is on the disk. woken: called when
        mail was made due.
        """
        set_back = 0.0
        due = True
        while True:
            if due:
                await settled(_SETTLES_WITHIN)
                due = not await self._catch_up(set_back, woken)
            await asyncio.sleep(_LOOK_EVERY)
            lead = _lead()
            if lead < self._lead - _AHEAD:
                set_back, due = self._lead - lead, True
                self._lead = lead
            self.note()

    async def _catch_up(self, set_back: float, woken: Callable[[], None]) -> bool:
        try:
            count = await self._store.catch_up(_AHEAD)
        except Exception as error:
            self._log.event("clock_not_caught_up", level="error", error=f"{type(error).__name__}: {error}")
            return False
        if count or set_back:
            seconds = round(set_back) or None
            self._log.event("clock_was_ahead", level="warning", seconds=seconds, made_due=count)
        if count:
            woken()
        return True


def _lead() -> float:
    return time.time() - time.monotonic()
