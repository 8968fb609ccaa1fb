# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a journal: written at their end, freed from the oldest on, used again.

<directory>/<serial>-<epoch>.log   a segment in use; the serial number tells their order
            spare-<n>              one that is free; its blocks are on the disk already

Overwriting blocks that are there is synced about twice as fast as new ones, even if the file has its length: so
spare segments are filled with zeros before they are needed, and used again afterwards.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from relay_agent.queue.directory import sync_directory
from relay_agent.queue.journal_format import BATCH_SIZE, batch_header

__all__ = ["SEGMENT_SIZE", "Segment", "Segments", "segment_files"]

SEGMENT_SIZE = 16 << 20  # bytes
_SPARES = 2


class Segment:
    """An open segment. end: where the next batch goes. live: how many messages in it still need it."""

    __slots__ = ("end", "epoch", "fd", "live", "path", "sealed")

    def __init__(self, path: Path, fd: int, epoch: int) -> None:
        self.path = path
        self.fd = fd
        self.epoch = epoch
        self.end = 0
        self.live = 0
        self.sealed = False  # nothing more is written to it


def segment_files(directory: Path) -> list[tuple[Path, int]]:
    """The segments that there are, oldest first, with their epochs."""
    found = []
    for path in directory.glob("*-*.log"):
        serial, _, epoch = path.name.removesuffix(".log").partition("-")
        if serial.isdigit() and len(epoch) == 16:
            found.append((int(serial), path, int(epoch, 16)))
    return [(path, epoch) for _, path, epoch in sorted(found)]


class Segments:
    """The segments of one journal, which must be empty when this begins.

    room: asked before a segment is made, with its size; raises OSError when the disk shall not be filled so far.
    own: given each path that was made.
    """

    def __init__(self, directory: Path, room: Callable[[int], None], own: Callable[[Path], None]) -> None:
        self._directory = directory
        self._room = room
        self._own = own
        self._serial = 0
        self._made = 0  # spares, ever: their names
        self._spares: list[Path] = []
        for left in directory.glob("spare-*"):
            left.unlink()  # perhaps not whole
        self.open: deque[Segment] = deque()

    @property
    def size(self) -> int:
        """Bytes of all segments in use."""
        return len(self.open) * SEGMENT_SIZE

    def append(self, entries: Sequence[bytes], number: int) -> tuple[Segment, int]:
        """Write a batch behind what there is, in a new segment where it does not fit; it is not synced.

        Returns the segment and where in it the first entry begins. Raises OSError; nothing of the batch counts
        then, but some of it may be on the disk: the segment is sealed.
        """
        length = sum(map(len, entries))
        segment = self._place(BATCH_SIZE + length)
        data = memoryview(b"".join((batch_header(segment.epoch, number, len(entries), length), *entries)))
        at = segment.end
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(segment.fd, data[written:], at + written)
        except OSError:
            segment.sealed = True
            raise
        segment.end = at + len(data)
        return segment, at + BATCH_SIZE

    def _place(self, length: int) -> Segment:
        """The segment in which the next `length` bytes go. Raises OSError when a new one cannot be made."""
        if self.open and not self.open[-1].sealed and self.open[-1].end + length <= SEGMENT_SIZE:
            return self.open[-1]
        return self._begin(max(length, SEGMENT_SIZE))

    def _begin(self, size: int) -> Segment:
        if self.open and not self.open[-1].sealed:
            os.fdatasync(self.open[-1].fd)
        self._room(size)
        epoch = secrets.randbits(64)
        path = self._directory / f"{self._serial + 1:012d}-{epoch:016x}.log"
        spare = self._spares.pop() if self._spares and size == SEGMENT_SIZE else None
        if spare is not None:
            spare.rename(path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if spare is None:
                os.posix_fallocate(fd, 0, size)
                os.fsync(fd)
                self._own(path)
            sync_directory(self._directory)
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._serial += 1
        segment = Segment(path, fd, epoch)
        self.open.append(segment)
        return segment

    @property
    def wants_spare(self) -> bool:
        """Whether `prepare` has something to do."""
        return len(self._spares) < _SPARES

    def prepare(self) -> None:
        """Make a spare segment; blocks for tens of milliseconds. Any thread may do it, one at a time.

        Raises OSError when the disk has no room for it, which does not matter.
        """
        self._room(SEGMENT_SIZE)
        self._made += 1
        path = self._directory / f"spare-{self._made}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            zeros = bytes(1 << 20)
            for _ in range(SEGMENT_SIZE >> 20):
                os.write(fd, zeros)
            os.fsync(fd)
            self._own(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        self._spares.append(path)

    def free(self) -> None:
        """Let go of the oldest segments that nobody needs.

        Never of one in the middle: it may say what became of messages in an older one.
        """
        while len(self.open) > 1 and not self.open[0].live:
            segment = self.open.popleft()
            os.close(segment.fd)
            if self.wants_spare and not segment.sealed:
                self._made += 1
                spare = self._directory / f"spare-{self._made}"
                segment.path.rename(spare)
                self._spares.append(spare)
            else:
                segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files; those that are not needed any more are removed, unless messages are left in some."""
        empty = not any(segment.live for segment in self.open)
        for segment in self.open:
            os.close(segment.fd)
            if empty:
                segment.path.unlink(missing_ok=True)
        self.open.clear()
        if empty:
            for path in self._spares:
                path.unlink(missing_ok=True)
