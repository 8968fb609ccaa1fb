# SPDX-License-Identifier: GPL-3.0-or-later
"""What a journal still holds when a store is opened, moved into its database.

Nothing that can be read is left out, and nothing is deleted before it is in the database. A segment in which
something cannot be read as it was written is set aside under a name that the operator is told.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from relay_agent.queue.directory import StoreDirectory, sync_directory
from relay_agent.queue.journal_format import (
    DamagedEntryError,
    Kind,
    decode_done,
    decode_gone,
    decode_message,
    read_batches,
)
from relay_agent.queue.model import Message
from relay_agent.queue.operations import Transaction
from relay_agent.queue.schema import connect
from relay_agent.queue.segments import segment_files
from relay_agent.queue.writer import refusal

__all__ = ["replay"]

_AT_ONCE = 500  # messages a transaction


@dataclass(slots=True)
class _Fates:
    """What became of messages, as far as the journal says."""

    done: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    gone: set[str] = field(default_factory=set)
    damaged: dict[Path, str] = field(default_factory=dict)


def replay(directory: StoreDirectory) -> list[str]:
    """Move everything that is live in the journal into the database and empty the journal; blocks.

    Returns what was found wrong, in words for the operator. Raises QueueFullError or OSError when the disk
    refuses: the journal is then as it was.
    """
    files = segment_files(directory.journal)
    if not files:
        return []
    fates = _read_fates(files)
    connection = connect(directory.database)
    try:
        for path, epoch in files:
            _insert(connection, path.read_bytes(), epoch, fates)
    except sqlite3.Error as error:
        raise refusal(error, directory.root) from error
    finally:
        connection.close()
    notices = []
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for path, _ in files:
        if (what := fates.damaged.get(path)) is None:
            path.unlink()
            continue
        aside = directory.root / f"journal.damaged-{stamp}"
        aside.mkdir(mode=0o700, exist_ok=True)
        directory.own(aside)
        path.rename(aside / path.name)
        notices.append(f"{path}: {what}; the rest was saved, the file is now {aside / path.name}")
    sync_directory(directory.journal)
    return notices


def _read_fates(files: list[tuple[Path, int]]) -> _Fates:
    fates = _Fates()
    last: int | None = None
    for path, epoch in files:
        end = 0
        for batch in read_batches(path.read_bytes(), epoch):
            if batch.damaged:
                fates.damaged[path] = f"{batch.damaged} entries of a batch are incomplete or damaged"
            if batch.at != end or (last is not None and batch.number != last + 1):
                fates.damaged[path] = f"something before byte {batch.at} cannot be read"
            end, last = batch.end, batch.number
            for kind, _, payload in batch.entries:
                try:
                    _note(fates, kind, payload)
                except DamagedEntryError as error:
                    fates.damaged[path] = f"an entry of kind {kind} cannot be understood: {error}"
    return fates


def _note(fates: _Fates, kind: int, payload: bytes) -> None:
    if kind == Kind.DONE:
        for queue_id, numbers in decode_done(payload).items():
            fates.done[queue_id].update(numbers)
    elif kind == Kind.GONE:
        fates.gone.update(decode_gone(payload))
    elif kind == Kind.MESSAGE:
        decode_message(payload)
    else:
        raise DamagedEntryError("no such kind in this release")


def _insert(connection: sqlite3.Connection, segment: bytes, epoch: int, fates: _Fates) -> None:
    messages: list[Message] = []
    for batch in read_batches(segment, epoch):
        for kind, _, payload in batch.entries:
            if kind != Kind.MESSAGE:
                continue
            try:
                message = decode_message(payload)
            except DamagedEntryError:
                continue  # the operator is told
            if message.queue_id in fates.gone:
                continue
            for number in fates.done.get(message.queue_id, ()):
                message.recipients.pop(number, None)
            if message.recipients:
                messages.append(message)
        if len(messages) >= _AT_ONCE:
            _store(connection, messages)
            messages = []
    _store(connection, messages)


def _store(connection: sqlite3.Connection, messages: list[Message]) -> None:
    if not messages:
        return
    (highest,) = connection.execute("SELECT coalesce(max(seq), 0) FROM messages").fetchone()
    transaction = Transaction(connection, highest + 1)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Moved already, but the agent ended before the journal knew.
        there = {queue_id for queue_id, *_ in transaction.find(message.queue_id for message in messages)}
        transaction.insert(message for message in messages if message.queue_id not in there)
        transaction.finish()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
