# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether more mail comes in than this process can also carry on at the same time.

Then taking mail comes first: a mail program waits for its 250, while what is in the queue is safe there. Delivery
goes on in steps with a rest between them, and at full speed as soon as there is time for it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

__all__ = ["Pressure"]

_SCHEDSTAT = "/proc/thread-self/schedstat"
_TICK = 0.05  # seconds
_BUSY = 0.8  # part of the time that this thread runs, or would if it had a processor
_LATE = 0.001  # seconds that timers are late on the average, where the kernel does not tell how busy a thread is
_WEIGHT = 0.2  # of one tick in the average
_QUIET = 20  # ticks without a new message after which nobody looks any more


class Pressure:
    """Watches how busy the event loop's thread is while messages come in; costs nothing when none do."""

    def __init__(self) -> None:
        self._busy = 0.0
        self._late = 0.0
        self._accepted = 0
        self._quiet = 0
        self._due = 0.0
        self._looked = 0.0
        self._used = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._fd = -1

    @property
    def high(self) -> bool:
        """Whether delivery should hold back."""
        return self._timer is not None and (self._busy > _BUSY if self._fd >= 0 else self._late > _LATE)

    def accepted(self) -> None:
        """A message was taken."""
        self._accepted += 1
        if self._timer is None:
            if self._fd < 0:
                # How long this thread ran, and how long it waited for a processor (Linux, sched-stats.rst).
                with contextlib.suppress(OSError):
                    self._fd = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
            self._busy = self._late = 0.0
            self._quiet = 0
            self._looked, self._used = time.monotonic(), self._running()
            self._set(asyncio.get_running_loop())

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _running(self) -> float:
        """Seconds that this thread has run or wanted to; 0 when the kernel does not tell."""
        if self._fd < 0:
            return 0.0
        try:
            run, waited, *_ = map(int, os.pread(self._fd, 64, 0).split())
        except (OSError, ValueError):
            run = waited = 0
        if not run:  # a kernel without these figures has zeros
            self._close()
        return (run + waited) / 1e9

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _TICK
        self._timer = loop.call_at(self._due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now, used = time.monotonic(), self._running()
        self._busy += _WEIGHT * ((used - self._used) / max(now - self._looked, 1e-6) - self._busy)
        self._looked, self._used = now, used
        self._late += _WEIGHT * (loop.time() - self._due - self._late)
        self._quiet = 0 if self._accepted else self._quiet + 1
        self._accepted = 0
        if self._quiet >= _QUIET:
            self._timer = None
        else:
            self._set(loop)
