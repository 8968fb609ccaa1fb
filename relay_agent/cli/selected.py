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


def watched(items: Iterator[Any], doing: str) -> Iterator[Any]:
    """The items less those that tell of progress, which a terminal shows when it takes long."""
    shows = sys.stderr.isatty()
    started, shown = time.monotonic(), False
    try:
        for item in items:
            progress = item.get("progress") if isinstance(item, Mapping) else None
            if progress is None:
                yield item
            elif shows and time.monotonic() - started >= _NOT_BEFORE:
                shown = True
                sys.stderr.write(f"\r\x1b[K{doing}: {many(progress['recipients'], 'recipient')} so far")
                sys.stderr.flush()
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def many(count: int, what: str) -> str:
    """A number of things: "1 message", "12,000 messages"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
