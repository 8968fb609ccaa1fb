# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening the database of a store, and saving what can be read of a damaged one.

A damaged database is renamed, never deleted and never written to; what can be read is copied row by row into
a new one. What may be a remnant of mail that was delivered long ago is kept, but held: the operator decides.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay_agent.queue.damage import (
    held_for,
    message_faults,
    printable,
    readable_message,
    readable_recipient,
    recipient_faults,
)
from relay_agent.queue.directory import StoreDirectory, sync_directory
from relay_agent.queue.model import QueueDamagedError, new_queue_id
from relay_agent.queue.pages import Pages, Row
from relay_agent.queue.repair import Repair
from relay_agent.queue.room import check_room
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

__all__ = ["open_database"]

log = logging.getLogger(__name__)

#: Largest database that is checked page by page at every start; a larger one only when it was found damaged.
_CHECK_BYTES = 64 << 20
#: A database with so much free space and so little in use is made smaller at the start.
_SHRINK_FREE = 256 << 20
_SHRINK_USED = 32 << 20

_INSERT_MESSAGE = "".join((INSERT_MESSAGE, "(", ", ".join("?" * MESSAGE_WIDTH), ")"))
_INSERT_RECIPIENT = "".join((INSERT_RECIPIENT, "(", ", ".join("?" * RECIPIENT_WIDTH), ")"))
_RECIPIENT_WIDTHS = (RECIPIENT_WIDTH - 1, RECIPIENT_WIDTH)  # with and without the lane of version 2
_LIFETIME = 432_000.0  # seconds that a message has whose own cannot be read
#: What no operation leaves behind; asked only where every page is looked at anyway.
_CONTRADICTION = (
    "SELECT 'message ' || queue_id || ' has no recipients' FROM messages "
    "WHERE NOT EXISTS (SELECT * FROM recipients WHERE message = seq) UNION ALL "
    "SELECT 'message number ' || message || ' has recipients, and is not there' FROM recipients "
    "WHERE NOT EXISTS (SELECT * FROM messages WHERE seq = message) UNION ALL "
    "SELECT 'a recipient of message number ' || message || ' neither waits nor is held' FROM recipients "
    "WHERE coalesce(state NOT IN (0, 1), 1) LIMIT 1"
)
_UNSURE = "held: found in a damaged database, where it may have been left over from mail already delivered"


def open_database(directory: StoreDirectory) -> Repair:
    """Make the database ready for use: created, brought to this version, or saved from damage.

    Returns what is being repaired; the caller ends that when the store is whole and the operator was told. Raises
    StoreVersionError when a newer release wrote it, QueueFullError or OSError when the disk refuses: nothing is lost
    then, and the next call goes on.
    """
    repair = Repair.of(directory)
    if repair.is_unfinished:
        if not repair.saved:
            repair.fresh.unlink(missing_ok=True)  # its room is needed
            set_aside = repair.damaged_database.exists()
            damaged = repair.damaged_database if set_aside else directory.database
            check_room(directory, damaged, f"{directory.database} was damaged, and is being saved anew from {damaged}")
            repair.tell(f"saving what can be read of {repair.damaged_database} was cut off, and was done again")
    else:
        damage = _damage(directory, repair)
        if damage is None:
            return repair
        damage = printable(damage)
        repair.fresh.unlink(missing_ok=True)
        check_room(directory, directory.database, f"{directory.database} is damaged: {damage}")
        log.error("%s is damaged: %s; what can be read of it is being saved", directory.database, damage)
        repair.tell(f"{directory.database} is damaged: {damage}")
        repair.damaged, repair.saved, repair.lost = _free_name(directory, repair.stamp), False, True
        repair.keep(directory)
    _salvage(directory, repair)
    directory.suspect.unlink(missing_ok=True)
    return repair


def _damage(directory: StoreDirectory, repair: Repair) -> str | None:
    """What is wrong with the database, None when it is ready for use; it is made when there is none."""
    path, wal = directory.database, directory.wal
    if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
        # SQLite has one word for this and for a full disk, and only one of them passes.
        raise PermissionError(errno.EACCES, "cannot be read and written by the agent's user", str(path))
    if path.exists() and path.stat().st_size:
        return _damage_of(directory)
    if wal.exists() and wal.stat().st_size:
        return "the file is gone or empty, its log is not"
    if any(directory.bodies.iterdir()):
        # There was mail; the next start must know it, too, should this one be cut off.
        repair.tell(f"{path} is gone or empty: messages were lost with it")
        repair.lost = True
        repair.keep(directory)
    _create(directory)
    return None


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


