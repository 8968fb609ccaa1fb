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
from typing import Any, TypeVar

from relay_agent.queue.ahead import put_off_ahead
from relay_agent.queue.body import FileBody, MemoryBody
from relay_agent.queue.damage import (
    LATEST,
    UNREADABLE,
    DamagedRowError,
    decoded,
    held_for,
    is_undecodable,
    message_faults,
    readable_message,
    readable_recipient,
    recipient_faults,
)
from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.lanes import in_turn, owner_of
from relay_agent.queue.model import AWAITS, Body, Counts, Message, QueueDamagedError
from relay_agent.queue.quarantine import Broken
from relay_agent.queue.schema import (
    DUE_IN_LANE,
    EVERY_LANE,
    FIRST_DUE,
    FIRST_LANE,
    IN_NO_LANE,
    LANES_DUE,
    MESSAGE_BY_QUEUE_ID,
    MESSAGE_BY_SEQ,
    MESSAGES_LISTED,
    NEVER_DUE,
    RECIPIENTS_DUE,
    RECIPIENTS_OF,
    WITHOUT_TIME,
    check_message,
    checksum,
    connect,
    envelope_from,
    recipient_from,
)
from relay_agent.queue.selection import Cursor, Found, Group, Selection, find_groups, find_matches

__all__ = ["Reader", "StoredBody"]

