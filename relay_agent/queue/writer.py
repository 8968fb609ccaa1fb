# SPDX-License-Identifier: GPL-3.0-or-later
"""The one thread that writes to the embedded store: group commit, checkpoints, and what a failed disk means.

Every operation waiting when the writer gets free shares one transaction and so one sync; an idle writer
commits at once. The result of a whole batch reaches the event loop in one call.

The write-ahead log is copied back into the database by a second thread with a connection of its own, so that
no commit waits for it; only the last few pages, which arrived meanwhile, are left to the writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.model import QueueDamagedError, QueueFullError
from relay_agent.queue.operations import Operation, Transaction
from relay_agent.queue.schema import connect

__all__ = ["LOG_SIZE", "Writer", "refusal"]

log = logging.getLogger(__name__)

_BATCH_OPERATIONS = 512
_BATCH_BYTES = 8 << 20
_CHECKPOINT_BYTES = 16 << 20
#: What the log grows to before it begins anew: what is written until a checkpoint, and while it runs.
LOG_SIZE = 24 << 20
_IDLE_SECONDS = 1.0

#: SQLite's words for a disk that refuses. BUSY: an operator's own sqlite3 session holds the database.
_REFUSED = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def error_code(error: BaseException) -> int:
    """SQLite's primary result code, 0 when the error is not SQLite's."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def refusal(error: BaseException, place: object) -> BaseException:
    """The error as the queue's interface knows it: QueueFullError, QueueDamagedError, or as it was."""
    code = error_code(error)
    if code in _REFUSED:
        return QueueFullError(f"{place}: {error} ({getattr(error, 'sqlite_errorname', '')})")
    if code in _DAMAGED:
        return QueueDamagedError(f"{place}: {error}")
    return error


class Pending:
    """An operation in the writer's queue and the future that waits for it."""

    __slots__ = ("error", "future", "operation", "result")

    def __init__(self, operation: Operation[Any], future: asyncio.Future[Any] | None) -> None:
        self.operation = operation
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class _Checkpoint:
    """Asks the writer to copy the rest of the log back."""


class _Stop:
    """Asks the writer to end."""


