# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in the background that somebody keeps an eye on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Tasks"]


class Tasks:
    """Tasks under way. failed: told of the error that ended one; the others go on."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def wait(self, seconds: float) -> int:
        """Give them so long to end; returns how many have not."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)
        return len(self._running)

    async def cancel(self) -> None:
        """End them all."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
