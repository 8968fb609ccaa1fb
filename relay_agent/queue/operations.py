# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store's writer can do to the database, in batches.

Each kind of operation applies many of its kind with as few statements as it can: every statement step gives
up the interpreter lock and has to win it back from the event loop, which costs more than SQLite's own work.
"""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, ClassVar, Generic, TypeVar

from relay_agent.queue.body import FileBody
from relay_agent.queue.damage import LARGEST
from relay_agent.queue.lanes import lane_of
from relay_agent.queue.model import Message, Recipient, RecipientState, Update
from relay_agent.queue.schema import (
    INSERT_MESSAGE,
    INSERT_RECIPIENT,
    MESSAGE_WIDTH,
    RECIPIENT_WIDTH,
    checksum,
    options_text,
    recipient_values,
    text,
)

__all__ = ["Delete", "Hold", "Mark", "MoveIn", "Operation", "Record", "Retry", "Store", "Transaction"]

ResultT = TypeVar("ResultT")

#: When what is to be tried at ?1, which is now, counts as due: with its last attempt or, without one, like new mail.
#: The present time would lie ahead should the clock be wrong and put right before the attempt.
_DUE = "next_attempt = max(0.0, min(?1, coalesce(last_attempt, 0.0)))"
_OF_MESSAGES = " AND message IN (SELECT seq FROM json_each(?2) CROSS JOIN messages ON queue_id = value)"
_RETRY = "".join(("UPDATE recipients SET ", _DUE, " WHERE state = 0", _OF_MESSAGES))
_RETRY_SOME = "".join(
    (
        "UPDATE recipients SET ",
        _DUE,
        " WHERE (message, number) IN (SELECT message, number FROM recipients "
        "WHERE state = 0 AND next_attempt > ?1 ORDER BY next_attempt LIMIT ?2)",
    )
)
_RELEASE = "".join(("UPDATE recipients SET state = 0, ", _DUE, " WHERE state = 1", _OF_MESSAGES))

_ROWS_AT_ONCE = (32, 8, 1)


def _insert_statements(insert: str, columns: int) -> dict[int, str]:
    row = "(" + ", ".join("?" * columns) + ")"
    return {rows: "".join((insert, ", ".join([row] * rows))) for rows in _ROWS_AT_ONCE}


_INSERT_MESSAGES = _insert_statements(INSERT_MESSAGE, MESSAGE_WIDTH)
_INSERT_RECIPIENTS = _insert_statements(INSERT_RECIPIENT, RECIPIENT_WIDTH)


@dataclass(slots=True)
class Transaction:
    """One transaction of the writer: its connection, what it changes in the totals, what to do after it."""

    connection: sqlite3.Connection
    next_seq: int
    messages: int = 0
    recipients: int = 0
    bytes: int = 0
    removed_files: list[str] = field(default_factory=list)  # queue ids; unlinked after the commit

    def insert(self, messages: Iterable[Message]) -> None:
        """Insert messages with their recipients. Raises sqlite3.IntegrityError for a queue id in use."""
        message_rows: list[tuple[Any, ...]] = []
        recipient_rows: list[tuple[Any, ...]] = []
        seq = self.next_seq
        total = 0
        for message in messages:
            envelope, body = message.envelope, message.body
            in_file = isinstance(body, FileBody)
            content = body.prefix if isinstance(body, FileBody) else body.read()
            size = body.size if in_file else len(content)
            message_rows.append(
                (
                    seq,
                    message.queue_id,
                    message.created,
                    message.expires,
                    size,
                    checksum(content),
                    body.offset if isinstance(body, FileBody) else None,
                    envelope.reverse_path,
                    envelope.account,
                    options_text(envelope.options),
                    content,
                )
            )
            lane = lane_of(envelope)
            for number, recipient in message.recipients.items():
                recipient_rows.append((seq, number, *recipient_values(recipient), lane))
            total += size
            seq += 1
        self._insert_rows(_INSERT_MESSAGES, message_rows)
        self._insert_rows(_INSERT_RECIPIENTS, recipient_rows)
        self.next_seq = seq
        self.messages += len(message_rows)
        self.recipients += len(recipient_rows)
        self.bytes += total

    def _insert_rows(self, statements: dict[int, str], rows: Sequence[tuple[Any, ...]]) -> None:
        start, left = 0, len(rows)
        for count in _ROWS_AT_ONCE:
            statement = statements[count]
            while left >= count:
                self.connection.execute(statement, tuple(chain.from_iterable(rows[start : start + count])))
                start += count
                left -= count

    def remove(self, found: Sequence[tuple[str, int, int, int, list[int]]]) -> None:
        """Remove messages (as `find` returned them) with all their recipients."""
        if not found:
            return
        seqs = json.dumps([seq for _, seq, _, _, _ in found])
        self.connection.execute("DELETE FROM recipients WHERE message IN (SELECT value FROM json_each(?))", (seqs,))
        self.connection.execute("DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))", (seqs,))
        for queue_id, _, size, in_file, numbers in found:
            self.messages -= 1
            self.recipients -= len(numbers)
            self.bytes -= size if size and 0 < size < LARGEST else 0
            if in_file:
                self.removed_files.append(queue_id)

    def find(self, queue_ids: Iterable[str]) -> list[tuple[str, int, int, int, list[int]]]:
        """Those of the messages that exist: queue id, seq, size, whether in a file, recipients' numbers."""
        row = self.connection.execute(
            "SELECT json_group_array(json_array(queue_id, seq, CAST(size AS INTEGER), file_offset IS NOT NULL, "
            "(SELECT group_concat(number) FROM recipients WHERE message = seq))) "
            "FROM json_each(?) CROSS JOIN messages ON queue_id = value",
            (json.dumps(list(dict.fromkeys(queue_ids))),),
        ).fetchone()
        return [
            (queue_id, seq, size, in_file, [int(number) for number in numbers.split(",")] if numbers else [])
            for queue_id, seq, size, in_file, numbers in json.loads(row[0])
        ]

    def finish(self) -> None:
        """Write the totals; the last statement before the commit."""
        if self.messages or self.recipients or self.bytes:
            self.connection.execute(
                "UPDATE totals SET messages = messages + ?, recipients = recipients + ?, bytes = bytes + ?",
                (self.messages, self.recipients, self.bytes),
            )


