# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: where new messages are synced before their 250, and most of them are all their lives.

What is accepted in one turn of the event loop is written at the turn's end and synced together (group commit),
and what comes meanwhile shares the next sync.

What became of messages is written behind them, but not synced for its own sake: a power cut before the next sync
has them delivered a second time (RFC 5321 6.1), never lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.journal_format import ENTRY_SIZE, decode_message, encode_done, encode_gone, encode_message
from relay_agent.queue.kernel_sync import Syncer
from relay_agent.queue.lanes import lane_of
from relay_agent.queue.model import Committed, Message
from relay_agent.queue.segments import SEGMENT_SIZE, Segment, Segments

__all__ = ["Journal", "JournalError", "Live"]

log = logging.getLogger(__name__)

_SYNC_WITHIN = 1.0  # seconds until what became of messages is synced, when no new message does it before
_AFTER_ERROR = 1.0  # seconds until what became of messages is tried again to be written


class JournalError(Exception):
    """The journal did not take a message; another place may."""


@dataclass(slots=True)
class Live:
    """A message that the journal has: where, and its recipients that are not done yet.

    size: of its content. accepted: when, on the monotonic clock. lane: see `lanes`.
    """

    segment: Segment
    offset: int  # of the payload
    length: int
    size: int
    recipients: set[int]
    accepted: float
    lane: int


@dataclass(slots=True)
class _Batch:
    """What is written together."""

    messages: list[tuple[Message, bytes, Committed]] = field(default_factory=list)
    done: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    gone: list[str] = field(default_factory=list)
    barriers: list[asyncio.Future[None]] = field(default_factory=list)

    def entries(self) -> list[bytes]:
        """The entries, a message's before what became of it."""
        entries = [entry for _, entry, _ in self.messages]
        if self.done:
            entries.append(encode_done(self.done))
        if self.gone:
            entries.append(encode_gone(self.gone))
        return entries


