# SPDX-License-Identifier: GPL-3.0-or-later
"""What a clock that was ahead has put off: it would wait for as long as the clock was wrong.

A time to come as the time of the last attempt tells it. No index is made for that, as every deferral would pay for it:
the table is read through, in goes, and only when there is reason to.
"""

from __future__ import annotations

import sqlite3

__all__ = ["put_off_ahead"]

_AT_ONCE = 10_000  # recipients looked at in one go: a few milliseconds

# Who waits for its site to call in does so until it is given up, which no clock has put off. A hold that the sender
# asked for is a time of day, and stays one: nothing was attempted yet.
_FOUND = (
    "SELECT queue_id, number FROM recipients CROSS JOIN messages ON seq = message "
    "WHERE message > ?1 AND message <= ?2 AND state = 0 AND next_attempt > ?3 "
    "AND NOT coalesce(instr(recipients.options, '\"AWAITS\":'), 0) "
    "AND (coalesce(last_attempt, 0) > ?3 OR CASE WHEN instr(recipients.options, '\"SHELVED\":') "
    "AND json_valid(recipients.options) "
    "THEN CAST(json_extract(recipients.options, '$.SHELVED') AS REAL) > ?3 ELSE 0 END)"
)


def put_off_ahead(connection: sqlite3.Connection, now: float, after: int) -> tuple[list[tuple[str, int]], int | None]:
    """One go: waiting recipients that were put off at a time later than `now`, by queue id and number, and where to go
    on (None: that was all). after: where the last go ended, 0 to begin."""
    row = connection.execute(
        "SELECT message FROM recipients WHERE message > ? ORDER BY message LIMIT 1 OFFSET ?", (after, _AT_ONCE)
    ).fetchone()
    last = row[0] if row is not None else (1 << 63) - 1
    found = connection.execute(_FOUND, (after, last, now)).fetchall()
    return found, row[0] if row is not None else None
