# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the embedded store, beside the writer: in WAL mode neither waits for the other."""

from __future__ import annotations

import builtins
import contextlib
import errno
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from relay_agent.queue.ahead import put_off_ahead
from relay_agent.queue.body import FileBody, MemoryBody
from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.lanes import in_turn, owner_of
from relay_agent.queue.model import AWAITS, Body, Counts, Message
from relay_agent.queue.schema import (
    DUE_IN_LANE,
    LANES_DUE,
    MESSAGE_BY_QUEUE_ID,
    MESSAGE_BY_SEQ,
    MESSAGES_LISTED,
    RECIPIENTS_DUE,
    RECIPIENTS_OF,
    checksum,
    connect,
    envelope_from,
    recipient_from,
)
from relay_agent.queue.selection import Cursor, Found, Group, Selection, find_groups, find_matches

__all__ = ["Reader", "StoredBody"]

#: How much content `due` reads along with the messages; the bodies after that are read when asked for.
_READ_ALONG = 8 << 20


class StoredBody:
    """Content in a row of the database, read when asked for."""

    __slots__ = ("_checksum", "_reader", "_seq", "size")

    def __init__(self, reader: Reader, seq: int, size: int, expected: int) -> None:
        self._reader = reader
        self._seq = seq
        self._checksum = expected
        self.size = size

    def read(self) -> bytes:
        """The whole content, blocking on the disk. Raises OSError when it is gone or damaged."""
        try:
            content = self._reader.content(self._seq)
        except sqlite3.Error as error:
            raise OSError(errno.EIO, f"cannot read the body of message {self._seq}: {error}") from error
        if content is None:
            raise FileNotFoundError(errno.ENOENT, f"message {self._seq} has left the queue")
        if checksum(content) != self._checksum:
            raise OSError(errno.EIO, f"the body of message {self._seq} is damaged on disk")
        return content

    def blocks(self, size: int = 65536) -> Iterator[bytes]:
        """The content in blocks of at most `size` bytes; see `read`."""
        return MemoryBody(self.read()).blocks(size)


