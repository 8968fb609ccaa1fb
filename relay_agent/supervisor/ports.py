# SPDX-License-Identifier: GPL-3.0-or-later
"""The listening sockets: systemd's, those of an earlier program of this process, or the supervisor's own."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterable

from relay_agent.config.schema import Config
from relay_agent.submission.listeners import ListenError, inherited_sockets, open_listeners

__all__ = ["Ports"]

_PATIENCE = 5.0  # seconds that workers whose supervisor was killed take to let go of the ports


class Ports:
    """Holds the sockets open, so that no connection is refused while workers come and go."""

    def __init__(self, sockets: list[list[socket.socket]]) -> None:
        self._sockets = sockets

    @classmethod
    def open(cls, config: Config, handed: Iterable[int] = (), *, drained: bool = False) -> Ports:
        """Sockets for each listener. `handed`: descriptors of an earlier program, closed when no longer wanted.

        drained: no socket for any listener, and whatever was handed or inherited is closed.
        Raises ListenError; the handed descriptors are open then as before.
        """
        handed = list(handed)
        if drained:
            for each in (*(socket.socket(fileno=fd) for fd in handed), *inherited_sockets()):
                each.close()
            return cls([[] for _ in config.listener])
        for fd in handed:
            os.set_inheritable(fd, False)
        inherited = inherited_sockets()
        deadline = time.monotonic() + _PATIENCE
        while True:
            # Copies, because `open_listeners` closes what it has when it fails.
            spare = [socket.socket(fileno=os.dup(fd)) for fd in handed] + [each.dup() for each in inherited]
            for each in spare:
                each.setblocking(False)
            try:
                opened = open_listeners(config.listener, spare)
            except ListenError as error:
                cause = error.__cause__
                in_use = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
                if handed or not in_use or time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)
            else:
                break
        for fd in handed:
            os.close(fd)
        for each in inherited:
            each.close()
        return cls([sockets for _, sockets in opened])

    @property
    def by_listener(self) -> list[list[int]]:
        """The descriptors of each listener, in the configuration's order."""
        return [[each.fileno() for each in sockets] for sockets in self._sockets]

    @property
    def descriptors(self) -> list[int]:
        """All of them."""
        return [fd for fds in self.by_listener for fd in fds]

    def close(self) -> None:
        """Take no more connections, as far as this process is concerned."""
        for sockets in self._sockets:
            for each in sockets:
                each.close()
        self._sockets = [[] for _ in self._sockets]
