# SPDX-License-Identifier: GPL-3.0-or-later
"""The selection that a command's arguments mean, and the progress of long runs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from relay_agent.config.schema import parse_duration
from relay_agent.control.protocol import BAD_REQUEST, ControlError

__all__ = ["UsageError", "many", "seconds", "selection", "watched"]

_TEXTS = ("destination", "account", "reason", "recipient", "sender")
_NOT_BEFORE = 2.0  # seconds that a run may take without a word
_PAUSE = 0.1  # seconds between two words: a terminal is slow


class UsageError(ControlError):
    """The arguments do not say what is to be done; exit status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(BAD_REQUEST, message)


def selection(arguments: argparse.Namespace) -> dict[str, Any]:
    """The filters given, as the control socket wants them; {} when there are none. Raises UsageError."""
    chosen = {key: value for key in _TEXTS if (value := getattr(arguments, key)) is not None}
    if "sender" in chosen:
        chosen["sender"] = chosen["sender"].removeprefix("<").removesuffix(">")
    if arguments.ids:
        chosen["ids"] = arguments.ids
    if arguments.held:
        chosen["held"] = True
    if arguments.older is not None:
        chosen["before"] = time.time() - seconds("--older", arguments.older)
    return chosen


def seconds(option: str, text: str) -> float:
    """The length of time that an option names. Raises UsageError."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from None


def watched(items: Iterator[Any], doing: str, *, prints: bool = False) -> Iterator[Any]:
    """The items less those that tell of progress, which a terminal shows when it takes long.

    Messages are counted as they come, so that progress is shown by whatever is slow, the search or what is made of its
    items. prints: they go to standard output one by one; if that is a terminal, they are progress enough.
    """
    shows = sys.stderr.isatty() and not (prints and sys.stdout.isatty())
    due, shown = time.monotonic() + _NOT_BEFORE, False
    what, count = "recipient", 0
    try:
        for item in items:
            progress = item.get("progress") if isinstance(item, Mapping) else None
            if progress is not None:
                what, count = ("file", progress["files"]) if "files" in progress else (what, progress["recipients"])
            if shows and time.monotonic() >= due:
                shown, due = True, time.monotonic() + _PAUSE
                sys.stderr.write(f"\r\x1b[K{doing}: {many(count, what)} so far")
                sys.stderr.flush()
            if progress is None:
                yield item
                recipients = item.get("recipients") if isinstance(item, Mapping) else None
                count += len(recipients) if isinstance(recipients, list) else 0
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def many(count: int, what: str) -> str:
    """A number of things: "1 message", "12,000 messages"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
