# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor's part of the suppression list: it keeps the book, and tells all workers of each change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from relay_agent.config.schema import Config
from relay_agent.control.protocol import FAILED, ControlError
from relay_agent.control.server import Handler
from relay_agent.control.suppression_view import suppression_handlers
from relay_agent.observability.log import EventLog
from relay_agent.suppression.book import Book
from relay_agent.suppression.entry import Cause, Entry, Gone

__all__ = ["Suppressing"]

_EXPIRE_EVERY = 3600.0  # seconds


class Suppressing:
    """tell: is given the changes, JSON-ready, for all workers."""

    def __init__(self, config: Config, log: EventLog, tell: Callable[[list[dict[str, Any]]], None]) -> None:
        self.book = Book(config)
        self._host_wide = config.suppression.scope == "host"
        self._log = log
        self._tell = tell
        self._said = False
        self._task: asyncio.Task[None] | None = None

    def load(self) -> None:
        """Read the file, before the first worker does. One that cannot be read stops no mail: it is logged."""
        try:
            self.book.load(time.time())
        except OSError as error:
            self._trouble(error)
        if self.book.unreadable:
            self._log.event(
                "suppression_repaired", level="warning", file=str(self.book.path), lines_lost=self.book.unreadable
            )

    def start(self) -> None:
        """Let old entries go, now and then."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
        self.book.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_EVERY)
            self._change(lambda: self.book.expire(time.time()))

    def learned(self, said: dict[str, Any]) -> None:
        """A worker tells of bounces, and of mail that did arrive at one that had bounced."""
        owner, sender, now = str(said["owner"]), str(said["sender"]), time.time()

        def learn() -> list[Entry | Gone]:
            changes: list[Entry | Gone] = []
            for address, reason in said["bounced"]:
                changes += self.book.bounced(address, owner, reason, sender, now)
            for address in said["delivered"]:
                changes += self.book.remove(address, None if self._host_wide else owner, only=Cause.BOUNCE)
            return changes

        self._change(learn)

    async def complained(self, said: dict[str, Any]) -> None:
        """A complaint; when this returns it is on the disk. Raises ControlError."""
        now = time.time()

        def complain() -> list[Entry | Gone]:
            changes: list[Entry | Gone] = []
            for address in said["recipients"]:
                changes += self.book.complained(address, str(said["owner"]), said["reason"], said["sender"], now)
            return changes

        if not self._change(complain):
            raise ControlError(FAILED, "the suppression list cannot be written")
        await self._synced()

    def handlers(self) -> dict[str, Handler]:
        """The commands of the control socket."""
        handlers = suppression_handlers(self.book)

        def changing(handler: Handler) -> Handler:
            async def run(arguments: dict[str, Any]) -> Any:
                result = await handler(arguments)
                self._tell(result.pop("changes"))
                await self._synced()
                return result

            return run

        return {
            name: handler if name in ("suppression.list", "suppression.show") else changing(handler)
            for name, handler in handlers.items()
        }

    def _change(self, make: Callable[[], list[Entry | Gone]]) -> bool:
        """Make a change and tell it. False when the disk refuses it: it holds all the same, until a restart."""
        try:
            changes = make()
        except OSError as error:
            self._trouble(error)
            return False
        self._said = False
        if changes:
            self._tell([change.record() for change in changes])
            for change in changes:
                if isinstance(change, Entry) and change.active:
                    self._log.event(
                        "suppressed",
                        recipient=change.address,
                        account=change.owner,
                        cause=str(change.cause),
                        reason=change.reason,
                        count=change.count,
                    )
        return True

    async def _synced(self) -> None:
        try:
            await asyncio.to_thread(self.book.sync)
        except OSError as error:
            self._trouble(error)
            raise ControlError(FAILED, f"{self.book.path}: {error.strerror or error}") from None

    def _trouble(self, error: OSError) -> None:
        if not self._said:
            self._said = True
            self._log.event(
                "suppression_not_written", level="error", file=str(self.book.path), error=error.strerror or str(error)
            )
