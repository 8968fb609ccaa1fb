# SPDX-License-Identifier: GPL-3.0-or-later
"""How commands about mail reach it: through the running agent or, without one, from the disk by the same code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from relay_agent.config.load import read_config
from relay_agent.config.schema import Config
from relay_agent.control.client import AgentNotRunningError, ControlClient
from relay_agent.control.protocol import FAILED, ControlError

__all__ = ["Asking", "become_owner"]

_PATIENCE = 10.0  # seconds that workers of an agent that was killed take to end


class Asking:
    """The agent of a configuration file, or what it left on the disk. Raises ConfigError."""

    def __init__(self, config: Path) -> None:
        self.config: Config = read_config(config)
        self.handed_over: list[int] = []  # descriptors of what the queue's owner gets when root gives up its rights
        self._alone = False  # once on the disk, always: the rights to ask an agent may be given up
        self._opened = ExitStack()
        self._running: asyncio.Runner | None = None
        self._known: dict[str, Any] = {}

    def call(self, command: str, **parameters: Any) -> Any:
        """The result of a command. Raises ControlError, OSError."""
        try:
            if self._alone:
                raise AgentNotRunningError
            return ControlClient(self.config.control.socket, timeout=300.0).call(command, **parameters)
        except AgentNotRunningError:
            results = list(self._offline(command, parameters))
            return results[0] if results else None

    def stream(self, command: str, **parameters: Any) -> Iterator[Any]:
        """The items of a command that answers with many. Raises as `call` does."""
        items = ControlClient(self.config.control.socket, timeout=120.0).stream(command, **parameters)
        try:
            if self._alone:
                raise AgentNotRunningError
            first = next(items, None)
        except AgentNotRunningError:
            yield from self._offline(command, parameters)
            return
        if first is not None:
            yield first
        yield from items

    def _offline(self, command: str, parameters: dict[str, Any]) -> Iterator[Any]:
        """Run a command on what is on the disk: the same code as the agent's, in this process."""
        # Imported as whoever started us: the queue's owner may not be able to read this Python.
        from relay_agent.cli import offline

        self._alone = True
        become_owner(self.config.queue.directory, self.handed_over)
        try:
            with self._runner() as runner:
                handler = self._handlers(offline.opened, runner, command)[command]
                result = runner.run(_answered(handler(parameters)))
                if not isinstance(result, AsyncIterator):
                    yield result
                    return
                while (item := runner.run(_next(result))) is not _END:
                    yield item
        except offline.InUseError as error:
            message = f"{error}, but no agent answers at {self.config.control.socket}; it may be starting or stopping"
            raise ControlError(FAILED, message) from error
        except offline.UNUSABLE as error:
            raise ControlError(FAILED, str(error)) from error

    @contextmanager
    def _runner(self) -> Iterator[asyncio.Runner]:
        """One for all commands at a time: what is read while a stream goes on finds the stores open, not locked."""
        if self._running is not None:
            yield self._running
            return
        with self._opened:
            self._running = self._opened.enter_context(asyncio.Runner())
            try:
                yield self._running
            finally:
                self._running = None
                self._known = {}

    def _handlers(self, opened: Any, runner: asyncio.Runner, command: str) -> dict[str, Any]:
        if command not in self._known:
            self._known |= self._opened.enter_context(opened(self.config, runner, command, _PATIENCE))
        return self._known


_END = object()


async def _answered(answer: Any) -> Any:
    return await answer


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)


def become_owner(directory: Path, handed_over: Sequence[int] = ()) -> None:
    """Give up root for the queue's owner: files that root makes in the queue would stop the agent.

    Raises ``FileNotFoundError`` when there is no queue, rather than make one as a side effect of looking.
    """
    found = directory.stat()
    if os.geteuid() == 0 and found.st_uid != 0:
        for fd in handed_over:
            os.fchown(fd, found.st_uid, found.st_gid)
        os.setgroups([found.st_gid])
        os.setgid(found.st_gid)
        os.setuid(found.st_uid)
