# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands as coroutines that are stepped in place, and cost a task only when they really wait for something."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any

from aiosmtpd.smtp import SMTP

from relay_agent.observability.log import EventLog
from relay_agent.queue.model import Committed

__all__ = ["Rest", "SessionEndedError", "Stepping"]


class SessionEndedError(Exception):
    """The client went away while a command waited for it."""


class Rest:
    """The rest of a coroutine that has already yielded its first future."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], future: Any) -> None:
        self._coroutine = coroutine
        self._future = future

    async def finish(self) -> None:
        """Wait for the first future and run the coroutine to its end."""
        await self

    def __await__(self) -> Generator[Any, Any, None]:
        future = self._future
        while True:
            try:
                value = yield future
            except BaseException as error:
                try:
                    future = self._coroutine.throw(error)
                except StopIteration:
                    return
            else:
                try:
                    future = self._coroutine.send(value)
                except StopIteration:
                    return


class Stepping(SMTP):
    """A session as far as its commands are run, one at a time."""

    events: EventLog
    _step_task: asyncio.Future[None] | None  # what the command under way is, or waits for

    def say(self, reply: str) -> None:
        """Queue a reply line; it is written when the batch of commands is through."""
        raise LookupError

    def _pump(self) -> None:
        """Go on with what the client has sent."""
        raise LookupError

    @property
    def peer_address(self) -> str:
        """The client's IP address in text form, "" when unknown."""
        peer: Any = self.session.peer if self.session is not None else None
        return str(peer[0]) if isinstance(peer, tuple) else ""

    def _step(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a command until it first waits; only then does it cost a task."""
        try:
            future = coroutine.send(None)
        except (StopIteration, SessionEndedError):
            return
        except Exception as error:
            self._step(self._command_failed(error))
            return
        if type(future) is Committed:
            # The one wait of every message: no task for it.
            future._asyncio_future_blocking = False
            self._step_task = future
            future.add_done_callback(partial(self._go_on, coroutine))
        else:
            self._spawn(Rest(coroutine, future).finish())

    def _go_on(self, coroutine: Coroutine[Any, Any, None], committed: asyncio.Future[None]) -> None:
        self._step_task = None
        self._step(coroutine)
        if self._step_task is None and self.transport is not None:
            self._pump()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._step_task = self.loop.create_task(self._run(coroutine))

    async def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except SessionEndedError:
            pass
        except Exception as error:
            await self._command_failed(error)
        finally:
            self._step_task = None
        if self.transport is not None:
            self._pump()

    async def _command_failed(self, error: Exception) -> None:
        try:
            self.say(await self.handle_exception(error))
        except Exception as its_own:
            self.say(await Stepping.handle_exception(self, its_own))

    async def handle_exception(self, error: Exception) -> str:
        """aiosmtpd's hook: the reply to a command that failed. This one tells the log, and the client nothing."""
        problem = f"{type(error).__name__}: {error}"
        self.events.event("command_failed", level="error", peer=self.peer_address, error=problem)
        return "451 4.3.0 Something went wrong here; try again later"
