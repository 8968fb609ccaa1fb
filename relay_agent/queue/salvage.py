# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening the database of a store, and saving what can be read of a damaged one.

A damaged database is renamed, never deleted and never written to; what can be read is copied row by row into
a new one. What may be a remnant of mail that was delivered long ago is kept, but held: the operator decides.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path

from relay_agent.queue.directory import StoreDirectory, sync_directory
from relay_agent.queue.model import QueueDamagedError
from relay_agent.queue.pages import Pages, Row
from relay_agent.queue.schema import (
    INSERT_MESSAGE,
    INSERT_RECIPIENT,
    MESSAGE_WIDTH,
    PAGE_SIZE,
    RECIPIENT_WIDTH,
    connect,
    fill_lanes,
    prepare,
)
from relay_agent.queue.writer import refusal

__all__ = ["Opened", "open_database"]

#: Largest database that is checked page by page at every start; a larger one only when it was found damaged.
_CHECK_BYTES = 64 << 20
#: A database with so much free space and so little in use is made smaller at the start.
_SHRINK_FREE = 256 << 20
_SHRINK_USED = 32 << 20

_INSERT_MESSAGE = "".join((INSERT_MESSAGE, "(", ", ".join("?" * MESSAGE_WIDTH), ")"))
_INSERT_RECIPIENT = "".join((INSERT_RECIPIENT, "(", ", ".join("?" * RECIPIENT_WIDTH), ")"))
_RECIPIENT_WIDTHS = (RECIPIENT_WIDTH - 1, RECIPIENT_WIDTH)  # with and without the lane of version 2
_UNSURE = "held: found in a damaged database, where it may have been left over from mail already delivered"


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
    directory.own(directory.database)
    sync_directory(directory.root)


