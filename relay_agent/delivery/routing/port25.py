# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether port 25 is open to the outside at all: many clouds drop what goes there, in silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

from relay_agent.delivery.resolve import Resolver, UnresolvedError
from relay_agent.delivery.routing.reach import Families, Origin, reach
from relay_agent.observability import measured
from relay_agent.observability.log import EventLog

__all__ = ["Port25", "State"]

_EVERY = 3600.0  # seconds
_AGAIN = 60.0  # seconds until the next look while it seems closed: at first often, then less
_LONGEST = 10.0  # seconds for one look
_GREETING = b"220"


class State(StrEnum):
    """OFF: nobody looks. UNKNOWN: no look has come to an end yet, or DNS told no address."""

    OFF = "off"
    UNKNOWN = "unknown"
    OPEN = "open"
    CLOSED = "closed"


@dataclass
class Port25:
    """Looks by connecting to well-known mail hosts; they are told nothing but QUIT.

    changed: called after a look that found the port closed, or open again.
    """

    hosts: Sequence[str]
    port: int
    resolver: Resolver
    log: EventLog
    changed: Callable[[], None] = lambda: None
    longest: float = _LONGEST
    state: State = State.UNKNOWN
    looked_at: float | None = None  # seconds since the epoch
    _first: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        if not self.hosts:
            self.state = State.OFF
            self._first.set()

    @property
    def closed(self) -> bool:
        """Whether nothing gets out by it."""
        return self.state is State.CLOSED

    @property
    def known(self) -> bool:
        """Whether the first look is over."""
        return self._first.is_set()

    def start(self) -> None:
        """Look now and then hourly."""
        if self.hosts:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
        self._first.set()

    async def ready(self) -> None:
        """Wait until the first look is over."""
        await self._first.wait()

    async def _run(self) -> None:
        wait = _AGAIN
        while True:
            before = self.state
            try:
                self.state = await self.look()
            except Exception as error:
                self.log.event("port25_fault", level="error", error=f"{type(error).__name__}: {error}")
            self.looked_at = time.time()
            self._first.set()
            measured.PORT_LOOKS[self.state.value] += 1
            if self.state is not before:
                level = "warning" if self.closed else "info"
                self.log.event("port25", level=level, state=self.state.value, hosts=list(self.hosts))
            if self.closed != (before is State.CLOSED):
                self.changed()
            wait = _AGAIN if self.state is not before else min(2 * wait, _EVERY)
            await asyncio.sleep(_EVERY if self.state is State.OPEN else wait)

    async def look(self) -> State:
        """Open as soon as one host greets; closed when none that has an address does; otherwise unknown."""
        tasks = [asyncio.ensure_future(self._greets(host)) for host in self.hosts]
        found: list[bool | None] = []
        try:
            for each in asyncio.as_completed(tasks):
                found.append(await each)
                if found[-1]:
                    return State.OPEN
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return State.CLOSED if False in found else State.UNKNOWN

    async def _greets(self, host: str) -> bool | None:
        """None where DNS tells no address."""
        try:
            async with asyncio.timeout(self.longest):
                addresses = await self._addresses(host)
        except (UnresolvedError, TimeoutError):
            return None
        try:
            async with asyncio.timeout(self.longest):
                return await self._greeting(addresses)
        except (OSError, EOFError):
            return False

    async def _greeting(self, addresses: Sequence[str]) -> bool:
        reached, _ = await reach(addresses, self.port, Origin(), Families(), longest=self.longest)
        if reached is None:
            return False
        reader, writer = await asyncio.open_connection(sock=reached.socket)
        try:
            # A refusal of us (554) is one of a network's own servers, more often than of the host.
            greets = (await reader.readexactly(len(_GREETING))) == _GREETING
            writer.write(b"QUIT\r\n")
            return greets
        finally:
            writer.close()

    async def _addresses(self, host: str) -> tuple[str, ...]:
        try:
            return (str(ip_address(host)),)
        except ValueError:
            return await self.resolver.addresses(host)

    def snapshot(self, pool: str | None) -> dict[str, Any]:
        """For the status. pool: who carries mail for MX hosts while the port is closed."""
        return {"state": self.state.value, "looked_at": self.looked_at, "instead": pool if self.closed else None}
