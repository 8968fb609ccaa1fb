# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded queue store: SQLite, no server, one store per worker."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from relay_agent.queue.ahead import BringForward
from relay_agent.queue.body import DISK_REFUSALS, MINIMUM_FREE, FileBody
from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.model import Counts, Message, QueueDamagedError, QueueFullError, Update
from relay_agent.queue.operations import Delete, Hold, Mark, MoveIn, Operation, Record, Retry, Store
from relay_agent.queue.quarantine import Broken, Quarantine
from relay_agent.queue.reader import Reader
from relay_agent.queue.repair import Repair
from relay_agent.queue.replay import replay
from relay_agent.queue.salvage import open_database
from relay_agent.queue.segments import remove_spares
from relay_agent.queue.selection import Cursor, Found, Group, Selection
from relay_agent.queue.writer import LOG_SIZE, Writer, refusal

__all__ = ["EmbeddedStore"]

log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

_RETRY_AT_ONCE = 2000
_BETWEEN_GOES = 0.02  # seconds of rest when the queue is read through


class EmbeddedStore:
    """A QueueStore in `<directory>/<worker>/`, opened by the constructor (which blocks) and locked.

    The running agent opens it inside its worker; the command line opens the same class when the agent does
    not run, and gets StoreLockedError when it does. A damaged database is set aside and what can be read of
    it is carried over before anything else happens (see `salvage`); `notices` holds what was found and
    repaired, in words for the operator, each also logged.

    Cancellation: an operation that was begun is done even if the task that waits for it is cancelled.
    Whoever needs to know the outcome shields the call.

    `minimum_free`: bytes kept free on the disk (QueueFullError below it for new mail; outcomes and bounces
    go on). `on_damage`: called once with a description, on one of the store's threads, when the database is
    found damaged while in use; what needs the database fails with QueueDamagedError from then on, and the
    next start repairs it.

    Raises StoreLockedError, StoreVersionError (written by a newer release) and OSError (no permission).
    """

    def __init__(
        self,
        directory: Path | str,
        worker: int = 0,
        *,
        minimum_free: int = MINIMUM_FREE,
        on_damage: Callable[[str], None] | None = None,
    ) -> None:
        self.notices: list[str] = []
        self._on_damage = on_damage
        self._damage_told = False
        self._directory = StoreDirectory(Path(directory), worker)
        try:
            with contextlib.suppress(OSError):  # on a full disk the room that is needed for what comes now
                remove_spares(self._directory.journal)
            repair = open_database(self._directory)
            replay(self._directory, repair)
            self._directory.allocate_log(LOG_SIZE)
            self._reader = Reader(self._directory)
            try:
                missing = self._sweep(repair)
                never = self._reader.never_due()
                self._writer = Writer(
                    self._directory,
                    next_seq=self._reader.next_seq(),
                    minimum_free=minimum_free,
                    on_damage=self._damaged,
                )
                try:
                    self._tell(repair, missing, never)
                except BaseException:
                    self._writer.close()
                    raise
            except BaseException:
                self._reader.close()
                raise
        except BaseException as error:
            known = refusal(error, self._directory.database)
            if isinstance(known, QueueDamagedError):
                with contextlib.suppress(OSError):
                    self._directory.suspect.touch()  # a large database is looked at whole only when it is suspect
            self._directory.close()
            if known is not error:
                raise known from error
            raise
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="queue-reader")
        self._syncing = ThreadPoolExecutor(4, thread_name_prefix="queue-files")
        self._closed = False

    def _tell(self, repair: Repair, missing: set[str], never: Sequence[Broken]) -> None:
        """Say what was found and repaired; the repair ends with that."""
        for broken in never:
            repair.tell(f"message {broken.queue_id} is {broken.reason}")
            self._writer.submit(Quarantine(broken), None)
        self.notices += repair.notices
        for notice in self.notices:
            log.error("%s", notice)
        for queue_id in sorted(missing):
            # It is held, and known to the listing as such, as soon as it is due.
            log.error("message %s: its file is missing", queue_id, extra={"queue_id": queue_id})
        try:
            repair.end()
        except OSError as error:
            log.warning("what was repaired will be told again: %s", error)

    def _sweep(self, repair: Repair) -> set[str]:
        """Remove what no message refers to, or put it aside when its message may have been lost; the queue ids of
        messages whose body is missing."""
        removed = self._directory.empty_spool()
        strays, missing = self._directory.strays(self._reader.in_file(), self._reader.has)
        if strays and (repair.lost or missing):
            repair.tell(f"bodies that no message refers to were put into {repair.aside}")
            repair.keep(self._directory)
            self._directory.put_aside(strays, repair.aside)
        else:
            for path in strays:
                path.unlink()
            removed += len(strays)
        if removed:
            log.info("removed %d files that no message refers to", removed)
        return missing

    async def __aenter__(self) -> EmbeddedStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def store(self, message: Message) -> None:
        """Keep a new message; returns when it is synced to disk.

        A FileBody's file (which must be in `spool_directory`) is the store's from the call on: it is synced
        and moved to its place, and the body's path follows it; on failure it is removed, for a message that
        is refused on a full disk must not fill it further.

        Raises QueueFullError, QueueDamagedError, ValueError for a message without recipients, and
        sqlite3.IntegrityError for a queue id that is in use.
        """
        operation = Store(message)
        operation.check()
        if isinstance(message.body, FileBody):
            await self._with_files(operation, [message], keep=False)
        else:
            await self._write(operation)

    async def move_in(self, messages: Sequence[Message]) -> None:
        """Keep messages that the journal has, all or none; those that are here already stay as they are.

        Raises QueueFullError and QueueDamagedError.
        """
        await self._write(MoveIn(messages))

    async def record(self, updates: Sequence[Update], bounces: Sequence[Message] = ()) -> None:
        """Keep the outcome of an attempt, and the bounces it caused, in one transaction; see QueueStore.

        On failure the files of bounces are back where they were, so that the same call can be made again.
        """
        operation = Record(updates, bounces)
        operation.check()
        in_files = [message for message in bounces if isinstance(message.body, FileBody)]
        if in_files:
            await self._with_files(operation, in_files, keep=True)
        else:
            await self._write(operation)

    async def due(
        self,
        now: float,
        limit: int,
        *,
        exclude: frozenset[str] = frozenset(),
        without: frozenset[int] = frozenset(),
    ) -> list[Message]:
        """Due messages, accounts in turn; see QueueStore.

        A message whose body is missing or damaged is logged, held and passed over. Bodies up to a few
        megabytes in all are read along; the others read themselves when asked.
        """
        messages, broken = await self._read(self._reader.due, now, limit, exclude, without)
        await self._set_aside(broken)
        return messages

    async def next_due(self, *, after: float = 0.0) -> float | None:
        """Earliest next_attempt later than `after` of a waiting recipient; None when nothing waits."""
        return await self._read(self._reader.next_due, after)

    async def awaiting(self, wanted: Callable[[str], bool]) -> builtins.list[tuple[str, str]]:
        """Messages that wait for a site to call in; see QueueStore."""
        return await self._read(self._reader.awaiting, wanted)

    async def get(self, queue_id: str) -> Message | None:
        """One message with all its recipients; its body is read when asked for."""
        message, broken = await self._read(self._reader.get, queue_id)
        await self._set_aside(broken)
        self._check_whole([message] if message is not None else [])
        return message

    async def list(self, limit: int = 1000, offset: int = 0) -> builtins.list[Message]:
        """Messages, oldest first, with all their recipients; bodies are read when asked for."""
        messages, broken = await self._read(self._reader.list, limit, offset)
        await self._set_aside(broken)
        self._check_whole(messages)
        return messages

    async def retry(self, queue_ids: Sequence[str] | None) -> int:
        """Make these messages (None: all) due now; returns how many waiting recipients it concerned.

        All of a large queue is done in portions, so that new mail does not wait for it.
        """
        now = time.time()
        if queue_ids is not None:
            return await self._write(Retry(queue_ids, now, 0))
        concerned = await self._read(self._reader.waiting)
        while await self._write(Retry(None, now, _RETRY_AT_ONCE)):
            pass
        return concerned

    async def catch_up(self, ahead: float) -> int:
        """Make due what a clock that was ahead put off; see QueueStore. In goes, so that others have their turn."""
        count = 0
        after: int | None = 0
        while after is not None:
            found, after = await self._read(self._reader.put_off_ahead, time.time(), ahead, after)
            count += await self._write(BringForward(found)) if found else 0
            await asyncio.sleep(_BETWEEN_GOES)
        return count

    async def hold(self, queue_ids: Sequence[str]) -> int:
        """Hold the waiting recipients of these messages until released; returns how many."""
        return await self._write(Hold(queue_ids))

    async def release(self, queue_ids: Sequence[str]) -> int:
        """Make the held recipients of these messages due now; returns how many."""
        return await self._write(Hold(queue_ids, release_at=time.time()))

    async def find(self, selection: Selection, cursor: Cursor | None) -> Found:
        """Recipients that fit; see OperatedStore."""
        return await self._read(self._reader.find, selection, cursor)

    async def groups(self, selection: Selection, cursor: Cursor | None) -> tuple[builtins.list[Group], Cursor | None]:
        """Recipients that fit, by destination and reason; see OperatedStore."""
        return await self._read(self._reader.groups, selection, cursor)

    async def mark(self, recipients: Sequence[tuple[str, int]], state: str) -> int:
        """Hold, release or make due some recipients; see OperatedStore."""
        return await self._write(Mark(recipients, state, time.time())) if recipients else 0

    async def delete(self, queue_ids: Sequence[str]) -> int:
        """Remove messages without delivery and without a bounce; returns how many there were."""
        return await self._write(Delete(queue_ids))

    async def counts(self) -> Counts:
        """How much is in the queue; takes the same time however much that is."""
        return await self._read(self._reader.counts)

    async def oldest(self) -> float | None:
        """When the oldest message was accepted, seconds since the epoch; None when there is none."""
        return await self._read(self._reader.oldest)

    @property
    def directory(self) -> StoreDirectory:
        """Where it is."""
        return self._directory

    def spool_directory(self) -> Path:
        """Where the submission side puts large bodies while they arrive; emptied at every start."""
        return self._directory.spool

    async def close(self) -> None:
        """Finish what is under way, then close and let go of the lock."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._syncing.shutdown()
        self._reading.shutdown()
        self._reader.close()
        self._writer.close()
        self._directory.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self._directory.root}: the store is closed")

    async def _write(self, operation: Operation[ResultT]) -> ResultT:
        self._check_open()
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._writer.submit(operation, future)
        return await future

    async def _read(self, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
        self._check_open()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, function, *arguments)
        except QueueDamagedError as error:
            self._damaged(str(error))
            raise
        except sqlite3.Error as error:
            known = refusal(error, self._directory.database)
            if isinstance(known, QueueDamagedError):
                self._damaged(str(known))
            raise known from error

    async def _with_files(self, operation: Operation[ResultT], messages: Sequence[Message], *, keep: bool) -> ResultT:
        """Write an operation whose bodies are in files, which are synced in a thread beforehand.

        `keep`: on failure the files go back to where they came from; otherwise they are removed.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        moved: builtins.list[tuple[FileBody, Path]] = []

        def prepare() -> None:
            try:
                for message in messages:
                    body = cast("FileBody", message.body)
                    arrived = body.path
                    body.path = self._directory.take_in(arrived, message.queue_id)
                    moved.append((body, arrived))
            except OSError as error:
                loop.call_soon_threadsafe(_fail, future, self._disk_error(error))
            else:
                self._writer.submit(operation, future)

        # The future is settled by the thread or the writer even if the caller is cancelled meanwhile.
        def settle(done: asyncio.Future[ResultT]) -> None:
            if done.cancelled() or done.exception() is None:
                return
            for body, arrived in moved:
                _give_back(body, arrived)
            if not keep:
                for message in messages:
                    cast("FileBody", message.body).discard()

        future.add_done_callback(settle)
        self._syncing.submit(prepare)
        return await asyncio.shield(future)

    def _disk_error(self, error: OSError) -> BaseException:
        if error.errno in DISK_REFUSALS:
            return QueueFullError(f"{error.filename or self._directory.root}: {error.strerror}")
        return error

    def _check_whole(self, messages: Sequence[Message]) -> None:
        """A message is never without recipients: they are lost to it, and only a repair can tell what they were."""
        for one in messages:
            if not one.recipients:
                self._damaged(f"message {one.queue_id} has no recipients")

    async def _set_aside(self, messages: Sequence[Broken]) -> None:
        """Hold messages that cannot be delivered as they are, and say so."""
        for broken in messages:
            queue_id = broken.queue_id
            operation = Quarantine(broken)
            log.error("message %s is %s", queue_id, broken.reason, extra={"queue_id": queue_id})
            if operation.queue_id is not None:
                log.error("the message without a queue id is now %s", operation.queue_id)
            try:
                await self._write(operation)
            except (QueueFullError, sqlite3.Error) as error:
                # It comes up again with the next call; the others are to be delivered meanwhile.
                log.warning("message %s cannot be held yet: %s", queue_id, error, extra={"queue_id": queue_id})

    def _damaged(self, description: str) -> None:
        if self._damage_told:
            return
        self._damage_told = True
        log.critical("the queue is damaged: %s; it is repaired when the agent starts again", description)
        try:
            self._directory.suspect.touch()
        except OSError as error:
            log.error("cannot leave a mark for the next start: %s", error)
        if self._on_damage is not None:
            self._on_damage(description)


def _give_back(body: FileBody, arrived: Path) -> None:
    try:
        body.path.rename(arrived)
    except OSError as error:
        # The next start removes it.
        log.warning("cannot move %s back: %s", body.path, error)
    else:
        body.path = arrived


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
