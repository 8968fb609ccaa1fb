# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending the TLS reports of days that are over: by mail through our own queue, or by HTTPS (RFC 8460 3, 5)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from relay_agent.delivery.domain import ascii_domain
from relay_agent.delivery.reply import printable
from relay_agent.delivery.resolve import Resolver, UnresolvedError
from relay_agent.delivery.tls.https import FetchError, HttpsClient
from relay_agent.delivery.tls.policy import RELAXED
from relay_agent.delivery.tls.report import Report, Reporter, Uri, make_report, report_mail, report_uris
from relay_agent.delivery.tls.tally import Applied, Count, DayFiles, Tally
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Envelope, Message, QueueFullError, Recipient, new_queue_id

__all__ = ["ReportSender"]

_FLUSH_EVERY = 600.0  # seconds; a worker that dies takes as much of its counts along
_LOOK_EVERY = 3600.0  # for reports that could not be handed over
_SETTLED_AFTER = 1200.0  # seconds after midnight: by then every worker has written what it counted
_SPREAD = 3.5 * 3600  # seconds over which the world's reports are spread (RFC 8460 4.1 asks for up to four hours)
_LIFETIME = 86_400.0  # seconds that a report is tried for (RFC 8460 3)
_MOST_ANSWER = 4096  # octets of a web host's answer


@dataclass
class ReportSender:
    """Writes down what is counted, and sends the reports when a day is over.

    submit: stores a message in the queue and has it carried on. clock: seconds since the epoch.
    """

    reporter: Reporter
    tally: Tally
    files: DayFiles
    resolver: Resolver
    client: HttpsClient
    submit: Callable[[Message], Awaitable[None]]
    log: EventLog
    clock: Callable[[], float] = time.time

    async def run(self) -> None:
        """Write every few minutes, send each day; without end, whatever goes wrong."""
        jitter = random.uniform(_SETTLED_AFTER, _SETTLED_AFTER + _SPREAD)  # noqa: S311
        next_look = 0.0
        while True:
            await asyncio.sleep(_FLUSH_EVERY)
            await self.flush()
            now = self.clock()
            if now < next_look or now % 86_400 < jitter:
                continue
            next_look = now + _LOOK_EVERY
            try:
                await self.send_due()
            except Exception as error:
                self.log.event("tls_report_fault", level="error", error=f"{type(error).__name__}: {error}")

    async def flush(self) -> None:
        """Put on the disk what was counted."""
        days = self.tally.take()
        if not days:
            return
        try:
            await asyncio.to_thread(self.files.append, days)
        except OSError as error:
            self.log.event("tls_counts_lost", level="error", error=str(error))

    async def send_due(self) -> None:
        """Send the reports of all days that are over, unless another worker is at it."""
        with self.files.lock() as ours:
            if not ours:
                return
            for day in await asyncio.to_thread(self.files.over, self.clock()):
                if await self.send_day(day) or self.files.too_old(day, self.clock()):
                    await asyncio.to_thread(self.files.remove, day)

    async def send_day(self, day: str) -> bool:
        """Send the reports of one day. False when some could not be handed over and are to be tried again."""
        counts = await asyncio.to_thread(self.files.read, day)
        done = await asyncio.to_thread(self.files.done, day)
        by_domain: dict[str, dict[Applied, Count]] = {}
        for applied, count in counts.items():
            by_domain.setdefault(applied.domain, {})[applied] = count
        complete = True
        for domain, policies in by_domain.items():
            try:
                uris = report_uris(await self.resolver.texts(f"_smtp._tls.{domain}"))
            except UnresolvedError:
                complete = False
                continue
            report = make_report(self.reporter, day, domain, policies) if uris else None
            for uri in uris:
                key = f"{domain} {uri.text}"
                if report is None or key in done:
                    continue
                if await self._send(report, uri):
                    await asyncio.to_thread(self.files.note_done, day, key)
                else:
                    complete = False
        return complete

    async def _send(self, report: Report, uri: Uri) -> bool:
        try:
            if uri.address:
                await self._mail(report, uri.address)
            else:
                await self._post(report, uri)
        except (FetchError, UnresolvedError, QueueFullError, OSError) as error:
            reason = printable(str(error), 300)
            self.log.event("tls_report_trouble", level="warning", domain=report.domain, to=uri.text, reason=reason)
            return False
        self.log.event("tls_report", domain=report.domain, to=uri.text, report=report.id)
        return True

    async def _mail(self, report: Report, address: str) -> None:
        now = self.clock()
        content = report_mail(self.reporter, report, address)
        message = Message(
            queue_id=new_queue_id(),
            envelope=Envelope(self.reporter.contact, None, {RELAXED: "YES"}),
            recipients={0: Recipient(address, {"NOTIFY": "NEVER"})},
            body=MemoryBody(content),
            created=now,
            expires=now + _LIFETIME,
        )
        await self.submit(message)

    async def _post(self, report: Report, uri: Uri) -> None:
        try:
            host = ascii_domain(uri.host)
        except ValueError as error:
            raise FetchError(str(error)) from None
        addresses = await self.resolver.addresses(host)
        answer = await self.client.request(
            host,
            addresses,
            uri.path,
            most=_MOST_ANSWER,
            content=report.content,
            headers={"Content-Type": "application/tlsrpt+gzip"},
        )
        if answer.status // 100 != 2:
            raise FetchError(f"{host} answers with HTTP status {answer.status}")

    def close(self) -> None:
        """Free the client."""
        self.client.close()
