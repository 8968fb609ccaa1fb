# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that shuts addresses out: takes the agent's notices and keeps the packet filter's sets by them.

It has the one privilege that this needs (CAP_NET_ADMIN) and no other; the agent, which talks to strangers, has none.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from relay_agent.notify import notify
from relay_agent.observability.log import EventLog
from relay_agent.shut_out import kernel
from relay_agent.shut_out.ledger import Address, Ledger, Notice, NoticeError, address_of, parse_notice
from relay_agent.whole_file import replace_file

__all__ = ["Keeper", "inherited_socket", "read_state"]

GATHER = 0.2
"""Seconds in which notices are gathered: each change of the filter costs a process."""
RENEW = 20.0
"""Seconds until the sets are filled again. Whoever loads the table anew empties them."""

_BATCH = 500


def inherited_socket() -> socket.socket:
    """The socket that systemd holds (sd_listen_fds(3)). Raises OSError when there is not exactly that one."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise OSError("no socket was handed over: this is run by postroad-shut-out.service")
    return socket.socket(fileno=3)


def read_state(path: Path) -> dict[Address, float]:
    """Until when each address is shut out, as a file has it; what cannot be read is left out."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    state: dict[Address, float] = {}
    for text, until in values.items() if isinstance(values, dict) else ():
        try:
            address = address_of(text)
        except NoticeError:
            continue
        if isinstance(until, int | float) and not isinstance(until, bool):
            state[address] = float(until)
    return state


_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Keeper:
    """Takes notices from a socket until it is told to end. state: the file that outlives it."""

    def __init__(self, channel: socket.socket, ledger: Ledger, state: Path, log: EventLog) -> None:
        self._channel = channel
        self._ledger = ledger
        self._state = state
        self._log = log
        self._missing = False  # whether the filter refused the last time
        self._ending = False

    def run(self) -> None:
        """Return after SIGTERM or SIGHUP; systemd starts the release that is current then."""
        self._channel.setblocking(False)
        wake, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told)
        for number in _ENDING:
            signal.signal(number, self._end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)  # whoever started this may have had them blocked
        self._ledger.restore(read_state(self._state), time.time())
        self.renew()
        notify("READY=1")
        renewed = time.monotonic()
        while not self._ending:
            left = max(0.0, renewed + RENEW - time.monotonic())
            channel = self._channel.fileno()
            ready, _, _ = select.select([channel, wake], [], [], left)
            if wake in ready:
                break
            if channel in ready:
                time.sleep(GATHER)
                self.take(self._received())
            if time.monotonic() >= renewed + RENEW:
                self.renew()
                renewed = time.monotonic()

    def _end(self, number: int, frame: object) -> None:
        self._ending = True

    def _received(self) -> list[bytes]:
        datagrams: list[bytes] = []
        while len(datagrams) < _BATCH:
            try:
                datagrams.append(self._channel.recv(2048))
            except BlockingIOError:
                break
        return datagrams

    def take(self, datagrams: list[bytes]) -> None:
        """Do what notices and releases ask for."""
        now = time.time()
        fresh: dict[Address, float] = {}
        released: list[Address] = []
        refused = 0
        for datagram in datagrams:
            try:
                told = parse_notice(datagram)
            except NoticeError:
                refused += 1
                continue
            if isinstance(told, Notice):
                seconds = self._ledger.notice(told, now)
                if seconds:
                    fresh[told.peer] = seconds
                    self._log.event("address_shut_out", level="warning", address=str(told.peer), seconds=seconds)
            else:
                fresh.pop(told.peer, None)
                was = self._ledger.release(told.peer)
                released.append(told.peer)
                self._log.event("address_released", address=str(told.peer), was_shut_out=was)
        if refused:
            self._log.event("notices_refused", level="error", count=refused)
        if fresh or released:
            self._save()
        if released:
            self._change(lambda: kernel.remove(released))
        if fresh:
            self._change(lambda: kernel.add(fresh))

    def renew(self) -> None:
        """Fill the sets with all that are shut out."""
        active = self._ledger.active(time.time())
        if active:
            self._change(lambda: kernel.add(active))

    def _change(self, change: Callable[[], None]) -> None:
        try:
            change()
        except kernel.FilterError as error:
            # Told once: without the table it is the same every time.
            if not self._missing:
                self._log.event("filter_refused", level="error", problem=str(error))
            self._missing = True
        else:
            self._missing = False

    def _save(self) -> None:
        self._ledger.active(time.time())
        try:
            replace_file(self._state, json.dumps(self._ledger.export()).encode())
        except OSError as error:
            self._log.event("state_not_saved", level="error", problem=str(error))
