# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with a row of the database, and the same row with something readable in that place.

SQLite has no checksums: a byte that changed on the disk may leave a file that it finds in order, with a value that
nobody wrote. The normal reading of a row only notices that it does not understand it; then the row is looked at here,
column by column, so that one damaged row costs one message its delivery and says why.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

__all__ = [
    "LARGEST",
    "LATEST",
    "MOST_ATTEMPTS",
    "UNREADABLE",
    "DamagedRowError",
    "Undecodable",
    "decoded",
    "held_for",
    "is_undecodable",
    "message_faults",
    "options_from",
    "printable",
    "readable_message",
    "readable_recipient",
    "recipient_faults",
]

#: Times from here on (the year 10000), seconds since the epoch, are none that anybody can have meant.
LATEST = 253_402_300_800.0
MOST_ATTEMPTS = 1_000_000
#: Bytes of a message: far more than is ever accepted.
LARGEST = 1 << 40


class DamagedRowError(ValueError):
    """A row holds what cannot have been written there."""


#: What reading a row raises that was damaged. (For sqlite3.Error see `is_undecodable`.)
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)


class Undecodable(str):
    """Text that is not UTF-8, with its wrong bytes written out."""

    __slots__ = ()


def decoded(raw: bytes) -> str:
    """The text of a column; `Undecodable` when it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return Undecodable(raw.decode("utf-8", "backslashreplace"))


def is_undecodable(error: sqlite3.Error) -> bool:
    """Whether this is how Python's module says that a column's text is not UTF-8. It has no code of SQLite's then."""
    return isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorcode", None) is None


@lru_cache(512)
def options_from(text: str | None) -> Mapping[str, str]:
    """The options of a row. Raises one of UNREADABLE for what was not written by `schema.options_text`."""
    if not text:
        return {}
    # Most of what is queued has one of a few texts, and nobody changes what is a Mapping.
    found: Mapping[str, str] = json.loads(text)
    if type(found) is not dict or not {*map(type, found.values())} <= {str}:
        raise DamagedRowError("options that are no names and texts")
    return found


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_text_or_none(value: object) -> bool:
    return value is None or type(value) is str


def _is_address(value: object) -> bool:
    return type(value) is str and not any(character in value for character in "\r\n\0")


def _is_time(value: object) -> bool:
    # As SQLite stores it, a time of whole seconds is an integer.
    return isinstance(value, int | float) and 0 <= value < LATEST


def _is_time_or_none(value: object) -> bool:
    return value is None or _is_time(value)


def _is_between(lowest: int, highest: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and lowest <= value <= highest


def _is_size_or_none(value: object) -> bool:
    return value is None or (type(value) is int and 0 <= value < LARGEST)


def _is_options(value: object) -> bool:
    try:
        options_from(value)
    except UNREADABLE:
        return False
    return _is_text_or_none(value)


def _is_queue_id(value: object) -> bool:
    # It becomes a file name.
    return type(value) is str and value.isascii() and value.isalnum()


@dataclass(frozen=True, slots=True)
class _Column:
    """words: what the operator knows it as. fits: whether a value can have been written. instead: what stands for one
    that cannot (text is kept as far as it can be read)."""

    words: str
    fits: Callable[[object], bool]
    instead: Any = None
    keep_text: bool = False


_INTEGERS = _is_between(-(1 << 63), (1 << 63) - 1)

_MESSAGE = (
    _Column("number in the store", _INTEGERS, 0),
    _Column("queue id", _is_queue_id, "", keep_text=True),
    _Column("time of arrival", _is_time, 0.0),
    _Column("time of expiry", _is_time, 0.0),
    _Column("size", _is_between(0, LARGEST), 0),
    _Column("checksum", _INTEGERS, -1),
    _Column("place in its file", _is_size_or_none),
    _Column("sender", _is_address, "", keep_text=True),
    _Column("account", _is_text_or_none, keep_text=True),
    _Column("options", _is_options),
)
_RECIPIENT = (
    _Column("number of a message", _INTEGERS, 0),
    _Column("number", _INTEGERS, 0),
    _Column("state", lambda value: type(value) is int and value in (0, 1), 1),
    _Column("time of the next attempt", _is_time, 0.0),
    _Column("number of attempts", _is_between(0, MOST_ATTEMPTS), 0),
    _Column("address", _is_address, "", keep_text=True),
    _Column("options", _is_options),
    _Column("time of the last attempt", _is_time_or_none),
    _Column("last status", _is_text_or_none, keep_text=True),
    _Column("last reply", _is_text_or_none, keep_text=True),
    _Column("last host", _is_text_or_none, keep_text=True),
)


def message_faults(row: Sequence[Any]) -> list[str]:
    """What is wrong with the columns of a message but its content, in words."""
    return _faults(_MESSAGE, row)


def recipient_faults(row: Sequence[Any]) -> list[str]:
    """What is wrong with the columns of a recipient but its lane, in words."""
    return [f"{fault}, of recipient {_shown(row[5])}" for fault in _faults(_RECIPIENT, row)]


def readable_message(row: Sequence[Any]) -> tuple[Any, ...]:
    """The row with something that can be read in every column but the content."""
    return _readable(_MESSAGE, row)


def readable_recipient(row: Sequence[Any]) -> tuple[Any, ...]:
    """The row with something that can be read in every column but the lane."""
    return _readable(_RECIPIENT, row)


def held_for(faults: Sequence[str]) -> str:
    """What the operator reads as the last reply of a message that is held for what is wrong with it."""
    return f"held: {'; '.join(faults)}"[:400]


def _faults(columns: Sequence[_Column], row: Sequence[Any]) -> list[str]:
    return [
        f"its {column.words} is damaged and cannot be read ({_shown(value)})"
        for column, value in zip(columns, row, strict=False)
        if not column.fits(value)
    ]


def _readable(columns: Sequence[_Column], row: Sequence[Any]) -> tuple[Any, ...]:
    readable = [
        value if column.fits(value) else _text_of(value) if column.keep_text else column.instead
        for column, value in zip(columns, row, strict=False)
    ]
    return (*readable, *row[len(columns) :])


def _text_of(value: object) -> str:
    if value is None:
        return ""
    text = decoded(value) if isinstance(value, bytes) else str(value)
    return "".join(character if character not in "\r\n\0" else " " for character in text)


def _shown(value: object) -> str:
    """A value for the operator's eyes."""
    if value is None:
        return "nothing is there"
    return f"'{printable(value)}'"[:80] if isinstance(value, Undecodable) else repr(value)[:80]


def printable(text: str) -> str:
    """Text in which a terminal finds nothing to obey."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
