# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes outcomes to the queue, many at once, again and again until the disk takes them.

A full disk refuses for as long as it is full. What is refused for another reason, alone, again and again, is not
waited for: its recipients are held, and the rest goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relay_agent.observability.log import EventLog
from relay_agent.queue.model import Message, QueueDamagedError, QueueFullError, QueueStore, Update

__all__ = ["Recorder"]

_MOST_AT_ONCE = 500
_FIRST_WAIT = 1.0  # seconds until the disk is tried again
_LONGEST_WAIT = 30.0
_LOG_EVERY = 60.0
_MOST_REFUSALS = 5  # of one entry alone, the disk having room


def _not_held(error: Exception) -> Sequence[Update]:
    return ()


@dataclass(slots=True)
class _Entry:
    updates: Sequence[Update]
    bounces: Sequence[Message]
    done: Callable[[], None]
    refused: Callable[[Exception], Sequence[Update]]
    refusals: int = 0
    error: Exception | None = None
    instead: bool = False  # these are the updates that hold it


class Recorder:
    """Takes outcomes without waiting and records them in the order they came.

    A recipient whose outcome is not recorded yet stays in hand, so a full disk delays the books but sends
    nothing twice.
    """

    def __init__(self, store: QueueStore, log: EventLog) -> None:
        self._store = store
        self._log = log
        self._entries: list[_Entry] = []
        self._task: asyncio.Task[None] | None = None
        self._logged = -_LOG_EVERY
        self._given_up = 0  # entries in whose place not even a hold could be recorded

    @property
    def pending(self) -> int:
        """Outcomes not yet on the disk."""
        return len(self._entries)

    def put(
        self,
        updates: Sequence[Update],
        bounces: Sequence[Message],
        done: Callable[[], None],
        refused: Callable[[Exception], Sequence[Update]] = _not_held,
    ) -> None:
        """Record these together; `done` is called when they are on the disk.

        refused: called when they never will be, with the reason; gives what to record in their place.
        """
        self._entries.append(_Entry(updates, bounces, done, refused))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def settled(self, seconds: float) -> None:
        """Wait until what is to be recorded now is on the disk, for `seconds` at most."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)

    async def _run(self) -> None:
        wait = _FIRST_WAIT
        try:
            while self._entries:
                batch = self._entries[:_MOST_AT_ONCE]
                if await self._record(batch):
                    del self._entries[: len(batch)]
                    wait = _FIRST_WAIT
                    continue
                if len(batch) > 1:
                    # One by one: what only removes needs no room, and no entry suffers for another.
                    self._entries[: len(batch)] = [entry for entry in batch if not await self._record([entry])]
                if hopeless := [entry for entry in self._entries if entry.refusals >= _MOST_REFUSALS]:
                    self._give_up(hopeless)
                    wait = _FIRST_WAIT
                if self._entries:
                    await asyncio.sleep(wait)
                    wait = min(2 * wait, _LONGEST_WAIT)
        finally:
            self._task = None

    async def _record(self, batch: Sequence[_Entry]) -> bool:
        updates = [update for entry in batch for update in entry.updates]
        bounces = [bounce for entry in batch for bounce in entry.bounces]
        try:
            await self._store.record(updates, bounces)
        except Exception as error:
            # Whatever it is, to forget them would send these messages a second time.
            # Of a damaged database it says nothing about this one; the worker ends for that.
            if len(batch) == 1 and not isinstance(error, QueueFullError | QueueDamagedError):
                batch[0].refusals += 1
                batch[0].error = error
            if time.monotonic() - self._logged >= _LOG_EVERY:
                self._logged = time.monotonic()
                self._log.event(
                    "outcomes_not_recorded",
                    level="error",
                    error=f"{type(error).__name__}: {error}",
                    waiting=len(self._entries),
                    queue_id=batch[0].updates[0].queue_id if batch[0].updates else None,
                )
            return False
        for entry in batch:
            entry.done()
        return True

    def _give_up(self, hopeless: Sequence[_Entry]) -> None:
        """Have the recipients held in place of these entries. If not even that can be recorded, go on without: the
        message then stays in hand, where nothing is sent twice."""
        for entry in hopeless:
            if not entry.instead and entry.error is not None:
                entry.updates, entry.bounces = entry.refused(entry.error), ()
                entry.instead, entry.refusals = True, 0
        left = [
            entry for entry in self._entries if entry.refusals < _MOST_REFUSALS and (entry.updates or not entry.instead)
        ]
        self._given_up += len(self._entries) - len(left)
        self._entries = left

    async def close(self, grace: float) -> int:
        """Wait up to `grace` seconds for what is still to be written; returns how many outcomes were not."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=grace)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        return len(self._entries) + self._given_up
