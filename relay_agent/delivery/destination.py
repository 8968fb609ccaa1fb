# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for one destination, how many connections it gets, and how its hosts have behaved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from relay_agent.delivery.client import Connection
from relay_agent.delivery.line import FairLine
from relay_agent.delivery.outcome import Deferred
from relay_agent.delivery.route import Target, Way
from relay_agent.delivery.routing.health import Health
from relay_agent.delivery.shaping import Limit, Pause, Peer, is_about_tls, pause_for
from relay_agent.queue.lanes import lane_of
from relay_agent.queue.model import Message, Recipient

__all__ = ["Destination", "Job", "Session"]

_IDLE_FOR = 2.0  # seconds that a connection is kept when there is nothing more for it
_SHOWN_FOR = 600.0  # seconds that the last error of a destination stays visible in the status
_SIZE_OF_A_TURN = 262_144.0  # octets of content that count as one recipient more
_MOST_CONNECTIONS = 10


@dataclass(slots=True)
class Job:
    """Recipients of one message that go the same way. `returned`: how often it was put back."""

    message: Message
    recipients: dict[int, Recipient]
    returned: int = 0
    lane: int = 0

    @property
    def cost(self) -> float:
        """What it takes of its account's turn."""
        return len(self.recipients) + self.message.body.size / _SIZE_OF_A_TURN


