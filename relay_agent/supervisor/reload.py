# SPDX-License-Identifier: GPL-3.0-or-later
"""When a program of this process makes way for the current release, and what became of that; what workers read anew
without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import relay_agent
from relay_agent.notify import notify, notify_reloading
from relay_agent.observability.log import MailLog
from relay_agent.supervisor.crew import WorkerProcess
from relay_agent.supervisor.replacement import release
from relay_agent.supervisor.settings import Settings, changed_beyond_reload, check_release

__all__ = ["Reload", "read_anew"]


class Reload:
    """The reloads of one agent.

    stop: the agent ends. complete: all workers of this program take mail; waiting: what the host lacks until they do,
    in words. replace: becomes the current release, and returns only if it did not: what is wrong, or "" for an agent
    that stops meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        log: MailLog,
        *,
        stop: asyncio.Event,
        complete: asyncio.Event,
        waiting: Callable[[], str],
        spawn_task: Callable[[Coroutine[Any, Any, Any]], None],
        replace: Callable[[], Awaitable[str]],
    ) -> None:
        self.release = release()  # of this program
        self._settings = settings
        self._log = log
        self._stop = stop
        self._complete = complete
        self._waiting = waiting
        self._spawn_task = spawn_task
        self._replace = replace
        self._replacing = False
        self._asked_again = False
        self._counts = {"done": 0, "refused": 0}
        self._problems: list[str] = []  # why the last one came to nothing
        self._is_stuck = False

    @property
    def under_way(self) -> bool:
        """Whether a reload is not over yet."""
        return self._replacing or self._asked_again or not self._complete.is_set()

    def told(self) -> dict[str, Any]:
        """How many there were, and why the last one came to nothing, for the status."""
        return {**self._counts, "problems": self._problems}

    def export(self) -> dict[str, int]:
        """What the next program of this process is to know, JSON-ready."""
        return self._counts

    def restore(self, counts: Mapping[str, int]) -> None:
        """After the start of a program that replaced another."""
        self._counts.update(counts)

    async def ask(self) -> str | None:
        """Become the current release with the current configuration, accounts and certificate.

        Returns what is wrong in words; nothing changes then. None: the replacement has begun, and is done when
        the status says so. A reload during a reload is done after it.
        """
        if self._stop.is_set():
            return "the agent is stopping"
        if self._replacing or not self._complete.is_set():
            self._asked_again = True
            if waiting := self._waiting():
                return f"the reload is done when the workers have started, and they wait: {waiting}"
            return None
        self._replacing, self._asked_again = True, False
        notify_reloading()
        problems = await check_release(self._settings.path, changed=release() != self.release)
        if not problems:
            problems = changed_beyond_reload(self._settings)
        if problems:
            self._given_up(problems, "Running with the previous configuration: the new one has problems")
            return "\n".join(problems)
        # In a task of its own: who asked over the control socket is answered first.
        self._spawn_task(self._make_way())
        return None

    def ask_in_task(self) -> None:
        """The same for a signal, which takes no answer."""
        self._spawn_task(self.ask())

    def replaced(self, accounts: int) -> None:
        """All workers of a program that replaced another take mail. accounts: how many there are now."""
        if self._settings.problems:
            self.refuse(self._settings.problems)
        else:
            self._counts["done"] += 1
            self._problems = []
            self._log.event("reloaded", version=relay_agent.__version__, accounts=accounts)

    def refuse(self, problems: list[str]) -> None:
        """Everything goes on as it was."""
        self._counts["refused"] += 1
        self._problems = problems
        self._log.event("reload_refused", level="error", problems=problems)

    def stuck(self, problem: str) -> None:
        """The workers of before go on until new ones start, which is tried again and again; counted once."""
        if not self._is_stuck:
            self._is_stuck = True
            self._counts["refused"] += 1
        self._problems = [problem]

    def ask_if_wanted(self) -> None:
        """What was asked for meanwhile is done now."""
        if self._asked_again:
            self.ask_in_task()

    async def _make_way(self) -> None:
        problem = await self._replace()
        if problem:
            self._given_up([problem], "Running as before: the current release cannot be started")

    def _given_up(self, problems: list[str], words: str) -> None:
        self._replacing = False
        self.refuse(problems)
        notify("READY=1", f"STATUS={words}")
        self.ask_if_wanted()


async def read_anew(what: str, workers: Sequence[WorkerProcess], log: MailLog) -> str | None:
    """Let all workers read the accounts ("accounts") or the DKIM keys ("dkim") anew; nothing else changes.

    Returns None, or what is wrong in words.
    """
    answers = await asyncio.gather(
        *(each.channel.call(f"{what}.reload") for each in workers if each.ready), return_exceptions=True
    )
    problems = next((answer for answer in answers if isinstance(answer, list) and answer), None)
    if problems is not None:
        log.event("reload_refused", level="error", problems=problems)
        return "\n".join(problems)
    log.event(f"{what}_reloaded")
    return None
