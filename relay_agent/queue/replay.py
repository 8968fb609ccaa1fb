# SPDX-License-Identifier: GPL-3.0-or-later
"""What a journal still holds when a store is opened, moved into its database.

Nothing that can be read is left out, and nothing is deleted before it is in the database. A segment in which
something cannot be read as it was written is set aside under a name that the operator is told.
"""

from __future__ import annotations

import os
import sqlite3
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
from relay_agent.queue.operations import MoveIn, Transaction
from relay_agent.queue.repair import Repair
from relay_agent.queue.schema import connect
from relay_agent.queue.segments import SEGMENT_SIZE, segment_files
from relay_agent.queue.writer import refusal

__all__ = ["replay"]

_AT_ONCE = 500  # messages a transaction
_BLOCK = 4096  # bytes that are lost together on a disk that cannot read them

_Place = tuple[int, int]  # of a batch: which segment, and where in it


@dataclass(slots=True)
class _Fates:
    """What became of messages, as far as the journal says, and where it last says so: that concerns only what stands
    before. (A message that the disk refused may have been tried again under its id.)"""

    done: dict[tuple[str, int], _Place] = field(default_factory=dict)
    gone: dict[str, _Place] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)
    before: list[int | None] = field(default_factory=list)  # the number of the last batch before each segment


def replay(directory: StoreDirectory, repair: Repair) -> list[str]:
    """Move everything that is live in the journal into the database and empty the journal; blocks.

    Returns what was found wrong, in words for the operator, which `repair` is told, too. Raises QueueFullError or
    OSError when the disk refuses: the journal then still has everything that the database has not.
    """
    files = segment_files(directory.journal)
    if not files:
        return []
    fates = _read_fates(files)
    connection = connect(directory.database)
    try:
        for index, (path, epoch) in enumerate(files):
            if bad := _insert(connection, index, _content(path)[0], epoch, fates):
                fates.damaged.setdefault(path, f"the database does not take {', '.join(bad)}")
    except sqlite3.Error as error:
        raise refusal(error, directory.root) from error
    finally:
        connection.close()
    aside = directory.root / f"journal.damaged-{repair.stamp}"
    places = {path: _free_place(aside, path.name) for path in fates.damaged}
    notices = [
        f"{path}: {what}; the rest was saved, the file is now {places[path]}"
        for path, what in sorted(fates.damaged.items())
    ]
    if notices:
        repair.tell(*notices)
        # Before a file is where the notice says: whoever goes on after a power cut has nothing else to tell it by.
        repair.keep(directory)
        aside.mkdir(mode=0o700, exist_ok=True)
        directory.own(aside)
        sync_directory(directory.root)
    for path, _ in files:
        if path in places:
            path.rename(places[path])
            sync_directory(aside)
        else:
            path.unlink()
    sync_directory(directory.journal)
    return notices


def _free_place(aside: Path, name: str) -> Path:
    place = aside / name
    count = 1
    while place.exists():
        count += 1
        place = aside / f"{name}.{count}"
    return place


def _content(path: Path) -> tuple[bytes, int]:
    """A segment, with zeros for what the disk cannot read, and how many bytes these are."""
    try:
        return path.read_bytes(), 0
    except OSError:
        pass
    parts: list[bytes] = []
    lost = 0
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        for at in range(0, size, _BLOCK):
            length = min(_BLOCK, size - at)
            try:
                part = os.pread(file.fileno(), length, at)
            except OSError:
                part = b""
                lost += length
            parts.append(part.ljust(length, b"\0"))
    return b"".join(parts), lost


def _read_fates(files: list[tuple[Path, int]]) -> _Fates:
    fates = _Fates()
    last: int | None = None
    for index, (path, epoch) in enumerate(files):
        fates.before.append(last)
        content, lost = _content(path)
        if lost:
            fates.damaged[path] = f"the disk cannot read {lost} bytes of it"
        elif len(content) < SEGMENT_SIZE:
            fates.damaged[path] = f"it is cut short at byte {len(content)}"
        for batch in read_batches(content, epoch, last):
            if last is not None and batch.number != last + 1:
                fates.damaged.setdefault(path, f"what was before byte {batch.at} is missing")
            if batch.damaged:
                fates.damaged.setdefault(path, f"the batch at byte {batch.at} is incomplete or damaged")
            last = batch.number
            for kind, _, payload in batch.entries:
                try:
                    _note(fates, (index, batch.at), kind, payload)
                except DamagedEntryError as error:
                    fates.damaged.setdefault(path, f"an entry of kind {kind} cannot be understood: {error}")
    return fates


def _note(fates: _Fates, place: _Place, kind: int, payload: bytes) -> None:
    if kind == Kind.DONE:
        for queue_id, numbers in decode_done(payload).items():
            fates.done.update(((queue_id, number), place) for number in numbers)
    elif kind == Kind.GONE:
        fates.gone.update((queue_id, place) for queue_id in decode_gone(payload))
    elif kind == Kind.MESSAGE:
        decode_message(payload)
    else:
        raise DamagedEntryError("no such kind in this release")


def _insert(connection: sqlite3.Connection, index: int, segment: bytes, epoch: int, fates: _Fates) -> list[str]:
    """Returns the queue ids of what the database does not take."""
    nowhere = (-1, -1)
    bad: list[str] = []
    messages: list[Message] = []
    for batch in read_batches(segment, epoch, fates.before[index]):
        place = (index, batch.at)
        for kind, _, payload in batch.entries:
            if kind != Kind.MESSAGE:
                continue
            try:
                message = decode_message(payload)
            except DamagedEntryError:
                continue  # the operator is told
            if fates.gone.get(message.queue_id, nowhere) > place:
                continue
            for number in list(message.recipients):
                if fates.done.get((message.queue_id, number), nowhere) > place:
                    del message.recipients[number]
            if message.recipients:
                messages.append(message)
        if len(messages) >= _AT_ONCE:
            bad += _store(connection, messages)
            messages = []
    return bad + _store(connection, messages)


def _store(connection: sqlite3.Connection, messages: list[Message]) -> list[str]:
    """Returns the queue ids of what cannot be stored. Raises sqlite3.Error when the disk refuses."""
    if not messages:
        return []
    try:
        _transact(connection, messages)
    except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, ValueError, TypeError, OverflowError):
        # One that nobody can have written as it is must not keep the others.
        if len(messages) == 1:
            return [messages[0].queue_id]
        return [bad for message in messages for bad in _store(connection, [message])]
    return []


def _transact(connection: sqlite3.Connection, messages: list[Message]) -> None:
    (highest,) = connection.execute("SELECT coalesce(max(seq), 0) FROM messages").fetchone()
    transaction = Transaction(connection, highest + 1)
    connection.execute("BEGIN IMMEDIATE")
    try:
        MoveIn.apply(transaction, [MoveIn(messages)])
        transaction.finish()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