class Writer:
    """Runs operations from any thread against the database; see the module's docstring.

    `minimum_free`: bytes to be left free on the disk; with less, operations that take mail in are refused
    while those that take it out go on. `next_seq`: the number of the next message. `on_damage` is called
    once, on the writer's thread, when SQLite finds its file damaged.
    """

    def __init__(
        self, directory: StoreDirectory, *, next_seq: int, minimum_free: int, on_damage: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._minimum_free = minimum_free
        self._next_seq = next_seq
        self._on_damage = on_damage
        self._queue: queue.SimpleQueue[Pending | _Checkpoint | _Stop] = queue.SimpleQueue()
        self._connection = connect(directory.database)
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._checkpointer = _Checkpointer(directory, self._queue)
        self._written = 0  # about how many bytes since the last checkpoint was asked for
        self._suspect = False  # a sync failed; nothing is written before the log was started afresh
        self._copy_failed = False  # said so already
        self._emptied = 0.0  # monotonic clock: when the log was last made as small as it can be
        self._damage: str | None = None
        self._thread = threading.Thread(target=self._run, name="queue-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[Any], future: asyncio.Future[Any] | None) -> None:
        """Queue an operation; its future gets the result, on its own loop, when it is synced."""
        self._queue.put(Pending(operation, future))

    def close(self) -> None:
        """Finish all that was submitted, then end the threads; blocks."""
        self._queue.put(_Stop())
        self._thread.join()
        self._checkpointer.close()
        self._connection.close()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            try:
                first = self._queue.get(timeout=_IDLE_SECONDS if self._written else None)
            except queue.Empty:
                self._written = 0
                self._checkpointer.wake()
                continue
            batch: list[Pending] = []
            checkpoint = False
            weight = 0
            item: Pending | _Checkpoint | _Stop = first
            while True:
                if isinstance(item, Pending):
                    batch.append(item)
                    weight += item.operation.weight
                elif isinstance(item, _Stop):
                    stopping = True
                else:
                    checkpoint = True
                if len(batch) >= _BATCH_OPERATIONS or weight >= _BATCH_BYTES:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if batch:
                try:
                    self._run_batch(batch)
                except Exception as error:
                    # Without this thread every caller would wait for ever.
                    log.exception("the queue's writer failed")
                    self._fail(batch, error)
                self._resolve(batch)
                self._written += weight + 16384
                if self._written >= _CHECKPOINT_BYTES:
                    self._written = 0
                    self._checkpointer.wake()
            if checkpoint:
                self._checkpoint("PASSIVE")
            if stopping and not self._queue.empty():
                self._queue.put(_Stop())
                stopping = False

    def _run_batch(self, batch: Sequence[Pending]) -> None:
        """Do a batch in one transaction; if that fails, each operation in its own."""
        accepted = self._admit(batch)
        if not accepted:
            return
        try:
            self._transact_with_room(accepted)
            return
        except Exception as error:
            if not self._may_go_on(error, accepted) or len(accepted) == 1:
                self._fail(accepted, error)
                return
        # One operation that cannot be done must not fail its neighbours.
        for pending in accepted:
            try:
                self._transact_with_room([pending])
            except Exception as error:
                self._fail([pending], error)
                if not self._may_go_on(error, [pending]):
                    self._fail(accepted[accepted.index(pending) + 1 :], error)
                    return

    def _transact_with_room(self, batch: Sequence[Pending]) -> None:
        """Do a batch; on a full disk once more, if the log could be copied back: it is room to write in."""
        try:
            self._transact(batch)
        except sqlite3.Error as error:
            if error_code(error) != sqlite3.SQLITE_FULL or not self._checkpoint("RESTART"):
                raise
            self._transact(batch)

    def _transact(self, batch: Sequence[Pending]) -> None:
        connection = self._connection
        transaction = Transaction(connection, self._next_seq)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for kind, group in groupby(batch, key=lambda pending: type(pending.operation)):
                members = list(group)
                results = kind.apply(transaction, [pending.operation for pending in members])
                for pending, result in zip(members, results, strict=True):
                    pending.result = result
            transaction.finish()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                # A rollback that fails as well leaves the next BEGIN to report it.
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        self._next_seq = transaction.next_seq
        for queue_id in transaction.removed_files:
            try:
                (self._directory.bodies / queue_id).unlink(missing_ok=True)
            except OSError as error:
                # The next start removes it; the message itself is gone.
                log.warning("cannot remove the body of %s: %s", queue_id, error, extra={"queue_id": queue_id})

    def _admit(self, batch: Sequence[Pending]) -> list[Pending]:
        """Those operations that may be tried; the others get their error."""
        error: BaseException | None = None
        if self._damage is not None:
            error = QueueDamagedError(self._damage)
        elif self._suspect:
            # What a failed sync left in the log's pages is unknown: copy the committed part back and
            # begin the log anew before anything is written again.
            try:
                self._suspect = not self._checkpoint("TRUNCATE")
            except sqlite3.Error as failure:
                error = refusal(failure, self._directory.root)
            else:
                if self._suspect:
                    error = QueueFullError(f"{self._directory.root}: the log is in use after a failed write")
        if error is not None:
            self._fail(batch, error)
            return []
        growing = sum(pending.operation.weight for pending in batch if pending.operation.grows)
        if growing and self._minimum_free and self._is_nearly_full(growing):
            full = QueueFullError(f"{self._directory.root}: less than {self._minimum_free} bytes free on the disk")
            self._fail([pending for pending in batch if pending.operation.grows], full)
            return [pending for pending in batch if not pending.operation.grows]
        return list(batch)

    def _is_nearly_full(self, growing: int) -> bool:
        """Whether so many bytes more would take from the room that is kept; two system calls."""
        # All that is in the log may have to be copied into the database, which then grows by as much.
        needed = self._minimum_free + 2 * growing + self._directory.log_size()
        free = self._directory.free()
        if free >= needed:
            return False
        self._checkpointer.wake()
        now = time.monotonic()
        if now - self._emptied >= _IDLE_SECONDS:
            # The log, too, has room that may be needed elsewhere, once it is copied back.
            self._emptied = now
            with contextlib.suppress(sqlite3.Error):
                self._checkpoint("TRUNCATE")
            free, needed = self._directory.free(), self._minimum_free + 2 * growing + self._directory.log_size()
        # A database that was large keeps its pages: what was delivered has made room there.
        (pages,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        return bool(free < self._minimum_free // 2 or free + pages * size < needed)

    def _may_go_on(self, error: Exception, batch: Sequence[Pending]) -> bool:
        """Take note of what went wrong; whether trying other operations makes sense."""
        code = error_code(error)
        if code in _DAMAGED:
            self._damage = f"{self._directory.database}: {error}"
            self._on_damage(self._damage)
            return False
        if code == sqlite3.SQLITE_FULL:
            # What takes mail out of the queue may still fit.
            return True
        if code in _REFUSED:
            if not self._suspect:
                log.error("the queue's disk refused a write: %s", refusal(error, self._directory.root))
            self._suspect = True
            return False
        if code != sqlite3.SQLITE_CONSTRAINT:
            log.debug("operation failed in a batch of %d: %r", len(batch), error)
        return True

    def _checkpoint(self, mode: str) -> bool:
        """Copy the log back; whether all of it could be. Raises sqlite3.Error only for TRUNCATE."""
        try:
            busy, frames, copied = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            if mode == "TRUNCATE":
                raise
            if not self._copy_failed:
                log.error("cannot copy the queue's log back: %s", error)
            self._copy_failed = True
            return False
        self._copy_failed = False
        return not busy and frames == copied

    def _fail(self, batch: Sequence[Pending], error: BaseException) -> None:
        for pending in batch:
            pending.error = refusal(error, self._directory.root)

    def _resolve(self, batch: Sequence[Pending]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Pending]] = {}
        for pending in batch:
            if pending.future is not None:
                by_loop.setdefault(pending.future.get_loop(), []).append(pending)
        for loop, members in by_loop.items():
            # The loop may have been closed under us; the work is done all the same.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_set_results, members)


def _set_results(batch: Sequence[Pending]) -> None:
    for pending in batch:
        future = pending.future
        if future is None or future.done():
            continue
        if pending.error is not None:
            future.set_exception(pending.error)
        else:
            future.set_result(pending.result)


class _Checkpointer:
    """Copies the log back into the database beside the writer, when woken."""

    def __init__(self, directory: StoreDirectory, writer: queue.SimpleQueue[Any]) -> None:
        self._connection = connect(directory.database)
        self._directory = directory
        self._writer = writer
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="queue-checkpoint", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to copy."""
        self._wake.set()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        failed = False
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._closing:
                return
            try:
                # The second pass copies what arrived during the first, and so leaves little to the writer's
                # own, which alone can be complete: nothing arrives during that one, so the log can begin anew.
                for _ in range(2):
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    # SQLite syncs the database only with a complete pass: do it here, where nobody waits.
                    self._directory.sync_database()
                failed = False
            except (sqlite3.Error, OSError) as error:
                # On a full disk this is tried again and again: say it once.
                if not failed:
                    log.error("cannot copy the queue's log back: %s", error)
                failed = True
            self._writer.put(_Checkpoint())