class Journal:
    """The journal of one store. Everything is called on one event loop.

    minimum_free: bytes to be left on the disk. The directory holds no segments when this begins (see `replay`).
    """

    def __init__(self, directory: StoreDirectory, *, minimum_free: int) -> None:
        self._directory = directory
        self._minimum_free = minimum_free
        self._segments = Segments(directory.journal, self._room, directory.own)
        self.live: dict[str, Live] = {}  # by queue id, oldest first
        self.lanes: dict[int, dict[str, None]] = {}  # the live messages of each lane, oldest first
        self.bytes = 0  # of the content of all live messages
        self.recipients = 0
        self._number = 0
        self._next = _Batch()  # what is to be written next
        self._scheduled = False
        self._syncing = False
        self._timer: asyncio.TimerHandle | None = None
        self._syncer = Syncer()
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="queue-segments")
        self._preparing = self._preparer.submit(self._prepare)

    @property
    def size(self) -> int:
        """Bytes that its segments take on the disk."""
        return self._segments.size

    def add(self, message: Message) -> Committed:
        """Keep a message that `is_fresh`; done once it is synced. JournalError: it is not kept."""
        loop = asyncio.get_running_loop()
        committed = Committed(loop=loop)
        self._next.messages.append((message, encode_message(message), committed))
        self._schedule(loop)
        return committed

    def done(self, queue_id: str, numbers: Iterable[int]) -> None:
        """These recipients of a live message need nothing more; with the last one it is forgotten."""
        live = self.live[queue_id]
        numbers = [number for number in numbers if number in live.recipients]
        live.recipients.difference_update(numbers)
        self.recipients -= len(numbers)
        self._next.done[queue_id] += numbers
        if not live.recipients:
            self._drop(queue_id)
        self._schedule(asyncio.get_running_loop())

    def forget(self, queue_ids: Iterable[str]) -> asyncio.Future[None]:
        """These messages are kept elsewhere from now on; done once that is synced."""
        loop = asyncio.get_running_loop()
        for queue_id in queue_ids:
            self._next.gone.append(queue_id)
            self.recipients -= len(self.live[queue_id].recipients)
            self._drop(queue_id)
        barrier: asyncio.Future[None] = loop.create_future()
        self._next.barriers.append(barrier)
        self._schedule(loop)
        return barrier

    def _drop(self, queue_id: str) -> None:
        live = self.live.pop(queue_id)
        lane = self.lanes[live.lane]
        del lane[queue_id]
        if not lane:
            del self.lanes[live.lane]
        live.segment.live -= 1
        self.bytes -= live.size

    def read(self, queue_id: str) -> Message:
        """A live message with its recipients that are not done; reads a few kilobytes, which the disk has lately
        written. Raises OSError, and DamagedEntryError for what cannot be read as it was written."""
        live = self.live[queue_id]
        payload = os.pread(live.segment.fd, live.length, live.offset)
        message = decode_message(payload)
        return replace(message, recipients={number: message.recipients[number] for number in sorted(live.recipients)})

    def old(self, most: int, before: float) -> list[str]:
        """The live messages accepted before that time (monotonic clock), and those in segments beyond the newest,
        which are `most` bytes."""
        segments = list(self._segments.open)
        beyond = {id(segment) for segment in segments[: max(0, len(segments) - most // SEGMENT_SIZE)]}
        return [
            queue_id
            for queue_id, live in self.live.items()
            if live.accepted < before or (beyond and id(live.segment) in beyond)
        ]

    def close(self) -> None:
        """End; blocks. What is waiting to be written is written, as far as the disk takes it."""
        if self._timer is not None:
            self._timer.cancel()
        self._syncer.close()
        self._preparer.shutdown()
        with contextlib.suppress(OSError):
            if entries := self._next.entries():
                segment, _ = self._put(entries)
                os.fdatasync(segment.fd)
        self._segments.free()
        self._segments.close()

    # ---- writing --------------------------------------------------------------------------------------

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled and not self._syncing:
            self._scheduled = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """The end of a turn of the loop: write what it brought."""
        self._scheduled = False
        batch, self._next = self._next, _Batch()
        entries = batch.entries()
        if not entries and not batch.barriers:
            return
        try:
            place = self._put(entries)
        except OSError as error:
            self._failed(loop, batch, error)
            return
        if batch.messages or batch.barriers:
            self._syncing = True
            self._syncer.begin(loop, place[0].fd, lambda error: self._synced(loop, batch, place, error))
        else:
            self._written(loop, batch, place)
            if self._timer is None:
                self._timer = loop.call_later(_SYNC_WITHIN, self._sync_later, loop)

    def _synced(
        self, loop: asyncio.AbstractEventLoop, batch: _Batch, place: tuple[Segment, int], error: OSError | None
    ) -> None:
        self._syncing = False
        if error is None:
            self._written(loop, batch, place)
        else:
            place[0].sealed = True
            self._failed(loop, batch, error)

    def _put(self, entries: list[bytes]) -> tuple[Segment, int]:
        self._number += 1
        return self._segments.append(entries, self._number)

    def _written(self, loop: asyncio.AbstractEventLoop, batch: _Batch, place: tuple[Segment, int]) -> None:
        segment, at = place
        now = time.monotonic()
        for message, entry, committed in batch.messages:
            size, recipients = message.body.size, message.recipients
            lane = lane_of(message.envelope)
            self.live[message.queue_id] = Live(
                segment, at + ENTRY_SIZE, len(entry) - ENTRY_SIZE, size, set(recipients), now, lane
            )
            self.lanes.setdefault(lane, {})[message.queue_id] = None
            segment.live += 1
            self.bytes += size
            self.recipients += len(recipients)
            at += len(entry)
            if not committed.done():
                committed.set_result(None)
        for barrier in batch.barriers:
            if not barrier.done():
                barrier.set_result(None)
        self._segments.free()
        if self._segments.wants_spare and self._preparing.done():
            self._preparing = self._preparer.submit(self._prepare)
        if self._next.messages or self._next.done or self._next.barriers:
            self._schedule(loop)

    def _failed(self, loop: asyncio.AbstractEventLoop, batch: _Batch, error: BaseException) -> None:
        """Whether any of the batch is on the disk nobody knows: the next one says that its messages do not count."""
        log.warning("the queue's journal cannot be written: %s", error)
        later = self._next
        later.gone += batch.gone
        for queue_id, numbers in batch.done.items():
            later.done[queue_id] += numbers
        failure = JournalError(str(error))
        for message, _, committed in batch.messages:
            later.gone.append(message.queue_id)
            if not committed.done():
                committed.set_exception(failure)
        for barrier in batch.barriers:
            if not barrier.done():
                barrier.set_exception(failure)
        if self._next.messages or self._next.barriers:
            self._schedule(loop)
        elif self._timer is None:
            self._timer = loop.call_later(_AFTER_ERROR, self._try_again, loop)

    def _try_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._schedule(loop)

    def _prepare(self) -> None:
        with contextlib.suppress(OSError):  # without a spare one is made when it is needed
            while self._segments.wants_spare:
                self._segments.prepare()

    def _sync_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sync what became of messages; a new message would have done it before."""
        self._timer = None
        if not self._syncing:
            barrier: asyncio.Future[None] = loop.create_future()
            barrier.add_done_callback(lambda ended: ended.exception())  # nobody else asks for it
            self._next.barriers.append(barrier)
            self._schedule(loop)

    def _room(self, size: int) -> None:
        """What is live here may have to go into the database, which then grows by as much."""
        if self._minimum_free and self._directory.free() < self._minimum_free + size + 2 * self.bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._directory.journal))
