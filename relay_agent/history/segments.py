# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the history: a SQLite database for each day or part of one, so that forgetting is removing a file.

<queue directory>/history/<milliseconds since the epoch>.db    events from this moment on, up to the next file's
                          lock                                 held by whichever worker writes
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

__all__ = ["PARTS", "Segment", "connect", "create", "remove_all", "segments", "to_remove"]

PARTS = 16  # of the size allowed, that a segment may grow to: so much is forgotten at once when there is too much
_DAY = 86_400.0

# Addresses are looked up in lower case. A message's id and sender stand with its first event alone.
_TABLES = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    queue_id TEXT NOT NULL,
    event TEXT NOT NULL,
    message_id TEXT,
    sender TEXT,
    line TEXT NOT NULL
) STRICT;
CREATE TABLE recipients (
    address TEXT NOT NULL,
    queue_id TEXT NOT NULL,
    PRIMARY KEY (address, queue_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_queue_id ON events (queue_id);
CREATE INDEX events_message_id ON events (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX events_sender ON events (sender) WHERE sender IS NOT NULL;
"""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One file. begins: seconds since the epoch."""

    begins: float
    path: Path

    def size(self) -> int:
        """Bytes on the disk, with the log beside it; 0 when it is gone."""
        total = 0
        for path in self._files():
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def remove(self) -> None:
        """Remove it. Raises OSError."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Keep a damaged file out of the way, for as long as the history keeps anything. Raises OSError."""
        self.path.rename(self.path.with_suffix(".damaged"))
        for path in self._files()[1:]:
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return [self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))]


def segments(directory: Path, suffix: str = ".db") -> list[Segment]:
    """The segments that there are, oldest first; none when there is no history. Raises OSError."""
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    found = [name[: -len(suffix)] for name in names if name.endswith(suffix)]
    return sorted(
        Segment(int(stem) / 1000, directory / f"{stem}{suffix}") for stem in found if stem.isascii() and stem.isdigit()
    )


def to_remove(directory: Path, now: float, keep: float, max_size: int) -> list[Segment]:
    """The segments that are to go: those whose last event is older than `keep` seconds, and the oldest of those
    that together have more than `max_size` bytes. The newest one stays for what is to be written."""
    listed = segments(directory)
    gone = [
        segment
        for segment, following in zip_longest(listed, listed[1:])
        if min(segment.begins + _DAY, following.begins if following else now) < now - keep
    ]
    gone += [each for each in segments(directory, ".damaged") if each.begins + _DAY < now - keep]
    left = [segment for segment in listed if segment not in gone]
    sizes = {segment: segment.size() for segment in left}
    total = sum(sizes.values())
    for segment in left[:-1]:
        if total <= max_size:
            break
        gone.append(segment)
        total -= sizes[segment]
    return gone


def create(directory: Path, now: float | None = None) -> Segment:
    """Begin a new segment. Raises OSError and sqlite3.Error; nothing half-made stays then."""
    begins = int((time.time() if now is None else now) * 1000)
    path = directory / f"{begins}.db"
    new = directory / f"{begins}.new"
    new.unlink(missing_ok=True)
    try:
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN")
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute("COMMIT")
        finally:
            connection.close()
        new.chmod(0o600)
        new.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    return Segment(begins / 1000, path)


def connect(segment: Segment, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode. Raises sqlite3.Error."""
    uri = segment.path.absolute().as_uri() + ("?mode=ro" if read_only else "?mode=rw")
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        # A power cut may cost the last moments of the history, never the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA wal_autocheckpoint = 1000")
    except BaseException:
        connection.close()
        raise
    connection.text_factory = _text
    return connection


def remove_all(directory: Path) -> None:
    """Forget everything. Raises OSError."""
    for suffix in (".db", ".damaged"):
        for segment in segments(directory, suffix):
            segment.remove()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
