# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a journal: written at their end, freed from the oldest on, used again.

<directory>/<serial>-<epoch>.log   a segment in use; the serial number tells their order
            spare-<n>              one that is free; its blocks are on the disk already

Overwriting blocks that are there is synced about twice as fast as new ones, even if the file has its length: so
spare segments are filled with zeros before they are needed, and used again afterwards.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from relay_agent.queue.directory import sync_directory
from relay_agent.queue.journal_format import BATCH_SIZE, batch_header

__all__ = ["SEGMENT_SIZE", "Segment", "Segments", "remove_spares", "segment_files"]

log = logging.getLogger(__name__)

SEGMENT_SIZE = 16 << 20  # bytes
_SPARES = 2
_AMPLE = 8  # segments for which there must be room before a spare is made: it is only to be faster
_NAME = re.compile(r"([0-9]{1,18})-([0-9a-f]{16})\.log")


class Segment:
    """An open segment of `size` bytes. end: where the next batch goes. live: how many messages in it still need
    it."""

    __slots__ = ("end", "epoch", "fd", "live", "path", "sealed", "size")

    def __init__(self, path: Path, fd: int, epoch: int, size: int) -> None:
        self.path = path
        self.fd = fd
        self.epoch = epoch
        self.size = size
        self.end = 0
        self.live = 0
        self.sealed = False  # nothing more is written to it


def segment_files(directory: Path) -> list[tuple[Path, int]]:
    """The segments that there are, oldest first, with their epochs."""
    found = [
        (int(matched[1]), path, int(matched[2], 16))
        for path in directory.iterdir()
        if (matched := _NAME.fullmatch(path.name))
    ]
    return [(path, epoch) for _, path, epoch in sorted(found)]


def remove_spares(directory: Path) -> None:
    """Those that an earlier process left: perhaps not whole, and on a full disk the room that its mail needs to be
    moved. Raises OSError."""
    for left in directory.glob("spare-*"):
        left.unlink()


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
        self._names = itertools.count(1)  # of spares; two threads give them
        self._spares: list[Path] = []
        remove_spares(directory)
        self.open: deque[Segment] = deque()

    @property
    def size(self) -> int:
        """Bytes of all segments in use."""
        return sum(segment.size for segment in self.open)

    def append(self, entries: Sequence[bytes], number: int, *, grows: bool = True) -> tuple[Segment, int]:
        """Write a batch behind what there is, in a new segment where it does not fit; it is not synced.

        grows: False for what only says what became of messages, which may use room that is otherwise kept free.
        Returns the segment and where in it the first entry begins. Raises OSError; nothing of the batch counts
        then, but some of it may be on the disk: see `void`.
        """
        length = sum(map(len, entries))
        segment = self._place(BATCH_SIZE + length, grows)
        data = memoryview(b"".join((batch_header(segment.epoch, number, len(entries), length), *entries)))
        at = segment.end
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(segment.fd, data[written:], at + written)
        except BaseException:
            self.void(segment, at + BATCH_SIZE)
            raise
        segment.end = at + len(data)
        return segment, at + BATCH_SIZE

    def void(self, segment: Segment, at: int) -> None:
        """The batch whose first entry is at this place, the segment's last, does not count: blot out its header, as
        far as the disk takes it. Nothing more is written to the segment."""
        segment.sealed = True
        with contextlib.suppress(OSError):
            os.pwrite(segment.fd, bytes(BATCH_SIZE), at - BATCH_SIZE)

    def _place(self, length: int, grows: bool) -> Segment:
        """The segment in which the next `length` bytes go. Raises OSError when a new one cannot be made."""
        if self.open and not self.open[-1].sealed and self.open[-1].end + length <= self.open[-1].size:
            return self.open[-1]
        if self.open and not self.open[-1].sealed:
            os.fdatasync(self.open[-1].fd)
        size = max(length, SEGMENT_SIZE)
        if grows:
            self._room(size)
        return self._begin(size)

    def _begin(self, size: int) -> Segment:
        epoch = secrets.randbits(64)
        path = self._directory / f"{self._serial + 1:012d}-{epoch:016x}.log"
        # It has its name only when it has its size: a segment that is shorter has lost something.
        made = self._spares.pop() if self._spares and size == SEGMENT_SIZE else self._quick(size)
        fd = -1
        try:
            fd = os.open(made, os.O_RDWR | os.O_CLOEXEC)
            made.rename(path)
            sync_directory(self._directory)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            for each in (made, path):
                each.unlink(missing_ok=True)
            raise
        self._serial += 1
        segment = Segment(path, fd, epoch, size)
        self.open.append(segment)
        return segment

    def _quick(self, size: int) -> Path:
        """A file for a segment that could not be prepared."""
        path = self._directory / f"spare-{next(self._names)}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._own(path)
            os.posix_fallocate(fd, 0, size)
            os.fsync(fd)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        return path

    @property
    def wants_spare(self) -> bool:
        """Whether `prepare` has something to do."""
        return len(self._spares) < _SPARES

    def prepare(self) -> None:
        """Make a spare segment; blocks for tens of milliseconds. Any thread may do it, one at a time.

        Raises OSError when the disk has not plenty of room, which does not matter.
        """
        self._room(_AMPLE * SEGMENT_SIZE)
        path = self._directory / f"spare-{next(self._names)}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._own(path)
            zeros = memoryview(bytes(min(SEGMENT_SIZE, 1 << 20)))
            written = 0
            while written < SEGMENT_SIZE:
                written += os.write(fd, zeros[: SEGMENT_SIZE - written])
            os.fsync(fd)
        except BaseException:
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
            try:
                os.close(segment.fd)
                if self.wants_spare and not segment.sealed and segment.size == SEGMENT_SIZE:
                    spare = self._directory / f"spare-{next(self._names)}"
                    segment.path.rename(spare)
                    self._spares.append(spare)
                else:
                    segment.path.unlink(missing_ok=True)
            except OSError as error:
                # Mail that was delivered is in it, and would be again after the next start.
                log.warning("a part of the queue's journal that is done with cannot be removed: %s", error)

    def close(self) -> None:
        """Close the files; those that are not needed any more are removed, unless messages are left in some.

        The oldest goes first: what became of its messages is in later ones.
        """
        empty = not any(segment.live for segment in self.open)
        for segment in self.open:
            with contextlib.suppress(OSError):
                os.close(segment.fd)
        if empty:
            with contextlib.suppress(OSError):  # the next start removes the rest
                for path in [*(segment.path for segment in self.open), *self._spares]:
                    path.unlink(missing_ok=True)
        self.open.clear()
