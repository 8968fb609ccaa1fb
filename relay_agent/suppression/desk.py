# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker's part: refuses recipients, learns from bounces, reads the reports that arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from relay_agent.accounts.store import Account
from relay_agent.config.schema import Config
from relay_agent.delivery.outcome import Deferred, Delivered, Outcome
from relay_agent.delivery.reply import printable
from relay_agent.observability import measured
from relay_agent.observability.log import EventLog
from relay_agent.queue.model import Message
from relay_agent.submission.address import PathError
from relay_agent.suppression.book import book_file, read_changes
from relay_agent.suppression.complaint import complaint
from relay_agent.suppression.entry import NETWORK, Cause, fold
from relay_agent.suppression.hard import is_hard_bounce
from relay_agent.suppression.known import Known, Suppressed
from relay_agent.suppression.report import LARGEST, ReportError, read_report

__all__ = ["SuppressionDesk"]

_MOST_HELD = 200  # unusable reports that a worker keeps in its queue for a person to look at; further ones are dropped

Ask = Callable[..., Awaitable[Any]]
Tell = Callable[..., None]


class SuppressionDesk:
    """accounts: those there are, by name, at the moment of the call. tell, ask: notice and call to the supervisor."""

    def __init__(
        self, config: Config, log: EventLog, accounts: Callable[[], Mapping[str, Account]], tell: Tell, ask: Ask
    ) -> None:
        self._config = config
        self._mode = config.suppression.mode
        self._report_address = fold(config.suppression.report_address)
        self._report_accounts = frozenset(name.lower() for name in config.suppression.report_accounts)
        self._log = log
        self._accounts = accounts
        self._tell = tell
        self._ask = ask
        self._known: Known | None = None
        self._early: list[list[dict[str, Any]]] = []  # changes told while the file is read
        self._held = 0

    async def load(self) -> None:
        """Read the file; what is told meanwhile comes after it. Without the file nobody is refused, and the log says
        so."""
        known = Known(self._config.suppression)
        if self._mode != "off":
            try:
                await asyncio.to_thread(lambda: known.take(read_changes(book_file(self._config))))
            except OSError as error:
                self._log.event("suppression_unreadable", level="error", error=str(error))
        for records in self._early:
            known.hear(records)
        self._early.clear()
        self._known = known

    def hear(self, records: list[dict[str, Any]]) -> None:
        """What changed, from the supervisor."""
        if self._mode == "off":
            return
        if self._known is None:
            self._early.append(records)
        else:
            self._known.hear(records)

    # ---- at RCPT --------------------------------------------------------------------------------------

    def check(self, address: str, account: str | None) -> None:
        """May this account (None: a trusted network) write to this address? Raises PathError with the SMTP reply."""
        if self._report_address and fold(address) == self._report_address:
            if account and account not in self._report_accounts:
                raise PathError(
                    "550 5.7.1 This address takes reports of complaints, from the hosts that are set up to send them"
                )
            return
        found = self._known.find(address, account) if self._known is not None and self._mode != "off" else None
        if found is None:
            return
        refuse = self._mode == "refuse"
        measured.SUPPRESSED["refused" if refuse else "warned"] += 1
        self._log.event(
            "recipient_suppressed",
            level="warning",
            account=account,
            recipient=address,
            cause=str(found.cause),
            reason=found.reason,
            refused=refuse,
        )
        if refuse:
            raise PathError(_reply(address, found))

    # ---- the ends of messages -------------------------------------------------------------------------

    def takes(self, address: str) -> bool:
        """Whether this is the report address."""
        return bool(self._report_address) and fold(address) == self._report_address

    def learn(self, message: Message, outcomes: Mapping[int, Outcome], *, by_own_host: bool) -> None:
        """Tell the supervisor of mailboxes that are not there, and of those that are there after all."""
        envelope = message.envelope
        if self._mode == "off" or envelope.account is None or not envelope.reverse_path:
            return
        bounced, well = [], []
        for number, outcome in outcomes.items():
            recipient = message.recipients.get(number)
            if recipient is None:
                continue
            if is_hard_bounce(outcome, by_own_host=by_own_host):
                bounced.append([recipient.address, printable(outcome.text, 200)])
            elif (
                isinstance(outcome, Delivered)
                and by_own_host
                and self._known is not None
                and self._known.has_bounced(recipient.address)
            ):
                well.append(recipient.address)
        if bounced or well:
            owner = envelope.account or NETWORK
            self._tell(
                "suppression.learned", owner=owner, sender=envelope.reverse_path, bounced=bounced, delivered=well
            )

    async def take(self, message: Message) -> Outcome:
        """A report has come in. One that cannot be used is held, with the reason, for a person to look at."""
        queue_id = message.queue_id
        try:
            content = await asyncio.to_thread(_beginning, message)
            report = await asyncio.to_thread(read_report, content)
            if not report.is_complaint:
                self._report(queue_id, "noted", kind=report.kind, sender=report.sender)
                return Delivered("2.0.0", f"report of {report.kind} noted", "")
            found = complaint(report, self._config.hostname, self._accounts())
        except ReportError as error:
            return self._unusable(message, str(error))
        except OSError as error:
            return Deferred("4.3.0", printable(f"the report cannot be read from the queue: {error}", 300), fault=True)
        if self._mode != "off":
            try:
                await self._ask("suppression.complained", **found.arguments())
            except Exception as error:
                # The supervisor is busy, or its disk full: the report stays in the queue until it is recorded.
                return Deferred("4.3.0", printable(f"the complaint cannot be recorded now: {error}", 300))
        self._report(
            queue_id,
            "taken",
            kind=report.kind,
            sender=found.sender,
            recipients=list(found.recipients),
            account=found.owner,
            about=found.queue_id or None,
            message_id=report.message_id,
        )
        return Delivered("2.0.0", f"complaint recorded for {len(found.recipients)} recipient(s)", "")

    def _unusable(self, message: Message, why: str) -> Outcome:
        self._held += 1
        keep = self._held <= _MOST_HELD
        self._report(message.queue_id, "held" if keep else "dropped", problem=why)
        if keep:
            return Deferred("5.6.0", printable(f"the report {why}", 300), hold=True)
        return Delivered("2.0.0", "an unusable report, dropped: too many of them are held already", "")

    def _report(self, queue_id: str, result: str, **fields: Any) -> None:
        measured.REPORTS[result] += 1
        level = "info" if result in ("taken", "noted") else "warning"
        self._log.event("complaint_report", level=level, queue_id=queue_id, result=result, **fields)


def _beginning(message: Message) -> bytes:
    """As much of the content as matters. Raises OSError."""
    content = bytearray()
    for block in message.body.blocks():
        content += block
        if len(content) >= LARGEST:
            break
    return bytes(content[:LARGEST])


def _reply(address: str, found: Suppressed) -> str:
    """One line, within what a reply line may have (RFC 5321 4.5.3.1.5)."""
    day = f"{datetime.fromtimestamp(found.last, UTC):%Y-%m-%d}"
    said = found.reason.encode("ascii", "replace").decode()
    shown = address.encode("ascii", "replace").decode()
    if len(shown) > 100:
        shown = f"{shown[:97]}..."
    lift = "; your administrator can lift this (relay-agent suppression remove)"
    if found.cause is Cause.BOUNCE:
        return f"550 5.1.1 <{shown}> has bounced on {day}: {said}{lift}"
    if found.cause is Cause.COMPLAINT:
        return f"550 5.7.1 <{shown}> has complained of your mail on {day} ({said}){lift}"
    return f"550 5.7.1 <{shown}> is not to be written to since {day}: {said}{lift}"
