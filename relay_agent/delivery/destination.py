# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for one destination, how many connections it gets, and how its hosts have behaved."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from relay_agent.delivery.client import Connection
from relay_agent.delivery.outcome import Deferred
from relay_agent.delivery.route import Target, Way
from relay_agent.delivery.routing.health import Health
from relay_agent.queue.model import Message, Recipient

__all__ = ["Destination", "Job", "Session"]

_IDLE_FOR = 2.0  # seconds that a connection is kept when there is nothing more for it
_SHOWN_FOR = 600.0  # seconds that the last error of a destination stays visible in the status
_FIRST_WINDOW = 2  # connections at once to a destination that has yet to prove itself


@dataclass(slots=True)
class Job:
    """Recipients of one message that go the same way. `returned`: how often it was put back."""

    message: Message
    recipients: dict[int, Recipient]
    returned: int = 0


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
    health: Health = field(default_factory=Health)  # of all hosts, this way's among them
    active: int = 0  # workers
    window: int = _FIRST_WINDOW  # workers that it may have; grows on success, shrinks on trouble
    queued: bool = False  # stands in the dispatcher's line for a free connection
    trouble: Deferred | None = None  # why nothing is tried until `blocked_until`
    blocked_until: float = 0.0
    last_error: str = ""
    last_error_at: float = 0.0
    _jobs: deque[Job] = field(default_factory=deque)
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
                job = Job(message, {})
                self._jobs.append(job)
                self._by_message[message.queue_id] = job
            job.recipients[number] = recipient

    def take(self) -> Job | None:
        """The next job, for a worker."""
        if not self._jobs:
            return None
        return self._taken(self._jobs.popleft())

    def _taken(self, job: Job) -> Job:
        if self._by_message.get(job.message.queue_id) is job:
            del self._by_message[job.message.queue_id]
        return job

    def put_back(self, job: Job) -> None:
        """Let a job be the next one again."""
        job.returned += 1
        self._jobs.appendleft(job)

    def take_all(self) -> list[Job]:
        """All jobs that wait."""
        jobs = list(self._jobs)
        self._jobs.clear()
        self._by_message.clear()
        return jobs

    def drop(self, queue_ids: frozenset[str]) -> list[Job]:
        """Take the waiting jobs of these messages out of the line."""
        dropped = [job for job in self._jobs if job.message.queue_id in queue_ids]
        if dropped:
            self._jobs = deque(job for job in self._jobs if job.message.queue_id not in queue_ids)
            for queue_id in queue_ids:
                self._by_message.pop(queue_id, None)
        return dropped

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

    def note_success(self, target: Target, limit: int) -> None:
        """A host took a message: one connection more next time, up to the limit."""
        self.health.success(target)
        self.window = min(self.window + 1, limit)

    def block(self, outcome: Deferred, seconds: float) -> None:
        """Try nothing for a while: no host took anything."""
        self.trouble = outcome
        self.blocked_until = time.monotonic() + seconds
        self.window = 1

    def unblock(self) -> None:
        """Forget that no host took anything."""
        self.trouble, self.blocked_until = None, 0.0

    @property
    def blocked_for(self) -> float:
        """Seconds for which nothing is tried; 0 when open."""
        return max(self.blocked_until - time.monotonic(), 0.0) if self.trouble is not None else 0.0

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
        if self.active or self._jobs or self._idle or self.blocked_for:
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
            "blocked_for": round(self.blocked_for, 1),
            "last_error": self.last_error or None,
            "last_error_at": self.last_error_at or None,
        }