def _damage_of(directory: StoreDirectory) -> str | None:
    """What is wrong with a database, None when it is ready for use."""
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
                if (wrong := connection.execute(_CONTRADICTION).fetchone()) is not None:
                    return str(wrong[0])
            directory.suspect.unlink(missing_ok=True)
            _shrink(connection)
        finally:
            connection.close()
    except QueueDamagedError as error:
        return str(error)
    except UnicodeDecodeError:
        return "SQLite complains of it in words that are no text"  # it quotes what it finds in the schema
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


def _salvage(directory: StoreDirectory, repair: Repair) -> None:
    """Rename the damaged database, copy what can be read into a new one, put that in its place.

    The new one is put together under another name, and gets its own when all of it is on the disk.
    """
    if not repair.saved:
        _set_aside(directory, repair)
        repair.fresh.unlink(missing_ok=True)
        try:
            _save(directory, repair)
        except BaseException:
            repair.fresh.unlink(missing_ok=True)  # on a full disk it is in the way of everything else
            raise
        repair.saved = True
        repair.keep(directory)
    if directory.database.exists() or directory.wal.exists():
        _set_aside(directory, repair)
    repair.fresh.rename(directory.database)
    sync_directory(directory.root)


def _save(directory: StoreDirectory, repair: Repair) -> None:
    """Copy what can be read of the database that is set aside into a new one, synced."""
    damaged = repair.damaged_database
    source = Pages.open(damaged, Path(f"{damaged}-wal"))
    target = connect(repair.fresh)
    try:
        prepare(target, repair.fresh, log=False)
        found = _Salvage(target)
        found.copy(source)
        lost = found.clean_up()
        saved, held = found.count()
    except sqlite3.Error as error:
        raise refusal(error, directory.root) from error
    finally:
        target.close()
        source.close()
    directory.own(repair.fresh)
    _sync(repair.fresh)
    repair.tell(f"{saved} were saved from it; the damaged file is kept as {damaged}")
    if held:
        repair.tell(f"{held} recipients are held because their mail may have been delivered already")
    if found.mended:
        repair.tell(f"{found.mended} messages are held because something of them could not be read")
    if lost:
        path = directory.root / f"{damaged.name}.lost"
        # What a damaged address holds may be no Unicode.
        path.write_text("".join(f"{line}\n" for line in lost), encoding="utf-8", errors="backslashreplace")
        directory.own(path)
        _sync(path)
        repair.tell(f"{len(lost)} messages could not be read whole; what is known of them is in {path}")
    sync_directory(directory.root)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _free_name(directory: StoreDirectory, stamp: str) -> str:
    """A name for a damaged database that nothing has."""
    name = f"queue.db.damaged-{stamp}"
    count = 1
    while (directory.root / name).exists() or (directory.root / f"{name}-wal").exists():
        count += 1
        name = f"queue.db.damaged-{stamp}.{count}"
    return name


def _set_aside(directory: StoreDirectory, repair: Repair) -> None:
    """Rename the damaged database and its log; what an earlier call has done already stays as it is."""
    damaged = repair.damaged_database
    if damaged.exists() and (directory.database.exists() or directory.wal.exists()):
        # Made since the damaged one was set aside: by a person, or by a release that knows nothing of a repair's note.
        # Its mail is in that file alone, and it is for the operator to say what becomes of it.
        other = directory.root / _free_name(directory, repair.stamp)
        repair.tell(f"{directory.database} was there while another was being saved; it is kept as {other}")
        repair.keep(directory)
        _rename(directory, other)
    elif not damaged.exists():
        _rename(directory, damaged)
    Path(f"{directory.database}-shm").unlink(missing_ok=True)
    sync_directory(directory.root)


def _rename(directory: StoreDirectory, damaged: Path) -> None:
    # The log first: with the name of the database it is set aside.
    if directory.wal.exists():
        directory.wal.rename(f"{damaged}-wal")
    if directory.database.exists():
        directory.database.rename(damaged)
    else:
        damaged.touch(mode=0o600)
        directory.own(damaged)


