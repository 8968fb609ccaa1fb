# SPDX-License-Identifier: GPL-3.0-or-later
"""The workers of the delivery side: tasks with one connection each, and who gets one when there are too few.

Hosts that have not proved themselves get a part of the connections only, and those that wait in silence give theirs
up when others want it: a thousand dead hosts must not keep mail from those that live.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping

from relay_agent.config.schema import Config
from relay_agent.delivery.attempt import Attempt, Result
from relay_agent.delivery.books import Books
from relay_agent.delivery.client import Connection
from relay_agent.delivery.destination import Destination, Job, Session
from relay_agent.delivery.greylisting import is_greylisting
from relay_agent.delivery.line import FairLine
from relay_agent.delivery.local import Local
from relay_agent.delivery.outcome import Deferred, Outcome, Scope
from relay_agent.delivery.pressure import Pressure
from relay_agent.delivery.route import Way
from relay_agent.delivery.routing.health import Health
from relay_agent.delivery.session import Opener
from relay_agent.delivery.shaping import Peer, Shaper, Standing
from relay_agent.queue.lanes import owner_of

__all__ = ["Workers"]

_TURN = 50  # messages that a worker sends in a row while other destinations wait for a connection
_TURN_SECONDS = 1.0  # and how long
_MOST_RETURNS = 3  # times that a job goes back into line when one of several connections is refused
_REST = 0.1  # seconds between two messages on a connection while taking mail comes first
_LOOK_EVERY = 0.1  # seconds between looks at who has kept others waiting for too long
_PATIENCE = (5.0, 1.0)  # seconds for an answer while others wait: of proven hosts for proven ones, of untried ones
_SHELF = 20.0  # seconds for which a message leaves memory, whose hosts are slow
_RATE_AHEAD = 60.0  # seconds' worth of messages in memory where there is a rate
_LEAST_IN_LINE = 50  # messages in memory for a destination with a rate, whatever the rate
_FEW_IN_LINE = 5  # messages of an account there that have room in any case
_LONGEST_SHELF = 900.0  # seconds
_COUNT_EVERY = 0.5  # seconds between two counts of the doubtful hosts


class Workers:
    """Gives destinations connections and sends what waits for them. `opener` is to be set before the first use.

    most_in_hand: messages in memory at most, of everybody.
    """

    def __init__(
        self, config: Config, books: Books, pressure: Pressure, health: Health, local: Local, *, most_in_hand: int
    ) -> None:
        self.config = config
        self.opener: Opener
        self.running = False
        self.active = 0
        self.destinations: dict[Way, Destination] = {}
        self._shaper = Shaper(config)
        self._books = books
        self._pressure = pressure
        self._health = health
        self._local = local
        self._active = dict.fromkeys(Standing, 0)
        self._lines: dict[Standing, FairLine[tuple[Destination, int]]] = {each: FairLine() for each in Standing}
        self._attempts: dict[Attempt, Standing] = {}
        self._look: asyncio.TimerHandle | None = None
        self._doubtful_room = most_in_hand // 2
        self._share = self._doubtful_room
        self._counted_at = 0.0
        self._connections: set[Connection] = set()

    def begin(self) -> None:
        """Start with nothing in line."""
        self.destinations.clear()
        self._shaper.clear()
        self._lines = {each: FairLine() for each in Standing}
        self.running = True

    def end(self) -> None:
        """Begin nothing more."""
        self.running = False
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for destination in self.destinations.values():
            destination.take_all()
            destination.close_idle()
            if destination.timer is not None:
                destination.timer.cancel()
                destination.timer = None

    def reconfigure(self, config: Config) -> None:
        """Go on under another configuration."""
        self.config = config
        self._shaper.reconfigure(config)

    def destination(self, way: Way) -> Destination:
        """The destination of a way."""
        found = self.destinations.get(way)
        if found is None:
            found = self.destinations[way] = Destination(way, self._shaper.peer(way), self._health)
        return found

    def tidy(self) -> None:
        """Let go of what nobody needs."""
        for way in [way for way, each in self.destinations.items() if each.forgettable]:
            del self.destinations[way]
        kept = {id(each.peer) for each in self.destinations.values()}
        self._shaper.tidy(lambda peer: id(peer) in kept)

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

    def counts(self) -> dict[str, int]:
        """How many destinations have mail in memory, wait for the end of a pause, and for their rate."""
        busy = [each for each in self._shaper.peers if each.waiting or each.active]
        return {
            "busy": len(busy),
            "paused": sum(bool(each.pause.left) for each in self._shaper.peers),
            "at_rate": sum(bool(each.rate_wait) for each in busy),
        }

    # Room in memory.

    def crowded(self, destination: Destination, lane: int) -> float:
        """Seconds for which a message for this destination had better wait on the disk; 0 when memory is the place.

        Memory is for what can go soon: what waits for slow or dead hosts, or for a rate, has a part of it only.
        """
        peer = destination.peer
        rate = peer.limit.rate
        if (
            rate
            and peer.waiting >= max(_LEAST_IN_LINE, rate * _RATE_AHEAD)
            and destination.waiting_for(lane) >= _FEW_IN_LINE
        ):
            return min(peer.waiting / rate, _LONGEST_SHELF) * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
        if peer.doubtful and peer.waiting >= self._doubtful_share():
            return _SHELF * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
        return 0.0

    def _doubtful_share(self) -> int:
        """Messages in memory that each doubtful destination may have."""
        now = time.monotonic()
        if now - self._counted_at >= _COUNT_EVERY:
            self._counted_at = now
            count = sum(each.doubtful for each in self._shaper.peers if each.waiting)
            self._share = max(1, self._doubtful_room // max(count, 1))
        return self._share

    # Who gets a connection.

    def man(self, destination: Destination, lane: int | None = None) -> None:
        """Give a destination the workers that it can use now. lane: of what has come for it."""
        if not self.running or not destination.waiting:
            return
        if (trouble := destination.trouble) is not None:
            self._put_off(destination, trouble)
            return
        peer = destination.peer
        if (wait := peer.rate_wait) > 0:
            self._man_later(destination, wait)
            return
        most = peer.most
        if peer.standing is not Standing.PROVEN and 4 * self._unproven > self.config.delivery.max_connections:
            most = 1  # enough to find out
        wanted = min(destination.waiting, most) - destination.active
        for _ in range(wanted):
            if peer.active >= most:
                if destination not in peer.line:
                    peer.line.append(destination)
                return
            if not self._slot(peer.standing):
                self._queue(destination, destination.next_lane if lane is None else lane)
                return
            destination.active += 1
            peer.active += 1
            self.active += 1
            self._active[peer.standing] += 1
            limit = self.config.delivery.max_connections
            if not destination.idle and len(self._connections) >= limit:
                self._make_room(len(self._connections) - limit + 1)
            self._books.tasks.spawn(self._work(destination, peer.standing))

    @property
    def _unproven(self) -> int:
        return self._active[Standing.UNTRIED] + self._active[Standing.SUSPECT]

    def _slot(self, standing: Standing) -> bool:
        """Whether hosts of this standing may have a connection more."""
        most = self.config.delivery.max_connections
        if self.active >= most:
            return False
        if standing is Standing.PROVEN:
            return True
        if self._unproven >= max(1, most * 3 // 4):
            return False
        return standing is Standing.UNTRIED or self._active[standing] < max(1, most // 8)

    def _queue(self, destination: Destination, lane: int) -> None:
        """Have it wait for a connection, in the turn of the account that wants it."""
        owner = owner_of(lane)
        if owner not in destination.queued:
            destination.queued.add(owner)
            self._lines[destination.peer.standing].add((destination, owner), lane)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._hurry)

    def _next_in_line(self) -> None:
        for standing, line in self._lines.items():
            for _ in range(len(line)):
                if not self._slot(standing):
                    break
                found = line.take()
                if found is None:
                    break
                destination, owner = found
                destination.queued.discard(owner)
                self.man(destination)

    def _hurry(self) -> None:
        """Have those give up who have been silent for longest, as many as others wait."""
        self._look = None
        now = time.monotonic()
        for standing in (Standing.PROVEN, Standing.UNTRIED):
            wanted = len(self._lines[standing])
            if not wanted or self._slot(standing):
                continue
            silent = sorted(
                (attempt.opening_since, number, attempt)
                for number, (attempt, known) in enumerate(self._attempts.items())
                if attempt.opening_since is not None
                and not attempt.hurried
                and now - attempt.opening_since >= _PATIENCE[min(known, 1)]
                and (known is Standing.UNTRIED or standing is Standing.PROVEN)
            )
            for _, _, attempt in silent[:wanted]:
                attempt.hurry()
        self._next_in_line()
        if any(self._lines.values()) and self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._hurry)

    def _man_later(self, destination: Destination, seconds: float) -> None:
        if destination.timer is None:
            destination.timer = asyncio.get_running_loop().call_later(seconds, self._resume, destination)

    def _resume(self, destination: Destination) -> None:
        destination.timer = None
        self.man(destination)

    def _put_off(self, destination: Destination, trouble: Deferred) -> None:
        """Each would wait for the same timeouts in vain."""
        for job in destination.take_all():
            self._books.decided(job.message, dict.fromkeys(job.recipients, trouble), time.time())

    def _make_room(self, count: int) -> None:
        """Close kept connections of others, so that open ones stay within the limit."""
        for destination in self.destinations.values():
            if count <= 0:
                return
            count -= destination.close_idle(count)

    # Workers.

    async def _work(self, destination: Destination, counted: Standing) -> None:
        """Send what waits for one destination, over one connection as long as it lasts.

        counted: as what it holds its connection.
        """
        peer = destination.peer
        session: Session | None = None
        sent, began = 0, time.monotonic()
        try:
            session = destination.kept()
            while self.running and not peer.rate_wait and (job := destination.take()) is not None:
                peer.sends()
                session = await self._attempt(destination, job, session or destination.kept(), counted)
                if peer.standing is Standing.PROVEN and counted is not Standing.PROVEN:
                    self._active[counted] -= 1
                    counted = Standing.PROVEN
                    self._active[counted] += 1
                sent += 1
                if self._pressure.high:
                    await asyncio.sleep(_REST)
                turn_over = sent >= _TURN or time.monotonic() - began > _TURN_SECONDS
                if (turn_over and (peer.line or any(self._lines.values()))) or peer.active > peer.most:
                    break
        finally:
            destination.active -= 1
            peer.active -= 1
            self.active -= 1
            self._active[counted] -= 1
            if session is not None:
                if self.running:
                    destination.keep(session)
                else:
                    session.connection.quit()
            if self.running:
                self._hand_over(destination)

    def _hand_over(self, destination: Destination) -> None:
        """A connection is free: others first, who have waited."""
        peer = destination.peer
        for _ in range(len(peer.line)):
            self.man(peer.line.popleft())
        if destination.waiting:
            if any(self._lines.values()) and not destination.trouble and not peer.rate_wait:
                self._queue(destination, destination.next_lane)
            else:
                self.man(destination)
        self._next_in_line()

    async def _attempt(
        self, destination: Destination, job: Job, session: Session | None, counted: Standing
    ) -> Session | None:
        started = time.time()
        attempt = Attempt(self.opener, destination, job)
        self._attempts[attempt] = counted
        try:
            result = await attempt.run(session)
        except Exception as error:
            self._books.fault(job.message, job.recipients, error)
            return None
        finally:
            del self._attempts[attempt]
        if result.dead is None:
            destination.worked()
        elif self._returned(destination, job, result, hurried=attempt.hurried):
            return result.session
        own = not any(target.upstream for _, target in destination.way.choices)
        self._local.learn(job.message, result.outcomes, by_own_host=own)
        await self._books.conclude(job.message, result.outcomes, started)
        self._learn(destination, result.outcomes)
        self.man(destination)
        return result.session

    def _learn(self, destination: Destination, outcomes: Mapping[int, Outcome]) -> None:
        """What the hosts said about themselves: how many connections they can bear."""
        trouble = next((each for each in outcomes.values() if isinstance(each, Deferred)), None)
        if trouble is None:
            return
        destination.note_error(f"{trouble.host}: {trouble.text}" if trouble.host else trouble.text)
        if trouble.scope is Scope.ELSEWHERE and not trouble.again and not is_greylisting(trouble):
            destination.peer.shrinks(destination.peer.window // 2)

    def _returned(self, destination: Destination, job: Job, result: Result, *, hurried: bool) -> bool:
        """No host took anything. Whether the job goes back into line, because other connections do work."""
        assert result.dead is not None
        peer: Peer = destination.peer
        if (peer.active > 1 or destination.idle) and job.returned < _MOST_RETURNS and not hurried:
            peer.shrinks(peer.active - 1)
            destination.put_back(job)
            return True
        delivery = self.config.delivery
        destination.block(result.dead, delivery.retry_first, delivery.retry_max)
        self._put_off(destination, result.dead)
        return False
