# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries mail on: from the hand of the submission side or from the queue, to its destinations and back."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import Counter, deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

from relay_agent.config.schema import Config
from relay_agent.delivery.attempt import Attempt, Result
from relay_agent.delivery.calling import Call, OpenCalls, site_route
from relay_agent.delivery.client import Connection, Timeouts
from relay_agent.delivery.destination import Destination, Job, Session
from relay_agent.delivery.hand import FAULT, Hand
from relay_agent.delivery.loader import Loader
from relay_agent.delivery.local import Local, Nobody
from relay_agent.delivery.outcome import Deferred, Outcome
from relay_agent.delivery.pressure import Pressure
from relay_agent.delivery.recorder import Recorder
from relay_agent.delivery.reply import printable
from relay_agent.delivery.resolve import Resolver, UnresolvedError
from relay_agent.delivery.route import Router, Way
from relay_agent.delivery.session import Opener
from relay_agent.delivery.tls.outward import OutwardTls
from relay_agent.delivery.tls.policy import RELAXED
from relay_agent.delivery.transaction import MAX_RECIPIENTS, ContentError
from relay_agent.dkim.signer import Signer
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Envelope, Message, QueueStore, Recipient

__all__ = ["Dispatcher"]

_MOST_IN_HAND = 2000  # messages in memory; further ones wait in the queue
_MOST_LOOKUPS = 100  # domains asked for at once
_TURN = 50  # messages that a worker sends in a row while other destinations wait for a connection
_MOST_RETURNS = 3  # times that a job goes back into line when one of several connections is refused
_BLOCK = 30.0  # seconds that a destination is left alone at most, when none of its hosts took anything
_FORGET_EVERY = 60.0
_REST = 0.1  # seconds between two messages on a connection while taking mail comes first


