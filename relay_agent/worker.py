# SPDX-License-Identifier: GPL-3.0-or-later
"""One worker process: puts the parts together, starts them in the order mail flows, stops them in reverse.

Run by the supervisor as ``python -m relay_agent.worker FD``; the descriptor is its end of their channel, over which
it is told everything else: the configuration, the listening sockets, which store to open, when to stop.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import os
import signal
import socket
import sys
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from relay_agent import event_loop
from relay_agent.accounts.store import AccountsError, load_accounts
from relay_agent.accounts.verifier import Verifier
from relay_agent.board import Board
from relay_agent.config.load import ConfigError, parse_config
from relay_agent.config.schema import Config
from relay_agent.control.handlers import store_handlers
from relay_agent.control.operator import Office
from relay_agent.control.protocol import FAILED, MOVED, ControlError
from relay_agent.control.server import Handler
from relay_agent.delivery.collection import site_handlers
from relay_agent.delivery.dispatcher import Dispatcher
from relay_agent.dkim.places import DkimError
from relay_agent.dkim.signer import Signer
from relay_agent.history.keeping import begin_history
from relay_agent.history.writer import HistoryWriter
from relay_agent.leases import Leases
from relay_agent.observability.log import MailLog, route_standard_logging
from relay_agent.observability.readings import LoopLag, counted, worker_report
from relay_agent.policy.guessing import Guard
from relay_agent.policy.quota import Quotas
from relay_agent.queue.directory import StoreLockedError
from relay_agent.queue.holdings import open_free, open_one
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import QueueDamagedError
from relay_agent.queue.schema import StoreVersionError
from relay_agent.submission.acceptor import Acceptor
from relay_agent.submission.limits import Sessions
from relay_agent.submission.service import SubmissionService
from relay_agent.submission.session import session_maker
from relay_agent.submission.tls import server_context
from relay_agent.supervisor.channel import Channel
from relay_agent.supervisor.sites import Sites
from relay_agent.supervisor.spending import SharedBuckets
from relay_agent.suppression.desk import SuppressionDesk

__all__ = ["Ending", "Worker", "main"]

_WRONG = (ConfigError, AccountsError, DkimError, StoreLockedError, StoreVersionError, QueueDamagedError, OSError)
_TLS_RECORD = 16_384  # bytes
_OUTCOMES = ("delivered", "deferred", "failed", "bounced")
# A busy event loop lets go of the interpreter lock at each system call and takes it back before the queue's
# writer wakes up; only this interval makes it wait its turn. With Python's 5 ms commits take seconds.
_SWITCH_INTERVAL = 0.0001
_LOOK_AGAIN = 2.0  # seconds between looks at whether a store that was taken over is empty


@dataclass(frozen=True)
class Ending:
    """How a worker ends; all in seconds.

    linger: how long sessions may go on by themselves. sessions: what a message under way has then to arrive.
    deliveries: what an attempt under way has to end.
    """

    linger: float = 0.0
    sessions: float = 20.0
    deliveries: float = 10.0


STOPPING = Ending()
REPLACED = Ending(linger=300.0)
ORPHANED = Ending(sessions=3.0, deliveries=3.0)  # a new supervisor waits for the ports and the stores


@dataclass
class _Holding:
    """A store that this worker has open, and what carries its mail on."""

    number: int
    store: JournaledStore
    dispatcher: Dispatcher
    office: Office
    handlers: dict[str, Handler] = field(init=False)

    def __post_init__(self) -> None:
        handlers = store_handlers(self.store, self.dispatcher, office=self.office)
        self.handlers = site_handlers(self.store, self.dispatcher, handlers)


class _Lessor:
    """The supervisor's lease office, over the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def take(self, key: str, limit: int, amount: int) -> Awaitable[int]:
        return self._channel.call("lease.take", key=key, limit=limit, amount=amount, within=30.0)

    def give(self, key: str, amount: int) -> None:
        self._channel.notice("lease.give", key=key, amount=amount)


