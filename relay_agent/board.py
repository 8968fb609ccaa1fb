# SPDX-License-Identifier: GPL-3.0-or-later
"""How many sessions each worker has, in memory that all of them share.

The kernel wakes every worker for a new connection, and the first to come takes it. With programs that keep their
connections one worker would have nearly all of them for the whole day. So a worker that has clearly more than
another one lets that one go first.
"""

from __future__ import annotations

import mmap
import os
import struct

__all__ = ["Board"]

_PLACES = 64
_PLACE = struct.Struct("=I")
_ALL = struct.Struct(f"={_PLACES}I")
_NOBODY = 0xFFFFFFFF
_SLACK = 2  # sessions more than another worker's that do not matter, and a quarter of that one's


class Board:
    """A row of numbers, a place for each worker.

    fd: a descriptor of memory that a supervisor's board has made; None makes one. place: the worker's own;
    numbers that are `_PLACES` apart share one, which does no harm.
    """

    def __init__(self, fd: int | None = None, place: int = 0) -> None:
        size = _PLACES * _PLACE.size
        if fd is None:
            fd = os.memfd_create("postroad-board", os.MFD_CLOEXEC)
            os.write(fd, b"\xff" * size)
        self.fd = fd
        self._memory = mmap.mmap(fd, size)
        self._place = place % _PLACES

    def put(self, sessions: int) -> None:
        """This worker takes connections and has so many sessions."""
        _PLACE.pack_into(self._memory, self._place * _PLACE.size, sessions)

    def leave(self, place: int | None = None) -> None:
        """This worker, or the one of that place, takes no connections."""
        number = self._place if place is None else place % _PLACES
        _PLACE.pack_into(self._memory, number * _PLACE.size, _NOBODY)

    def others_first(self, sessions: int) -> bool:
        """Whether a worker with so many sessions should let another one go first."""
        fewest: int = min(_ALL.unpack_from(self._memory))
        return sessions > fewest + fewest // 4 + _SLACK

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.fd)