@dataclass(slots=True, eq=False)
class Session:
    """An open connection and the target it leads to."""

    target: Target
    connection: Connection
    opened: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Destination:
    """One way and all that goes along it. Times are of the monotonic clock unless said otherwise."""

    way: Way
    peer: Peer = field(default_factory=lambda: Peer(Limit(_MOST_CONNECTIONS)))
    health: Health = field(default_factory=Health)  # of all hosts, this way's among them
    active: int = 0  # workers
    queued: set[int] = field(default_factory=set)  # accounts for which it stands in line for a free connection
    timer: asyncio.TimerHandle | None = None  # runs until the rate allows the next message
    own_pause: Pause = field(default_factory=Pause)  # for what the hosts do not give this way, but may give others
    last_error: str = ""
    last_error_at: float = 0.0
    _jobs: FairLine[Job] = field(default_factory=FairLine)
    _by_message: dict[str, Job] = field(default_factory=dict)
    _idle: dict[Session, asyncio.TimerHandle] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Jobs not begun."""
        return len(self._jobs)

    @property
    def idle(self) -> int:
        """Connections kept open with nothing to do."""
        return len(self._idle)

    def add(self, message: Message, recipients: Mapping[int, Recipient], *, most: int) -> None:
        """Put recipients in line, into the transaction of the same message if one waits; `most` to each."""
        job = self._by_message.get(message.queue_id)
        for number, recipient in recipients.items():
            if job is None or len(job.recipients) >= most:
                if job is None:
                    self.peer.wanted_since = self.peer.wanted_since or time.monotonic()
                job = Job(message, {}, lane=lane_of(message.envelope))
                # It counts with all that it will most likely have.
                self._jobs.add(job, job.lane, min(len(recipients), most) + message.body.size / _SIZE_OF_A_TURN)
                self.peer.waiting += 1
                self._by_message[message.queue_id] = job
            job.recipients[number] = recipient

    def take(self) -> Job | None:
        """The next job, for a worker."""
        job = self._jobs.take()
        if job is None:
            return None
        self.peer.waiting -= 1
        if self._by_message.get(job.message.queue_id) is job:
            del self._by_message[job.message.queue_id]
        return job

    def put_back(self, job: Job) -> None:
        """Let a job be the next one again."""
        job.returned += 1
        self.peer.waiting += 1
        self._jobs.put_back(job, job.lane, job.cost)

    def take_all(self) -> list[Job]:
        """All jobs that wait."""
        jobs = self._jobs.take_all()
        self.peer.waiting -= len(jobs)
        self._by_message.clear()
        return jobs

    def drop(self, queue_ids: frozenset[str]) -> list[Job]:
        """Take the waiting jobs of these messages out of the line."""
        dropped = self._jobs.drop(lambda job: job.message.queue_id in queue_ids)
        self.peer.waiting -= len(dropped)
        for job in dropped:
            self._by_message.pop(job.message.queue_id, None)
        return dropped

    def waiting_for(self, lane: int) -> int:
        """Jobs not begun of the account that has this lane."""
        return self._jobs.waiting_for(lane)

    @property
    def next_lane(self) -> int:
        """The lane of something that waits."""
        return self._jobs.next_lane

    # How the hosts behave.

    def ranked(self) -> list[tuple[int, Target]]:
        """Preferences and targets in the order to try them, those in trouble at the end (see `Health.order`)."""
        return self.health.order(self.way.in_order())

    def targets(self) -> list[Target]:
        """The targets in the order to try them."""
        return [target for _, target in self.ranked()]

    def note_trouble(self, target: Target, outcome: Deferred) -> None:
        """A host took nothing: the others come first for a while."""
        self.health.trouble(target, outcome)
        self.note_error(f"{target.label}: {outcome.text}")

    def note_error(self, text: str) -> None:
        """Keep what went wrong last, for the status."""
        self.last_error, self.last_error_at = text, time.time()

    def note_success(self, target: Target) -> None:
        """A host took a message."""
        self.health.success(target)
        self.peer.grows()

    def worked(self) -> None:
        """A host spoke to us to the end."""
        self.own_pause.end()
        self.peer.worked()

    def block(self, outcome: Deferred, first: float, longest: float) -> None:
        """Try nothing for a while: no host took anything. first, longest: seconds between attempts."""
        if is_about_tls(outcome):
            self.own_pause.begin(outcome, pause_for(self.own_pause.failures, first, longest))
        else:
            self.peer.failed(outcome, pause_for(self.peer.pause.failures, first, longest))

    def unblock(self) -> None:
        """Forget that no host took anything."""
        self.own_pause.end()
        self.peer.pause.end()

    @property
    def trouble(self) -> Deferred | None:
        """Why nothing is tried now; None when it is."""
        for pause in (self.peer.pause, self.own_pause):
            if pause.left:
                return pause.trouble
        return None

    @property
    def blocked_for(self) -> float:
        """Seconds for which nothing is tried; 0 when open."""
        return max(self.peer.pause.left, self.own_pause.left)

    # Connections between two jobs.

    def keep(self, session: Session) -> None:
        """Keep a connection for the next message, for a moment."""
        loop = asyncio.get_running_loop()
        self._idle[session] = loop.call_later(_IDLE_FOR, self._expire, session)

    def _expire(self, session: Session) -> None:
        if self._idle.pop(session, None) is not None:
            session.connection.quit()

    def kept(self) -> Session | None:
        """A kept connection that is still good, the newest."""
        while self._idle:
            session, timer = self._idle.popitem()
            timer.cancel()
            if session.connection.usable:
                return session
            session.connection.quit()
        return None

    def close_idle(self, count: int | None = None) -> int:
        """Close kept connections (`count` of them, or all); returns how many."""
        closed = 0
        while self._idle and (count is None or closed < count):
            session = next(iter(self._idle))
            self._idle.pop(session).cancel()
            session.connection.quit()
            closed += 1
        return closed

    @property
    def forgettable(self) -> bool:
        """Whether nothing is lost when this object goes."""
        if self.active or self._jobs or self._idle or self.blocked_for or self.queued:
            return False
        return not self.last_error or time.time() - self.last_error_at > _SHOWN_FOR

    def snapshot(self) -> dict[str, object]:
        """For the status: counts, and what went wrong last. Times in seconds."""
        return {
            "name": self.way.name,
            "hosts": [target.label for _, target in self.way.choices],
            "active": self.active,
            "idle": self.idle,
            "waiting": self.waiting,
            "standing": self.peer.standing.name.lower(),
            "window": self.peer.most,
            "messages_per_minute": round(self.peer.limit.rate * 60, 1) or None,
            "rate_wait": round(self.peer.rate_wait, 1),
            "blocked_for": round(self.blocked_for, 1),
            "last_error": self.last_error or None,
            "last_error_at": self.last_error_at or None,
        }