class Worker:
    """One process that takes, keeps and delivers mail. `end`: its end of the channel to the supervisor."""

    def __init__(self, end: socket.socket, log: MailLog) -> None:
        self._end = end
        self._log = log
        self._status = 0
        self._ending: Ending | None = None
        self._hurry = asyncio.Event()
        self._stop = asyncio.Event()
        self._acceptors: list[Acceptor] = []
        self._holdings: dict[int, _Holding] = {}
        self._service: SubmissionService | None = None
        self._watching: set[asyncio.Task[None]] = set()
        self._lag = LoopLag()
        self._history: HistoryWriter | None = None

    async def run(self) -> int:
        """Work until told to stop. Returns the exit status."""
        self._loop = loop = asyncio.get_running_loop()
        sys.setswitchinterval(_SWITCH_INTERVAL)
        loop.add_signal_handler(signal.SIGTERM, self._finish, STOPPING)
        for number in (signal.SIGINT, signal.SIGHUP):  # of a terminal, to all its processes: the supervisor's to act on
            loop.add_signal_handler(number, lambda: None)
        self._channel = Channel(
            self._end,
            {
                "start": self._start,
                "store": self._store_command,
                "status": lambda _: self._state(),
                "metrics": lambda _: self._report(),
                "accounts.reload": lambda _: self._reload_accounts(),
                "dkim.reload": lambda _: self._reload_keys(),
                "history.flush": lambda _: asyncio.to_thread(self._history.flush) if self._history else True,
                "adopt": lambda arguments: self._adopt(int(arguments["store"])),
                "replaced": lambda _: self._finish(REPLACED),
                "stop": lambda _: self._finish(STOPPING),
                "spent": lambda arguments: self._buckets.spent_elsewhere(arguments["spent"]),
                "guessed": lambda arguments: self._guessed_elsewhere(arguments["guess"]),
                "suppression.changed": lambda arguments: self._suppression_changed(arguments["changes"]),
                "lease.recall": lambda arguments: self._leases.recalled(arguments["key"]),
            },
            lambda: self._finish(ORPHANED),
        )
        self._leases = Leases(_Lessor(self._channel))
        self._buckets = SharedBuckets(lambda spent: self._channel.notice("spent", spent=spent))
        self._guard = Guard(tell=lambda guess: self._channel.notice("guessed", guess=guess))
        self._suppression: SuppressionDesk | None = None
        self._changed_early: list[list[dict[str, Any]]] = []  # of the suppression list, before this worker has it
        self._heard_early: list[list[str]] = []  # guesses elsewhere, while this worker starts
        self._lag.start()
        await self._stop.wait()
        await self._shut_down()
        self._lag.stop()
        self._buckets.tell()
        if self._history is not None:
            await asyncio.to_thread(self._history.close)
        self._channel.notice("farewell", counters=self._counters(), metrics=counted(self._log, "worker"))
        await self._channel.flush(1.0)
        self._channel.close()
        self._log.flush()
        return self._status

    def _finish(self, ending: Ending) -> None:
        """End in this way; a shorter one overtakes a longer one."""
        if self._ending is None or ending.linger < self._ending.linger or ending.sessions < self._ending.sessions:
            self._ending = ending
            if not ending.linger:
                self._hurry.set()
        self._stop.set()

    # ---- beginning ------------------------------------------------------------------------------------

    async def _start(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Open a store and take mail. What is wrong ends the process, and the supervisor is told in words."""
        try:
            return await self._begin(arguments)
        except _WRONG as error:
            self._status = 1
            self._finish(STOPPING)
            raise ControlError(FAILED, str(error)) from error

    async def _begin(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._buckets.restore(arguments["buckets"])
        fd, place = arguments["board"]
        os.set_inheritable(fd, False)
        self._board = Board(fd, place)
        self._guard.restore(arguments["guesses"])
        config = self._config = _share(parse_config(arguments["text"], arguments["path"]), arguments["workers"])
        self._signer = Signer(config.dkim, self._log)
        await asyncio.to_thread(self._signer.reload)
        accounts = _accounts(config)
        self._verifier = Verifier(accounts)
        await self._begin_suppression(config)
        number, store = await asyncio.to_thread(
            open_free, config.queue.directory, int(arguments["store"]), self._damaged
        )
        self._history = await asyncio.to_thread(begin_history, config, self._log)
        holding = await self._hold(number, store)
        self._service = SubmissionService(
            config=config,
            store=store,
            carrier=holding.dispatcher,
            verifier=self._verifier,
            events=self._log,
            tls_context=server_context(config.tls, web=any(each.web for each in config.listener))
            if config.tls
            else None,
            sessions=Sessions(self._leases, self._board),
            quotas=Quotas(self._buckets, self._leases),
            guard=self._guard,
            signer=self._signer,
            sites=Sites(self._channel, self._buckets),
            suppression=self._suppression,
        )
        for guess in self._heard_early:
            self._guessed_elsewhere(guess)
        await self._service.sessions.prepare(most=config.submission.max_connections)
        sessions = self._service.sessions
        self._board.put(0)
        for listener, fds in zip(config.listener, arguments["listening"], strict=True):
            take = session_maker(self._service, listener, self._loop)
            for fd in fds:
                os.set_inheritable(fd, False)
                acceptor = Acceptor(self._loop, socket.socket(fileno=fd), take, lambda: sessions.others_first)
                self._acceptors.append(acceptor)
        for acceptor in self._acceptors:
            acceptor.start()
        service = self._service
        service.sessions.watch(self._loop, lambda: service.config.submission.command_timeout)
        return {"store": number, "accounts": len(accounts)}

    async def _begin_suppression(self, config: Config) -> None:
        self._suppression = desk = SuppressionDesk(
            config,
            self._log,
            lambda: self._verifier.accounts,
            self._channel.notice,
            self._channel.call,
        )
        for changes in self._changed_early:
            desk.hear(changes)
        self._changed_early.clear()
        await desk.load()

    async def _hold(self, number: int, store: JournaledStore) -> _Holding:
        for notice in store.notices:
            self._log.event("queue_repaired", level="warning", store=number, notice=notice)
        dispatcher = Dispatcher(self._config, store, self._log, signer=self._signer, local=self._suppression)
        holding = self._holdings[number] = _Holding(
            number, store, dispatcher, Office(self._log, lambda: self._config, self._signer)
        )
        await holding.dispatcher.start()
        return holding

    def _damaged(self, number: int, description: str) -> None:
        """A database is damaged: end, so that whoever opens it next saves what can be read.

        Called in a thread of the store.
        """

        def end() -> None:
            self._log.event("queue_damaged", level="error", store=number, problem=description)
            self._status = 1
            self._finish(STOPPING)

        self._loop.call_soon_threadsafe(end)

    # ---- what the supervisor asks for -----------------------------------------------------------------

    def _guessed_elsewhere(self, guess: list[str]) -> None:
        if self._service is None:
            self._heard_early.append(guess)
        else:
            self._guard.hear(guess, self._service.config.policy)

    def _suppression_changed(self, changes: list[dict[str, Any]]) -> None:
        if self._suppression is None:
            self._changed_early.append(changes)
        else:
            self._suppression.hear(changes)

    async def _store_command(self, arguments: dict[str, Any]) -> Any:
        holding = self._holdings.get(arguments["store"])
        if holding is None:
            raise ControlError(MOVED, "this store is no longer open here")
        return await holding.handlers[arguments["run"]](arguments["arguments"])

    def _state(self) -> dict[str, Any]:
        service = self._service
        return {
            "stores": sorted(self._holdings),
            "sessions": len(service.sessions) if service else 0,
            "accounts": len(self._verifier) if service else 0,
            "counters": self._counters(),
        }

    async def _report(self) -> dict[str, Any]:
        return await worker_report(
            self._log, self._lag, len(self._service.sessions) if self._service else 0, self._holdings
        )

    def _counters(self) -> dict[str, int]:
        counters = {**self._service.counters, **self._signer.counts} if self._service else {}
        return {**counters, **{name: self._log.counts[name] for name in _OUTCOMES}}

    async def _reload_accounts(self) -> list[str]:
        """Read the accounts anew. Returns what is wrong with them; nothing changes then."""
        try:
            accounts = _accounts(self._config)
        except AccountsError as error:
            return list(error.problems)
        if self._service is not None:
            self._verifier.reload(accounts)
        return []

    async def _reload_keys(self) -> list[str]:
        """Read the DKIM keys anew. Returns what is wrong with them; nothing changes then."""
        try:
            await asyncio.to_thread(self._signer.reload)
        except DkimError as error:
            return list(error.problems)
        return []

    async def _adopt(self, number: int) -> bool:
        """Take over a store that nobody has open, with its mail. False when it is empty or not to be had."""
        if number in self._holdings or self._ending is not None:
            return number in self._holdings
        try:
            store = await asyncio.to_thread(open_one, self._config.queue.directory, number, self._damaged)
        except StoreLockedError:
            raise ControlError(FAILED, f"store {number} is in use") from None
        counts = await store.counts()
        if not counts.messages or self._ending is not None:
            await store.close()
            if counts.messages:
                raise ControlError(FAILED, "this worker is stopping")
            return False
        self._log.event("queue_taken_over", store=number, messages=counts.messages)
        await self._hold(number, store)
        task = self._loop.create_task(self._empty(number))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return True

    async def _empty(self, number: int) -> None:
        """Let go of a store that was taken over, once its last message has left."""
        holding = self._holdings[number]
        left = True
        while left:
            await asyncio.sleep(_LOOK_AGAIN)
            left = bool((await holding.store.counts()).messages or holding.dispatcher.snapshot()["in_hand"])
        del self._holdings[number]
        await self._close(holding, STOPPING.deliveries)
        self._channel.notice("released", store=number)

    # ---- the end --------------------------------------------------------------------------------------

    async def _shut_down(self) -> None:
        for acceptor in self._acceptors:  # leave the ports to others
            acceptor.stop()
        self._leases.retire()
        if self._service is not None:
            self._service.sessions.leave()
        assert self._ending is not None
        if self._service is not None:
            if self._ending.linger:
                lingering = asyncio.ensure_future(self._service.sessions.drain(self._ending.linger))
                hurry = asyncio.ensure_future(self._hurry.wait())
                await asyncio.wait((lingering, hurry), return_when=asyncio.FIRST_COMPLETED)
                lingering.cancel()
                hurry.cancel()
            left = await self._service.sessions.close(self._ending.sessions)
            if left:
                self._log.event("sessions_cut", level="warning", count=left)
            self._verifier.close()
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await asyncio.gather(*(self._close(each, self._ending.deliveries) for each in self._holdings.values()))

    @staticmethod
    async def _close(holding: _Holding, grace: float) -> None:
        await holding.dispatcher.stop(grace)
        await holding.store.close()


def _accounts(config: Config) -> dict[str, Any]:
    if all(listener.auth == "none" for listener in config.listener):
        return {}
    return dict(load_accounts(config.accounts.file))


def _share(config: Config, workers: int) -> Config:
    """The configuration with this worker's part of the connections that the host may have to other hosts."""
    delivery = config.delivery
    most = {
        name: max(1, -(-getattr(delivery, name) // workers))
        for name in ("max_connections", "max_connections_per_destination")
    }
    shaping = tuple(
        rule.model_copy(
            update={
                "connections": rule.connections and max(1, -(-rule.connections // workers)),
                "messages_per_minute": rule.messages_per_minute and rule.messages_per_minute / workers,
            }
        )
        for rule in config.shaping
    )
    return config.model_copy(update={"delivery": delivery.model_copy(update=most), "shaping": shaping})


def main(arguments: list[str]) -> int:
    """Work for the supervisor at the other end of this descriptor; returns the exit status."""
    # The buffers of a TLS connection: 256 KiB each by default, most of it never touched by mail. One record is enough.
    asyncio.sslproto.SSLProtocol.max_size = _TLS_RECORD
    log = MailLog()
    route_standard_logging(log)
    end = socket.socket(fileno=int(arguments[0]))
    os.set_inheritable(end.fileno(), False)

    async def run() -> int:
        return await Worker(end, log).run()

    return event_loop.run(run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
