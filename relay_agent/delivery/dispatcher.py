# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries mail on: from the hand of the submission side or from the queue, to its destinations and back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

from relay_agent.config.schema import Config
from relay_agent.delivery.books import Books
from relay_agent.delivery.calling import Call, OpenCalls, site_route
from relay_agent.delivery.client import Timeouts
from relay_agent.delivery.destination import Job
from relay_agent.delivery.hand import Hand
from relay_agent.delivery.loader import Loader
from relay_agent.delivery.local import Local, Nobody
from relay_agent.delivery.outcome import Deferred, Outcome
from relay_agent.delivery.pressure import Pressure
from relay_agent.delivery.resolve import Resolver, UnresolvedError
from relay_agent.delivery.route import Plan, Router, Target, Way
from relay_agent.delivery.routing.health import Health
from relay_agent.delivery.routing.match import uses_mx
from relay_agent.delivery.routing.own import own_addresses
from relay_agent.delivery.routing.port25 import Port25
from relay_agent.delivery.session import Opener
from relay_agent.delivery.sign_in.tokens import TokenKeeper
from relay_agent.delivery.tls.outward import OutwardTls
from relay_agent.delivery.tls.policy import RELAXED
from relay_agent.delivery.transaction import MAX_RECIPIENTS
from relay_agent.delivery.workers import Workers
from relay_agent.dkim.signer import Signer
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.lanes import lane_of
from relay_agent.queue.model import Envelope, Message, QueueStore, Recipient

__all__ = ["Dispatcher"]

