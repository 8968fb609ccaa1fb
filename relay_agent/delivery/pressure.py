# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether more mail comes in than this process can also carry on at the same time.

Then taking mail comes first: a mail program waits for its 250, while what is in the queue is safe there. Delivery
goes on in steps with a rest between them, and at full speed as soon as there is time for it again.
"""

from __future__ import annotations

import asyncio

__all__ = ["Pressure"]

_TICK = 0.02  # seconds
_LATE = 0.00075  # seconds that timers are late, on the average, in a loop that always has something else to do
_WEIGHT = 0.1  # of one tick in the average
_QUIET = 50  # ticks without a new message after which nobody looks any more


class Pressure:
    """Watches how late the event loop's timers are while messages come in; costs nothing when none do."""

    def __init__(self) -> None:
        self._late = 0.0
        self._accepted = 0
        self._quiet = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def high(self) -> bool:
        """Whether delivery should hold back."""
        return self._timer is not None and self._late > _LATE

    def accepted(self) -> None:
        """A message was taken."""
        self._accepted += 1
        if self._timer is None:
            self._late = 0.0
            self._quiet = 0
            self._set(asyncio.get_running_loop())

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _TICK
        self._timer = loop.call_at(self._due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        late = loop.time() - self._due if self._accepted else 0.0
        self._late += _WEIGHT * (late - self._late)
        self._quiet = 0 if self._accepted else self._quiet + 1
        self._accepted = 0
        if self._quiet >= _QUIET:
            self._timer = None
        else:
            self._set(loop)
