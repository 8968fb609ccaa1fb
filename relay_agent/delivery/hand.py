# SPDX-License-Identifier: GPL-3.0-or-later
"""A message in hand: outcomes of its recipients become updates for the queue, log events and a bounce."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from relay_agent.config.schema import Config
from relay_agent.delivery.calling import not_waiting, site_route, waiting, waits
from relay_agent.delivery.content import header_block, is_binary
from relay_agent.delivery.greylisting import is_greylisting
from relay_agent.delivery.outcome import Deferred, Delivered, Failed, Outcome
from relay_agent.delivery.reply import printable
from relay_agent.delivery.schedule import in_words, next_attempt
from relay_agent.message.bounce import ReportedRecipient, make_bounce, make_delay_notice, make_relay_notice
from relay_agent.observability import measured
from relay_agent.observability.log import EventLog
from relay_agent.queue.model import SHELVED, Message, Recipient, RecipientState, Update

__all__ = ["FAULT", "Hand"]

FAULT = "4.3.0"  # status of a recipient whose attempt ended by a fault of our own
_DELAY_TOLD = "DELAY-TOLD"  # among a recipient's options: its sender knows that it waits
_MOST_RETURNED = 1_048_576  # octets of a message that are given back whole


@dataclass(slots=True)
class Hand:
    """One message being delivered. `undecided`: recipients whose outcome is open; `unrecorded`: recipients
    whose outcome is not on the disk yet, which is when the message may leave memory."""

    message: Message
    undecided: set[int] = field(init=False)
    unrecorded: set[int] = field(init=False)
    _failed: dict[int, ReportedRecipient] = field(default_factory=dict)
    _relayed: list[ReportedRecipient] = field(default_factory=list)
    _delayed: list[ReportedRecipient] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.undecided = set(self.message.recipients)
        self.unrecorded = set(self.message.recipients)

    def decide(self, outcomes: Mapping[int, Outcome], config: Config, log: EventLog, started: float) -> list[Update]:
        """What to record of these outcomes. Failures are kept until all recipients are decided, so that the
        sender gets one bounce for the attempt (see `failures`).

        started: when the attempt began, seconds since the epoch.
        """
        now = time.time()
        if not all(isinstance(each, Deferred) and each.untried for each in outcomes.values()):
            measured.ATTEMPT_SECONDS.observe(now - started)
        updates = []
        for number, found in outcomes.items():
            if number not in self.undecided:
                continue
            self.undecided.discard(number)
            outcome, later = found, None
            if isinstance(outcome, Deferred):
                later = self._later(number, outcome, config, now)
                if later is None:
                    outcome = self._expired(outcome, now)
            recipient = later or self._attempted(number, outcome, now)
            event = "delivered" if isinstance(outcome, Delivered) else "deferred" if later else "failed"
            if later is not None and isinstance(outcome, Deferred) and outcome.untried:
                event = "waits_for_call"
            else:
                measured.OUTCOMES[event] += 1
            if event == "delivered":
                measured.DELIVERY_SECONDS.observe(self._age(now))
            held = later is not None and later.state is RecipientState.HELD
            log.event(
                event,
                level="error" if held else "warning" if event == "failed" else "info",
                queue_id=self.message.queue_id,
                sender=self.message.envelope.reverse_path,
                recipient=recipient.address,
                host=outcome.host or None,
                status=outcome.status,
                reply=outcome.text,
                attempt=recipient.attempts,
                seconds=round(now - started, 3),
                delay=round(self._age(now), 3),
                next_attempt=round(later.next_attempt) if later and not held else None,
                held=held or None,
            )
            if later is not None and not held:
                later = self._told_of_delay(number, later, outcome, config, now)
            if isinstance(outcome, Failed):
                self._failed[number] = ReportedRecipient(recipient, outcome.status, outcome.text, outcome.host)
            else:
                updates.append(Update(self.message.queue_id, number, later))
            if isinstance(outcome, Delivered) and outcome.relayed:
                reported = ReportedRecipient(recipient, outcome.status, outcome.text, outcome.host, "relayed")
                self._relayed.append(reported)
        return updates

    def _age(self, now: float) -> float:
        """Seconds for which it could have been delivered; the clock may have been set back since."""
        return max(now - self.message.released, 0.0)

    @property
    def failed(self) -> set[int]:
        """Recipients whose failure waits for the bounce (see `failures`)."""
        return set(self._failed)

    def postponed(self, numbers: Iterable[int], due: float) -> list[Update]:
        """What to record of recipients that wait until `due` without an attempt."""
        updates = []
        for number in numbers:
            if number in self.undecided:
                self.undecided.discard(number)
                before = self.message.recipients[number]
                options = {**before.options, SHELVED: f"{time.time():.0f}"}
                later = replace(before, options=options, next_attempt=due)
                updates.append(Update(self.message.queue_id, number, later))
        return updates

    def held(self, number: int, reason: str) -> Update:
        """What to record of a recipient at whose outcome our own code failed: the operator decides."""
        self.undecided.discard(number)
        self._failed.pop(number, None)
        words = printable(f"the outcome could not be dealt with: {reason}", 300)
        before = self.message.recipients[number]
        recipient = replace(
            before,
            state=RecipientState.HELD,
            attempts=before.attempts + 1,
            last_attempt=time.time(),
            last_status=FAULT,
            last_reply=words,
            last_host="",
        )
        return Update(self.message.queue_id, number, recipient)

    def _attempted(self, number: int, outcome: Outcome, now: float) -> Recipient:
        recipient = self.message.recipients[number]
        return replace(
            recipient,
            attempts=recipient.attempts + 1,
            last_attempt=now,
            last_status=outcome.status,
            last_reply=outcome.text,
            last_host=outcome.host,
        )

    def _later(self, number: int, outcome: Deferred, config: Config, now: float) -> Recipient | None:
        """The recipient as it waits for its next attempt; None when it has waited long enough.

        A second fault of our own in a row holds it: tried on and on it would only cost, and a bounce would
        blame the recipient. The operator finds it in the queue with the reason.
        """
        before = self.message.recipients[number]
        recipient = _told(before, outcome) if outcome.untried else self._attempted(number, outcome, now)
        if outcome.hold or (outcome.fault and before.last_status == FAULT and not before.last_host):
            return replace(recipient, state=RecipientState.HELD)
        route = site_route(config.route, recipient.domain, self.message.envelope)
        if route is not None:
            return waiting(recipient, self.message, route, now)
        delivery = config.delivery
        pauses = delivery.retry_greylisted if is_greylisting(outcome, recipient.attempts) else ()
        if pauses:
            measured.GREYLISTED.add()
        due = next_attempt(
            now,
            recipient.attempts,
            self.message.expires,
            first=delivery.retry_first,
            longest=delivery.retry_max,
            waits=pauses,
        )
        return None if due is None else replace(not_waiting(recipient), next_attempt=due)

    def _later_or_held(self, number: int, fault: Deferred, config: Config) -> Recipient:
        now = time.time()
        later = self._later(number, fault, config, now)
        return later or replace(self._attempted(number, fault, now), state=RecipientState.HELD)

    def _told_of_delay(self, number: int, later: Recipient, outcome: Outcome, config: Config, now: float) -> Recipient:
        """Have the sender told, once, of a recipient that waits for long; bounces have no sender to tell."""
        delay = config.delivery.delay_notice
        if (
            not delay
            or self._age(now) < delay
            or not self.message.envelope.reverse_path
            or _DELAY_TOLD in later.options
            or waits(later)  # for a site that calls in when it likes: nothing is late
            or (isinstance(outcome, Deferred) and outcome.fault)
        ):
            return later
        reported = ReportedRecipient(later, outcome.status, outcome.text, outcome.host, "delayed")
        if not reported.wants_delay_notice:
            return later
        self._delayed.append(reported)
        return replace(later, options={**later.options, _DELAY_TOLD: ""})

    def _expired(self, outcome: Deferred, now: float) -> Failed:
        text = f"gave up after {in_words(self._age(now))}; the last answer was: {outcome.text}"
        return Failed("4.4.7", text, outcome.host)

    async def notices(self, config: Config, log: EventLog) -> list[Message]:
        """To be recorded with what `decide` gave: the news that some recipients were handed on to servers that
        send no news of their own, for a sender who asked for it (RFC 3461 5.2.2), and of those that wait for long."""
        relayed, self._relayed = self._relayed, []
        delayed, self._delayed = self._delayed, []
        envelope = self.message.envelope
        if not (relayed or delayed) or not envelope.reverse_path:
            return []
        header = await self._header(log)
        notices = []
        kinds = ((relayed, make_relay_notice, "relay_notice"), (delayed, make_delay_notice, "delay_notice"))
        for recipients, make, event in kinds:
            if not recipients:
                continue
            try:
                notice = make(
                    self.message,
                    recipients,
                    header=header,
                    hostname=config.hostname,
                    lifetime=config.delivery.retry_for,
                )
            except Exception as error:
                # What became of the recipients is recorded with or without the news of it.
                queue_id = self.message.queue_id
                log.event("bounce_fault", level="error", queue_id=queue_id, error=f"{type(error).__name__}: {error}")
                continue
            measured.NOTICES[event] += 1
            log.event(
                event,
                queue_id=self.message.queue_id,
                notice=notice.queue_id,
                to=envelope.reverse_path,
                recipients=[each.recipient.address for each in recipients],
            )
            notices.append(notice)
        return notices

    async def _header(self, log: EventLog) -> bytes:
        try:
            return await header_block(self.message.body)
        except OSError as error:
            log.event("content_unreadable", level="error", queue_id=self.message.queue_id, error=str(error))
            return b""

    async def _whole(self, header: bytes) -> bytes | None:
        """The message if it is to be given back whole; None for its header alone (RFC 3461 4.3, RFC 8689 5)."""
        body, options = self.message.body, self.message.envelope.options
        if (
            options.get("RET") != "FULL"
            or "REQUIRETLS" in options
            or body.size > _MOST_RETURNED
            or not header.isascii()
        ):
            return None
        try:
            return None if await is_binary(body) else await asyncio.to_thread(body.read)
        except OSError:
            return None

    def give_up(self, status: str, text: str, log: EventLog) -> None:
        """Make all recipients failed ones without an attempt, as the operator wants; `failures` has the bounce."""
        for number in sorted(self.undecided):
            recipient = self.message.recipients[number]
            self._failed[number] = ReportedRecipient(recipient, status, text, "")
            log.event(
                "failed",
                level="warning",
                queue_id=self.message.queue_id,
                sender=self.message.envelope.reverse_path,
                recipient=recipient.address,
                status=status,
                reply=text,
                attempt=recipient.attempts,
                delay=round(self._age(time.time()), 3),
            )
        self.undecided.clear()

    async def failures(self, config: Config, log: EventLog) -> tuple[list[Update], list[Message]]:
        """Once no recipient is undecided: what to record of the failed ones, and the bounce that tells the
        sender. A message that is itself a bounce gets none (RFC 5321 4.5.5), nor do recipients whose NOTIFY
        asks for none (RFC 3461 4.1)."""
        failed, self._failed = self._failed, {}
        if not failed:
            return [], []
        queue_id, envelope = self.message.queue_id, self.message.envelope
        updates = [Update(queue_id, number, None) for number in failed]
        told = [each for each in failed.values() if each.wants_bounce]
        if not envelope.reverse_path or not told:
            reason = "the sender asked for no bounce" if envelope.reverse_path else "there is no sender to tell"
            log.event("dropped", level="warning", queue_id=queue_id, reason=reason, recipients=len(failed))
            return updates, []
        header = await self._header(log)
        try:
            bounce = make_bounce(
                self.message,
                told,
                header=header,
                hostname=config.hostname,
                lifetime=config.delivery.retry_for,
                content=await self._whole(header),
            )
        except Exception as error:
            # Never lose the news: the recipients wait (a second time: are held) with the reason.
            log.event("bounce_fault", level="error", queue_id=queue_id, error=f"{type(error).__name__}: {error}")
            fault = Deferred(FAULT, f"no bounce could be written: {printable(str(error), 200)}", fault=True)
            return [Update(queue_id, number, self._later_or_held(number, fault, config)) for number in failed], []
        measured.BOUNCES.add()
        log.event(
            "bounced",
            queue_id=queue_id,
            bounce=bounce.queue_id,
            to=envelope.reverse_path,
            recipients=[each.recipient.address for each in told],
        )
        return updates, [bounce]


def _told(recipient: Recipient, outcome: Deferred) -> Recipient:
    """The recipient with what it waits for, unless an attempt has left better news."""
    if recipient.last_reply:
        return recipient
    return replace(recipient, last_status=outcome.status, last_reply=outcome.text)
