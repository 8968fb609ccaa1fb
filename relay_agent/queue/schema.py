# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded store's tables, and how messages and recipients become rows.

A message is one row of `messages`, never changed after it was stored, and a row of `recipients` for each
recipient not done yet. Only recipients are indexed by time, and only those that wait, so an index entry
exists for what can become due and for nothing else. `totals` is one row kept by the writer with every
transaction: counting a million messages would read them all.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from relay_agent.queue.damage import LATEST, MOST_ATTEMPTS, UNREADABLE, DamagedRowError, options_from
from relay_agent.queue.lanes import lane_of
from relay_agent.queue.model import Envelope, QueueDamagedError, Recipient, RecipientState

__all__ = [
    "DUE_IN_LANE",
    "EVERY_LANE",
    "FIRST_DUE",
    "FIRST_LANE",
    "INSERT_MESSAGE",
    "INSERT_RECIPIENT",
    "IN_NO_LANE",
    "LANES_DUE",
    "MESSAGES_LISTED",
    "MESSAGE_BY_QUEUE_ID",
    "MESSAGE_BY_SEQ",
    "MESSAGE_WIDTH",
    "NEVER_DUE",
    "PAGE_SIZE",
    "RECIPIENTS_DUE",
    "RECIPIENTS_OF",
    "RECIPIENT_WIDTH",
    "SCHEMA_VERSION",
    "WITHOUT_TIME",
    "StoreVersionError",
    "check_message",
    "checksum",
    "connect",
    "envelope_from",
    "fill_lanes",
    "options_text",
    "prepare",
    "recipient_from",
    "recipient_values",
    "text",
]

SCHEMA_VERSION = 2
APPLICATION_ID = 0x504F5354  # "POST"
PAGE_SIZE = 4096

# Tables before indexes, as VACUUM makes them: the trees of a new database then begin on the same pages as
# those of any other, which is how `salvage` finds them without a schema.
_TABLES = """
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    queue_id TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL NOT NULL,
    size INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    file_offset INTEGER,
    reverse_path TEXT NOT NULL,
    account TEXT,
    options TEXT,
    content BLOB NOT NULL
) STRICT;
CREATE TABLE recipients (
    message INTEGER NOT NULL,
    number INTEGER NOT NULL,
    state INTEGER NOT NULL,
    next_attempt REAL NOT NULL,
    attempts INTEGER NOT NULL,
    address TEXT NOT NULL,
    options TEXT,
    last_attempt REAL,
    last_status TEXT,
    last_reply TEXT,
    last_host TEXT,
    lane INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (message, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE totals (
    messages INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX messages_queue_id ON messages (queue_id);
CREATE INDEX messages_in_file ON messages (queue_id) WHERE file_offset IS NOT NULL;
CREATE INDEX recipients_due ON recipients (next_attempt) WHERE state = 0;
CREATE INDEX recipients_held ON recipients (message) WHERE state = 1;
CREATE INDEX recipients_lane ON recipients (lane, next_attempt) WHERE state = 0;
INSERT INTO totals VALUES (0, 0, 0);
"""

