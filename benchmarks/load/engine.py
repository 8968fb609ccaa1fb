# SPDX-License-Identifier: GPL-3.0-or-later
"""One process of the load generator: an epoll loop that carries the dialogues of many sessions."""

from __future__ import annotations

import random
import select
import socket
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.load.dialogue import HOLD, START_TLS, WAIT, Dialogue, RefusedError, ReplyReader, Script, Step
from benchmarks.load.latency import Latencies
from benchmarks.load.plan import Plan

__all__ = ["Outcome", "hold", "run"]

_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT
_BLOCK = 262_144
_MAX_FAILURES = 1000  # a relay that refuses everything is not asked a million times
_AFTER_FAILURE = 0.02  # seconds before the place of a failed session is used again


@dataclass
class Outcome:
    """What became of a load; times are `time.monotonic()`.

    accepted: from MAIL to the 250 after the content. whole: from the moment the message was there to be
    sent (its scheduled time in a load of a fixed rate, otherwise the beginning of its connection).
    """

    began: float = 0.0
    ended: float = 0.0
    messages: int = 0
    connections: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    accepted: Latencies = field(default_factory=Latencies)
    whole: Latencies = field(default_factory=Latencies)
    late: int = 0
    cpu: float = 0.0

    def merge(self, other: Outcome) -> None:
        """Add another process's."""
        self.began = min(self.began or other.began, other.began)
        self.ended = max(self.ended, other.ended)
        self.messages += other.messages
        self.connections += other.connections
        self.failures += other.failures
        self.accepted.merge(other.accepted)
        self.whole.merge(other.whole)
        self.late += other.late
        self.cpu += other.cpu


