# SPDX-License-Identifier: GPL-3.0-or-later
"""How many sessions there may be, and how long a silent one lives."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address
from typing import Protocol

from relay_agent.board import Board
from relay_agent.leases import Leases
from relay_agent.observability import measured

__all__ = ["Sessions", "source_of"]


_ALL = "sessions"
_FROM = "sessions from "
_SPEAKING = 1.0  # seconds within which a program that is at it gives its next command
_SPARED = 4.0  # seconds for which such programs are let go on while the relay stops
_SILENCE = 3.0  # seconds in which a mail program on a kept connection usually gives its next command
# Seconds that a program may take from connecting to its first MAIL, over a poor network with a handshake and a sign-in:
# it has come to send something, and if it were sent away many would tell their user that sending failed.
_SETTLING = 20.0


def source_of(address: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 address (a subscriber gets that much)."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except AddressValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"


class _Session(Protocol):
    last_activity: float

    @property
    def busy(self) -> bool: ...

    @property
    def in_transaction(self) -> bool: ...

    def time_out(self) -> None: ...

    def shut_down(self) -> None: ...


class Sessions:
    """The sessions that are open now.

    One timer looks over all of them now and then; a timer for each command would cost more than the command.
    """

    def __init__(self, leases: Leases | None = None, board: Board | None = None) -> None:
        self._board = board  # what other workers see of it
        self._leaving = False
        self._leases = leases or Leases()
        self._open: dict[_Session, float] = {}  # with the time of its beginning
        self._by_source: Counter[str] = Counter()
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._open)

    def from_source(self, source: str) -> int:
        """Sessions open from this source."""
        return self._by_source[source]

    def take(self, source: str, *, most: int, most_from_source: int) -> str:
        """Take a place for a session that is to be added, on the whole host; returns "", or why there is none."""
        if not self._leases.take(_ALL, most):
            measured.TURNED_AWAY["relay_full"] += 1
            return "the relay has all the connections it takes"
        if not self._leases.take(f"{_FROM}{source}", most_from_source):
            self._leases.give(_ALL)
            measured.TURNED_AWAY["source_full"] += 1
            return "too many connections from your address"
        return ""

    async def prepare(self, *, most: int) -> None:
        """Be ready for a burst of sessions, before the first."""
        await self._leases.prepare(_ALL, most)

    def add(self, session: _Session, source: str) -> None:
        """A session has begun, in the place that `take` gave it."""
        self._open[session] = time.monotonic()
        self._by_source[source] += 1
        self._empty.clear()
        if self._board is not None:
            self._board.put(len(self._open))

    def remove(self, session: _Session, source: str) -> None:
        """A session has ended."""
        begun = self._open.pop(session, None)
        if begun is not None:
            measured.SESSION_SECONDS.observe(time.monotonic() - begun)
        if self._board is not None and not self._leaving:
            self._board.put(len(self._open))
        self._leases.give(_ALL)
        self._leases.give(f"{_FROM}{source}")
        self._by_source[source] -= 1
        if self._by_source[source] <= 0:
            del self._by_source[source]
        if not self._open:
            self._empty.set()

    @property
    def others_first(self) -> bool:
        """Whether another worker should take the next connection."""
        return self._board is not None and self._board.others_first(len(self._open))

    def leave(self) -> None:
        """No more sessions come."""
        self._leaving = True
        if self._board is not None:
            self._board.leave()

    def watch(self, loop: asyncio.AbstractEventLoop, timeout: Callable[[], float]) -> None:
        """Begin to end sessions silent for longer than `timeout()` seconds, to a quarter or 5 s exactly."""
        now = loop.time()
        longest = timeout()
        for session in [each for each in self._open if not each.busy and now - each.last_activity > longest]:
            session.time_out()
        # A command of ours that waits (a commit) is not the client's silence; content that stopped coming is.
        for session in [each for each in self._open if each.busy and now - each.last_activity > 2 * longest]:
            session.time_out()
        self._sweep_handle = loop.call_later(min(longest / 4, 5.0), self.watch, loop, timeout)

    async def drain(self, grace: float) -> None:
        """Let sessions end by themselves: each goes on until its client pauses between two messages, or has ended.

        One that has only just begun is not pausing: its first message is still to come.

        Returns when none is left, or after `grace` seconds.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._open and loop.time() < deadline:
            for session, begun in list(self._open.items()):
                settled = time.monotonic() - begun > _SETTLING
                pausing = settled and not session.busy and not session.in_transaction
                if pausing and loop.time() - session.last_activity > _SILENCE:
                    session.shut_down()
            try:
                await asyncio.wait_for(self._empty.wait(), 0.25)
            except TimeoutError:
                continue

    async def close(self, grace: float) -> int:
        """Ask all sessions to end and wait up to `grace` seconds for those in the middle of a message.

        Who is just speaking, on the way to its message, is asked when it pauses, or after some seconds: a program that
        is told 421 there shows its person an error. Returns how many had to be left.
        """
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        deadline = begun + grace
        spared = begun + min(_SPARED, grace / 2)
        while self._open:
            now = loop.time()
            for session in list(self._open):
                if now >= spared or now - session.last_activity > _SPEAKING:
                    session.shut_down()
            left = deadline - now
            if left <= 0:
                break
            try:
                await asyncio.wait_for(self._empty.wait(), min(left, 0.1))
            except TimeoutError:
                continue
        return len(self._open)
