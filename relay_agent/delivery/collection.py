# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends what waits for a site over the connection that the site opened (ATRN, RFC 2645).

The session that got the ATRN may be another worker's. It lends its connection to one store after the other, each
time as a line: a Unix socket whose other end it joins to the site's connection. So each message is sent, and its
outcome recorded, by the worker that has it, as in any other attempt; a message is the site's when its 250 has come.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from relay_agent.control.server import Handler
from relay_agent.delivery.attempt import Attempt
from relay_agent.delivery.calling import Call, waits
from relay_agent.delivery.client import Connection
from relay_agent.delivery.destination import Destination, Job, Session
from relay_agent.delivery.dispatcher import Dispatcher
from relay_agent.delivery.outcome import Deferred, Delivered, HostTrouble, Outcome, Scope
from relay_agent.delivery.reply import ReplyError
from relay_agent.delivery.route import Security, Target, Way
from relay_agent.delivery.transaction import MAX_RECIPIENTS
from relay_agent.queue.model import Message, QueueStore, Recipient, RecipientState

__all__ = ["Collection", "site_handlers"]


class _NoOther:
    """Opens no connection: there is none but the site's own."""

    async def open(self, target: Target, domains: Iterable[str] = ()) -> Connection:
        raise HostTrouble(Deferred("4.4.2", "the site hung up", target.host, Scope.HOST))


class Collection:
    """One store's part of a collection. host: the site's name, for outcomes."""

    def __init__(
        self, dispatcher: Dispatcher, store: QueueStore, call: Call, connection: Connection, host: str
    ) -> None:
        self._dispatcher = dispatcher
        self._store = store
        self._call = call
        target = Target(host, 25, Security.NONE)
        self._destination = Destination(Way(((0, target),)))
        self._session: Session | None = Session(target, connection)
        self.sent = 0
        self.complete = False  # nothing is left, and the connection is good for more

    async def run(self) -> None:
        """Send until nothing is left that was not tried, or the site hangs up."""
        tried: set[str] = set()
        while True:
            queue_ids = [each for each in await self._dispatcher.awaiting(self._call) if each not in tried]
            for queue_id in queue_ids:
                if self._session is None or not self._dispatcher.running:
                    return
                tried.add(queue_id)
                if self._dispatcher.reserve(queue_id):
                    await self._send(queue_id)
            if not queue_ids:
                break
        self.complete = self._session is not None and self._session.connection.usable

    async def _send(self, queue_id: str) -> None:
        message: Message | None = None
        try:
            message = self._wanted(await self._store.get(queue_id))
        finally:
            self._dispatcher.take_reserved(queue_id, message)
        if message is None:
            return
        numbers = list(message.recipients)
        for start in range(0, len(numbers), MAX_RECIPIENTS):
            job = Job(message, {each: message.recipients[each] for each in numbers[start : start + MAX_RECIPIENTS]})
            started = time.time()
            outcomes: dict[int, Outcome]
            if self._session is None:
                gone = Deferred("4.4.2", "the site hung up", self._destination.way.name, Scope.HOST)
                outcomes = dict.fromkeys(job.recipients, gone)
            else:
                session, self._session = self._session, None
                try:
                    result = await Attempt(_NoOther(), self._destination, job).run(session)
                except Exception as error:
                    self._dispatcher.fault(message, error)
                    return
                outcomes, self._session = result.outcomes, result.session
            self.sent += any(isinstance(each, Delivered) for each in outcomes.values())
            await self._dispatcher.conclude(message, outcomes, started)

    def _wanted(self, message: Message | None) -> Message | None:
        """The message with those of its recipients that the call is for."""
        if message is None:
            return None
        recipients = {number: each for number, each in message.recipients.items() if self._is_wanted(each)}
        return replace(message, recipients=recipients) if recipients else None

    def _is_wanted(self, recipient: Recipient) -> bool:
        return (
            recipient.state is RecipientState.WAITING
            and waits(recipient)
            and self._call.covers(self._dispatcher.config, recipient.domain)
        )


def site_handlers(store: QueueStore, dispatcher: Dispatcher, others: Mapping[str, Handler]) -> dict[str, Handler]:
    """What a store's worker does for a site that calls in, for which `relay_agent.supervisor.sites` asks, beside its
    other commands; the status says what waits."""

    async def status(arguments: dict[str, Any]) -> Any:
        answer = await others["store.status"](arguments)
        answer["delivery"]["sites"] = await dispatcher.sites()
        return answer

    async def count(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"messages": len(await dispatcher.awaiting(Call.restore(arguments["call"])))}

    async def called(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"messages": await dispatcher.called(Call.restore(arguments["call"]))}

    async def collect(arguments: dict[str, Any]) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        host = str(arguments["host"])
        connection = Connection(host, dispatcher.config.hostname, dispatcher.timeouts)
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            line.connect("\0" + str(arguments["line"]))  # uvloop knows no abstract names; this one never waits
            await loop.create_unix_connection(lambda: connection, sock=line)
        except BaseException:
            line.close()
            raise
        connection.peer_address = str(arguments["peer"])
        collection = Collection(dispatcher, store, Call.restore(arguments["call"]), connection, host)

        async def work() -> None:
            try:
                await connection.hello()
                await collection.run()
            except (HostTrouble, OSError, EOFError, ReplyError):
                pass  # the site is gone; what was not sent waits for its next call
            finally:
                connection.abort()

        await asyncio.wait([dispatcher.in_background(work())])
        return {"sent": collection.sent, "complete": collection.complete}

    return {**others, "store.status": status, "site.count": count, "site.called": called, "site.collect": collect}