def client_context() -> ssl.SSLContext:
    """TLS without checking the certificate: what is measured is the relay, on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Client:
    """One connection and the dialogue on it. As `Jobs` it belongs to the loop that made it."""

    __slots__ = (
        "_awaited",
        "_dialogue",
        "_loop",
        "_mask",
        "_out",
        "_reader",
        "_replies",
        "_socket",
        "_tls",
        "due",
        "has_job",
        "number",
        "silent",
    )

    def __init__(self, loop: _Loop, due: float) -> None:
        self._loop = loop
        self.due = due
        self.has_job = True
        self.silent = False  # waits for an order, not for the relay
        self._tls: ssl.SSLSocket | None = None
        self._reader = ReplyReader()
        self._replies: list[bytes] = []
        self._awaited = 1
        self._out: memoryview | None = None
        self._socket = socket.socket(socket.AF_INET6 if ":" in loop.plan.address else socket.AF_INET)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._dialogue: Dialogue = loop.begin_dialogue(self)
        first = next(self._dialogue)
        # The greeting makes the connection readable; without one, TLS needs to know when it is writable.
        self._mask = _WRITE if first is START_TLS else _READ
        self._socket.connect_ex((loop.plan.address, loop.plan.port))
        self.number = self._socket.fileno()  # stays the same when TLS takes the socket over
        loop.register(self, self._mask)

    # ---- as Jobs --------------------------------------------------------------------------------------

    def take(self) -> bool | None:
        due = self._loop.next_due()
        if due is None:
            return None if self._loop.expects_more() else False
        self.due = due
        self.has_job = True
        return True

    def done(self, began: float) -> None:
        now = time.monotonic()
        self.has_job = False
        self._loop.message_done(now, now - began, now - self.due)

    # ---- the connection -------------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """The socket can be read or written, or has failed."""
        try:
            if self._mask == _WRITE and self._tls is None:
                self._socket.send(b"")  # raises what connect met
                self._order(START_TLS)
            elif self._tls is not None and self._awaited < 0:
                self._shake_hands(self._tls)
            elif self._out is not None:
                if events & ~_WRITE:
                    self._read()
                if self._out is not None and events & _WRITE:
                    self._write()
            else:
                self._read()
        except StopIteration:
            self.close()
            self._loop.session_ended(self)
        except RefusedError as error:
            self.fail(str(error))
        except OSError as error:
            self.fail(f"connection: {error.strerror or error}")

    def go_on(self, due: float) -> None:
        """A message for a session that waits."""
        self.due = due
        self.has_job = True
        self.silent = False
        try:
            self._order(self._dialogue.send([]))
        except OSError as error:
            self.fail(f"connection: {error.strerror or error}")

    def close(self) -> None:
        self._loop.unregister(self)
        (self._tls or self._socket).close()

    def fail(self, reason: str) -> None:
        self.close()
        self._loop.session_failed(self, reason)

    def _order(self, step: Step) -> None:
        data, awaited = step
        self._awaited = awaited
        if awaited > 0:
            if data:
                self._out = memoryview(data)
                self._write()
        elif step is START_TLS:
            self._tls = self._loop.start_tls(self._socket)
            self._shake_hands(self._tls)
        elif step is WAIT or step is HOLD:
            self.silent = True
            self._loop.session_silent(self)

    def _shake_hands(self, tls: ssl.SSLSocket) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(_READ)
        except ssl.SSLWantWriteError:
            self._watch(_WRITE)
        else:
            self._watch(_READ)
            self._order(self._dialogue.send([]))

    def _read(self) -> None:
        connection = self._tls or self._socket
        try:
            data = connection.recv(65536)
            while self._tls is not None and self._tls.pending():
                data += self._tls.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        if not data:
            raise ConnectionResetError(0, "closed by the relay")
        replies = self._reader.feed(data)
        if self._replies:
            replies = self._replies + replies
        if self._awaited < 0 and replies:
            raise RefusedError("silence", replies[0])
        if len(replies) < self._awaited:
            self._replies = replies
            return
        self._replies = []
        self._out = None  # a reply before all was written (a refusal) ends the writing
        self._loop.keep_session(self._tls)
        self._order(self._dialogue.send(replies))

    def _write(self) -> None:
        out = self._out
        assert out is not None
        connection = self._tls or self._socket
        try:
            # A megabyte at a time, then the others have their turn.
            for _ in range(4 if self._tls is None else 64):
                out = out[connection.send(out[:_BLOCK]) :]
                if not out:
                    self._out = None
                    self._watch(_READ)
                    return
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        self._out = out
        self._watch(_READ | _WRITE)

    def _watch(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            self._loop.watch(self.number, mask)


class _Loop:
    """The sessions of one process, in closed loop (a client sends when it is free) or at a fixed rate."""

    def __init__(self, plan: Plan, *, holding: bool = False) -> None:
        plan.check()
        self.plan = plan
        self.outcome = Outcome()
        self._script = Script(plan, time.monotonic)
        self._holding = holding
        self._context = client_context()
        self._tls_session: ssl.SSLSession | None = None
        self._epoll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._waiting: deque[_Client] = deque()
        self._backlog: deque[float] = deque()
        self._pauses: deque[float] = deque()  # when the places of failed sessions are free again
        self._taken = 0
        self._end = 0.0
        self._stopped = False
        # Not for secrets: the same seed gives both relays the same arrivals.
        self._random = random.Random(plan.seed)
        self._next_arrival = float("inf")

    # ---- what clients ask for -------------------------------------------------------------------------

    def begin_dialogue(self, client: _Client) -> Dialogue:
        return self._script.holding() if self._holding else self._script.sending(client)

    def register(self, client: _Client, mask: int) -> None:
        self._clients[client.number] = client
        self._epoll.register(client.number, mask)
        self.outcome.connections += 1

    def watch(self, number: int, mask: int) -> None:
        self._epoll.modify(number, mask)

    def unregister(self, client: _Client) -> None:
        with suppress(OSError):  # closed already by a failed change to TLS
            self._epoll.unregister(client.number)
        del self._clients[client.number]

    def start_tls(self, plain: socket.socket) -> ssl.SSLSocket:
        session = self._tls_session if self.plan.resume else None
        return self._context.wrap_socket(plain, do_handshake_on_connect=False, session=session)

    def keep_session(self, tls: ssl.SSLSocket | None) -> None:
        if self.plan.resume and tls is not None and self._tls_session is None:
            self._tls_session = tls.session

    def next_due(self) -> float | None:
        """When the next message was due; None when there is none (now)."""
        if self.plan.rate:
            return self._backlog.popleft() if self._backlog else None
        now = time.monotonic()
        if self._stopped or self._taken >= self.plan.count or now >= self._end:
            return None
        self._taken += 1
        return now

    def expects_more(self) -> bool:
        return bool(self.plan.rate) and not self._stopped and self._next_arrival != float("inf")

    def message_done(self, now: float, accepted: float, whole: float) -> None:
        outcome = self.outcome
        outcome.messages += 1
        outcome.ended = now
        outcome.accepted.add(accepted)
        outcome.whole.add(whole)

    def session_silent(self, client: _Client) -> None:
        self._waiting.append(client)

    def session_ended(self, client: _Client) -> None:
        if (due := self.next_due()) is not None:
            _Client(self, due)

    def session_failed(self, client: _Client, reason: str) -> None:
        self.outcome.failures[reason] += 1
        if client.silent:
            self._waiting.remove(client)
        if self.outcome.failures.total() >= _MAX_FAILURES:
            self._stopped = True
            self._backlog.clear()
        self._pauses.append(time.monotonic() + _AFTER_FAILURE)

    # ---- the loop -------------------------------------------------------------------------------------

    def run(self, begin: float) -> Outcome:
        """Send; `begin` is when, on the monotonic clock that all processes share."""
        time.sleep(max(0.0, begin - time.monotonic()))
        self.outcome.began = self.outcome.ended = time.monotonic()
        self._end = self.outcome.began + self.plan.seconds
        processor = time.process_time()
        if self.plan.rate:
            self._next_arrival = self.outcome.began
            self._schedule()
        else:
            for _ in range(self.plan.clients):
                if (due := self.next_due()) is not None:
                    _Client(self, due)
        last = self._end + self.plan.grace
        while (self._clients or self._pauses or self._backlog or self.expects_more()) and time.monotonic() < last:
            self._turn()
            if self.plan.rate and not self.expects_more() and not self._backlog:
                self._dismiss()
        self._break_off()
        self.outcome.cpu = time.process_time() - processor
        return self.outcome

    def hold(self, ready: Callable[[Outcome], None], at_once: int = 50) -> Outcome:
        """Open all sessions, `at_once` at a time, call `ready`, then keep them for the plan's seconds."""
        self.outcome.began = time.monotonic()
        self._end = self.outcome.began + self.plan.seconds + self.plan.grace
        opening = self.outcome.began + self.plan.grace
        while len(self._waiting) < self.plan.clients and time.monotonic() < opening and not self._stopped:
            while len(self._clients) < min(self.plan.clients, len(self._waiting) + at_once):
                _Client(self, 0.0)
            self._turn()
        self.outcome.messages = len(self._waiting)
        self.outcome.ended = time.monotonic()
        ready(self.outcome)
        end = time.monotonic() + self.plan.seconds
        while time.monotonic() < end:
            self._turn()
        self.outcome.messages = len(self._waiting)
        for client in list(self._clients.values()):
            client.close()
        return self.outcome

    def _turn(self) -> None:
        now = time.monotonic()
        soonest = min(self._next_arrival, self._pauses[0] if self._pauses else float("inf"), now + 0.2)
        for number, events in self._epoll.poll(max(0.0, soonest - now), 512):
            client = self._clients.get(number)
            if client is not None:
                client.ready(events)
        if self.plan.rate:
            self._schedule()
        now = time.monotonic()
        while self._pauses and self._pauses[0] <= now:
            self._pauses.popleft()
            if not self._holding and (due := self.next_due()) is not None:
                _Client(self, due)

    def _schedule(self) -> None:
        """Put what is due by now into the hands of clients; what finds none waits, and its clock runs."""
        now = time.monotonic()
        while self._next_arrival <= now:
            if self._stopped or self._taken >= self.plan.count or self._next_arrival >= self._end:
                self._next_arrival = float("inf")
                break
            self._taken += 1
            self._backlog.append(self._next_arrival)
            self._next_arrival += self._random.expovariate(self.plan.rate)
        while self._backlog:
            if self._waiting:
                self._waiting.popleft().go_on(self._backlog.popleft())
            elif len(self._clients) + len(self._pauses) < self.plan.clients:
                _Client(self, self._backlog.popleft())
            else:
                break

    def _dismiss(self) -> None:
        """End the sessions that wait for more."""
        while self._waiting:
            self._waiting.popleft().close()

    def _break_off(self) -> None:
        for client in list(self._clients.values()):
            if client.has_job:
                self.outcome.failures["not done in time"] += 1
            client.close()
        if self._backlog:
            self.outcome.failures["not begun in time"] += len(self._backlog)
        self.outcome.late = len(self._backlog)
        self._epoll.close()


def run(plan: Plan, begin: float) -> Outcome:
    """Send the plan's load from this process."""
    return _Loop(plan).run(begin)


def hold(plan: Plan, ready: Callable[[Outcome], None]) -> Outcome:
    """Open `plan.clients` sessions, tell `ready`, and keep them for `plan.seconds`, silent."""
    return _Loop(plan, holding=True).hold(ready)
