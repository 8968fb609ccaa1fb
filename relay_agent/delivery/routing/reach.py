# SPDX-License-Identifier: GPL-3.0-or-later
"""Reaching one of a host's addresses: IPv6 and IPv4 side by side, without waiting for a family that leads nowhere.

After RFC 8305: the second family starts a quarter of a second after the first, and the first that connects wins. Never
more than two are under way, since these are other people's mail hosts.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Families", "Origin", "Reached", "Unreached", "reach"]

_HEAD_START = 0.25  # seconds
_DEAD_FOR = 300.0  # seconds that a family without a way out is tried last
_LOST = 3  # races in a row that a family lost, without an answer, until it counts as dead
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETDOWN})


@dataclass(slots=True, frozen=True)
class Origin:
    """Whom we show ourselves as: addresses to connect from, and the name for EHLO; None: as usual."""

    address: str | None = None
    address6: str | None = None
    helo: str | None = None

    def source(self, address: str) -> str | None:
        """What to connect to `address` from."""
        return self.address6 if ":" in address else self.address


class Families:
    """Which address family leads nowhere from here, as far as was seen lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._dead: dict[bool, float] = {}
        self._lost: dict[bool, int] = {}

    def order(self, addresses: Sequence[str]) -> list[str]:
        """The addresses as they are to be tried: those of a dead family last."""
        now = self._clock()
        return sorted(addresses, key=lambda address: self._dead.get(":" in address, 0.0) > now)

    def won(self, address: str) -> None:
        """An address answered, if only with a refusal."""
        self._dead.pop(":" in address, None)
        self._lost.pop(":" in address, None)

    def lost(self, address: str) -> None:
        """No answer, whereas one of the other family had answered."""
        six = ":" in address
        self._lost[six] = self._lost.get(six, 0) + 1
        if self._lost[six] >= _LOST:
            self._dead[six] = self._clock() + _DEAD_FOR

    def no_way(self, address: str) -> None:
        """This host has no way there."""
        self._dead[":" in address] = self._clock() + _DEAD_FOR


@dataclass(slots=True, frozen=True)
class Reached:
    """A connected socket."""

    address: str
    socket: socket.socket


@dataclass(slots=True, frozen=True)
class Unreached:
    """An address and why there is no connection to it."""

    address: str
    error: OSError


class SourceError(OSError):
    """The address to connect from is none of this host's."""


async def reach(
    addresses: Sequence[str], port: int, origin: Origin, families: Families, *, longest: float
) -> tuple[Reached | None, list[Unreached]]:
    """The first address that connects (None if none does), and those that were tried in vain.

    longest: seconds for one address. The socket is the caller's to close.
    """
    left = families.order(addresses)
    failed: list[Unreached] = []
    running: dict[asyncio.Task[socket.socket], str] = {}
    loop = asyncio.get_running_loop()

    def begin(address: str) -> None:
        left.remove(address)
        running[loop.create_task(_connect(address, port, origin.source(address), longest))] = address

    try:
        while left or running:
            if not running and len({":" in address for address in left}) == 1:
                # No race: no task either.
                address = left.pop(0)
                try:
                    found = await _connect(address, port, origin.source(address), longest)
                except OSError as error:
                    _learn(families, address, error)
                    failed.append(Unreached(address, error))
                    continue
                families.won(address)
                return Reached(address, found), failed
            if not running:
                begin(left[0])
            rival = _rival(left, running)
            done, _ = await asyncio.wait(
                running, timeout=_HEAD_START if rival else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done and rival is not None:
                begin(rival)
            for task in done:
                address = running.pop(task)
                trouble = task.exception()
                if trouble is None:
                    families.won(address)
                    for other in running.values():
                        if (":" in other) != (":" in address):
                            families.lost(other)
                    return Reached(address, task.result()), failed
                if not isinstance(trouble, OSError):
                    raise trouble
                _learn(families, address, trouble)
                failed.append(Unreached(address, trouble))
        return None, failed
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_drop)


def _rival(left: Sequence[str], running: dict[asyncio.Task[socket.socket], str]) -> str | None:
    """The address to start beside the one that is under way: the next of the other family."""
    if len(running) != 1:
        return None
    (current,) = running.values()
    return next((address for address in left if (":" in address) != (":" in current)), None)


def _learn(families: Families, address: str, error: OSError) -> None:
    if isinstance(error, SourceError):
        return
    if error.errno in _NO_WAY:
        families.no_way(address)
    elif error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
        families.won(address)


def _drop(task: asyncio.Task[socket.socket]) -> None:
    """Close what connected though it was too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(address: str, port: int, source: str | None, longest: float) -> socket.socket:
    six = ":" in address
    new = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        new.setblocking(False)
        if source is not None:
            try:
                new.bind((source, 0))
            except OSError as error:
                text = f"cannot connect from {source}: {error.strerror or error}"
                raise SourceError(error.errno, text) from None
        async with asyncio.timeout(longest):
            await asyncio.get_running_loop().sock_connect(new, (address, port))
    except BaseException:
        new.close()
        raise
    return new
