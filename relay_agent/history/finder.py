# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding messages in the history: by queue id, message id, sender or recipient. Read-only; blocks on the disk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_agent.history.segments import Segment, connect, segments

__all__ = ["Wanted", "find"]

_MOST_EVENTS = 5000  # of one answer

_BY_MESSAGE_ID = (
    "SELECT queue_id FROM events WHERE message_id = :text AND at >= :since ORDER BY queue_id DESC LIMIT :limit"
)
_BY_SENDER = (
    "SELECT queue_id FROM events WHERE sender = lower(:text) AND at >= :since ORDER BY queue_id DESC LIMIT :limit"
)
# The id begins with the time, which is why the newest come first here, too.
_BY_RECIPIENT = "SELECT queue_id FROM recipients WHERE address = lower(:text) ORDER BY queue_id DESC LIMIT :limit"
_BY_QUEUE_ID = "SELECT queue_id FROM events WHERE queue_id = upper(:text) LIMIT 1"
_EVENTS_OF = (
    "SELECT queue_id, line FROM json_each(:ids) CROSS JOIN events ON queue_id = value ORDER BY number LIMIT :limit"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; a message has to fit all that is given. anything: any of the four.

    since: seconds since the epoch. limit: messages, the newest ones.
    """

    anything: str | None = None
    queue_id: str | None = None
    message_id: str | None = None
    sender: str | None = None
    recipient: str | None = None
    since: float = 0.0
    limit: int = 20


def find(directory: Path, wanted: Wanted, read: Callable[[], None] | None = None) -> list[dict[str, Any]]:
    """Messages, newest first: ``{"id": queue id, "events": [log events in order of time]}``.

    Bounces and notices that a message led to are events of it and messages of their own. Segments that vanish while
    they are read, or cannot be read, are passed over. read: called after each read of a segment, for whoever shows
    progress. Raises OSError when the directory cannot be read.
    """
    listed = _Listed(reversed(segments(directory)), read)
    ids: list[str] | None = None
    for queries in _searches(wanted):
        found = set(_ids(listed, queries, wanted))
        ids = sorted(found if ids is None else found.intersection(ids), reverse=True)
    chosen = (ids or [])[: wanted.limit]
    events = _events(listed, chosen)
    followed = {
        str(event[key]) for each in events.values() for event in each for key in ("bounce", "notice") if key in event
    }
    events |= _events(listed, sorted(followed - set(chosen)))
    order = sorted(events, reverse=True)
    return [{"id": queue_id, "events": sorted(events[queue_id], key=_time)} for queue_id in order if events[queue_id]]


class _Listed:
    """Segments, newest first, each told of when the next is asked for."""

    def __init__(self, listed: Iterable[Segment], read: Callable[[], None] | None) -> None:
        self._listed = list(listed)
        self._read = read

    def __iter__(self) -> Iterator[Segment]:
        for segment in self._listed:
            yield segment
            if self._read is not None:
                self._read()


def _searches(wanted: Wanted) -> Iterator[list[tuple[str, str]]]:
    """Each a list of statements and what to ask for, of which one has to fit."""
    if wanted.anything is not None:
        text = wanted.anything
        address = text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text
        yield [
            (_BY_QUEUE_ID, text),
            *((_BY_MESSAGE_ID, each) for each in _message_ids(text)),
            (_BY_SENDER, address),
            (_BY_RECIPIENT, address),
        ]
    if wanted.queue_id is not None:
        yield [(_BY_QUEUE_ID, wanted.queue_id)]
    if wanted.message_id is not None:
        yield [(_BY_MESSAGE_ID, each) for each in _message_ids(wanted.message_id)]
    if wanted.sender is not None:
        yield [(_BY_SENDER, wanted.sender)]
    if wanted.recipient is not None:
        yield [(_BY_RECIPIENT, wanted.recipient)]


def _message_ids(text: str) -> tuple[str, str]:
    """As it may stand in the log: with and without angle brackets."""
    bare = text.strip().removeprefix("<").removesuffix(">")
    return f"<{bare}>", bare


def _ids(listed: Iterable[Segment], queries: Sequence[tuple[str, str]], wanted: Wanted) -> Iterator[str]:
    # Two criteria are intersected afterwards, so each must not stop at the number that is wanted in the end.
    limit = wanted.limit if len(list(_searches(wanted))) == 1 else 100_000
    left = limit
    for segment in listed:
        if left <= 0 or segment.begins + 86_400 < wanted.since:
            return
        for statement, text in queries:
            rows = _rows(segment, statement, {"text": text, "since": wanted.since, "limit": limit})
            yield from (row[0] for row in rows)
            left -= len(rows)


def _events(listed: Iterable[Segment], ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    events: dict[str, list[dict[str, Any]]] = {queue_id: [] for queue_id in ids}
    left = _MOST_EVENTS
    if not ids:
        return events
    for segment in listed:
        rows = _rows(segment, _EVENTS_OF, {"ids": json.dumps(list(ids)), "limit": left})
        left -= len(rows)
        for queue_id, line in rows:
            events[queue_id].append(json.loads(line))
    return events


def _rows(segment: Segment, statement: str, values: Mapping[str, Any]) -> list[Any]:
    try:
        with closing(connect(segment, read_only=True)) as connection:
            return connection.execute(statement, values).fetchall()
    except sqlite3.Error:
        return []  # removed meanwhile, or damaged


def _time(event: dict[str, Any]) -> float:
    return float(event.get("ts", 0.0))
