# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding messages in the history: by queue id, message id, sender or recipient. Read-only; blocks on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_agent.history.lines import lines_of, lines_with, needle
from relay_agent.history.segments import Segment, segments

__all__ = ["Wanted", "find"]

_MOST_EVENTS = 5000  # of one answer
_MOST_IDS = 100_000  # that one of several criteria may find

#: Whether an event is one of what is looked for.
Test = Callable[[dict[str, Any]], bool]


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


def find(directory: Path, wanted: Wanted) -> list[dict[str, Any]]:
    """Messages, newest first: ``{"id": queue id, "events": [log events in order of time]}``.

    Bounces and notices that a message led to are events of it and messages of their own. Segments that vanish while
    they are read, or cannot be read, are passed over. Raises OSError when the directory cannot be read.
    """
    listed = list(reversed(segments(directory)))
    searches = list(_searches(wanted))
    # Two criteria are intersected afterwards, so each must not stop at the number that is wanted in the end.
    limit = wanted.limit if len(searches) == 1 else _MOST_IDS
    ids: list[str] | None = None
    for text, test in searches:
        found = _ids(listed, text, test, wanted.since, limit)
        ids = sorted(found if ids is None else found.intersection(ids), reverse=True)
    chosen = (ids or [])[: wanted.limit]
    events = _events(listed, chosen)
    followed = {
        str(event[key]) for each in events.values() for event in each for key in ("bounce", "notice") if key in event
    }
    events |= _events(listed, sorted(followed - set(chosen)))
    order = sorted(events, reverse=True)
    return [{"id": queue_id, "events": sorted(events[queue_id], key=_time)} for queue_id in order if events[queue_id]]


def _searches(wanted: Wanted) -> Iterator[tuple[str, Test]]:
    """For each criterion a text that is in the event, and a test of the event."""
    if wanted.anything is not None:
        text = _bare(wanted.anything)
        tests = (_has_queue_id(text), _has_message_id(text), _has_sender(text), _has_recipient(text))
        yield text, lambda event: any(test(event) for test in tests)
    if wanted.queue_id is not None:
        yield wanted.queue_id, _has_queue_id(wanted.queue_id)
    if wanted.message_id is not None:
        yield _bare(wanted.message_id), _has_message_id(_bare(wanted.message_id))
    if wanted.sender is not None:
        yield wanted.sender, _has_sender(wanted.sender)
    if wanted.recipient is not None:
        yield wanted.recipient, _has_recipient(wanted.recipient)


def _bare(text: str) -> str:
    """Without angle brackets: message ids and addresses are given with and without."""
    return text.strip().removeprefix("<").removesuffix(">")


def _has_queue_id(text: str) -> Test:
    return lambda event: str(event["queue_id"]) == text.upper()


def _has_message_id(text: str) -> Test:
    return lambda event: event.get("message_id") in (f"<{text}>", text)


def _has_sender(text: str) -> Test:
    return lambda event: event.get("event") == "accepted" and _lower(event.get("sender")) == text.lower()


def _has_recipient(text: str) -> Test:
    wanted = text.lower()

    def test(event: dict[str, Any]) -> bool:
        several = event.get("to")
        return _lower(event.get("recipient")) == wanted or (
            isinstance(several, list) and any(_lower(each) == wanted for each in several)
        )

    return test


def _lower(value: object) -> str | None:
    return value.lower() if isinstance(value, str) else None


def _ids(listed: Sequence[Segment], text: str, test: Test, since: float, limit: int) -> set[str]:
    """The newest messages, `limit` or a few more, that have such an event."""
    found: set[str] = set()
    for segment in listed:
        if len(found) >= limit or segment.begins + 86_400 < since:
            break
        try:
            for line in lines_with(segment.path, needle(text)):
                event = _parsed(line)
                if event is not None and _time(event) >= since and test(event):
                    found.add(str(event["queue_id"]))
        except OSError:
            continue  # removed meanwhile
    return found


def _events(listed: Sequence[Segment], ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    events: dict[str, list[dict[str, Any]]] = {queue_id: [] for queue_id in ids}
    left = _MOST_EVENTS
    for segment in listed if ids else ():
        try:
            for queue_id, line in lines_of(segment.path, ids):
                event = _parsed(line)
                if event is not None and left > 0:
                    events[queue_id].append(event)
                    left -= 1
        except OSError:
            continue  # removed meanwhile
    return events


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The event; None for a line that a crash cut off, or that is damaged."""
    try:
        event = json.loads(line)
        float(event["ts"])
        return event if isinstance(event["queue_id"], str) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _time(event: dict[str, Any]) -> float:
    return float(event["ts"])