ResultT = TypeVar("ResultT")

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
        if checksum(content) != self._checksum or len(content) != self.size:
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
    def _snapshot(self, *, care: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection in a read transaction: several statements see one state of the queue.

        care: text that is not UTF-8 is given as `Undecodable`.
        """
        with self._lock:
            self._connection.text_factory = decoded if care else str
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._connection.text_factory = str

    @staticmethod
    def _carefully(read: Callable[[bool], ResultT]) -> ResultT:
        """Read in the usual way and, if there is a row that cannot be read so, with care."""
        try:
            return read(False)
        except UNREADABLE:
            pass
        except sqlite3.Error as error:
            if not is_undecodable(error):
                raise
        return read(True)

    def content(self, seq: int) -> bytes | None:
        """What the row of a message holds of its body; None when there is no such message."""
        with self._lock:
            row = self._connection.execute("SELECT content FROM messages WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return None
        if not isinstance(row[0], bytes):
            raise OSError(errno.EIO, f"the body of message {seq} is damaged on disk")
        return row[0]

    def next_seq(self) -> int:
        """A number larger than that of any message."""
        with self._lock:
            (highest,) = self._connection.execute("SELECT coalesce(max(seq), 0) FROM messages").fetchone()
        return int(highest) + 1

    def in_file(self) -> set[str]:
        """Queue ids of the messages whose body is in a file."""
        with self._snapshot(care=True) as connection:
            rows = connection.execute(
                "SELECT queue_id FROM messages INDEXED BY messages_in_file WHERE file_offset IS NOT NULL"
            ).fetchall()
        return {str(row[0]) for row in rows}

    def has(self, queue_id: str) -> bool:
        """Whether there is such a message."""
        with self._lock:
            found = self._connection.execute("SELECT EXISTS (SELECT * FROM messages WHERE queue_id = ?)", (queue_id,))
            return bool(found.fetchone()[0])

    def never_due(self) -> builtins.list[Broken]:
        """Messages that wait for a time that does not come, which only damage can do."""
        broken: dict[int, Broken] = {}
        with self._snapshot(care=True) as connection:
            found = connection.execute(NEVER_DUE, (LATEST,)).fetchall()
            if connection.execute(FIRST_DUE).fetchone() == ("null",):
                found += connection.execute(WITHOUT_TIME).fetchall()
            for seq, _ in found:
                row = connection.execute(MESSAGE_BY_SEQ, (seq, 0)).fetchone()
                recipients = connection.execute(RECIPIENTS_OF, (seq,)).fetchall()
                if row is not None:
                    broken[seq] = _broken(row, self._faults(row, recipients, 0))
        return [*broken.values()]

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
        return row[0] if row is not None and isinstance(row[0], float) and 0 <= row[0] < LATEST else None

    def put_off_ahead(
        self, now: float, ahead: float, after: int
    ) -> tuple[builtins.list[tuple[str, int, float]], int | None]:
        """One go through what was put off by a clock that was ahead; see `ahead`."""
        with self._lock:
            return put_off_ahead(self._connection, now, ahead, after)

    def next_due(self, after: float) -> float | None:
        """The earliest time later than `after` at which a recipient waits."""
        with self._lock:
            (when,) = self._connection.execute(
                "SELECT min(next_attempt) FROM recipients WHERE state = 0 AND next_attempt > ? AND next_attempt < ?",
                (after, LATEST),
            ).fetchone()
        return None if when is None else float(when)

    def due(
        self, now: float, limit: int, exclude: frozenset[str], without: frozenset[int]
    ) -> tuple[builtins.list[Message], builtins.list[Broken]]:
        """Due messages, accounts in turn and each one's oldest first, and those that cannot be delivered.

        Raises QueueDamagedError when what waits cannot be found by its index.
        """
        return self._carefully(lambda care: self._due(now, limit, exclude, without, care))

    def _due(
        self, now: float, limit: int, exclude: frozenset[str], without: frozenset[int], care: bool
    ) -> tuple[builtins.list[Message], builtins.list[Broken]]:
        messages: list[Message] = []
        broken: list[Broken] = []
        left = _READ_ALONG
        with self._snapshot(care=care) as connection, contextlib.ExitStack() as opened:
            seqs = self._due_seqs(connection, now, limit, exclude, without, care)
            opened.callback(seqs.close)
            for seq, in_lane in seqs:
                row = connection.execute(MESSAGE_BY_SEQ, (seq, left)).fetchone()
                recipients = connection.execute(RECIPIENTS_DUE, (seq, now)).fetchall()
                if care:
                    faults = self._faults(row, connection.execute(RECIPIENTS_OF, (seq,)).fetchall(), left)
                    if not in_lane:
                        faults.append("its turn among the accounts is damaged and cannot be read")
                    if faults:
                        broken.append(_broken(row, faults))
                        continue
                    if not recipients:
                        raise QueueDamagedError(f"{self._directory.database}: an index names what does not wait")
                elif not recipients:
                    raise DamagedRowError(f"message {seq} is due, and none of its recipients")
                check_message(row)
                body, fault = self._open(row)
                if fault is not None:
                    broken.append(_broken(row, [fault]))
                    continue
                if isinstance(body, MemoryBody):
                    left -= body.size
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
        care: bool,
    ) -> Generator[tuple[int, bool], None, None]:
        """Numbers of messages, and whether they were found in a lane."""
        if limit <= 0:
            return
        seen: set[int] = set()
        if care:
            found = connection.execute(EVERY_LANE).fetchall()
        elif connection.execute(FIRST_LANE).fetchone() in (None, ("integer",)):
            found = connection.execute(LANES_DUE, (now,)).fetchall()
        else:
            raise DamagedRowError("a lane that is no number")
        lanes = [lane for (lane,) in found if owner_of(lane) not in without]

        def waiting(statement: str, values: tuple[Any, ...]) -> Generator[tuple[int, bool], None, None]:
            cursor = connection.execute(statement, values)
            try:
                for seq, queue_id in cursor:
                    if seq not in seen:
                        seen.add(seq)
                        if queue_id not in exclude:
                            yield seq, bool(values)
            finally:
                cursor.close()

        # All cursors are closed before the snapshot ends.
        with contextlib.ExitStack() as opened:
            if care:
                astray = waiting(IN_NO_LANE, ())
                opened.callback(astray.close)
                yield from astray
            sources: dict[int, Iterator[tuple[int, bool]]] = {}
            for lane in lanes:
                source = sources[lane] = waiting(DUE_IN_LANE, (lane, now))
                opened.callback(source.close)
            yield from in_turn(sources)

    def awaiting(self, wanted: Callable[[str], bool]) -> builtins.list[tuple[str, str]]:
        """Messages and domains that wait for a site to call in; see QueueStore."""
        return self._carefully(lambda care: self._awaiting(wanted, care))

    def _awaiting(self, wanted: Callable[[str], bool], care: bool) -> builtins.list[tuple[str, str]]:
        with self._snapshot(care=care) as connection:
            rows = connection.execute(
                "SELECT queue_id, address FROM recipients CROSS JOIN messages ON seq = message "
                "WHERE state = 0 AND instr(recipients.options, ?) ORDER BY message",
                (f'"{AWAITS}":',),
            ).fetchall()
        verdicts: dict[str, bool] = {}
        found: dict[tuple[str, str], None] = {}
        for queue_id, address in rows:
            if care and type(address) is not str:
                continue  # it is held as soon as it is due
            domain = address.rpartition("@")[2].lower()
            if domain not in verdicts:
                verdicts[domain] = wanted(domain)
            if verdicts[domain]:
                found[queue_id, domain] = None
        return [*found]

    def get(self, queue_id: str) -> tuple[Message | None, builtins.list[Broken]]:
        """One message with all its recipients; it is broken, too, when it is to be held for something damaged."""

        def read(care: bool) -> tuple[Message | None, builtins.list[Broken]]:
            broken: list[Broken] = []
            with self._snapshot(care=care) as connection:
                row = connection.execute(MESSAGE_BY_QUEUE_ID, (queue_id,)).fetchone()
                return None if row is None else self._with_recipients(connection, row, care, broken), broken

        return self._carefully(read)

    def list(self, limit: int, offset: int) -> tuple[builtins.list[Message], builtins.list[Broken]]:
        """Messages by queue id, which is by time, and those of them that are to be held for something damaged."""

        def read(care: bool) -> tuple[builtins.list[Message], builtins.list[Broken]]:
            broken: list[Broken] = []
            with self._snapshot(care=care) as connection:
                rows = connection.execute(MESSAGES_LISTED, (max(limit, 0), max(offset, 0))).fetchall()
                return [self._with_recipients(connection, row, care, broken) for row in rows], broken

        return self._carefully(read)

    def find(self, selection: Selection, cursor: Cursor | None) -> Found:
        """One go of a search."""

        def read(care: bool) -> Found:
            with self._snapshot(care=care) as connection:
                return find_matches(connection, selection, cursor)

        return self._carefully(read)

    def groups(self, selection: Selection, cursor: Cursor | None) -> tuple[builtins.list[Group], Cursor | None]:
        """One go of the groups by destination and reason."""

        def read(care: bool) -> tuple[builtins.list[Group], Cursor | None]:
            with self._snapshot(care=care) as connection:
                return find_groups(connection, selection, cursor)

        return self._carefully(read)

    def _with_recipients(
        self, connection: sqlite3.Connection, row: tuple[Any, ...], care: bool, broken: builtins.list[Broken]
    ) -> Message:
        recipients = connection.execute(RECIPIENTS_OF, (row[0],)).fetchall()
        faults = self._faults(row, recipients, 0) if care else []
        if faults:
            words = held_for(faults)
            if any(recipient[2] != 1 for recipient in recipients):
                broken.append(_broken(row, faults))
            row = readable_message(row)
            content = row[-1] if isinstance(row[-1], bytes) else None
            row = (*row[:-1], content)
            readable = [readable_recipient(recipient) for recipient in recipients]
            recipients = [(*each[:2], 1, float(each[3]), *each[4:8], "5.3.0", words, each[10]) for each in readable]
            if row[6] is not None and content is None:
                row = (*row[:6], None, *row[7:])
        if not faults:
            check_message(row)
        return _message(row, self._open(row)[0], recipients)

    @staticmethod
    def _faults(row: tuple[Any, ...], recipients: Sequence[tuple[Any, ...]], along: int) -> builtins.list[str]:
        """What is wrong with the rows of a message. along: content up to this size was asked for."""
        faults = message_faults(row)
        for recipient in recipients:
            faults += recipient_faults(recipient)
        if not faults:
            content = row[-1]
            if not isinstance(content, bytes) and (content is not None or row[6] is not None or row[4] <= along):
                faults.append("its content is damaged and cannot be read")
        return faults

    def _open(self, row: tuple[Any, ...]) -> tuple[Body, str | None]:
        """The body of a row of `messages` (content None: not read along), and what is wrong with it."""
        seq, queue_id, _, _, size, expected, offset, *_, content = row
        if content is None:
            return StoredBody(self, seq, size, expected), None
        fault = None if checksum(content) == expected else "its content is damaged on disk"
        if offset is None and size != len(content):
            fault = f"its content is of {len(content)} bytes and not {size}"
        if offset is None:
            return MemoryBody(content), fault
        body = FileBody(self._directory.bodies / queue_id, size, prefix=content, offset=offset)
        if fault is None and not body.intact():
            fault = f"its file {body.path} is missing or cut short"
        return body, fault


def _broken(row: tuple[Any, ...], faults: Sequence[str]) -> Broken:
    return Broken(row[0], str(row[1]) if isinstance(row[1], str) else "", held_for(faults))


def _message(row: tuple[Any, ...], body: Body, recipients: Sequence[tuple[Any, ...]]) -> Message:
    return Message(
        queue_id=row[1],
        envelope=envelope_from(row[7], row[8], row[9]),
        recipients={recipient[1]: recipient_from(recipient) for recipient in recipients},
        body=body,
        created=row[2],
        expires=row[3],
    )