class Dispatcher:
    """The delivery side of one worker process.

    Messages go straight from `submit` to a destination's line, where workers (tasks, each with one connection)
    take them; outcomes go to the queue through a recorder. What does not fit into memory, or is deferred, comes
    back through the loader when it is due. Everything but `start` and `stop` returns at once and never raises
    for what a message or a remote host does.
    """

    def __init__(
        self,
        config: Config,
        store: QueueStore,
        log: EventLog,
        *,
        most_in_hand: int = _MOST_IN_HAND,
        timeouts: Timeouts | None = None,
        signer: Signer | None = None,
        local: Local | None = None,
    ) -> None:
        self._config = config
        self._local = local or Nobody()
        self._log = log
        self._timeouts = timeouts or Timeouts()
        self._signer = signer
        self._hands: dict[str, Hand] = {}
        self._destinations: dict[Way, Destination] = {}
        self._line: deque[Destination] = deque()  # destinations that wait for a connection to be free
        self._asking: dict[str, list[tuple[Message, dict[int, Recipient]]]] = {}  # by domain, until DNS answers
        self._tasks: set[asyncio.Task[Any]] = set()
        self._connections: set[Connection] = set()
        self._active = 0
        self._running = False
        self._lookups = asyncio.Semaphore(_MOST_LOOKUPS)
        self._recorder = Recorder(store, log)
        self._store = store
        self._most_in_hand = most_in_hand
        self._background: list[asyncio.Task[None]] = []
        self._retired: list[Resolver | OutwardTls] = []
        self._pressure = Pressure()

    # What the rest of the agent calls.

    async def start(self) -> None:
        """Begin, with what is due in the queue."""
        self._use(self._config)
        self._tls.start()
        self._hands.clear()  # what an earlier stop cut off is in the queue
        self._destinations.clear()
        self._asking.clear()
        self._line.clear()
        self._retired.clear()
        self._loader = Loader(self._store, self._log, self._hands, self._take, self._most_in_hand)
        self._running = True
        loop = asyncio.get_running_loop()
        self._background = [loop.create_task(self._loader.run()), loop.create_task(self._forget())]
        self._spawn(self._route_anew())

    def submit(self, message: Message) -> None:
        """Deliver a message that the queue has just stored. Without room for it, it waits in the queue."""
        self._pressure.accepted()
        if not self._running or message.queue_id in self._hands or self._loader.was_finished(message.queue_id):
            return
        due = min((each.next_attempt for each in message.recipients.values()), default=0.0)
        if due > time.time():  # the sender has it held (RFC 4865)
            self._loader.expect(due)
            return
        if self._loader.full:
            self._loader.left_behind()
            return
        self._take(message)

    def wake(self) -> None:
        """Look into the queue now and forget earlier troubles of hosts (the operator asked for a retry)."""
        self._router.forget()
        for destination in self._destinations.values():
            destination.unblock()
        self._loader.wake()

    def forget(self, queue_ids: Sequence[str]) -> None:
        """Do not begin deliveries of these messages (the operator held or deleted them)."""
        ids = frozenset(queue_ids)
        dropped = [job for destination in self._destinations.values() for job in destination.drop(ids)]
        for domain, waiting in self._asking.items():
            dropped += [Job(message, recipients) for message, recipients in waiting if message.queue_id in ids]
            self._asking[domain] = [each for each in waiting if each[0].queue_id not in ids]
        for job in dropped:
            self._release(job.message.queue_id, job.recipients)
        if dropped:
            self._loader.wake()  # for their other recipients, if not all were meant

    def in_hand(self, queue_ids: Iterable[str]) -> set[str]:
        """Those of the messages that are being delivered now."""
        return self._hands.keys() & set(queue_ids)

    # What waits for its site to call in.

    async def called(self, call: Call) -> int:
        """A site has called by ETRN: send what waits for it. Returns how many messages that are."""
        self._calls.open(call)
        found = await self._awaiting(call)
        for domain in {domain for _, domain in found}:
            way = self._router.known(domain)
            if way is not None and way in self._destinations:
                self._destinations[way].unblock()
        queue_ids = list(dict.fromkeys(queue_id for queue_id, _ in found))
        if queue_ids:
            await self._store.retry(queue_ids)
            self._loader.wake()
        return len(queue_ids)

    async def awaiting(self, call: Call) -> list[str]:
        """The messages that wait for this call, by queue id."""
        return list(dict.fromkeys(queue_id for queue_id, _ in await self._awaiting(call)))

    async def _awaiting(self, call: Call) -> list[tuple[str, str]]:
        config = self._config
        return await self._store.awaiting(lambda domain: call.covers(config, domain))

    async def sites(self) -> dict[str, int]:
        """For the status: how many messages wait for the site of each domain."""
        if not self._calls.any_sites:
            return {}
        return dict(Counter(domain for _, domain in await self._store.awaiting(lambda _: True)))

    def reserve(self, queue_id: str) -> bool:
        """Keep a message out of everybody else's hands until `take_reserved`; False when it is in some."""
        if not self._running or queue_id in self._hands:
            return False
        self._hands[queue_id] = Hand(Message(queue_id, Envelope(""), {}, MemoryBody(b""), 0.0, 0.0))
        return True

    def take_reserved(self, queue_id: str, message: Message | None) -> None:
        """Have a reserved message in hand with these recipients, whose outcomes `conclude` or `fault` takes; or None:
        let go of it."""
        if message is None:
            self._release(queue_id, ())
            return
        self._hands[queue_id] = Hand(message)
        self._loader.begun(message)

    async def conclude(self, message: Message, outcomes: Mapping[int, Outcome], started: float) -> None:
        """What became of recipients of a message that `take_reserved` took."""
        await self._conclude(message, outcomes, started)

    def fault(self, message: Message, error: Exception) -> None:
        """A fault of our own while a message was in hand that `take_reserved` took."""
        self._fault(message, message.recipients, error)

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that `stop` waits for."""
        return self._spawn(work)

    @property
    def config(self) -> Config:
        """What it goes by."""
        return self._config

    @property
    def running(self) -> bool:
        """Whether anything more may be begun."""
        return self._running

    @property
    def timeouts(self) -> Timeouts:
        """How long servers are waited for."""
        return self._timeouts

    async def _route_anew(self) -> None:
        """What waited for a site that has no such route any more goes the way that it has now."""
        config = self._config
        moved = await self._store.awaiting(lambda domain: site_route(config.route, domain) is None)
        if moved:
            await self._store.retry(list(dict.fromkeys(queue_id for queue_id, _ in moved)))
            self._loader.wake()

    def reconfigure(self, config: Config) -> None:
        """Go on with another configuration; mail in line is routed anew, attempts under way end as they began."""
        old = self._tls, self._resolver
        self._config = config
        if not self._running:
            return
        self._use(config)
        self._tls.start()
        self._retired.extend(old)  # look-ups that are under way still have their answers to come
        jobs = []
        for destination in self._destinations.values():
            jobs += destination.take_all()
            destination.close_idle()
            destination.unblock()
        for job in jobs:
            self._send_on(job.message, job.recipients)

    async def stop(self, grace: float) -> None:
        """Begin nothing more, give attempts under way `grace` seconds to end, put their outcomes on the disk.

        What is cut off then is still in the queue, and tried again after the next start.
        """
        self._running = False
        self._pressure.stop()
        for task in self._background:
            task.cancel()
        for destination in self._destinations.values():
            destination.take_all()
            destination.close_idle()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        if self._tasks:
            self._log.event("attempts_cut", level="warning", count=len(self._tasks))
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        lost = await self._recorder.close(max(grace, 1.0))
        if lost:
            self._log.event("outcomes_lost", level="error", count=lost)
        for destination in self._destinations.values():
            destination.close_idle()
        await self._close_connections()
        for each in (*self._retired, self._tls, self._resolver):
            await each.close()

    def snapshot(self) -> dict[str, Any]:
        """For the status: what is in hand and how each destination fares. Times in seconds."""
        shown = [each for each in self._destinations.values() if not each.forgettable]
        return {
            "in_hand": len(self._hands),
            "connections": self._active + sum(each.idle for each in shown),
            "looking_up": len(self._asking),
            "not_recorded": self._recorder.pending,
            "destinations": [
                each.snapshot() for each in sorted(shown, key=lambda each: (-each.waiting, each.way.name))
            ],
        }

    # From a message to a destination's line.

    def _use(self, config: Config) -> None:
        delivery = config.delivery
        self._resolver = Resolver(delivery.resolvers, config.hostname)
        self._calls = OpenCalls(config)
        self._tls = OutwardTls(config, self._resolver, self._log, self._store_and_submit)
        self._router = Router(config, self._resolver, self._tls)
        self._opener = Opener(
            own_name=config.hostname,
            resolver=self._resolver,
            connect_timeout=delivery.connect_timeout,
            log=self._log,
            timeouts=self._timeouts,
            note=self._note,
            tls=self._tls,
        )

    async def _store_and_submit(self, message: Message) -> None:
        await self._store.store(message)
        self.submit(message)

    def _take(self, message: Message) -> None:
        if not self._running or not message.recipients:
            return
        self._hands[message.queue_id] = Hand(message)
        self._loader.begun(message)
        self._send_on(message, message.recipients)

    def _send_on(self, message: Message, recipients: Mapping[int, Recipient]) -> None:
        """Put recipients into their destinations' lines, asking DNS first where the way is not known."""
        held = self._calls.held(message, recipients.items())
        if held:
            self._spawn(self._conclude(message, held, time.time()))
        domains: dict[str, dict[int, Recipient]] = {}
        here: dict[int, Recipient] = {}
        for number, recipient in recipients.items():
            if self._local.takes(recipient.address):
                here[number] = recipient
            elif number not in held:
                domains.setdefault(recipient.domain, {})[number] = recipient
        if here:
            self._spawn(self._take_here(message, here))
        for domain, group in domains.items():
            if domain in self._asking:
                self._asking[domain].append((message, group))
                continue
            try:
                way = self._router.known(domain)
            except Exception as error:
                self._fault(message, group, error)
                continue
            if way is not None:
                self._enqueue(way, message, group)
            else:
                self._asking[domain] = [(message, group)]
                self._spawn(self._ask(domain))

    async def _take_here(self, message: Message, recipients: Mapping[int, Recipient]) -> None:
        """Mail that ends in this agent."""
        started = time.time()
        try:
            outcome = await self._local.take(message)
        except Exception as error:
            self._fault(message, recipients, error)
            return
        await self._conclude(message, dict.fromkeys(recipients, outcome), started)

    async def _ask(self, domain: str) -> None:
        way: Way | None = None
        outcome: Outcome | None = None
        fault: Exception | None = None
        started = time.time()
        try:
            async with self._lookups:
                way = await self._router.find(domain)
        except UnresolvedError as error:
            outcome = error.outcome
        except Exception as error:
            fault = error
        for message, recipients in self._asking.pop(domain):
            if way is not None:
                self._enqueue(way, message, recipients)
            elif outcome is not None:
                self._spawn(self._conclude(message, dict.fromkeys(recipients, outcome), started))
            elif fault is not None:
                self._fault(message, recipients, fault)

    def _enqueue(self, way: Way, message: Message, recipients: Mapping[int, Recipient]) -> None:
        if not self._running:
            return
        if RELAXED in message.envelope.options:
            way = way.relaxed()
        destination = self._destinations.get(way)
        if destination is None:
            destination = self._destinations[way] = Destination(way)
        if destination.trouble is not None and destination.blocked_for:
            outcomes = dict.fromkeys(recipients, destination.trouble)
            self._spawn(self._conclude(message, outcomes, time.time()))
            return
        destination.add(message, recipients, most=MAX_RECIPIENTS)
        self._man(destination)

    # Workers.

    def _man(self, destination: Destination) -> None:
        """Give a destination the workers that it can use now."""
        delivery = self._config.delivery
        most = min(destination.window, delivery.max_connections_per_destination)
        wanted = min(destination.waiting, most) - destination.active
        for _ in range(wanted):
            if self._active >= delivery.max_connections:
                if not destination.queued:
                    destination.queued = True
                    self._line.append(destination)
                return
            destination.active += 1
            self._active += 1
            if not destination.idle and len(self._connections) >= delivery.max_connections:
                self._make_room(len(self._connections) - delivery.max_connections + 1)
            self._spawn(self._work(destination))

    def _make_room(self, count: int) -> None:
        """Close kept connections of others, so that open ones stay within the limit."""
        for destination in self._destinations.values():
            if count <= 0:
                return
            count -= destination.close_idle(count)

    async def _work(self, destination: Destination) -> None:
        """Send what waits for one destination, over one connection as long as it lasts."""
        session: Session | None = None
        sent = 0
        try:
            session = destination.kept()
            while self._running and (job := destination.take()) is not None:
                session = await self._attempt(destination, job, session)
                sent += 1
                if self._pressure.high:
                    await asyncio.sleep(_REST)
                if (self._line and sent >= _TURN) or destination.active > destination.window:
                    break
        finally:
            destination.active -= 1
            self._active -= 1
            if session is not None:
                if self._running:
                    destination.keep(session)
                else:
                    session.connection.quit()
            if self._running:
                if destination.waiting and not destination.queued:
                    destination.queued = True
                    self._line.append(destination)
                self._next_in_line()

    def _next_in_line(self) -> None:
        for _ in range(len(self._line)):
            if self._active >= self._config.delivery.max_connections:
                return
            destination = self._line.popleft()
            destination.queued = False
            self._man(destination)

    async def _attempt(self, destination: Destination, job: Job, session: Session | None) -> Session | None:
        started = time.time()
        limit = self._config.delivery.max_connections_per_destination
        try:
            result = await Attempt(self._opener, destination, job, limit=limit).run(session)
        except Exception as error:
            self._fault(job.message, job.recipients, error)
            return None
        if result.dead is not None and self._returned(destination, job, result):
            return result.session
        own = not any(target.upstream for _, target in destination.way.choices)
        self._local.learn(job.message, result.outcomes, by_own_host=own)
        await self._conclude(job.message, result.outcomes, started)
        for outcome in result.outcomes.values():
            if isinstance(outcome, Deferred):
                destination.note_error(f"{outcome.host}: {outcome.text}" if outcome.host else outcome.text)
                break
        self._man(destination)
        return result.session

    def _returned(self, destination: Destination, job: Job, result: Result) -> bool:
        """No host took anything. Whether the job goes back into line, because other connections do work."""
        assert result.dead is not None
        if destination.active > 1 and job.returned < _MOST_RETURNS:
            destination.window = max(1, destination.active - 1)
            destination.put_back(job)
            return True
        delivery = self._config.delivery
        destination.block(result.dead, min(_BLOCK, delivery.retry_first / 2))
        for other in destination.take_all():
            # Each would wait for the same timeouts in vain.
            outcomes = dict.fromkeys(other.recipients, result.dead)
            self._spawn(self._conclude(other.message, outcomes, time.time()))
        return False

    # Outcomes.

    async def _conclude(self, message: Message, outcomes: Mapping[int, Outcome], started: float) -> None:
        hand = self._hands.get(message.queue_id)
        if hand is None:
            return
        try:
            updates = hand.decide(outcomes, self._config, self._log, started)
            news = await hand.notices(self._config, self._log)
            if not hand.undecided:
                more, bounces = await hand.failures(self._config, self._log)
                updates += more
                news += bounces
            if self._signer is not None:
                for each in news:
                    each.body = await self._signer.signed(each.body, each.queue_id)
        except Exception as error:
            # The queue still has these recipients as due; the loader's next round brings them back.
            self._log_fault(message.queue_id, error)
            self._release(message.queue_id, outcomes)
            return
        if not updates:
            return

        def recorded() -> None:
            self._release(message.queue_id, [update.number for update in updates])
            due = min((each.recipient.next_attempt for each in updates if each.recipient is not None), default=None)
            if due is not None:
                self._loader.expect(due)
            for each in news:
                self.submit(each)

        self._recorder.put(updates, news, recorded)

    def _release(self, queue_id: str, numbers: Iterable[int]) -> None:
        """These recipients need memory no more; with the last one the message leaves."""
        hand = self._hands.get(queue_id)
        if hand is None:
            return
        hand.undecided.difference_update(numbers)
        hand.unrecorded.difference_update(numbers)
        if not hand.unrecorded:
            del self._hands[queue_id]
            self._loader.finished(hand.message)

    def _fault(self, message: Message, recipients: Mapping[int, Recipient], error: Exception) -> None:
        """A fault of our own: this message waits (a second time: is held), the others go on."""
        self._log_fault(message.queue_id, error)
        what = "its content cannot be read" if isinstance(error, ContentError) else "internal error"
        outcome = Deferred(FAULT, printable(f"{what}: {type(error).__name__}: {error}", 300), fault=True)
        self._spawn(self._conclude(message, dict.fromkeys(recipients, outcome), time.time()))

    def _log_fault(self, queue_id: str | None, error: BaseException) -> None:
        self._log.event(
            "delivery_fault",
            level="error",
            queue_id=queue_id,
            error=f"{type(error).__name__}: {error}",
            traceback="".join(traceback.format_exception(error)),
        )

    # Housekeeping.

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log_fault(None, error)

    def _note(self, connection: Connection) -> None:
        self._connections.add(connection)
        connection.on_close = self._connections.discard

    async def _forget(self) -> None:
        """Let go of what nobody needs, once in a while."""
        while True:
            retired = list(self._retired)
            await asyncio.sleep(_FORGET_EVERY)
            for resolver in retired:
                self._retired.remove(resolver)
                await resolver.close()
            for way in [way for way, each in self._destinations.items() if each.forgettable and not each.queued]:
                del self._destinations[way]

    async def _close_connections(self) -> None:
        waiting = [asyncio.ensure_future(each.wait_closed()) for each in self._connections]
        if waiting:
            await asyncio.wait(waiting, timeout=1.0)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(*waiting)
