# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening the database of a store, and saving what can be read of a damaged one.

A damaged database is renamed, never deleted and never written to; what can be read is copied row by row into
a new one. Rows are looked for by every way into the tables that is left: both tables from either end, their
indexes, and at last each number between the lowest and the highest found.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from relay_agent.queue.directory import StoreDirectory, sync_directory
from relay_agent.queue.model import QueueDamagedError
from relay_agent.queue.schema import (
    INSERT_MESSAGE,
    INSERT_RECIPIENT,
    MESSAGE_BY_SEQ,
    MESSAGE_WIDTH,
    PAGE_SIZE,
    RECIPIENT_WIDTH,
    RECIPIENTS_OF,
    connect,
    prepare,
)
from relay_agent.queue.writer import refusal

__all__ = ["Opened", "open_database"]

log = logging.getLogger(__name__)

#: Largest database that is checked page by page at every start; a larger one only when it was found damaged.
_CHECK_BYTES = 64 << 20
_MOST_GAPS = 5_000_000

_WAYS_IN = (
    "SELECT seq FROM messages NOT INDEXED ORDER BY seq",
    "SELECT seq FROM messages NOT INDEXED ORDER BY seq DESC",
    "SELECT seq FROM messages INDEXED BY messages_queue_id ORDER BY queue_id",
    "SELECT seq FROM messages INDEXED BY messages_queue_id ORDER BY queue_id DESC",
    "SELECT message FROM recipients ORDER BY message, number",
    "SELECT message FROM recipients ORDER BY message DESC, number DESC",
    "SELECT message FROM recipients INDEXED BY recipients_due WHERE state = 0 ORDER BY next_attempt",
)


_INSERT_MESSAGE = "".join((INSERT_MESSAGE, "(", ", ".join("?" * MESSAGE_WIDTH), ")"))
_INSERT_RECIPIENT = "".join((INSERT_RECIPIENT, "(", ", ".join("?" * RECIPIENT_WIDTH), ")"))


@dataclass(slots=True)
class Opened:
    """What opening found: words for the operator, and where bodies go whose messages may have been lost."""

    notices: list[str] = field(default_factory=list)
    aside: Path | None = None


def open_database(directory: StoreDirectory) -> Opened:
    """Make the database ready for use: created, brought to this version, or saved from damage.

    Raises StoreVersionError when a newer release wrote it, QueueFullError or OSError when the disk refuses.
    """
    path, wal = directory.database, directory.wal
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    empty = not path.exists() or path.stat().st_size == 0
    aside = directory.root / f"bodies.damaged-{stamp}"
    if empty and not (wal.exists() and wal.stat().st_size):
        _create(directory)
        return Opened(aside=aside)
    damage = "the file is gone or empty, its log is not" if empty else _damage(directory)
    if damage is None:
        return Opened()
    notices = [f"{path} is damaged: {damage}"]
    notices += _salvage(directory, stamp)
    directory.suspect.unlink(missing_ok=True)
    return Opened(notices, aside)


def _create(directory: StoreDirectory) -> None:
    connection = connect(directory.database)
    try:
        prepare(connection, directory.database)
    except sqlite3.Error as error:
        raise refusal(error, directory.root) from error
    finally:
        connection.close()
    sync_directory(directory.root)


def _damage(directory: StoreDirectory) -> str | None:
    """What is wrong with the database, None when it is ready for use."""
    path = directory.database
    try:
        connection = connect(path)
        try:
            prepare(connection, path)
            connection.execute("SELECT messages FROM totals").fetchone()
            suspect = directory.suspect.exists()
            if suspect or path.stat().st_size <= _CHECK_BYTES:
                check = "integrity_check" if suspect else "quick_check"
                (verdict,) = connection.execute(f"PRAGMA {check}(1)").fetchone()
                if verdict != "ok":
                    return str(verdict).replace("\n", " ")
            directory.suspect.unlink(missing_ok=True)
        finally:
            connection.close()
    except QueueDamagedError as error:
        return str(error)
    except sqlite3.Error as error:
        known = refusal(error, path)
        # "no such table" and the like: the schema itself is not what we wrote.
        if isinstance(known, QueueDamagedError) or known is error:
            return str(error)
        raise known from error
    return None


def _salvage(directory: StoreDirectory, stamp: str) -> list[str]:
    """Rename the damaged database, copy what can be read into a new one; returns what to tell."""
    damaged = _rename(directory, stamp)
    _create(directory)
    repaired = directory.root / f"{damaged.name}.repaired"
    lost = directory.root / f"{damaged.name}.lost"
    saved = 0
    unreadable: list[str] = []
    try:
        for source_path in (damaged, _with_new_first_page(directory, damaged, repaired)):
            source = connect(source_path, read_only=True)
            try:
                source.execute("SELECT 1 FROM messages LIMIT 1").fetchone()
            except sqlite3.Error as error:
                log.debug("%s cannot be read: %s", source_path, error)
                continue
            else:
                saved, unreadable = _copy(source, directory)
                break
            finally:
                source.close()
    finally:
        for leftover in (repaired, Path(f"{repaired}-wal"), Path(f"{repaired}-shm"), Path(f"{damaged}-shm")):
            leftover.unlink(missing_ok=True)
    notices = [f"{saved} messages were saved from it; the damaged file is kept as {damaged}"]
    if unreadable:
        lost.write_text("".join(f"{line}\n" for line in unreadable))
        notices.append(f"{len(unreadable)} messages could not be read whole; what is known of them is in {lost}")
    return notices


