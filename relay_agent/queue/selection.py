# SPDX-License-Identifier: GPL-3.0-or-later
"""Which recipients of the queue an operator means, and where they are.

What is looked at in one go is bounded (a span of the table), however few or many of it fit: a search through a
million recipients is many short ones, and deliveries read the queue in between.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from relay_agent.queue.damage import decoded
from relay_agent.queue.model import AWAITS, QueueStore
from relay_agent.queue.reason import WILDCARD, generalised

__all__ = ["Cursor", "Found", "Group", "Match", "OperatedStore", "Selection", "find_groups", "find_matches"]

#: Where a search goes on: after this message, up to that one (both as the store numbers them).
Cursor = tuple[int, int]

SPAN = 2000  # recipients looked at in one go

# Text behind the last @: what is left of it without its trailing other characters is cut off.
_DOMAIN = "lower(substr(address, length(rtrim(address, replace(address, '@', ''))) + 1))"
_REASON = "coalesce(last_status || ' ', '') || coalesce(last_reply, iif(attempts = 0, 'not tried yet', ''))"
_GROUPS = "".join(
    (
        "SELECT destination, reason, number, held, due, (SELECT created FROM messages WHERE seq = first) FROM (SELECT ",
        _DOMAIN,
        " AS destination, ",
        _REASON,
        " AS reason, count(*) AS number, sum(state = 1) AS held, min(",
        # What waits for its site to call in has a time at which it is given up, and no attempt that is to come.
        f"iif(state = 0 AND coalesce(instr(recipients.options, '\"{AWAITS}\":'), 0) = 0, next_attempt, NULL)",
        ") AS due, min(message) AS first FROM ",
    )
)
_MATCHES = "SELECT queue_id, number, address, state FROM "
_SPAN = "recipients CROSS JOIN messages ON seq = message WHERE message > :after AND message <= :until"
_GIVEN = (
    "json_each(:ids) CROSS JOIN messages ON queue_id = value CROSS JOIN recipients ON message = seq WHERE "
    "message > :after AND message <= :until"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Recipients of queued messages that fit all that is given.

    ids: queue ids. destination: the recipient's domain; `*.example.org` means those below. reason: a part of the last
    reply, in which `*` stands for anything. before: of messages that came before this time, seconds since the epoch.
    """

    ids: tuple[str, ...] | None = None
    destination: str | None = None
    account: str | None = None
    reason: str | None = None
    sender: str | None = None
    recipient: str | None = None
    held: bool | None = None
    before: float | None = None

    @property
    def needs_messages(self) -> bool:
        """Whether it looks at more than the recipients themselves."""
        return self.account is not None or self.sender is not None or self.before is not None

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """SQL that begins with AND (or is empty), and its parameters."""
        found: list[str] = []
        values: dict[str, Any] = {}
        if self.destination is not None:
            wanted = self.destination.lower()
            if wanted.startswith("*."):
                found.append(f"{_DOMAIN} LIKE :destination ESCAPE '\\'")
                values["destination"] = f"%{_escaped(wanted[1:])}"
            else:
                found.append(f"{_DOMAIN} = :destination")
                values["destination"] = wanted
        if self.reason is not None:
            found.append(f"{_REASON} LIKE :reason ESCAPE '\\'")
            values["reason"] = "%".join(["", *(_escaped(part) for part in self.reason.split(WILDCARD)), ""])
        if self.recipient is not None:
            found.append("lower(address) = lower(:recipient)")
            values["recipient"] = self.recipient
        if self.held is not None:
            found.append("state = :state")
            values["state"] = int(self.held)
        if self.account is not None:
            found.append("lower(account) = lower(:account)")
            values["account"] = self.account
        if self.sender is not None:
            found.append("lower(reverse_path) = lower(:sender)")
            values["sender"] = self.sender
        if self.before is not None:
            found.append("created < :before")
            values["before"] = self.before
        return "".join(f" AND {each}" for each in found), values