# Written out, not put together: the columns are in the order of the tables, and everybody who reads a row
# counts on it. `content` is the whole body, or its prefix when the rest is in a file.
INSERT_MESSAGE = (
    "INSERT INTO messages (seq, queue_id, created, expires, size, checksum, file_offset, reverse_path, account, "
    "options, content) VALUES "
)
INSERT_RECIPIENT = (
    "INSERT INTO recipients (message, number, state, next_attempt, attempts, address, options, last_attempt, "
    "last_status, last_reply, last_host, lane) VALUES "
)
MESSAGE_BY_SEQ = (
    "SELECT seq, queue_id, created, expires, size, checksum, file_offset, reverse_path, account, options, "
    "CASE WHEN file_offset IS NOT NULL OR size <= ?2 THEN content END FROM messages WHERE seq = ?1"
)
MESSAGE_BY_QUEUE_ID = (
    "SELECT seq, queue_id, created, expires, size, checksum, file_offset, reverse_path, account, options, "
    "CASE WHEN file_offset IS NOT NULL THEN content END FROM messages WHERE queue_id = ?"
)
MESSAGES_LISTED = (
    "SELECT seq, queue_id, created, expires, size, checksum, file_offset, reverse_path, account, options, "
    "CASE WHEN file_offset IS NOT NULL THEN content END "
    "FROM (SELECT seq AS listed FROM messages INDEXED BY messages_queue_id ORDER BY queue_id LIMIT ? OFFSET ?) "
    "CROSS JOIN messages ON seq = listed ORDER BY queue_id"
)
RECIPIENTS_OF = (
    "SELECT message, number, state, next_attempt, attempts, address, options, last_attempt, last_status, "
    "last_reply, last_host FROM recipients WHERE message = ? ORDER BY number"
)
RECIPIENTS_DUE = (
    "SELECT message, number, state, next_attempt, attempts, address, options, last_attempt, last_status, "
    "last_reply, last_host FROM recipients WHERE message = ? AND state = 0 AND next_attempt <= ? ORDER BY number"
)
#: The lanes (see `lanes`) in which something is due, found by leaps over the index: it takes as long as there are
#: lanes, however much waits in each.
LANES_DUE = (
    "WITH RECURSIVE known(lane) AS ("
    "SELECT min(lane) FROM recipients INDEXED BY recipients_lane WHERE state = 0 "
    "UNION ALL SELECT (SELECT min(lane) FROM recipients INDEXED BY recipients_lane "
    "WHERE state = 0 AND lane > known.lane) FROM known WHERE lane IS NOT NULL) "
    "SELECT lane FROM known WHERE EXISTS (SELECT * FROM recipients INDEXED BY recipients_lane "
    "WHERE state = 0 AND recipients.lane = known.lane AND next_attempt <= ?)"
)
#: Of the first lane; NULL comes before all numbers, and a search for the least would stop at it. (That there is none,
#: in a column that is NOT NULL, SQLite takes for granted: only damage can put it there.)
FIRST_LANE = (
    "SELECT typeof(lane) FROM recipients INDEXED BY recipients_lane WHERE state = 0 ORDER BY lane, next_attempt LIMIT 1"
)
#: The same as LANES_DUE, whatever there is, and what is in no lane. Both look at everything that waits.
EVERY_LANE = (
    "SELECT DISTINCT lane FROM recipients INDEXED BY recipients_lane WHERE state = 0 AND typeof(lane) = 'integer'"
)
IN_NO_LANE = (
    "SELECT message, queue_id FROM recipients INDEXED BY recipients_lane CROSS JOIN messages ON seq = message "
    "WHERE state = 0 AND typeof(lane) != 'integer'"
)
#: Waiting recipients whose time can never come: first those for whom that is found at once, text and blobs being
#: greater than any number. The other two: whether there are any without a time, and which.
NEVER_DUE = (
    "SELECT message, next_attempt FROM recipients INDEXED BY recipients_due "
    "WHERE state = 0 AND next_attempt >= ? LIMIT 10000"
)
FIRST_DUE = (
    "SELECT typeof(next_attempt) FROM recipients INDEXED BY recipients_due WHERE state = 0 "
    "ORDER BY next_attempt LIMIT 1"
)
WITHOUT_TIME = "SELECT message, NULL FROM recipients WHERE state = 0 AND typeof(next_attempt) = 'null' LIMIT 10000"
DUE_IN_LANE = (
    "SELECT message, queue_id FROM recipients INDEXED BY recipients_lane CROSS JOIN messages "
    "ON seq = message WHERE state = 0 AND lane = ? AND next_attempt <= ? ORDER BY next_attempt"
)
MESSAGE_WIDTH = 11
RECIPIENT_WIDTH = 12


def fill_lanes(connection: sqlite3.Connection) -> None:
    """Set every recipient's lane by its message's envelope."""

    def lane(account: str | None, options: str | None) -> int:
        try:
            return lane_of(envelope_from("", account, options))
        except UNREADABLE:  # options of a damaged row
            return 0

    connection.create_function("lane_of", 2, lane, deterministic=True)
    connection.execute(
        "UPDATE recipients SET lane = coalesce((SELECT lane_of(account, options) FROM messages WHERE seq = message), 0)"
    )


def _lanes(connection: sqlite3.Connection) -> None:
    """To version 2: accounts take turns, so the recipients of each have to be found by themselves."""
    connection.execute("ALTER TABLE recipients ADD COLUMN lane INTEGER NOT NULL DEFAULT 0")
    fill_lanes(connection)
    connection.execute("CREATE INDEX recipients_lane ON recipients (lane, next_attempt) WHERE state = 0")


#: From version n to n + 1; each runs in the transaction that raises `user_version`.
MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _lanes}

_STATES = {0: RecipientState.WAITING, 1: RecipientState.HELD}
_NUMBERS = {state: number for number, state in _STATES.items()}