class Operation(ABC, Generic[ResultT]):
    """Something to do in a transaction, alone or with others of its kind.

    `weight` is about how many bytes it writes; `grows` says whether it is refused when the disk is nearly
    full (what takes mail out of the queue goes on).
    """

    weight: int = 512
    grows: ClassVar[bool] = False

    def check(self) -> None:
        """Raise ValueError for what can never be done; called before it is queued."""

    @staticmethod
    @abstractmethod
    def apply(transaction: Transaction, operations: Sequence[Any]) -> Sequence[Any]:
        """Do all the operations, which are of this kind and in this order; returns their results."""


class Store(Operation[None]):
    """Insert one message."""

    grows = True

    def __init__(self, message: Message) -> None:
        self.message = message
        body = message.body
        self.weight = (len(body.prefix) if isinstance(body, FileBody) else body.size) + 512

    def check(self) -> None:
        """A message that nobody is to get could never leave the queue; a queue id becomes a file name."""
        if not (self.message.queue_id.isascii() and self.message.queue_id.isalnum()):
            raise ValueError(f"not a queue id: {self.message.queue_id!r}")
        if not self.message.recipients:
            raise ValueError(f"message {self.message.queue_id} has no recipients")

    @staticmethod
    def apply(transaction: Transaction, operations: Sequence[Store]) -> Sequence[None]:
        """Insert the messages."""
        transaction.insert(operation.message for operation in operations)
        return [None] * len(operations)


class MoveIn(Operation[None]):
    """Insert messages that the journal has; all of them or none. Those that are there already stay as they are: an
    earlier move of them was cut off before the journal knew.

    The room for them was kept free when the journal took them.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.weight = sum(message.body.size + 512 for message in messages)

    @staticmethod
    def apply(transaction: Transaction, operations: Sequence[MoveIn]) -> Sequence[None]:
        """Insert what is not there."""
        messages = {message.queue_id: message for operation in operations for message in operation.messages}
        for queue_id, *_ in transaction.find(messages):
            del messages[queue_id]
        transaction.insert(messages.values())
        return [None] * len(operations)


class Record(Operation[None]):
    """Record what became of recipients, and store the bounces that follow from it."""

    def __init__(self, updates: Sequence[Update], bounces: Sequence[Message]) -> None:
        self.updates = list(updates)
        self.bounces = list(bounces)
        self.weight = 512 * len(self.updates) + sum(message.body.size for message in self.bounces)

    def check(self) -> None:
        """Bounces are messages like any other."""
        for message in self.bounces:
            Store(message).check()

    @staticmethod
    def apply(transaction: Transaction, operations: Sequence[Record]) -> Sequence[None]:
        """Apply all the updates as if one after the other: the last one counts, but done stays done."""
        wanted: dict[str, dict[int, Recipient | None]] = {}
        for operation in operations:
            for update in operation.updates:
                states = wanted.setdefault(update.queue_id, {})
                earlier = states.get(update.number)
                if earlier is not None or update.number not in states:
                    states[update.number] = _held_as_before(earlier, update.recipient)
        finished, done, changed = [], [], []
        for found in transaction.find(wanted):
            queue_id, seq, _, _, numbers = found
            states = wanted[queue_id]
            gone = [(seq, number) for number in numbers if number in states and states[number] is None]
            if len(gone) == len(numbers):
                finished.append(found)
                continue
            done += gone
            for number in numbers:
                recipient = states.get(number)
                if recipient is not None:
                    changed.append((*recipient_values(recipient), seq, number))
        transaction.remove(finished)
        execute = transaction.connection.executemany
        if done:
            execute("DELETE FROM recipients WHERE message = ? AND number = ?", done)
            transaction.recipients -= len(done)
        if changed:
            execute(
                # What was held during the attempt stays so: only a release ends that.
                "UPDATE recipients SET state = max(state, ?), next_attempt = ?, attempts = ?, address = ?, "
                "options = ?, last_attempt = ?, last_status = ?, last_reply = ?, last_host = ? "
                "WHERE message = ? AND number = ?",
                changed,
            )
        bounces = [message for operation in operations for message in operation.bounces]
        if bounces:
            transaction.insert(bounces)
        return [None] * len(operations)


def _held_as_before(earlier: Recipient | None, later: Recipient | None) -> Recipient | None:
    if earlier is None or later is None or earlier.state is not RecipientState.HELD:
        return later
    return replace(later, state=RecipientState.HELD)


class Delete(Operation[int]):
    """Remove messages at the operator's request; gives how many there were."""

    def __init__(self, queue_ids: Sequence[str]) -> None:
        self.queue_ids = list(queue_ids)
        self.weight = 512 * len(self.queue_ids)

    @staticmethod
    def apply(transaction: Transaction, operations: Sequence[Delete]) -> Sequence[int]:
        """Remove the messages."""
        removed = []
        for operation in operations:
            found = transaction.find(operation.queue_ids)
            transaction.remove(found)
            removed.append(len(found))
        return removed