@dataclass(frozen=True, slots=True)
class Match:
    """One recipient that fits."""

    queue_id: str
    number: int
    address: str
    held: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What one go has found, and where the next begins; None when that was all."""

    matches: list[Match]
    cursor: Cursor | None


@dataclass(slots=True)
class Group:
    """Recipients of one destination that wait for one reason; times in seconds since the epoch.

    next_attempt: the earliest; None when all of them are held or wait for their site to call in.
    """

    destination: str
    reason: str
    recipients: int
    held: int
    oldest: float
    next_attempt: float | None

    def add(self, other: Group) -> None:
        """Make both one."""
        self.recipients += other.recipients
        self.held += other.held
        self.oldest = min(self.oldest, other.oldest)
        times = [each.next_attempt for each in (self, other) if each.next_attempt is not None]
        self.next_attempt = min(times, default=None)


class OperatedStore(QueueStore, Protocol):
    """A store that an operator can search and act on by recipients."""

    async def find(self, selection: Selection, cursor: Cursor | None) -> Found:
        """Recipients that fit, one go of a search; begin with None. Mail that comes later is not looked at."""

    async def groups(self, selection: Selection, cursor: Cursor | None) -> tuple[list[Group], Cursor | None]:
        """Recipients that fit, by destination and reason; one go of a search, as `find`."""

    async def mark(self, recipients: Sequence[tuple[str, int]], state: str) -> int:
        """Make recipients (queue id, number) `held`, `released` (held ones due now) or `due` (waiting ones due now);
        returns how many that changed."""


def find_matches(connection: sqlite3.Connection, selection: Selection, cursor: Cursor | None) -> Found:
    """One go of a search, in a read transaction. Raises sqlite3.Error."""
    after, until, following = _span(connection, selection, cursor)
    conditions, values = selection.conditions()
    values |= {"after": after, "until": until}
    source = _SPAN
    if selection.ids is not None:
        source = _GIVEN
        values["ids"] = json.dumps(selection.ids)
    rows = connection.execute("".join((_MATCHES, source, conditions, " ORDER BY message, number")), values)
    return Found([Match(str(row[0]), row[1], _text(row[2]), row[3] != 0) for row in rows], following)


def find_groups(
    connection: sqlite3.Connection, selection: Selection, cursor: Cursor | None
) -> tuple[list[Group], Cursor | None]:
    """One go of the groups, in a read transaction. Raises sqlite3.Error."""
    after, until, following = _span(connection, selection, cursor)
    conditions, values = selection.conditions()
    values |= {"after": after, "until": until}
    source = "recipients WHERE message > :after AND message <= :until"
    if selection.ids is not None:
        source = _GIVEN
        values["ids"] = json.dumps(selection.ids)
    elif selection.needs_messages:
        source = _SPAN
    rows = connection.execute("".join((_GROUPS, source, conditions, " GROUP BY 1, 2)")), values)
    found: dict[tuple[str, str], Group] = {}
    for destination, reason, number, held, due, created in rows:
        # What a damaged row holds has any type.
        oldest = created if isinstance(created, float) else 0.0
        next_attempt = due if isinstance(due, float) else None
        group = Group(_text(destination), generalised(_text(reason)), number, held or 0, oldest, next_attempt)
        known = found.setdefault((group.destination, group.reason), group)
        if known is not group:
            known.add(group)
    return list(found.values()), following


def _span(
    connection: sqlite3.Connection, selection: Selection, cursor: Cursor | None
) -> tuple[int, int, Cursor | None]:
    """After which message to look, up to which, and where to go on then."""
    if cursor is None:
        (last,) = connection.execute("SELECT coalesce(max(message), 0) FROM recipients").fetchone()
        cursor = (0, last)
    after, end = cursor
    if selection.ids is not None:
        return after, end, None
    row = connection.execute(
        "SELECT message FROM recipients WHERE message > ? AND message <= ? ORDER BY message LIMIT 1 OFFSET ?",
        (after, end, SPAN - 1),
    ).fetchone()
    if row is None or row[0] >= end:
        return after, end, None
    return after, row[0], (row[0], end)


def _text(value: object) -> str:
    if type(value) is str:
        return value
    return "" if value is None else decoded(value) if isinstance(value, bytes) else str(value)


def _escaped(text: str) -> str:
    """Text for LIKE, with nothing in it that stands for anything else."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
