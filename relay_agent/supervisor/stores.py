# SPDX-License-Identifier: GPL-3.0-or-later
"""Which worker has which store, and the way to a store's commands wherever it is open."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Final

from relay_agent.control.protocol import FAILED, MOVED, NOT_FOUND, ControlError
from relay_agent.queue.lock import store_numbers
from relay_agent.supervisor.channel import ChannelClosedError
from relay_agent.supervisor.crew import Crew, WorkerProcess

__all__ = ["RemoteStore", "Stores"]

_PATIENCE = 10.0  # seconds that a command waits for a store that is between two workers
_NO_MESSAGES: Final = {"messages": 0, "recipients": 0, "held": 0, "bytes": 0}


class Stores:
    """Sees to it that every store with mail in it is open in a worker."""

    def __init__(self, directory: Path, crew: Crew) -> None:
        self._directory = directory
        self._crew = crew
        self._look = asyncio.Event()
        self.trouble = ""  # in words: what keeps workers from opening stores for now
        self.refused: dict[int, str] = {}  # by store, in words: why the last worker that was asked did not open it
        self.empty: set[int] = set()  # nobody has them open, and there is nothing in them

    def look(self) -> None:
        """Look now: a store may have become free."""
        self._look.set()

    def first_free(self) -> int:
        """The store that the next worker should open: the first that no worker has."""
        taken = {number for worker in self._crew.workers for number in worker.stores}
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def opened(self, worker: WorkerProcess, number: int) -> None:
        """A worker has opened the store."""
        worker.stores.add(number)
        self.empty.discard(number)
        self.refused.pop(number, None)

    def released(self, worker: WorkerProcess, number: int) -> None:
        """A worker has closed the store, because nothing is left in it."""
        worker.stores.discard(number)
        self.empty.add(number)

    def holder(self, number: int) -> WorkerProcess | None:
        """The worker that has it open."""
        return next((each for each in self._crew.workers if each.ready and number in each.stores), None)

    def all(self) -> list[RemoteStore]:
        """Every store that may have mail in it."""
        return [
            RemoteStore(self, number)
            for number in store_numbers(self._directory)
            if number not in self.empty and (self.holder(number) is not None or not self._unused(number))
        ]

    def _unused(self, number: int) -> bool:
        """Whether nothing was ever kept in it: the disk was full when it was made."""
        store = self._directory / str(number)
        try:
            for place in (store, store / "journal", store / "bodies"):
                with os.scandir(place) as entries:
                    if any(each.name != "lock" and each.is_file() and each.stat().st_size for each in entries):
                        return False
        except FileNotFoundError:
            return True
        return True

    async def run(self, interval: float) -> None:
        """Work until cancelled; look at least every `interval` seconds."""
        while True:
            self._look.clear()
            await self._hand_out()
            try:
                async with asyncio.timeout(interval):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _hand_out(self) -> None:
        taken = {number for worker in self._crew.workers for number in worker.stores}
        for number in store_numbers(self._directory):
            able = [each for each in self._crew.workers if each.ready and not each.leaving and not each.old]
            if number in taken or number in self.empty or not able or self._unused(number):
                continue
            worker = min(able, key=lambda each: len(each.stores))
            try:
                adopted = await worker.channel.call("adopt", store=number, within=300.0)
            except (ControlError, TimeoutError) as error:
                # In use, by a process that is ending, as a rule: the next look finds it free.
                self.refused[number] = str(error) or "no answer in time"
                continue
            self.refused.pop(number, None)
            if adopted:
                self.opened(worker, number)
            elif self.holder(number) is None:
                self.empty.add(number)


class RemoteStore:
    """A store that is open in a worker, or will be in a moment."""

    def __init__(self, stores: Stores, number: int) -> None:
        self._stores = stores
        self.number = number

    async def call(self, command: str, arguments: dict[str, Any], *, within: float = _PATIENCE * 6) -> Any:
        """The result of a store's command, for which it has `within` seconds.

        Raises ControlError, also when no worker opens the store in time.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            worker = self._stores.holder(self.number)
            if worker is not None:
                try:
                    return await worker.channel.call(
                        "store", store=self.number, run=command, arguments=arguments, within=within
                    )
                except ControlError as error:
                    if not isinstance(error, ChannelClosedError) and error.code != MOVED:
                        raise
                except TimeoutError:
                    raise ControlError(FAILED, f"worker {worker.pid} does not answer") from None
            elif self.number in self._stores.empty:
                return _of_nothing(command, arguments)
            if self._stores.trouble:
                raise ControlError(
                    FAILED,
                    f"store {self.number} of the queue is open in no worker: {self._stores.trouble}; "
                    "it is opened as soon as that has passed",
                )
            if time.monotonic() >= deadline:
                refused = self._stores.refused.get(self.number)
                because = (
                    f": {refused}; it is tried again every few seconds" if refused else " at the moment; try again"
                )
                raise ControlError(FAILED, f"store {self.number} of the queue is open in no worker{because}")
            self._stores.look()
            await asyncio.sleep(0.1)


def _of_nothing(command: str, arguments: dict[str, Any]) -> Any:
    """What a store without messages answers."""
    match command:
        case "store.status":
            return {"queue": dict(_NO_MESSAGES), "delivery": {}}
        case "queue.page":
            return {"items": [], "more": False}
        case "queue.groups" | "queue.matches":
            return {"cursor": None}
        case "queue.change":
            given = arguments.get("selection")
            ids = given.get("ids") if isinstance(given, dict) else None
            return {"unknown": [str(each).upper() for each in ids] if isinstance(ids, list) else []}
        case "queue.show" | "queue.read":
            raise ControlError(NOT_FOUND, f"{arguments.get('id')} is not in the queue")
        case _:
            ids = arguments.get("ids")
            return {"unknown": [str(each).upper() for each in ids] if isinstance(ids, list) else []}
