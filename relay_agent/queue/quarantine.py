# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding a message in whose rows something is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay_agent.queue.damage import LATEST, MOST_ATTEMPTS
from relay_agent.queue.model import new_queue_id
from relay_agent.queue.operations import Operation, Transaction
from relay_agent.queue.schema import text

__all__ = ["Broken", "Quarantine"]


@dataclass(frozen=True, slots=True)
class Broken:
    """A message that is to be held: its number in the store, its queue id, and the reason in words."""

    seq: int
    queue_id: str
    reason: str


class Quarantine(Operation[int]):
    """Hold a message with something damaged in it; gives how many recipients that concerned.

    Its queue id may be what is damaged, and then it gets the one in `queue_id`. What nobody can have written in a
    column that delivery can do without is replaced; text stays as it is, for the operator to see.
    """

    def __init__(self, broken: Broken) -> None:
        self.seq = broken.seq
        self.reason = ("5.3.0", broken.reason)
        known = broken.queue_id
        self.queue_id = None if known.isascii() and known.isalnum() else new_queue_id()

    @staticmethod
    def apply(transaction: Transaction, operations: Sequence[Quarantine]) -> Sequence[int]:
        """Set the states."""
        execute = transaction.connection.execute
        counts = []
        for operation in operations:
            status, words = operation.reason
            cursor = execute(
                # A row is written only when all its columns have their types (the table is STRICT).
                "UPDATE recipients SET state = 1, last_status = ?1, last_reply = ?2, last_host = NULL, "
                "last_attempt = iif(typeof(last_attempt) = 'real' AND last_attempt BETWEEN 0 AND ?4, "
                "last_attempt, NULL), "
                "next_attempt = iif(typeof(next_attempt) = 'real' AND next_attempt BETWEEN 0 AND ?4, "
                "next_attempt, 0.0), "
                "attempts = iif(typeof(attempts) = 'integer' AND attempts BETWEEN 0 AND ?5, attempts, 0), "
                "address = coalesce(CAST(address AS TEXT), ''), options = CAST(options AS TEXT), "
                "lane = iif(typeof(lane) = 'integer', lane, 0), "
                "number = iif(typeof(number) = 'integer', number, (SELECT 1 + coalesce(max(other.number), 0) "
                "FROM recipients AS other WHERE other.message = ?3 AND typeof(other.number) = 'integer')) "
                "WHERE message = ?3 AND (state IS NOT 1 OR typeof(number) != 'integer')",
                (status, text(words), operation.seq, LATEST - 1, MOST_ATTEMPTS),
            )
            counts.append(cursor.rowcount)
            if operation.queue_id is not None:
                execute("UPDATE messages SET queue_id = ? WHERE seq = ?", (operation.queue_id, operation.seq))
        return counts
