# SPDX-License-Identifier: GPL-3.0-or-later
"""The mail log: one event a line, JSON for journald, plain text on a terminal.

Lines are collected and written once per turn of the event loop, so that a busy relay pays one system call
for many events. Values that come from outside never break a line: JSON escapes them, and so does the text
form.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

__all__ = ["EventLog", "MailLog", "route_standard_logging"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode


class EventLog:
    """What the parts of the agent need of a log; `MailLog` is the one that writes."""

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        """Log that `name` happened. Fields that are None are left out. Never raises."""

    def message_event(self, name: str, kept: Mapping[str, object], **fields: object) -> None:
        """An event of a message, of which the history keeps more than the log has a line for."""
        fields.pop("level", None)
        self.event(name, level="info", **fields)


class MailLog(EventLog):
    """Writes events to a stream.

    stream: where to; standard output by default. text: True for the form a person reads; None decides by
    whether the stream is a terminal. level: events below it are dropped. `history`, when set, gets the line (JSON) of
    every event that has a queue id.
    """

    def __init__(self, stream: TextIO | None = None, *, text: bool | None = None, level: str = "info") -> None:
        self._stream = stream or sys.stdout
        self._text = self._stream.isatty() if text is None else text
        self._level = _LEVELS[level]
        self._lines: list[str] = []
        self._scheduled = False
        self.counts: Counter[str] = Counter()  # events by name, since the start
        self.history: Callable[[str], None] | None = None

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self._event(name, level, fields, None)

    def message_event(self, name: str, kept: Mapping[str, object], **fields: object) -> None:
        self._event(name, "info", fields, kept)

    def _event(self, name: str, level: str, fields: dict[str, object], kept: Mapping[str, object] | None) -> None:
        self.counts[name] += 1
        if _LEVELS.get(level, 20) < self._level:
            return
        now = time.time()
        keep = self.history is not None and "queue_id" in fields
        line = self._as_json(now, level, name, fields) if keep or not self._text else ""
        self._lines.append(self._as_text(now, level, name, fields) if self._text else line)
        if keep and self.history is not None:
            self.history(f"{line[:-1]},{_encode(kept)[1:]}" if kept else line)
        if self._scheduled:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._scheduled = True
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what was collected. A full disk or a closed pipe loses log lines, never mail."""
        self._scheduled = False
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass

    @staticmethod
    def _as_json(now: float, level: str, name: str, fields: dict[str, object]) -> str:
        record: dict[str, object] = {"ts": round(now, 6), "level": level, "event": name}
        record.update((key, value) for key, value in fields.items() if value is not None)
        return _encode(record)

    @staticmethod
    def _as_text(now: float, level: str, name: str, fields: dict[str, object]) -> str:
        stamp = datetime.fromtimestamp(now, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        shown = " ".join(f"{key}={_shown(value)}" for key, value in fields.items() if value is not None)
        mark = "" if level == "info" else f"{level}: "
        return f"{stamp} {mark}{name} {shown}".rstrip()


def _shown(value: object) -> str:
    plain = isinstance(value, str) and value.isprintable() and " " not in value
    return str(value) if plain else _encode(value)


class _Bridge(logging.Handler):
    """Carries records of Python's own logging (asyncio, aiosmtpd) into the mail log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        self._log.event("library", level=record.levelname.lower().replace("critical", "error"), **fields)


def route_standard_logging(log: EventLog) -> None:
    """Send what libraries log (warnings and up) to the mail log, and nothing anywhere else."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_Bridge(log))
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    # aiosmtpd writes every command line at INFO, sign-in included; nothing of that is wanted.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    if os.environ.get("PYTHONASYNCIODEBUG"):
        root.setLevel(logging.DEBUG)
