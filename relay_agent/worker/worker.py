# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a worker: put together, started in the order mail flows, stopped in reverse."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from typing import Any

from relay_agent.accounts.store import AccountsError
from relay_agent.accounts.verifier import Verifier
from relay_agent.board import Board
from relay_agent.config.load import ConfigError, parse_config
from relay_agent.config.schema import Config
from relay_agent.control.protocol import FAILED, MOVED, WAITS, ControlError
from relay_agent.dkim.places import DkimError
from relay_agent.dkim.signer import Signer
from relay_agent.history.keeping import begin_history
from relay_agent.history.writer import HistoryWriter
from relay_agent.leases import Leases
from relay_agent.observability.log import MailLog
from relay_agent.observability.readings import LoopLag, counted, worker_report
from relay_agent.policy.guessing import Guard
from relay_agent.policy.quota import Quotas
from relay_agent.queue.directory import StoreLockedError
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
from relay_agent.worker.collecting import collect_and_freeze
from relay_agent.worker.ending import ORPHANED, REPLACED, STOPPING, Ending
from relay_agent.worker.lessor import ChannelLessor
from relay_agent.worker.open_stores import OpenStores
from relay_agent.worker.passing import in_words, passes
from relay_agent.worker.share import needed_accounts, share

__all__ = ["Worker"]

_LOG = logging.getLogger(__name__)
# What is wrong with what is outside of the program; anything else is a fault of its own, whose place is logged.
_WRONG = (ConfigError, AccountsError, DkimError, StoreLockedError, StoreVersionError, QueueDamagedError, OSError)
_OUTCOMES = ("delivered", "deferred", "failed", "bounced")
# A busy event loop lets go of the interpreter lock at each system call and takes it back before the queue's
# writer wakes up; only this interval makes it wait its turn. With Python's 5 ms commits take seconds.
_SWITCH_INTERVAL = 0.0001


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
        self._stores: OpenStores | None = None
        self._service: SubmissionService | None = None
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
                "store": lambda arguments: self._open.run(arguments["run"], arguments["store"], arguments["arguments"]),
                "status": lambda _: self._state(),
                "metrics": lambda _: self._report(),
                "accounts.reload": lambda _: self._reload_accounts(),
                "dkim.reload": lambda _: self._reload_keys(),
                "history.flush": lambda _: asyncio.to_thread(self._history.flush) if self._history else True,
                "adopt": lambda arguments: self._open.adopt(int(arguments["store"])),
                "replaced": lambda _: self._finish(REPLACED),
                "stop": lambda _: self._finish(STOPPING),
                "spent": lambda arguments: self._buckets.spent_elsewhere(arguments["spent"]),
                "guessed": lambda arguments: self._guessed_elsewhere(arguments["guess"]),
                "suppression.changed": lambda arguments: self._suppression_changed(arguments["changes"]),
                "lease.recall": lambda arguments: self._leases.recalled(arguments["key"]),
            },
            lambda: self._finish(ORPHANED),
        )
        self._leases = Leases(ChannelLessor(self._channel))
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
        except Exception as error:
            # Whatever it was: a worker that stayed would take no mail, and keep another from its place and its store.
            self._status = 1
            self._finish(STOPPING)
            passing = passes(error)
            if not passing and not isinstance(error, _WRONG):
                _LOG.error("a worker cannot start", exc_info=error)
            raise ControlError(WAITS if passing else FAILED, in_words(error)) from error

    async def _begin(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._buckets.restore(arguments["buckets"])
        fd, place = arguments["board"]
        os.set_inheritable(fd, False)
        self._board = Board(fd, place)
        self._guard.restore(arguments["guesses"])
        config = self._config = share(parse_config(arguments["text"], arguments["path"]), arguments["workers"])
        self._signer = Signer(config.dkim, self._log)
        await asyncio.to_thread(self._signer.reload)
        accounts = needed_accounts(config)
        self._verifier = Verifier(accounts)
        await self._begin_suppression(config)
        # Before the store: what waits there may be delivered at once.
        self._history = await asyncio.to_thread(begin_history, config, self._log)
        collect_and_freeze()  # before there is mail in hand, which is not to stay
        self._stores = OpenStores(
            config,
            self._log,
            signer=self._signer,
            suppression=self._suppression,
            damaged=self._damaged,
            ending=lambda: self._ending is not None,
            released=lambda number: self._channel.notice("released", store=number),
        )
        holding = await self._stores.open_own(int(arguments["store"]))
        self._service = SubmissionService(
            config=config,
            store=holding.store,
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
        return {"store": holding.number, "accounts": len(accounts)}

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

    @property
    def _open(self) -> OpenStores:
        if self._stores is None:
            raise ControlError(MOVED, "this worker has no store open yet")
        return self._stores

    def _state(self) -> dict[str, Any]:
        service = self._service
        return {
            "stores": sorted(self._stores.holdings) if self._stores else [],
            "sessions": len(service.sessions) if service else 0,
            "accounts": len(self._verifier) if service else 0,
            "counters": self._counters(),
        }

    async def _report(self) -> dict[str, Any]:
        sessions = len(self._service.sessions) if self._service else 0
        return await worker_report(self._log, self._lag, sessions, self._stores.holdings if self._stores else {})

    def _counters(self) -> dict[str, int]:
        counters = {**self._service.counters, **self._signer.counts} if self._service else {}
        return {**counters, **{name: self._log.counts[name] for name in _OUTCOMES}}

    async def _reload_accounts(self) -> list[str]:
        """Read the accounts anew. Returns what is wrong with them; nothing changes then."""
        try:
            accounts = needed_accounts(self._config)
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
        if self._stores is not None:
            await self._stores.close(self._ending.deliveries)
