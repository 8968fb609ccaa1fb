# SPDX-License-Identifier: GPL-3.0-or-later
"""What limits hold by for the whole host: leases, token buckets and guesses, kept here and told to all workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay_agent.config.schema import Policy
from relay_agent.leases import LeaseOffice
from relay_agent.policy.buckets import Buckets
from relay_agent.policy.guessing import Guard
from relay_agent.supervisor.crew import Crew, WorkerProcess
from relay_agent.supervisor.spending import Spent, spend_all

__all__ = ["Shared"]


class Shared:
    """The supervisor's copies. policy: the limits that hold now."""

    def __init__(self, crew: Crew, policy: Callable[[], Policy]) -> None:
        self._crew = crew
        self._policy = policy
        self._office = LeaseOffice(self._recall)
        self._buckets = Buckets()
        self._guesses = Guard()

    def commands(self, worker: WorkerProcess) -> dict[str, Any]:
        """What a worker may ask for and tell."""
        return {
            "lease.take": lambda a: self._office.take(worker.serial, a["key"], a["limit"], a["amount"]),
            "lease.give": lambda a: self._office.give(worker.serial, a["key"], a["amount"]),
            "spent": lambda a: self._spent(worker, a["spent"]),
            "guessed": lambda a: self._guessed(worker, a["guess"]),
        }

    def for_worker(self) -> dict[str, Any]:
        """What a worker that starts has to know."""
        return {"buckets": self._buckets.export(), "guesses": self._guesses.export()}

    def forget(self, worker: WorkerProcess) -> None:
        """A worker has ended, and with it what it had leased."""
        self._office.forget(worker.serial)

    def export(self) -> dict[str, Any]:
        """For the program that replaces this one."""
        return {"leases": self._office.export(), **self.for_worker()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with what the earlier program of this process exported."""
        self._office.restore(state["leases"])
        self._buckets.restore(state["buckets"])
        if "guesses" in state:  # not from a release before they were shared
            self._guesses.restore(state["guesses"])

    def _spent(self, spender: WorkerProcess, spent: Spent) -> None:
        spend_all(self._buckets, spent)
        for worker in self._crew.workers:
            if worker is not spender:
                worker.channel.notice("spent", spent=spent)

    def _guessed(self, teller: WorkerProcess, guess: list[str]) -> None:
        self._guesses.hear(guess, self._policy())
        for worker in self._crew.workers:
            if worker is not teller:
                worker.channel.notice("guessed", guess=guess)

    def _recall(self, key: str, holders: list[int]) -> None:
        for worker in self._crew.workers:
            if worker.serial in holders:
                worker.channel.notice("lease.recall", key=key)