class Retry(Operation[int]):
    """Make waiting recipients due at `now`; gives how many rows that changed.

    With queue ids: those messages' recipients, all of them. Without: up to `limit` of those due later, so
    that a million of them do not hold up everything else; to be repeated until nothing is left.
    """

    def __init__(self, queue_ids: Sequence[str] | None, now: float, limit: int) -> None:
        self.queue_ids = None if queue_ids is None else list(queue_ids)
        self.now = now
        self.limit = limit
        self.weight = 256 * (limit if queue_ids is None else len(queue_ids))

    @staticmethod
    def apply(transaction: Transaction, operations: Sequence[Retry]) -> Sequence[int]:
        """Set the times."""
        execute = transaction.connection.execute
        counts = []
        for operation in operations:
            if operation.queue_ids is None:
                cursor = execute(_RETRY_SOME, (operation.now, operation.limit))
            else:
                cursor = execute(_RETRY, (operation.now, json.dumps(operation.queue_ids)))
            counts.append(cursor.rowcount)
        return counts


class Hold(Operation[int]):
    """Hold the waiting recipients of messages, or release the held ones; gives how many that concerned.

    `reason` (status code, words) is kept as the recipients' last outcome when given.
    """

    def __init__(
        self, queue_ids: Sequence[str], *, release_at: float | None = None, reason: tuple[str, str] | None = None
    ) -> None:
        self.queue_ids = list(queue_ids)
        self.release_at = release_at
        self.reason = reason
        self.weight = 512 * len(self.queue_ids)

    @staticmethod
    def apply(transaction: Transaction, operations: Sequence[Hold]) -> Sequence[int]:
        """Set the states."""
        execute = transaction.connection.execute
        counts = []
        for operation in operations:
            ids = json.dumps(operation.queue_ids)
            if operation.release_at is not None:
                cursor = execute(_RELEASE, (operation.release_at, ids))
            else:
                status, words = operation.reason or (None, None)
                cursor = execute(
                    "UPDATE recipients SET state = 1, last_status = coalesce(?, last_status), "
                    "last_reply = coalesce(?, last_reply) WHERE state = 0 AND message IN "
                    "(SELECT seq FROM json_each(?) CROSS JOIN messages ON queue_id = value)",
                    (status, None if words is None else text(words), ids),
                )
            counts.append(cursor.rowcount)
        return counts


class Mark(Operation[int]):
    """Change the state of some recipients of messages; gives how many that concerned.

    recipients: pairs of queue id and number. state: `held` (those that wait), `released` (those held: due at `now`),
    `due` (those that wait: due at `now`).
    """

    _WHICH: ClassVar = (
        " AND (message, number) IN (SELECT seq, json_extract(value, '$[1]') FROM json_each(?2) "
        "CROSS JOIN messages ON queue_id = json_extract(value, '$[0]'))"
    )
    _STATEMENTS: ClassVar = {
        "held": "".join(("UPDATE recipients SET state = 1 WHERE state = 0", _WHICH)),
        "released": "".join(("UPDATE recipients SET state = 0, ", _DUE, " WHERE state = 1", _WHICH)),
        "due": "".join(("UPDATE recipients SET ", _DUE, " WHERE state = 0", _WHICH)),
    }

    def __init__(self, recipients: Sequence[tuple[str, int]], state: str, now: float) -> None:
        self.recipients = list(recipients)
        self.statement = self._STATEMENTS[state]
        self.now = now
        self.weight = 512 * len(self.recipients)

    @staticmethod
    def apply(transaction: Transaction, operations: Sequence[Mark]) -> Sequence[int]:
        """Set the states."""
        return [
            transaction.connection.execute(
                operation.statement, (operation.now, json.dumps(operation.recipients))
            ).rowcount
            for operation in operations
        ]
