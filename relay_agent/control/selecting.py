# SPDX-License-Identifier: GPL-3.0-or-later
"""Selections and cursors as they travel over the control socket, checked: what comes there may be anything."""

from __future__ import annotations

from typing import Any, Final

from relay_agent.control.protocol import BAD_REQUEST, ControlError
from relay_agent.queue.selection import Cursor, Selection

__all__ = ["cursor_from", "is_time", "selection_from"]

_TEXTS: Final = ("destination", "account", "reason", "sender", "recipient")
_LONGEST: Final = 1000
_MOST_IDS: Final = 4000


def selection_from(arguments: dict[str, Any]) -> Selection:
    """The selection of a request. Raises ControlError."""
    given = arguments.get("selection", {})
    if not isinstance(given, dict):
        raise ControlError(BAD_REQUEST, "selection: expected an object")
    unknown = sorted(set(given) - {*_TEXTS, "ids", "held", "before"})
    if unknown:
        raise ControlError(BAD_REQUEST, f"selection: {unknown[0]!a:.80} is not known")
    for key in _TEXTS:
        value = given.get(key)
        if value is not None and (not isinstance(value, str) or len(value) > _LONGEST or not _sound(value)):
            raise ControlError(BAD_REQUEST, f"{key}: expected text of at most {_LONGEST} characters")
    ids = given.get("ids")
    if ids is not None:
        if not isinstance(ids, list) or len(ids) > _MOST_IDS or not all(isinstance(each, str) for each in ids):
            raise ControlError(BAD_REQUEST, f"ids: expected a list of at most {_MOST_IDS} queue ids")
        ids = tuple(dict.fromkeys(each.upper() for each in ids if _sound(each)))
    held = given.get("held")
    if held is not None and not isinstance(held, bool):
        raise ControlError(BAD_REQUEST, "held: expected true or false")
    before = given.get("before")
    if before is not None and not is_time(before):
        raise ControlError(BAD_REQUEST, "before: expected seconds since the epoch")
    return Selection(ids=ids, held=held, before=before, **{key: given.get(key) for key in _TEXTS})


def cursor_from(arguments: dict[str, Any]) -> Cursor | None:
    """Where a search goes on. Raises ControlError."""
    given = arguments.get("cursor")
    if given is None:
        return None
    if (
        not isinstance(given, list)
        or len(given) != 2
        or not all(isinstance(each, int) and 0 <= each < 2**62 for each in given)
    ):
        raise ControlError(BAD_REQUEST, "cursor: expected what the last answer gave")
    return given[0], given[1]


def is_time(value: object) -> bool:
    """Whether it can be a time in seconds since the epoch; NaN and what no clock shows is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53


def _sound(text: str) -> bool:
    """Whether it is Unicode, as the database's text is."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
