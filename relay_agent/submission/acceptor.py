# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes connections from a listening socket that several workers share."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

__all__ = ["Acceptor"]

_AT_ONCE = 2  # connections taken in a turn: more would let one worker have a whole burst for itself
_PAUSE = 0.2  # seconds, when there are no descriptors
_MOMENT = 0.001  # seconds

log = logging.getLogger(__name__)


class Acceptor:
    """Gives each connection, which does not block, with its peer's address to `take`, from `start` on.

    patient: whether to wait a moment, in which another worker may take the connection.

    When no descriptors are left, or whatever else keeps connections from being taken, they wait and are looked at
    again after a moment.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        take: Callable[[socket.socket, Any], None],
        patient: Callable[[], bool] = lambda: False,
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._take = take
        self._patient = patient
        self._again: asyncio.TimerHandle | None = None
        self._trouble: int | None = None  # the error that was logged last
        listening.setblocking(False)
        if listening.family in (socket.AF_INET, socket.AF_INET6):
            # Accepted sockets inherit it.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        """Begin to take connections."""
        self._again = None
        self._loop.add_reader(self._listening, self._ready)

    def stop(self) -> None:
        """Take no more; those that wait are left to others. The socket is closed."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _ready(self) -> None:
        if self._patient():
            self._loop.remove_reader(self._listening)
            self._again = self._loop.call_later(_MOMENT, self._after_moment)
        else:
            self._accept()

    def _after_moment(self) -> None:
        self.start()
        self._accept()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if self._listening.fileno() < 0:
                    return  # `take` has stopped us
                if error.errno != self._trouble:  # without a descriptor it is the same one for long
                    self._trouble = error.errno
                    log.warning("connections wait: %s", error)
                self._loop.remove_reader(self._listening)
                self._again = self._loop.call_later(_PAUSE, self.start)
                return
            self._trouble = None
            connection.setblocking(False)
            self._take(connection, peer)