_MOST_IN_HAND = 2000  # messages in memory; further ones wait in the queue
_MOST_LOOKUPS = 100  # domains asked for at once
_FORGET_EVERY = 60.0
_SETTLES_WITHIN = 1.0  # seconds, for outcomes that are on their way to the disk


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
        self._asking: dict[Plan, list[tuple[Message, dict[int, Recipient]]]] = {}  # until DNS answers
        self._running = False
        self._lookups = asyncio.Semaphore(_MOST_LOOKUPS)
        self._store = store
        self._most_in_hand = most_in_hand
        self._background: list[asyncio.Task[None]] = []
        self._retired: list[Resolver | OutwardTls | TokenKeeper] = []
        self._pressure = Pressure()
        self._books = Books(config, store, log, signer, self.submit)
        self._health = Health(self._note_health)
        self._workers = Workers(
            config, self._books, self._pressure, self._health, self._local, most_in_hand=most_in_hand
        )

    # What the rest of the agent calls.

    async def start(self) -> None:
        """Begin, with what is due in the queue."""
        self._use(self._config)
        self._tls.start()
        self._port25.start()
        self._books.hands.clear()  # what an earlier stop cut off is in the queue
        self._workers.begin()
        self._asking.clear()
        self._retired.clear()
        hands = self._books.hands
        self._loader = self._books.loader = Loader(self._store, self._log, hands, self._take, self._most_in_hand)
        self._running = True
        loop = asyncio.get_running_loop()
        clock = self._books.clock.run(self._books.recorder.settled, self._loader.wake)
        self._background = [loop.create_task(each) for each in (self._loader.run(), clock, self._forget())]
        self._books.tasks.spawn(self._sites_anew())

    def submit(self, message: Message) -> None:
        """Deliver a message that the queue has just stored. Without room for it, it waits in the queue."""
        self._pressure.accepted()
        if not self._running or message.queue_id in self._books.hands or self._loader.was_finished(message.queue_id):
            return
        due = min((each.next_attempt for each in message.recipients.values()), default=0.0)
        if due > time.time():  # the sender has it held (RFC 4865)
            self._loader.expect(due)
            return
        if self._loader.takes(message):
            self._take(message)

    def wake(self) -> None:
        """Look into the queue now and forget earlier troubles of hosts (the operator asked for a retry)."""
        self._router.forget()
        self._health.forget()
        for destination in self._workers.destinations.values():
            destination.unblock()
        self._loader.wake()

    def forget(self, queue_ids: Sequence[str]) -> None:
        """Do not begin deliveries of these messages (the operator held or deleted them)."""
        ids = frozenset(queue_ids)
        dropped = [job for destination in self._workers.destinations.values() for job in destination.drop(ids)]
        for plan, waiting in self._asking.items():
            dropped += [Job(message, recipients) for message, recipients in waiting if message.queue_id in ids]
            self._asking[plan] = [each for each in waiting if each[0].queue_id not in ids]
        for job in dropped:
            self._books.release(job.message.queue_id, job.recipients)
        if dropped:
            self._loader.wake()  # for their other recipients, if not all were meant

    def in_hand(self, queue_ids: Iterable[str]) -> set[str]:
        """Those of the messages that are being delivered now."""
        return self._books.hands.keys() & set(queue_ids)

    # What waits for its site to call in.

    async def called(self, call: Call) -> int:
        """A site has called by ETRN: send what waits for it. Returns how many messages that are."""
        self._calls.open(call)
        await self._books.recorder.settled(_SETTLES_WITHIN)  # what was put off just now waits, too
        found = await self._awaiting(call)
        for domain in {domain for _, domain in found}:
            way = self._router.known(self._router.plan(domain, None))
            if way is not None and way in self._workers.destinations:
                self._workers.destinations[way].unblock()
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
        if not self._running or queue_id in self._books.hands:
            return False
        reserved = Message(queue_id, Envelope(""), {}, MemoryBody(b""), 0.0, 0.0)
        self._books.hands[queue_id] = Hand(reserved)
        self._loader.begun(reserved)
        return True

    def take_reserved(self, queue_id: str, message: Message | None) -> None:
        """Have a reserved message in hand with these recipients, whose outcomes `conclude` or `fault` takes; or None:
        let go of it."""
        self._books.release(queue_id, ())
        if message is not None:
            self._books.hands[queue_id] = Hand(message)
            self._loader.begun(message)

    async def conclude(self, message: Message, outcomes: Mapping[int, Outcome], started: float) -> None:
        """What became of recipients of a message that `take_reserved` took."""
        await self._books.conclude(message, outcomes, started)

    def fault(self, message: Message, error: Exception) -> None:
        """A fault of our own while a message was in hand that `take_reserved` took."""
        self._books.fault(message, message.recipients, error)

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that `stop` waits for."""
        return self._books.tasks.spawn(work)

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

    async def _sites_anew(self) -> None:
        """What waited for a site that has no such route any more goes the way that it has now."""
        config = self._config
        moved = await self._store.awaiting(lambda domain: site_route(config.route, domain) is None)
        if moved:
            await self._store.retry(list(dict.fromkeys(queue_id for queue_id, _ in moved)))
            self._loader.wake()

    def reconfigure(self, config: Config) -> None:
        """Go on with another configuration; mail in line is routed anew, attempts under way end as they began."""
        old = self._old() if self._running else ()
        self._config = self._books.config = config
        self._workers.reconfigure(config)
        if not self._running:
            return
        self._port25.stop()
        self._use(config)
        self._tls.start()
        self._port25.start()
        self._retired.extend(old)  # look-ups that are under way still have their answers to come
        self._health.forget()
        for destination in self._workers.destinations.values():
            destination.close_idle()
            destination.unblock()
        self._route_anew()

    def _route_anew(self) -> None:
        """Let what is in line go the way that holds now."""
        jobs = [job for destination in self._workers.destinations.values() for job in destination.take_all()]
        for job in jobs:
            self._send_on(job.message, job.recipients)

    async def stop(self, grace: float) -> None:
        """Begin nothing more, give attempts under way `grace` seconds to end, put their outcomes on the disk.

        What is cut off then is still in the queue, and tried again after the next start.
        """
        self._running = False
        self._pressure.stop()
        self._port25.stop()
        for task in self._background:
            task.cancel()
        self._workers.end()
        await asyncio.gather(*self._background, return_exceptions=True)
        if count := await self._books.tasks.wait(grace):
            self._log.event("attempts_cut", level="warning", count=count)
            await self._books.tasks.cancel()
        lost = await self._books.recorder.close(max(grace, 1.0))
        if lost:
            self._log.event("outcomes_lost", level="error", count=lost)
        await self._workers.close()
        for each in (*self._retired, *self._old()):
            await each.close()

    def snapshot(self) -> dict[str, Any]:
        """For the status: what is in hand and how each destination fares. Times in seconds."""
        shown = [each for each in self._workers.destinations.values() if not each.forgettable]
        return {
            "in_hand": len(self._books.hands),
            "connections": self._workers.active + sum(each.idle for each in shown),
            "looking_up": len(self._asking),
            "not_recorded": self._books.recorder.pending,
            "port25": self._port25.snapshot(self._router.instead),
            "upstreams": self._health.snapshot(self._router.upstreams),
            "destinations_by_state": self._workers.counts(),
            "quarantined": list(self._books.quarantined),
            "destinations": [
                each.snapshot() for each in sorted(shown, key=lambda each: (-each.waiting, each.way.name))
            ],
        }

    # From a message to a destination's line.

    def _use(self, config: Config) -> None:
        delivery = config.delivery
        self._resolver = Resolver(delivery.resolvers, config.hostname, own_addresses(config))
        self._calls = OpenCalls(config)
        self._tls = OutwardTls(config, self._resolver, self._log, self._store_and_submit)
        hosts = delivery.port25_check if uses_mx(config.route) else ()
        self._port25 = Port25(hosts, delivery.smtp_port, self._resolver, self._log, self._port25_changed)
        self._router = Router(config, self._resolver, self._tls, self._port25)
        self._workers.opener = Opener(
            own_name=config.hostname,
            resolver=self._resolver,
            connect_timeout=delivery.connect_timeout,
            log=self._log,
            timeouts=self._timeouts,
            note=self._workers.note,
            tls=self._tls,
        )

    def _old(self) -> tuple[OutwardTls, TokenKeeper, Resolver]:
        """What has to be closed some time after its last use."""
        return self._tls, self._workers.opener.tokens, self._resolver

    def _port25_changed(self) -> None:
        if self._running:
            self._route_anew()

    def _note_health(self, name: str, target: Target, outcome: Deferred | None, seconds: float) -> None:
        """A host rests or has recovered."""
        if not target.upstream:
            return  # the trouble of an MX host is in the log already, with each attempt
        self._log.event(
            name,
            level="warning" if outcome is not None else "info",
            host=target.label,
            user=target.username,
            cause=outcome.cause.value if outcome is not None and outcome.cause is not None else None,
            reply=outcome.text if outcome is not None else None,
            seconds=round(seconds, 1),
        )

    async def _store_and_submit(self, message: Message) -> None:
        await self._store.store(message)
        self.submit(message)

    def _take(self, message: Message) -> None:
        if not self._running or not message.recipients:
            return
        self._books.hands[message.queue_id] = Hand(message)
        self._loader.begun(message)
        self._send_on(message, message.recipients)

    def _send_on(self, message: Message, recipients: Mapping[int, Recipient]) -> None:
        """Put recipients into their destinations' lines, asking DNS first where the way is not known."""
        held = self._calls.held(message, recipients.items())
        if held:
            self._books.decided(message, held, time.time())
        domains: dict[str, dict[int, Recipient]] = {}
        here: dict[int, Recipient] = {}
        for number, recipient in recipients.items():
            if self._local.takes(recipient.address):
                here[number] = recipient
            elif number not in held:
                domains.setdefault(recipient.domain, {})[number] = recipient
        if here:
            self._books.tasks.spawn(self._take_here(message, here))
        for domain, group in domains.items():
            try:
                plan = self._router.plan(domain, message.envelope)
                way = self._router.known(plan)
            except Exception as error:
                self._books.fault(message, group, error)
                continue
            if way is not None:
                self._enqueue(way, message, group)
            elif plan in self._asking:
                self._asking[plan].append((message, group))
            else:
                self._asking[plan] = [(message, group)]
                self._books.tasks.spawn(self._ask(plan))

    async def _take_here(self, message: Message, recipients: Mapping[int, Recipient]) -> None:
        """Mail that ends in this agent."""
        started = time.time()
        try:
            outcome = await self._local.take(message)
        except Exception as error:
            self._books.fault(message, recipients, error)
            return
        await self._books.conclude(message, dict.fromkeys(recipients, outcome), started)

    async def _ask(self, plan: Plan) -> None:
        way: Way | None = None
        outcome: Outcome | None = None
        fault: Exception | None = None
        started = time.time()
        router = self._router
        try:
            async with self._lookups:
                router = self._router
                way = await router.find(plan)
        except UnresolvedError as error:
            outcome = error.outcome
        except Exception as error:
            fault = error
        changed = self._running and router is not self._router
        for message, recipients in self._asking.pop(plan):
            if changed:  # the configuration, while DNS was asked
                self._send_on(message, recipients)
            elif way is not None:
                self._enqueue(way, message, recipients)
            elif outcome is not None:
                self._books.decided(message, dict.fromkeys(recipients, outcome), started)
            elif fault is not None:
                self._books.fault(message, recipients, fault)

    def _enqueue(self, way: Way, message: Message, recipients: Mapping[int, Recipient]) -> None:
        if not self._running:
            return
        if RELAXED in message.envelope.options:
            way = way.relaxed()
        destination = self._workers.destination(way)
        if (trouble := destination.trouble) is not None:
            self._books.decided(message, dict.fromkeys(recipients, trouble), time.time())
            return
        lane = lane_of(message.envelope)
        if (wait := self._workers.crowded(destination, lane)) and self._books.shelve(message, recipients, wait):
            return
        destination.add(message, recipients, most=MAX_RECIPIENTS)
        self._workers.man(destination, lane)

    async def _forget(self) -> None:
        """Let go of what nobody needs, once in a while."""
        while True:
            retired = list(self._retired)
            await asyncio.sleep(_FORGET_EVERY)
            for resolver in retired:
                self._retired.remove(resolver)
                await resolver.close()
            self._workers.tidy()
