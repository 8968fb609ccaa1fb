# SPDX-License-Identifier: GPL-3.0-or-later
"""The store that a worker uses: a journal in front of the database.

A new message is synced in the journal, and as most are delivered within seconds, that is all there ever is of it.
What waits longer (deferred, held, not delivered within a while), what is large, and whatever an operator asks
about goes into the database. A store that is closed has everything there; what an agent that was killed left
in its journal is moved there when the store is next opened.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from relay_agent.queue.body import MINIMUM_FREE
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.journal import Journal, JournalError
from relay_agent.queue.journal_format import DamagedEntryError, is_fresh
from relay_agent.queue.lanes import in_turn, owner_of
from relay_agent.queue.model import HELD_UNTIL, Counts, Message, QueueDamagedError, QueueFullError, Update
from relay_agent.queue.operations import Store
from relay_agent.queue.selection import Cursor, Found, Group, Selection

__all__ = ["JournaledStore"]

log = logging.getLogger(__name__)

_LARGEST = 1 << 20  # bytes of content that the journal takes
_MOST_BYTES = 256 << 20  # of segments; what is older goes into the database
_TIDY_EVERY = 2.0  # seconds
_FRESH_FOR = 30.0  # seconds after which a message that is still there goes into the database
_AT_ONCE = 200  # messages moved in one go
_BYTES_AT_ONCE = 8 << 20  # of content that is read in one go


class JournaledStore:
    """A QueueStore of a journal and an `EmbeddedStore`, which see; opened by the constructor, which blocks."""

    def __init__(
        self,
        directory: Path | str,
        worker: int = 0,
        *,
        minimum_free: int = MINIMUM_FREE,
        on_damage: Callable[[str], None] | None = None,
    ) -> None:
        self._base = EmbeddedStore(directory, worker, minimum_free=minimum_free, on_damage=on_damage)
        self.notices = self._base.notices
        self._journal = Journal(self._base.directory, minimum_free=minimum_free)
        self._on_damage = on_damage
        self._damage_told = False
        self._moving: dict[str, asyncio.Task[Exception | None]] = {}
        self._moves = 0  # begun, ever
        self._tidying: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> JournaledStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---- taking mail in ---------------------------------------------------------------------------------

    async def store(self, message: Message) -> None:
        """Keep a new message; returns when it is synced to disk. Raises what `EmbeddedStore.store` raises."""
        if message.queue_id in self._journal.live:
            await self._move([message.queue_id])  # the database refuses it then
        elif (
            message.body.size <= _LARGEST
            and self._journal.size <= 2 * _MOST_BYTES
            and not self._closed
            and is_fresh(message)
            and all(recipient.next_attempt <= message.created for recipient in message.recipients.values())
            and HELD_UNTIL
            not in message.envelope.options  # it may seem past: a clock that was put back since `created`
        ):
            Store(message).check()
            if self._tidying is None:
                self._tidying = asyncio.get_running_loop().create_task(self._tidy())
            try:
                await self._journal.add(message)
            except JournalError:
                pass  # the database may still take it, and knows how to refuse
            else:
                return
        await self._base.store(message)

    # ---- what became of it ------------------------------------------------------------------------------

    async def record(self, updates: Sequence[Update], bounces: Sequence[Message] = ()) -> None:
        """Keep the outcome of an attempt; see QueueStore. That a recipient is done is on the disk a moment later
        only: a power cut in that moment has it delivered twice."""
        live = self._journal.live
        await self._move(
            {
                *(each.queue_id for each in updates if bounces or each.recipient is not None),
                *(each.queue_id for each in bounces),
            }
        )
        while moving := {self._moving[each.queue_id] for each in updates if each.queue_id in self._moving}:
            await asyncio.wait(moving)
        # From here on without a pause, so that nothing is moved between the question and the answer.
        for each in updates:
            if each.queue_id in live and each.recipient is not None:
                raise QueueDamagedError(f"message {each.queue_id} cannot be read from the journal")
        rest = [each for each in updates if each.queue_id not in live]
        for each in updates:
            if each.queue_id in live:  # it leaves with its last recipient
                self._journal.done(each.queue_id, (each.number,))
        if rest or bounces:
            await self._base.record(rest, bounces)

    async def due(
        self,
        now: float,
        limit: int,
        *,
        exclude: frozenset[str] = frozenset(),
        without: frozenset[int] = frozenset(),
    ) -> list[Message]:
        """Due messages; see QueueStore. New ones have their part, however many old ones there are."""
        moving = set(self._moving.values())
        lanes = {
            lane: (each for each in ids if each not in exclude and each not in self._moving)
            for lane, ids in self._journal.lanes.items()
            if owner_of(lane) not in without
        }
        fresh: list[str] = []
        large: list[str] = []  # more than shall be read along: the database gives them without their content
        size = 0
        for queue_id in islice(in_turn(lanes), max(limit, 0)):
            size += self._journal.live[queue_id].size
            (fresh if size <= _BYTES_AT_ONCE else large).append(queue_id)
        new = self._read(fresh)
        share = (limit + 1) // 2
        messages, new = new[:share], new[share:]
        if moving:  # the database shall not be asked before it has those
            await asyncio.wait(moving)
        with contextlib.suppress(QueueFullError):  # they come another time
            await self._move(large)
        if len(messages) < limit:
            # What is moved from now on is not to come twice.
            messages += await self._base.due(now, limit - len(messages), exclude=exclude.union(fresh), without=without)
        return messages + new[: limit - len(messages)]

    async def next_due(self, *, after: float = 0.0) -> float | None:
        """The earliest attempt later than `after`; what is in the journal has none to wait for."""
        return await self._base.next_due(after=after)

    # ---- the operator -----------------------------------------------------------------------------------

    async def awaiting(self, wanted: Callable[[str], bool]) -> builtins.list[tuple[str, str]]:
        """Messages that wait for a site to call in; none of them is in the journal."""
        return await self._base.awaiting(wanted)

    async def get(self, queue_id: str) -> Message | None:
        """One message with all its recipients."""
        await self._move([queue_id])
        return await self._base.get(queue_id)

    async def list(self, limit: int = 1000, offset: int = 0) -> builtins.list[Message]:
        """Messages, oldest first, with all their recipients."""
        await self._move(builtins.list(self._journal.live))
        return await self._base.list(limit, offset)

    async def retry(self, queue_ids: Sequence[str] | None) -> int:
        """Make these messages (None: all) due now; returns how many waiting recipients it concerned."""
        await self._move(self._journal.live if queue_ids is None else queue_ids)
        return await self._base.retry(queue_ids)

    async def catch_up(self, ahead: float) -> int:
        """Make due what a clock that was ahead put off; nothing in the journal was put off yet."""
        return await self._base.catch_up(ahead)

    async def hold(self, queue_ids: Sequence[str]) -> int:
        """Hold the waiting recipients of these messages until released; returns how many."""
        await self._move(queue_ids)
        return await self._base.hold(queue_ids)

    async def release(self, queue_ids: Sequence[str]) -> int:
        """Make the held recipients of these messages due now; returns how many."""
        await self._move(queue_ids)
        return await self._base.release(queue_ids)

    async def find(self, selection: Selection, cursor: Cursor | None) -> Found:
        """Recipients that fit; see OperatedStore."""
        await self._move_for(selection, cursor)
        return await self._base.find(selection, cursor)

    async def groups(self, selection: Selection, cursor: Cursor | None) -> tuple[builtins.list[Group], Cursor | None]:
        """Recipients that fit, by destination and reason; see OperatedStore."""
        await self._move_for(selection, cursor)
        return await self._base.groups(selection, cursor)

    async def _move_for(self, selection: Selection, cursor: Cursor | None) -> None:
        if cursor is None:  # what comes during a search is not looked at
            await self._move(builtins.list(self._journal.live) if selection.ids is None else selection.ids)

    async def mark(self, recipients: Sequence[tuple[str, int]], state: str) -> int:
        """Hold, release or make due some recipients; see OperatedStore."""
        await self._move(dict.fromkeys(queue_id for queue_id, _ in recipients))
        return await self._base.mark(recipients, state)

    async def delete(self, queue_ids: Sequence[str]) -> int:
        """Remove messages without delivery and without a bounce; returns how many there were."""
        await self._move(queue_ids)
        return await self._base.delete(queue_ids)

    async def counts(self) -> Counts:
        """How much is in the queue."""
        journal, moves = self._journal, -1
        while self._moving or moves != self._moves:  # what is on its way is in both for a moment
            if self._moving:
                await asyncio.wait(set(self._moving.values()))
            moves = self._moves
            counts = await self._base.counts()
        return Counts(
            counts.messages + len(journal.live),
            counts.recipients + journal.recipients,
            counts.held,
            counts.bytes + journal.bytes,
        )

    async def oldest(self) -> float | None:
        """When the oldest message was accepted, seconds since the epoch; None when there is none."""
        oldest = await self._base.oldest()
        first = next(iter(self._journal.live.values()), None)
        if first is None:
            return oldest
        accepted = time.time() - (time.monotonic() - first.accepted)
        return accepted if oldest is None else min(oldest, accepted)

    def spool_directory(self) -> Path:
        """Where the submission side puts large bodies while they arrive."""
        return self._base.spool_directory()

    # ---- from the journal to the database ---------------------------------------------------------------

    async def _move(self, queue_ids: Iterable[str]) -> None:
        """Have these messages in the database, as far as the journal has them.

        Raises QueueFullError and QueueDamagedError; those not moved stay where they are.
        """
        wanted = [queue_id for queue_id in dict.fromkeys(queue_ids) if queue_id in self._journal.live]
        wanted.reverse()
        while wanted:
            some: builtins.list[str] = []
            size = 0
            while wanted and len(some) < _AT_ONCE and size < _BYTES_AT_ONCE:
                if (live := self._journal.live.get(queue_id := wanted.pop())) is not None:
                    some.append(queue_id)
                    size += live.size
            await self._move_some(some)

    async def _move_some(self, queue_ids: Iterable[str]) -> None:
        ids = [each for each in queue_ids if each in self._journal.live]
        free = [each for each in ids if each not in self._moving]
        if free:
            self._moves += 1
            # A task of its own: whoever waits for it may be cancelled, and half a move is mail in two places.
            moved = asyncio.get_running_loop().create_task(self._move_now(free))
            self._moving.update(dict.fromkeys(free, moved))
        moves = {self._moving[each] for each in ids if each in self._moving}
        if moves:
            await asyncio.wait(moves)
        for move in moves:
            if (error := move.result()) is not None:
                raise error

    async def _move_now(self, queue_ids: Sequence[str]) -> Exception | None:
        try:
            if messages := self._read(queue_ids):
                await self._base.move_in(messages)
                # Before anybody acts on them there: an agent that is killed must not find them in the journal again.
                with contextlib.suppress(JournalError):
                    await self._journal.forget(message.queue_id for message in messages)
        except Exception as error:
            return error
        finally:
            for each in queue_ids:
                del self._moving[each]
        return None

    def _read(self, queue_ids: Iterable[str]) -> builtins.list[Message]:
        messages = []
        for queue_id in queue_ids:
            try:
                messages.append(self._journal.read(queue_id))
            except (OSError, DamagedEntryError) as error:
                # What holds it is set aside, and the rest of it saved, when the store is next opened.
                self._damaged(f"message {queue_id} cannot be read from the journal: {error}")
        return messages

    def _damaged(self, description: str) -> None:
        if self._damage_told:
            return
        self._damage_told = True
        log.critical("the queue is damaged: %s; it is repaired when the agent starts again", description)
        if self._on_damage is not None:
            self._on_damage(description)

    async def _tidy(self) -> None:
        """Have the journal hold new messages only, for as long as the store is open."""
        while True:
            await asyncio.sleep(_TIDY_EVERY)
            old = self._journal.old(_MOST_BYTES, time.monotonic() - _FRESH_FOR)
            try:
                await self._move(old)
            except Exception as error:
                log.warning("new messages cannot be moved into the queue's database: %s", error)

    async def close(self) -> None:
        """Finish what is under way, have everything in the database, and close."""
        if self._closed:
            return
        self._closed = True
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait([self._tidying])
        await self._journal.settle()  # messages that are just being accepted
        try:
            await self._move(builtins.list(self._journal.live))
        except Exception as error:
            log.warning("new messages stay in the journal: %s", error)
        self._journal.close()
        await self._base.close()
