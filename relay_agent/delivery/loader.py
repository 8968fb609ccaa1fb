# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches due messages from the queue when there is room for them, and sleeps when nothing is due."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from relay_agent.delivery.hand import Hand
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.lanes import lane_of, owner_of
from relay_agent.queue.model import Message, QueueStore

__all__ = ["Loader"]

_MOST_BYTES = 128 << 20  # of content held in memory; what is in files or read on demand does not count
_LONGEST_SLEEP = 60.0  # seconds; also bounds what a jump of the wall clock can do
_AFTER_ERROR = 5.0
_FEW = 20  # messages of an account in hand up to which it may use the reserve
_REMEMBERED = 10_000


class Loader:
    """Feeds `take` with due messages, at most `room` in hand at once, and bounded in bytes.

    One account has at most three quarters of the room, and there is a little more for accounts that have next to
    nothing in hand, so that their letters never wait for another's to be gone.

    hands: the messages in hand by queue id (the dispatcher's own dict). The loader also keeps who left memory
    lately: an answer of the queue may be older than that, and must not bring a message back.
    """

    def __init__(
        self, store: QueueStore, log: EventLog, hands: dict[str, Hand], take: Callable[[Message], None], room: int
    ) -> None:
        self._store = store
        self._log = log
        self._hands = hands
        self._take = take
        self._room = room
        self._most_of_one = max(1, room * 3 // 4)
        self._reserve = room // 4  # beyond `room`
        self._owners: Counter[int] = Counter()  # messages in hand by account
        self._passed_over: set[int] = set()  # accounts that had all they may when the queue was looked into
        self._bytes = 0
        self._behind = True  # the queue may hold due messages that are not in hand
        self._wakeup = asyncio.Event()
        self._urgent = False  # look now
        self._look_at = 0.0  # monotonic clock
        self._finished: OrderedDict[str, int] = OrderedDict()
        self._sequence = 0

    def takes(self, message: Message) -> bool:
        """Whether there is room for this new message in memory; if not, the queue is looked into once there is some."""
        count, owner = len(self._hands), owner_of(lane_of(message.envelope))
        own = self._owners[owner]
        if own >= self._most_of_one:
            # Room alone is no reason to look, or each message that leaves would cost a look in vain.
            self._passed_over.add(owner)
            return False
        room = count < self._room or (own < _FEW and count < self._room + self._reserve)
        if not room or self._bytes >= _MOST_BYTES:
            self._behind = True
            return False
        return True

    def wake(self) -> None:
        """Look into the queue now."""
        self._behind = True
        self._look_now()

    def expect(self, due: float) -> None:
        """A recipient comes due at `due`, seconds since the epoch."""
        look_at = time.monotonic() + due - time.time()
        if look_at < self._look_at:
            self._look_at = look_at
            self._wakeup.set()

    def _look_now(self) -> None:
        self._urgent = True
        self._wakeup.set()

    def begun(self, message: Message) -> None:
        """A message is in hand now."""
        self._bytes += _in_memory(message)
        self._owners[owner_of(lane_of(message.envelope))] += 1

    def finished(self, message: Message) -> None:
        """A message has left memory."""
        queue_id = message.queue_id
        self._bytes -= _in_memory(message)
        owner = owner_of(lane_of(message.envelope))
        self._owners[owner] -= 1
        own = self._owners[owner]
        if not own:
            del self._owners[owner]
        if owner in self._passed_over and own <= self._most_of_one // 2:
            self._passed_over.discard(owner)
            self._behind = True
        self._sequence += 1
        self._finished[queue_id] = self._sequence
        self._finished.move_to_end(queue_id)
        if len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)
        if self._behind and self._roomy:
            self._look_now()

    def was_finished(self, queue_id: str) -> bool:
        """Whether the message left memory lately."""
        return queue_id in self._finished

    @property
    def _roomy(self) -> bool:
        return len(self._hands) <= self._room * 3 // 4 and self._bytes <= _MOST_BYTES * 3 // 4

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._urgent = False
            self._look_at = math.inf
            try:
                delay = await self._load()
            except Exception as error:
                self._log.event("queue_unreadable", level="error", error=f"{type(error).__name__}: {error}")
                delay = _AFTER_ERROR
            self._look_at = min(self._look_at, time.monotonic() + delay)
            while not self._urgent and (left := self._look_at - time.monotonic()) > 0:
                self._wakeup.clear()
                try:
                    async with asyncio.timeout(left):
                        await self._wakeup.wait()
                except TimeoutError:
                    pass

    async def _load(self) -> float:
        """One look into the queue; returns the seconds until the next."""
        if not self._roomy:
            self._behind = True
            return _LONGEST_SLEEP
        self._behind = False
        now = time.time()
        asked = self._sequence
        room = self._room - len(self._hands)
        without = frozenset(owner for owner, count in self._owners.items() if count >= self._most_of_one)
        self._passed_over |= without
        messages = await self._store.due(now, room, exclude=frozenset(self._hands), without=without)
        for message in messages:
            if message.queue_id in self._hands or self._finished.get(message.queue_id, -1) > asked:
                continue
            owner = owner_of(lane_of(message.envelope))
            if self._owners[owner] >= self._most_of_one:
                self._passed_over.add(owner)
                continue
            self._take(message)
        if len(messages) >= room:
            return 0.0
        due = await self._store.next_due(after=now)
        if due is None:
            return _LONGEST_SLEEP
        return min(max(due - time.time(), 0.01), _LONGEST_SLEEP)


def _in_memory(message: Message) -> int:
    return message.body.size if isinstance(message.body, MemoryBody) else 0
