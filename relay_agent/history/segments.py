# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the history: lines of JSON, a file for each day or part of one, so that forgetting is removing a file.

<queue directory>/history/<milliseconds since the epoch>.jsonl    events from this moment on, up to the next file's
                          lock                                    held by whichever worker writes
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

__all__ = ["PARTS", "Segment", "create", "open_to_append", "remove_all", "segments", "to_remove"]

PARTS = 16  # of the size allowed, that a segment may grow to: so much is forgotten at once when there is too much
_DAY = 86_400.0
_SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One file. begins: seconds since the epoch."""

    begins: float
    path: Path

    def size(self) -> int:
        """Bytes; 0 when it is gone."""
        with contextlib.suppress(OSError):
            return self.path.stat().st_size
        return 0

    def remove(self) -> None:
        """Remove it. Raises OSError."""
        self.path.unlink(missing_ok=True)


def segments(directory: Path) -> list[Segment]:
    """The segments that there are, oldest first; none when there is no history. Raises OSError."""
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    stems = [name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX)]
    return sorted(
        Segment(int(stem) / 1000, directory / f"{stem}{_SUFFIX}") for stem in stems if stem.isascii() and stem.isdigit()
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
    left = [segment for segment in listed if segment not in gone]
    sizes = {segment: segment.size() for segment in left}
    total = sum(sizes.values())
    for segment in left[:-1]:
        if total <= max_size:
            break
        gone.append(segment)
        total -= sizes[segment]
    return gone


def create(directory: Path, now: float) -> Segment:
    """Begin a new segment. now: seconds since the epoch. Raises OSError."""
    begins = int(now * 1000)
    path = directory / f"{begins}{_SUFFIX}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return Segment(begins / 1000, path)


def open_to_append(segment: Segment) -> int:
    """A descriptor that writes at the end and can read what is there. Raises OSError."""
    return os.open(segment.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)


def remove_all(directory: Path) -> None:
    """Forget everything. Raises OSError."""
    for segment in segments(directory):
        segment.remove()
