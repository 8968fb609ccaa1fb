# SPDX-License-Identifier: GPL-3.0-or-later
"""The workers of the delivery side: tasks with one connection each, and who gets one when there are too few."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from relay_agent.config.schema import Config
from relay_agent.delivery.attempt import Attempt, Result
from relay_agent.delivery.books import Books
from relay_agent.delivery.client import Connection
from relay_agent.delivery.destination import Destination, Job, Session
from relay_agent.delivery.outcome import Deferred
from relay_agent.delivery.pressure import Pressure
from relay_agent.delivery.route import Way
from relay_agent.delivery.session import Opener

__all__ = ["Workers"]

_TURN = 50  # messages that a worker sends in a row while other destinations wait for a connection
_MOST_RETURNS = 3  # times that a job goes back into line when one of several connections is refused
_BLOCK = 30.0  # seconds that a destination is left alone at most, when none of its hosts took anything
_REST = 0.1  # seconds between two messages on a connection while taking mail comes first


class Workers:
    """Gives destinations connections and sends what waits for them. `opener` is to be set before the first use."""

    def __init__(self, config: Config, books: Books, pressure: Pressure) -> None:
        self.config = config
        self.opener: Opener
        self.running = False
        self.active = 0
        self.destinations: dict[Way, Destination] = {}
        self._books = books
        self._pressure = pressure
        self._line: deque[Destination] = deque()  # destinations that wait for a connection to be free
        self._connections: set[Connection] = set()

    def begin(self) -> None:
        """Start with nothing in line."""
        self.destinations.clear()
        self._line.clear()
        self.running = True

    def destination(self, way: Way) -> Destination:
        """The destination of a way."""
        found = self.destinations.get(way)
        if found is None:
            found = self.destinations[way] = Destination(way)
        return found

    def tidy(self) -> None:
        """Let go of what nobody needs."""
        for way in [way for way, each in self.destinations.items() if each.forgettable and not each.queued]:
            del self.destinations[way]

    def note(self, connection: Connection) -> None:
        """A connection was opened."""
        self._connections.add(connection)
        connection.on_close = self._connections.discard

    async def close(self) -> None:
        """Close every connection; what does not end by itself within a second is cut."""
        for destination in self.destinations.values():
            destination.close_idle()
        waiting = [asyncio.ensure_future(each.wait_closed()) for each in self._connections]
        if waiting:
            await asyncio.wait(waiting, timeout=1.0)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(*waiting)

    def man(self, destination: Destination) -> None:
        """Give a destination the workers that it can use now."""
        delivery = self.config.delivery
        most = min(destination.window, delivery.max_connections_per_destination)
        wanted = min(destination.waiting, most) - destination.active
        for _ in range(wanted):
            if self.active >= delivery.max_connections:
                if not destination.queued:
                    destination.queued = True
                    self._line.append(destination)
                return
            destination.active += 1
            self.active += 1
            if not destination.idle and len(self._connections) >= delivery.max_connections:
                self._make_room(len(self._connections) - delivery.max_connections + 1)
            self._books.tasks.spawn(self._work(destination))

    def _make_room(self, count: int) -> None:
        """Close kept connections of others, so that open ones stay within the limit."""
        for destination in self.destinations.values():
            if count <= 0:
                return
            count -= destination.close_idle(count)

    async def _work(self, destination: Destination) -> None:
        """Send what waits for one destination, over one connection as long as it lasts."""
        session: Session | None = None
        sent = 0
        try:
            session = destination.kept()
            while self.running and (job := destination.take()) is not None:
                session = await self._attempt(destination, job, session)
                sent += 1
                if self._pressure.high:
                    await asyncio.sleep(_REST)
                if (self._line and sent >= _TURN) or destination.active > destination.window:
                    break
        finally:
            destination.active -= 1
            self.active -= 1
            if session is not None:
                if self.running:
                    destination.keep(session)
                else:
                    session.connection.quit()
            if self.running:
                if destination.waiting and not destination.queued:
                    destination.queued = True
                    self._line.append(destination)
                self._next_in_line()

    def _next_in_line(self) -> None:
        for _ in range(len(self._line)):
            if self.active >= self.config.delivery.max_connections:
                return
            destination = self._line.popleft()
            destination.queued = False
            self.man(destination)

    async def _attempt(self, destination: Destination, job: Job, session: Session | None) -> Session | None:
        started = time.time()
        limit = self.config.delivery.max_connections_per_destination
        try:
            result = await Attempt(self.opener, destination, job, limit=limit).run(session)
        except Exception as error:
            self._books.fault(job.message, job.recipients, error)
            return None
        if result.dead is not None and self._returned(destination, job, result):
            return result.session
        await self._books.conclude(job.message, result.outcomes, started)
        for outcome in result.outcomes.values():
            if isinstance(outcome, Deferred):
                destination.note_error(f"{outcome.host}: {outcome.text}" if outcome.host else outcome.text)
                break
        self.man(destination)
        return result.session

    def _returned(self, destination: Destination, job: Job, result: Result) -> bool:
        """No host took anything. Whether the job goes back into line, because other connections do work."""
        assert result.dead is not None
        if destination.active > 1 and job.returned < _MOST_RETURNS:
            destination.window = max(1, destination.active - 1)
            destination.put_back(job)
            return True
        delivery = self.config.delivery
        destination.block(result.dead, min(_BLOCK, delivery.retry_first / 2))
        for other in destination.take_all():
            # Each would wait for the same timeouts in vain.
            outcomes = dict.fromkeys(other.recipients, result.dead)
            self._books.decided(other.message, outcomes, time.time())
        return False
