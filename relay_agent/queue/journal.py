# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: where new messages are synced before their 250, and most of them are all their lives.

What is accepted in one turn of the event loop is written at the turn's end and synced together (group commit),
and what comes meanwhile shares the next sync. A busy loop gathers for up to two milliseconds: a sync costs the
machine about as much work as three messages. An idle one never waits.

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
from relay_agent.queue.journal_format import (
    ENTRY_SIZE,
    decode_message,
    encode_done,
    encode_gone,
    encode_message,
    entry_payload,
)
from relay_agent.queue.kernel_sync import Syncer
from relay_agent.queue.lanes import lane_of
from relay_agent.queue.model import Committed, Message
from relay_agent.queue.segments import SEGMENT_SIZE, Segment, Segments

__all__ = ["Journal", "JournalError", "Live"]

log = logging.getLogger(__name__)

_GATHER = 0.002  # seconds from one sync to the next, as long as the loop has other work meanwhile
_IDLE = 0.00005  # seconds that a turn takes in which there was nothing to do
_SYNC_WITHIN = 1.0  # seconds until what became of messages is synced, when no new message does it before
_AFTER_ERROR = 1.0  # seconds in which no message is taken; then what became of messages is tried again to be written


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

    def fates(self) -> list[bytes]:
        """The entries that say what became of messages, all of earlier batches. They stand before the messages of
        this one: a message that was refused and is tried again under its id comes after its GONE."""
        entries = []
        if self.done:
            entries.append(encode_done(self.done))
        if self.gone:
            entries.append(encode_gone(self.gone))
        return entries

    def empty(self) -> bool:
        """Whether there is nothing to write and nobody waits."""
        return not (self.messages or self.done or self.gone or self.barriers)


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
        self._number = 0  # of the last batch that is written
        self._synced_at = 0.0  # when the last sync began, monotonic clock
        self._looked = 0.0  # when the loop's last turn began
        self._next = _Batch()  # what is to be written next
        self._resting_until = 0.0  # monotonic clock
        self._closed = False
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
        """Keep a message that `is_fresh`; done once it is synced. JournalError (of the call or of what it returns):
        it is not kept."""
        if self._closed or time.monotonic() < self._resting_until:
            raise JournalError("the journal takes nothing at present")
        loop = asyncio.get_running_loop()
        committed = Committed(loop=loop)
        self._next.messages.append((message, encode_message(message), committed))
        self._schedule(loop)
        return committed

    def done(self, queue_id: str, numbers: Iterable[int]) -> None:
        """These recipients of a live message need nothing more; with the last one it is forgotten."""
        live = self.live[queue_id]
        done = live.recipients.intersection(numbers)
        live.recipients -= done
        self.recipients -= len(done)
        self._next.done[queue_id] += done
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
        return self._barrier(loop)

    async def settle(self) -> None:
        """Wait until all that was begun is on the disk, or refused."""
        with contextlib.suppress(JournalError):
            await self._barrier(asyncio.get_running_loop())

    def _barrier(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Done when everything up to here is synced."""
        barrier: asyncio.Future[None] = loop.create_future()
        if self._closed:
            barrier.set_exception(JournalError("the journal is closed"))
            return barrier
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
        entry = os.pread(live.segment.fd, ENTRY_SIZE + live.length, live.offset - ENTRY_SIZE)
        message = decode_message(entry_payload(entry))
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
        """End; blocks. Nothing is under way, see `settle`; what became of messages since is written, as far as the
        disk takes it."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._syncer.close()
        self._preparer.shutdown()
        batch, self._next = self._next, _Batch()
        refused = JournalError("the journal is closed")
        for waiting in (*(committed for _, _, committed in batch.messages), *batch.barriers):
            if not waiting.done():
                waiting.set_exception(refused)
        if entries := batch.fates():
            with contextlib.suppress(OSError):
                segment, _ = self._segments.append(entries, self._number + 1, grows=False)
                os.fdatasync(segment.fd)
        self._segments.free()
        self._segments.close()
        self.live.clear()
        self.lanes.clear()
        self.bytes = self.recipients = 0

    # ---- writing --------------------------------------------------------------------------------------

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled and not self._syncing:
            self._scheduled = True
            self._looked = time.monotonic()
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """The end of a turn of the loop: write what it brought, or, while it is busy, what a few turns bring."""
        now = time.monotonic()
        if now - self._synced_at < _GATHER and now - self._looked > _IDLE:
            self._looked = now
            loop.call_soon(self._turn, loop)
            return
        self._scheduled = False
        if self._closed or self._syncing or self._next.empty():
            return
        batch, self._next = self._next, _Batch()
        fates = batch.fates()
        try:
            segment, at = self._segments.append(
                fates + [entry for _, entry, _ in batch.messages], self._number + 1, grows=bool(batch.messages)
            )
        except Exception as error:  # whatever it is, nobody must wait for ever
            self._failed(loop, batch, error)
            return
        place = segment, at + sum(map(len, fates))
        if batch.messages or batch.barriers:
            self._syncing = True
            self._synced_at = now
            self._syncer.begin(loop, segment.fd, lambda error: self._synced(loop, batch, place, at, error))
        else:
            self._written(loop, batch, place)
            if self._timer is None:
                self._timer = loop.call_later(_SYNC_WITHIN, self._sync_later, loop)

    def _synced(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: _Batch,
        place: tuple[Segment, int],
        begin: int,
        error: OSError | None,
    ) -> None:
        self._syncing = False
        if error is None:
            self._written(loop, batch, place)
        else:
            self._segments.void(place[0], begin)
            self._failed(loop, batch, error)

    def _written(self, loop: asyncio.AbstractEventLoop, batch: _Batch, place: tuple[Segment, int]) -> None:
        """place: the segment, and where in it the first message's entry is."""
        segment, at = place
        self._number += 1
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
        if not self._next.empty():
            self._schedule(loop)
        if self._segments.wants_spare and self._preparing.done():
            self._preparing = self._preparer.submit(self._prepare)

    def _failed(self, loop: asyncio.AbstractEventLoop, batch: _Batch, error: BaseException) -> None:
        """Whether any of the batch is on the disk nobody knows: the next one says that its messages do not count."""
        log.warning("the queue's journal cannot be written: %s", error)
        self._resting_until = time.monotonic() + _AFTER_ERROR
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
            self._barrier(loop).add_done_callback(lambda ended: ended.exception())  # nobody else asks for it

    def _room(self, size: int) -> None:
        """What is live here may have to go into the database, which then grows by as much."""
        if self._minimum_free and self._directory.free() < self._minimum_free + size + 2 * self.bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._directory.journal))