def _damage(directory: StoreDirectory) -> str | None:
    """What is wrong with the database, None when it is ready for use."""
    path = directory.database
    try:
        connection = connect(path)
        try:
            prepare(connection, path)
            connection.execute("SELECT messages FROM totals").fetchone()
            if directory.suspect.exists() or path.stat().st_size <= _CHECK_BYTES:
                (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                if verdict != "ok":
                    return str(verdict).replace("\n", " ")
            directory.suspect.unlink(missing_ok=True)
            _shrink(connection)
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


def _shrink(connection: sqlite3.Connection) -> None:
    """Give back the disk space that a large queue took, once it is small again; takes a second at most."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free * PAGE_SIZE >= _SHRINK_FREE and (pages - free) * PAGE_SIZE <= _SHRINK_USED:
        # On a full disk the next start tries again.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("VACUUM")


def _salvage(directory: StoreDirectory, stamp: str) -> list[str]:
    """Rename the damaged database, copy what can be read into a new one; returns what to tell."""
    damaged = _rename(directory, stamp)
    _create(directory)
    source = Pages.open(damaged, Path(f"{damaged}-wal"))
    target = connect(directory.database)
    try:
        found = _Salvage(target)
        found.copy(source)
        lost = found.clean_up()
        saved, held = found.count()
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        target.close()
        source.close()
    notices = [f"{saved} were saved from it; the damaged file is kept as {damaged}"]
    if held:
        notices.append(f"{held} recipients are held because their mail may have been delivered already")
    if lost:
        path = directory.root / f"{damaged.name}.lost"
        path.write_text("".join(f"{line}\n" for line in lost))
        directory.own(path)
        notices.append(f"{len(lost)} messages could not be read whole; what is known of them is in {path}")
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
        directory.own(damaged)
    Path(f"{directory.database}-shm").unlink(missing_ok=True)
    sync_directory(directory.root)
    return damaged


class _Salvage:
    """Takes rows out of a damaged file's pages and puts them into a new database."""

    def __init__(self, target: sqlite3.Connection) -> None:
        self._target = target
        self._roots = [
            page
            for (page,) in target.execute("SELECT rootpage FROM sqlite_schema WHERE name IN ('messages', 'recipients')")
        ]
        self._refused: list[str] = []
        self._totals: tuple[int, ...] | None = None
        # What the indexes say there should be; a bad page may hide some recipients of a message.
        target.execute("CREATE TEMP TABLE indexed (message INTEGER, number INTEGER, PRIMARY KEY (message, number))")

    def copy(self, source: Pages) -> None:
        """Copy every row that can be read, in portions."""
        # The tables are created in a fixed order in an empty file: their roots are where ours are.
        self._target.execute("BEGIN IMMEDIATE")
        for number, row in enumerate(source.rows(self._roots)):
            try:
                self._take(row)
            except (sqlite3.IntegrityError, OverflowError) as error:
                self._refused.append(f"row {row.key}: {error}: {_brief(row)}")
            if number % 20_000 == 19_999:
                self._target.execute("COMMIT")
                self._target.execute("BEGIN IMMEDIATE")
        self._target.execute("COMMIT")

    def _take(self, row: Row) -> None:
        values = row.values
        if row.key is not None and len(values) == MESSAGE_WIDTH and values[0] is None:
            queue_id = values[1]
            # It becomes a file name.
            if isinstance(queue_id, str) and queue_id.isascii() and queue_id.isalnum() and row.key > 0:
                self._target.execute(_INSERT_MESSAGE, (row.key, *values[1:]))
            else:
                self._refused.append(f"row {row.key}: no queue id: {_brief(row)}")
        elif row.key is None and len(values) in _RECIPIENT_WIDTHS and values[2] in (0, 1):
            if not row.sure:
                values = [*values[:2], 1, *values[3:9], _UNSURE, values[10]]
            values = [*values[:11], 0]  # the lane is set in the end
            self._target.execute(_INSERT_RECIPIENT, values)
        elif row.sure and len(values) in (2, 3, 4) and all(isinstance(value, int) for value in values[-2:]):
            if row.key is None:
                self._target.execute("INSERT OR IGNORE INTO indexed VALUES (?, ?)", values[-2:])
            elif len(values) == 3 and isinstance(values[0], int):
                self._totals = tuple(value for value in values if isinstance(value, int))

    def clean_up(self) -> list[str]:
        """Remove halves of messages and count the rest; a line for each message that is not whole."""
        execute = self._target.execute
        lost = self._refused
        execute("BEGIN IMMEDIATE")
        lost += [
            f"{queue_id} from <{reverse_path}>: its recipients could not be read"
            for queue_id, reverse_path in execute(
                "SELECT queue_id, reverse_path FROM messages "
                "WHERE NOT EXISTS (SELECT * FROM recipients WHERE message = seq)"
            )
        ]
        lost += [
            f"message number {message} to {addresses}: its content could not be read"
            for message, addresses in execute(
                "SELECT message, group_concat(address, ', ') FROM recipients "
                "WHERE NOT EXISTS (SELECT * FROM messages WHERE seq = message) GROUP BY message"
            )
        ]
        lost += [
            f"{queue_id} from <{reverse_path}>: its recipients number {numbers} could not be read, the others could"
            for queue_id, reverse_path, numbers in execute(
                "SELECT queue_id, reverse_path, group_concat(number, ', ') "
                "FROM temp.indexed CROSS JOIN messages ON seq = message "
                "WHERE NOT EXISTS (SELECT * FROM recipients "
                "WHERE recipients.message = indexed.message AND recipients.number = indexed.number) "
                "AND EXISTS (SELECT * FROM recipients WHERE recipients.message = indexed.message) GROUP BY seq"
            )
        ]
        execute("DELETE FROM messages WHERE NOT EXISTS (SELECT * FROM recipients WHERE message = seq)")
        execute("DELETE FROM recipients WHERE NOT EXISTS (SELECT * FROM messages WHERE seq = message)")
        fill_lanes(self._target)
        execute(
            "UPDATE totals SET messages = (SELECT count(*) FROM messages), "
            "recipients = (SELECT count(*) FROM recipients), "
            "bytes = (SELECT coalesce(sum(size), 0) FROM messages)"
        )
        execute("COMMIT")
        return lost

    def count(self) -> tuple[str, int]:
        """Messages and recipients saved, in words, and recipients held for being unsure."""
        messages, recipients = self._target.execute("SELECT messages, recipients FROM totals").fetchone()
        saved = f"{messages} messages to {recipients} recipients"
        if self._totals is not None:
            saved += f" (of {self._totals[0]} to {self._totals[1]})"
        (held,) = self._target.execute("SELECT count(*) FROM recipients WHERE last_reply = ?", (_UNSURE,)).fetchone()
        return saved, int(held)


def _brief(row: Row) -> str:
    """A row for the operator's eyes: without the content."""
    return ", ".join(repr(value)[:80] for value in row.values if not isinstance(value, bytes))