def _rename(directory: StoreDirectory, stamp: str) -> Path:
    damaged = directory.root / f"queue.db.damaged-{stamp}"
    count = 1
    while damaged.exists():
        count += 1
        damaged = directory.root / f"queue.db.damaged-{stamp}.{count}"
    if directory.wal.exists():
        directory.wal.rename(f"{damaged}-wal")
    if directory.database.exists():
        directory.database.rename(damaged)
    else:
        damaged.touch(mode=0o600)
    Path(f"{directory.database}-shm").unlink(missing_ok=True)
    sync_directory(directory.root)
    return damaged


def _with_new_first_page(directory: StoreDirectory, damaged: Path, copy: Path) -> Path:
    """A copy of the database with the first page of a new one.

    The first page holds the header and the schema. Its tables are created in a fixed order in an empty
    file, so a new database's first page describes where an old one's tables begin.
    """
    pattern = connect(copy)
    try:
        prepare(pattern, copy)
    finally:
        pattern.close()
    with copy.open("rb") as file:
        page = bytearray(file.read(PAGE_SIZE))
    pages = max(-(-damaged.stat().st_size // PAGE_SIZE), 1)
    page[28:32] = pages.to_bytes(4, "big")
    page[32:40] = bytes(8)  # no free pages
    page[24:28] = page[92:96] = (1).to_bytes(4, "big")  # the size above is valid
    with damaged.open("rb") as source, copy.open("wb") as target:
        while block := source.read(1 << 20):
            target.write(block)
        target.truncate(pages * PAGE_SIZE)
        target.seek(0)
        target.write(page)
    log_file = Path(f"{damaged}-wal")
    if log_file.exists():
        Path(f"{copy}-wal").write_bytes(log_file.read_bytes())
    return copy


def _copy(source: sqlite3.Connection, directory: StoreDirectory) -> tuple[int, list[str]]:
    """Copy every message that can be read; returns how many, and a line for each that cannot."""
    target = connect(directory.database)
    saved, lost = 0, []
    try:
        target.execute("BEGIN IMMEDIATE")
        for seq in _seqs(source):
            try:
                trouble = _copy_message(source, target, seq)
            except sqlite3.Error as error:
                trouble = f"message {seq}: {error}{_known(source, seq)}"
            if trouble is None:
                saved += 1
                if saved % 5000 == 0:
                    target.execute("COMMIT")
                    target.execute("BEGIN IMMEDIATE")
            elif trouble:
                lost.append(trouble)
        target.execute(
            "UPDATE totals SET messages = (SELECT count(*) FROM messages), "
            "recipients = (SELECT count(*) FROM recipients), bytes = (SELECT total(size) FROM messages)"
        )
        target.execute("COMMIT")
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        target.close()
    return saved, lost


def _seqs(source: sqlite3.Connection) -> Iterator[int]:
    found: set[int] = set()
    whole = True
    for query in _WAYS_IN:
        try:
            found.update(seq for (seq,) in source.execute(query) if isinstance(seq, int) and seq > 0)
        except sqlite3.Error as error:
            whole = False
            log.debug("%s: %s", query, error)
    if not whole and found and max(found) - min(found) < _MOST_GAPS:
        found.update(range(min(found), max(found)))
    return iter(sorted(found))


def _copy_message(source: sqlite3.Connection, target: sqlite3.Connection, seq: int) -> str | None:
    """Copy one message; None when it was, "" when there is none, otherwise why not."""
    row = source.execute(MESSAGE_BY_SEQ, (seq, sys.maxsize)).fetchone()
    recipients = source.execute(RECIPIENTS_OF, (seq,)).fetchall()
    if row is None:
        return f"message {seq}: only recipients are left{_known(source, seq)}" if recipients else ""
    queue_id = row[1]
    if not (isinstance(queue_id, str) and queue_id.isascii() and queue_id.isalnum()):
        return f"message {seq}: unreadable queue id {queue_id!r}"
    if not recipients:
        return f"message {seq}: {queue_id} from <{row[7]}> has no recipients left"
    target.execute("SAVEPOINT message")
    try:
        target.execute(_INSERT_MESSAGE, row)
        target.executemany(_INSERT_RECIPIENT, recipients)
    except sqlite3.Error:
        target.execute("ROLLBACK TO message")
        raise
    finally:
        target.execute("RELEASE message")
    return None


def _known(source: sqlite3.Connection, seq: int) -> str:
    """What can be said of a message that cannot be copied."""
    parts = []
    for label, query in (
        ("queue id", "SELECT queue_id FROM messages WHERE seq = ?"),
        ("from", "SELECT reverse_path FROM messages WHERE seq = ?"),
        ("to", "SELECT address FROM recipients WHERE message = ?"),
    ):
        try:
            values = [str(value) for (value,) in source.execute(query, (seq,))]
        except sqlite3.Error:
            continue
        if values:
            parts.append(f"{label} {', '.join(values)}")
    return f" ({'; '.join(parts)})" if parts else ""
