# SPDX-License-Identifier: GPL-3.0-or-later
"""What a clock that was ahead has put off: it would wait for as long as the clock was wrong.

A time to come as the time of the last attempt tells it. No index is made for that, as every deferral would pay for it:
the table is read through, in goes, and only when there is reason to.

What an operator retries or releases is given the time of its last attempt, and so needs none of this unless that one
was by a clock that was ahead itself (see `operations`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import ClassVar

from relay_agent.queue.operations import Operation, Transaction

__all__ = ["BringForward", "put_off_ahead"]

_AT_ONCE = 10_000  # recipients looked at in one go: a few milliseconds

# Who waits for its site to call in does so until it is given up, which no clock has put off. A hold until a time of
# day that the sender named stays one. One of so many seconds ends in so many at the latest: when it began by the right
# clock nobody knows, and what is looked at again gets no more than it has left.
_FOUND = (
    "SELECT queue_id, number, due FROM (SELECT queue_id, number, next_attempt, CASE "
    "WHEN coalesce(last_attempt, 0) > ?3 + ?4 THEN ?3 "
    "WHEN instr(recipients.options, '\"SHELVED\":') AND json_valid(recipients.options) "
    "AND CAST(json_extract(recipients.options, '$.SHELVED') AS REAL) > ?3 + ?4 THEN ?3 "
    "WHEN last_attempt IS NULL AND NOT coalesce(instr(recipients.options, '\"SHELVED\":'), 0) "
    "AND instr(messages.options, '\"HELD-FOR\":') AND json_valid(messages.options) "
    "THEN ?3 + CAST(json_extract(messages.options, '$.\"HELD-FOR\"') AS REAL) END AS due "
    "FROM recipients CROSS JOIN messages ON seq = message "
    "WHERE message > ?1 AND message <= ?2 AND state = 0 AND next_attempt > ?3 + ?4 "
    "AND NOT coalesce(instr(recipients.options, '\"AWAITS\":'), 0)) WHERE next_attempt > due + ?4"
)


def put_off_ahead(
    connection: sqlite3.Connection, now: float, ahead: float, after: int
) -> tuple[list[tuple[str, int, float]], int | None]:
    """One go: waiting recipients that were put off at a time `ahead` seconds or more later than `now`, by queue id and
    number, with when they are to be tried, and where to go on (None: that was all). after: where the last go ended, 0
    to begin."""
    row = connection.execute(
        "SELECT message FROM recipients WHERE message > ? ORDER BY message LIMIT 1 OFFSET ?", (after, _AT_ONCE)
    ).fetchone()
    last = row[0] if row is not None else (1 << 63) - 1
    found = connection.execute(_FOUND, (after, last, now, ahead)).fetchall()
    return found, row[0] if row is not None else None


class BringForward(Operation[int]):
    """Have waiting recipients tried sooner; gives how many that concerned.

    recipients: queue id, number, and when, in seconds since the epoch; who is due before that stays so.
    """

    _STATEMENT: ClassVar = (
        "UPDATE recipients SET next_attempt = wanted.due FROM (SELECT seq, json_extract(value, '$[1]') AS place, "
        "json_extract(value, '$[2]') AS due FROM json_each(?) CROSS JOIN messages "
        "ON queue_id = json_extract(value, '$[0]')) AS wanted "
        "WHERE message = seq AND number = place AND state = 0 AND next_attempt > due"
    )

    def __init__(self, recipients: Sequence[tuple[str, int, float]]) -> None:
        self.recipients = list(recipients)
        self.weight = 512 * len(self.recipients)

    @staticmethod
    def apply(transaction: Transaction, operations: Sequence[BringForward]) -> Sequence[int]:
        """Set the times."""
        return [
            transaction.connection.execute(BringForward._STATEMENT, (json.dumps(operation.recipients),)).rowcount
            for operation in operations
        ]