class _Salvage:
    """Takes rows out of a damaged file's pages and puts them into a new database."""

    def __init__(self, target: sqlite3.Connection) -> None:
        self._target = target
        self._roots = [
            page
            for (page,) in target.execute("SELECT rootpage FROM sqlite_schema WHERE name IN ('messages', 'recipients')")
        ]
        self._refused: list[str] = []
        self._faults: dict[int, tuple[str, list[str]]] = {}  # of messages by their number: queue id, what is wrong
        self._recipient_faults: dict[int, list[str]] = {}  # by the message's number
        self.mended = 0
        self._totals: tuple[int, ...] | None = None
        # What the indexes say there should be; a bad page may hide some recipients of a message.
        target.execute("CREATE TEMP TABLE indexed (message INTEGER, number INTEGER, PRIMARY KEY (message, number))")

    def copy(self, source: Pages) -> None:
        """Copy every row that can be read."""
        # The tables are created in a fixed order in an empty file: their roots are where ours are.
        self._target.execute("BEGIN IMMEDIATE")
        for row in source.rows(self._roots):
            try:
                self._take(row)
            except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError) as error:
                self._refused.append(f"row {row.key}: {error}: {_brief(row)}")
        self._target.execute("COMMIT")

    def _take(self, row: Row) -> None:
        values = row.values
        if row.key is not None and len(values) == MESSAGE_WIDTH and values[0] is None:
            self._take_message(row)
        elif row.key is None and len(values) in _RECIPIENT_WIDTHS and (row.sure or values[2] in (0, 1)):
            self._take_recipient(row)
        elif row.sure and len(values) in (2, 3, 4) and all(isinstance(value, int) for value in values[-2:]):
            if row.key is None:
                self._target.execute("INSERT OR IGNORE INTO indexed VALUES (?, ?)", values[-2:])
            elif len(values) == 3 and isinstance(values[0], int):
                self._totals = tuple(value for value in values if isinstance(value, int))

    def _take_message(self, row: Row) -> None:
        assert row.key is not None
        seq = row.key
        values: tuple[Any, ...] = (seq, *row.values[1:])
        content = values[-1]
        faults = message_faults(values)
        if not isinstance(content, bytes):
            faults.append("its content is damaged and cannot be read")
            content = content.encode("utf-8", "replace") if isinstance(content, str) else b""
        if faults and not row.sure:
            self._refused.append(f"row {row.key}: {faults[0]}: {_brief(row)}")
            return
        if faults:
            values = _plausible((*readable_message(values)[:-1], content))
        self._target.execute(_INSERT_MESSAGE, values)
        if faults:
            self._faults[seq] = (values[1], faults)

    def _take_recipient(self, row: Row) -> None:
        values: Sequence[Any] = row.values[:11]
        faults = recipient_faults(values)
        if faults:
            if not row.sure:
                self._refused.append(f"a recipient: {faults[0]}: {_brief(row)}")
                return
            values = readable_recipient(values)
            self._recipient_faults.setdefault(values[0], []).extend(faults)
        if not row.sure:
            values = [*values[:2], 1, *values[3:9], _UNSURE, values[10]]
        self._target.execute(_INSERT_RECIPIENT, [*values, 0])  # the lane is set in the end

    def _hold_mended(self) -> list[str]:
        """Hold the messages with damaged rows; a line for each."""
        lines = []
        for seq, faults in self._recipient_faults.items():
            known = self._target.execute("SELECT queue_id FROM messages WHERE seq = ?", (seq,)).fetchone()
            if known is not None:
                self._faults.setdefault(seq, (known[0], []))[1].extend(faults)
        for seq, (queue_id, faults) in self._faults.items():
            self._target.execute(
                "UPDATE recipients SET state = 1, last_status = '5.3.0', last_reply = ? WHERE message = ?",
                (held_for(faults), seq),
            )
            lines.append(f"{queue_id} is held: {'; '.join(faults)}")
        self.mended = len(self._faults)
        return lines

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
        lost += self._hold_mended()
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


def _plausible(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A mended message with an id and times that it can have."""
    seq, queue_id, created, expires, *rest = values
    if not (queue_id.isascii() and queue_id.isalnum()):
        queue_id = new_queue_id()
    created = created or time.time()
    return (seq, queue_id, created, expires or created + _LIFETIME, *rest)


def _brief(row: Row) -> str:
    """A row for the operator's eyes: without the content."""
    return ", ".join(repr(value)[:80] for value in row.values if not isinstance(value, bytes))