_NONE = type(None)
#: The types that the columns of a row can have come with. One look into a set is all that most rows cost: a table
#: that is STRICT has others only when its file was damaged.
_RECIPIENT_TYPES = frozenset(
    product([int], [int], [int], [float], [int], [str], [str, _NONE], [float, _NONE], *[[str, _NONE]] * 3)
)
_MESSAGE_TYPES = frozenset(
    product(
        [int], [str], [float], [float], [int], [int], [int, _NONE], [str], [str, _NONE], [str, _NONE], [bytes, _NONE]
    )
)


class StoreVersionError(Exception):
    """The database was written by a newer release of the agent."""


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode that any one thread at a time may use."""
    uri = path.absolute().as_uri() + ("?mode=ro" if read_only else "")
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        # SQLite syncs with fdatasync; FULL syncs the WAL with every commit, before it returns.
        connection.execute("PRAGMA synchronous = FULL")
        # Debian builds SQLite to overwrite what is deleted with zeros, which doubles the writing.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -16384")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, path: Path, *, log: bool = True) -> None:
    """Set the database up for its one writer: WAL, and the tables in the newest version.

    log=False: for a file that is of no use before all of it was written, and synced by the caller.

    Raises StoreVersionError for a database of a newer release and QueueDamagedError for one that is not
    ours. The caller checkpoints: the writer never does so by itself.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version > SCHEMA_VERSION and application == APPLICATION_ID:
        raise StoreVersionError(
            f"{path}: written by a newer release (schema {version}, this release knows {SCHEMA_VERSION}); "
            "start that release again, or let it deliver what is queued first"
        )
    if tables and application != APPLICATION_ID:
        raise QueueDamagedError(f"{path}: not a queue of this agent (application id {application:#x})")
    if not tables:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    if log:
        connection.execute("PRAGMA journal_mode = WAL")
    else:
        connection.execute("PRAGMA journal_mode = MEMORY")  # a row that is refused is taken back
        connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if version == SCHEMA_VERSION and tables:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if tables:
            for step in range(version, SCHEMA_VERSION):
                MIGRATIONS[step](connection)
        else:
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def text(value: str) -> str | None:
    """Text for a column that may be empty: NULL for "", what is not Unicode (a peer's raw bytes) replaced."""
    if not value:
        return None
    if not value.isascii():
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def options_text(options: Mapping[str, str]) -> str | None:
    """JSON of the options, NULL for none."""
    return json.dumps(dict(options), separators=(",", ":")) if options else None


def checksum(content: bytes) -> int:
    """CRC-32 of what the row holds of the body: SQLite itself does not notice a flipped bit."""
    return zlib.crc32(content)


def recipient_values(recipient: Recipient) -> tuple[Any, ...]:
    """The columns of a recipient from `state` on, in the table's order."""
    return (
        _NUMBERS[recipient.state],
        recipient.next_attempt,
        recipient.attempts,
        recipient.address,
        options_text(recipient.options),
        recipient.last_attempt,
        text(recipient.last_status),
        text(recipient.last_reply),
        text(recipient.last_host),
    )


def recipient_from(row: tuple[Any, ...]) -> Recipient:
    """The recipient of a row of `recipients`. Raises one of `damage.UNREADABLE` for a row that was damaged."""
    if tuple(map(type, row)) not in _RECIPIENT_TYPES or not (0 <= row[3] < LATEST and 0 <= row[4] <= MOST_ATTEMPTS):
        raise DamagedRowError(f"recipient {row[1]} of message {row[0]}")
    return Recipient(
        address=row[5],
        options=options_from(row[6]) if row[6] else {},
        state=_STATES[row[2]],
        attempts=row[4],
        next_attempt=row[3],
        last_attempt=row[7],
        last_status=row[8] or "",
        last_reply=row[9] or "",
        last_host=row[10] or "",
    )


def check_message(row: tuple[Any, ...]) -> None:
    """Raise DamagedRowError for a row of `messages` that cannot have been written so; see `damage`."""
    if tuple(map(type, row)) not in _MESSAGE_TYPES or not (
        0 <= row[2] < LATEST and 0 <= row[3] < LATEST and row[4] >= 0 and row[1].isascii() and row[1].isalnum()
    ):
        raise DamagedRowError(f"message {row[0]}")


def envelope_from(reverse_path: str, account: str | None, options: str | None) -> Envelope:
    """The envelope of a message's row. Raises one of `damage.UNREADABLE` for options that were damaged."""
    return Envelope(reverse_path, account, options_from(options) if options else {})