class Reader:
    """One connection for reading; any thread may call it, one at a time gets its turn. All methods block."""

    def __init__(self, directory: StoreDirectory) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._connection = connect(directory.database)
        self._connection.execute("PRAGMA query_only = ON")

    def close(self) -> None:
        """Close the connection; bodies not read yet cannot be read any more."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """The connection in a read transaction: several statements see one state of the queue."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def content(self, seq: int) -> bytes | None:
        """What the row of a message holds of its body; None when there is no such message."""
        with self._lock:
            row = self._connection.execute("SELECT content FROM messages WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else bytes(row[0])

    def next_seq(self) -> int:
        """A number larger than that of any message."""
        with self._lock:
            (highest,) = self._connection.execute("SELECT coalesce(max(seq), 0) FROM messages").fetchone()
        return int(highest) + 1

    def in_file(self) -> set[str]:
        """Queue ids of the messages whose body is in a file."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT queue_id FROM messages INDEXED BY messages_in_file WHERE file_offset IS NOT NULL"
            ).fetchall()
        return {row[0] for row in rows}

    def counts(self) -> Counts:
        """How much there is; only the held recipients are really counted, by their own index."""
        with self._lock:
            row = self._connection.execute(
                "SELECT messages, recipients, (SELECT count(*) FROM recipients WHERE state = 1), bytes FROM totals"
            ).fetchone()
        return Counts(*row)

    def waiting(self) -> int:
        """How many recipients wait, of all messages."""
        with self._lock:
            (count,) = self._connection.execute("SELECT count(*) FROM recipients WHERE state = 0").fetchone()
        return int(count)

    def oldest(self) -> float | None:
        """When the oldest message was accepted; ids are in the order of time."""
        with self._lock:
            row = self._connection.execute("SELECT created FROM messages ORDER BY queue_id LIMIT 1").fetchone()
        return None if row is None else float(row[0])

    def put_off_ahead(self, now: float, after: int) -> tuple[builtins.list[tuple[str, int]], int | None]:
        """One go through what was put off by a clock that was ahead; see `ahead`."""
        with self._lock:
            return put_off_ahead(self._connection, now, after)

    def next_due(self, after: float) -> float | None:
        """The earliest time later than `after` at which a recipient waits."""
        with self._lock:
            (when,) = self._connection.execute(
                "SELECT min(next_attempt) FROM recipients WHERE state = 0 AND next_attempt > ?", (after,)
            ).fetchone()
        return None if when is None else float(when)

    def due(
        self, now: float, limit: int, exclude: frozenset[str], without: frozenset[int]
    ) -> tuple[list[Message], dict[str, str]]:
        """Due messages, accounts in turn and each one's oldest first, and those that cannot be delivered: queue id
        and what is wrong."""
        messages: list[Message] = []
        broken: dict[str, str] = {}
        left = _READ_ALONG
        with self._snapshot() as connection, contextlib.ExitStack() as opened:
            seqs = self._due_seqs(connection, now, limit, exclude, without, broken)
            opened.callback(seqs.close)
            for seq in seqs:
                row = connection.execute(MESSAGE_BY_SEQ, (seq, left)).fetchone()
                body, fault = self._open(row)
                if fault is not None:
                    broken[row[1]] = fault
                    continue
                if isinstance(body, MemoryBody):
                    left -= body.size
                recipients = connection.execute(RECIPIENTS_DUE, (seq, now)).fetchall()
                messages.append(_message(row, body, recipients))
                if len(messages) == limit:
                    break
        return messages, broken

    @staticmethod
    def _due_seqs(
        connection: sqlite3.Connection,
        now: float,
        limit: int,
        exclude: frozenset[str],
        without: frozenset[int],
        broken: dict[str, str],
    ) -> Generator[int, None, None]:
        if limit <= 0:
            return
        seen: set[int] = set()
        lanes = [lane for (lane,) in connection.execute(LANES_DUE, (now,)).fetchall() if owner_of(lane) not in without]

        def waiting(lane: int) -> Generator[int, None, None]:
            cursor = connection.execute(DUE_IN_LANE, (lane, now))
            try:
                for seq, queue_id in cursor:
                    if seq not in seen:
                        seen.add(seq)
                        if queue_id not in exclude and queue_id not in broken:
                            yield seq
            finally:
                cursor.close()

        # All cursors are closed before the snapshot ends.
        with contextlib.ExitStack() as opened:
            sources: dict[int, Iterator[int]] = {}
            for lane in lanes:
                source = sources[lane] = waiting(lane)
                opened.callback(source.close)
            yield from in_turn(sources)

    def awaiting(self, wanted: Callable[[str], bool]) -> builtins.list[tuple[str, str]]:
        """Messages and domains that wait for a site to call in; see QueueStore."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT queue_id, address FROM recipients CROSS JOIN messages ON seq = message "
                "WHERE state = 0 AND instr(recipients.options, ?) ORDER BY message",
                (f'"{AWAITS}":',),
            ).fetchall()
        verdicts: dict[str, bool] = {}
        found: dict[tuple[str, str], None] = {}
        for queue_id, address in rows:
            domain = address.rpartition("@")[2].lower()
            if domain not in verdicts:
                verdicts[domain] = wanted(domain)
            if verdicts[domain]:
                found[queue_id, domain] = None
        return [*found]

    def get(self, queue_id: str) -> Message | None:
        """One message with all its recipients."""
        with self._snapshot() as connection:
            row = connection.execute(MESSAGE_BY_QUEUE_ID, (queue_id,)).fetchone()
            return None if row is None else self._with_recipients(connection, row)

    def list(self, limit: int, offset: int) -> list[Message]:
        """Messages by queue id, which is by time."""
        with self._snapshot() as connection:
            rows = connection.execute(
                MESSAGES_LISTED,
                (max(limit, 0), max(offset, 0)),
            ).fetchall()
            return [self._with_recipients(connection, row) for row in rows]

    def find(self, selection: Selection, cursor: Cursor | None) -> Found:
        """One go of a search."""
        with self._snapshot() as connection:
            return find_matches(connection, selection, cursor)

    def groups(self, selection: Selection, cursor: Cursor | None) -> tuple[builtins.list[Group], Cursor | None]:
        """One go of the groups by destination and reason."""
        with self._snapshot() as connection:
            return find_groups(connection, selection, cursor)

    def _with_recipients(self, connection: sqlite3.Connection, row: tuple[Any, ...]) -> Message:
        recipients = connection.execute(RECIPIENTS_OF, (row[0],)).fetchall()
        return _message(row, self._open(row)[0], recipients)

    def _open(self, row: tuple[Any, ...]) -> tuple[Body, str | None]:
        """The body of a row of `messages` (content None: not read along), and what is wrong with it."""
        seq, queue_id, _, _, size, expected, offset, *_, content = row
        if content is None:
            return StoredBody(self, seq, size, expected), None
        fault = None if checksum(content) == expected else "its content is damaged on disk"
        if offset is None:
            return MemoryBody(content), fault
        body = FileBody(self._directory.bodies / queue_id, size, prefix=content, offset=offset)
        if fault is None and not body.intact():
            fault = f"its file {body.path} is missing or cut short"
        return body, fault


def _message(row: tuple[Any, ...], body: Body, recipients: Sequence[tuple[Any, ...]]) -> Message:
    return Message(
        queue_id=row[1],
        envelope=envelope_from(row[7], row[8], row[9]),
        recipients={recipient[1]: recipient_from(recipient) for recipient in recipients},
        body=body,
        created=row[2],
        expires=row[3],
    )
