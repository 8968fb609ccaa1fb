# SPDX-License-Identifier: GPL-3.0-or-later
"""One attempt at one job: the destination's hosts in turn, until each recipient is decided."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from relay_agent.delivery.client import Connection
from relay_agent.delivery.content import is_binary, needs_utf8_header
from relay_agent.delivery.destination import Destination, Job, Session
from relay_agent.delivery.outcome import Deferred, Delivered, Failed, HostTrouble, Outcome, Scope
from relay_agent.delivery.resolve import UnresolvedError
from relay_agent.delivery.route import Target
from relay_agent.delivery.tls.policy import RELAXED
from relay_agent.delivery.transaction import ContentError, Mail, send
from relay_agent.queue.model import Recipient

__all__ = ["Attempt", "Result"]

_MOST_HOSTS = 10  # tried in one attempt
_SPREAD_AFTER = 60.0  # seconds after which the choice among several equal hosts is made anew


@dataclass(slots=True)
class Result:
    """outcomes: one for each recipient of the job. session: still good, for the next job.

    dead: set when no host of the destination took anything at all.
    """

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    session: Session | None = None
    dead: Deferred | None = None


class Opens(Protocol):
    """What opens sessions; see `relay_agent.delivery.session.Opener`."""

    async def open(self, target: Target, domains: Iterable[str] = ()) -> Connection:
        """Raises HostTrouble and UnresolvedError."""


class Attempt:
    """Carries one job to one destination."""

    def __init__(self, opener: Opens, destination: Destination, job: Job) -> None:
        self._opener = opener
        self._destination = destination
        self._job = job
        self._pending: dict[int, Recipient] = dict(job.recipients)
        self._result = Result()
        self._utf8_header = False
        self._binary = False
        self._worked = False  # some host talked to us to the end
        self._opening: asyncio.Timeout | None = None
        self.opening_since: float | None = None  # monotonic clock; None while a connection is open
        self.hurried = False  # it was told to give up

    def hurry(self) -> None:
        """Wait no longer for a host that has not answered: others wait for the connection. What is on its way over
        an open connection is not disturbed."""
        if self._opening is not None and self.opening_since is not None and not self.hurried:
            self.hurried = True
            self._opening.reschedule(asyncio.get_running_loop().time())

    async def run(self, session: Session | None) -> Result:
        """Try the hosts in turn, `session` first if there is one. Raises ContentError."""
        try:
            await self._run(session)
        except BaseException:
            for each in (session, self._result.session):
                if each is not None:
                    each.connection.quit()
            raise
        if not self._worked:
            deferrals = (each for each in self._result.outcomes.values() if isinstance(each, Deferred))
            self._result.dead = next(deferrals, None)
        return self._result

    async def _run(self, session: Session | None) -> None:
        envelope, body = self._job.message.envelope, self._job.message.body
        try:
            if "SMTPUTF8" in envelope.options:
                self._utf8_header = await needs_utf8_header(body)
            if envelope.options.get("BODY") == "BINARYMIME":
                self._binary = await is_binary(body)
        except OSError as error:
            raise ContentError(str(error)) from error
        targets, held = self._targets(session)
        for target in targets[:_MOST_HOSTS]:
            taken = held if held is not None and held.target == target else None
            if taken is not None:
                held = None
            opened = taken or await self._open(target)
            if opened is not None:
                await self._carry(opened, fresh=taken is None)
            if not self._pending or self.hurried:
                break
        if held is not None:
            held.connection.quit()
        if self.hurried:
            self._leave_open()

    def _leave_open(self) -> None:
        """A host that was not asked may take what another one never will."""
        for number in self._pending:
            outcome = self._result.outcomes.get(number)
            if isinstance(outcome, Failed) and outcome.elsewhere:
                self._result.outcomes[number] = Deferred("4.7.0", outcome.text, outcome.host, Scope.ELSEWHERE)

    def _targets(self, session: Session | None) -> tuple[list[Target], Session | None]:
        """The targets in the order to try them, and the session if it is still one to go on with.

        It is left for a host that is better, or whose rest is over: under load it would else be kept for ever, and a
        preferred host never come back.
        """
        ranked = self._destination.ranked()
        targets = [target for _, target in ranked]
        if session is None or len(ranked) == 1:
            return targets, session
        health = self._destination.health
        preference, best = ranked[0]
        probed = not health.is_well(best)  # and yet the first: its rest is over, or all are in trouble
        if session.target == best:
            return targets, session
        if probed and health.is_well(session.target):
            reused = [target for target in targets[1:] if target != session.target]
            return [best, session.target, *reused], session
        preferences = {target: each for each, target in ranked}
        worse = preferences.get(session.target, preference + 1) > preference or not health.is_well(session.target)
        spread = time.monotonic() - session.opened > _SPREAD_AFTER
        if not probed and (worse or spread):
            session.connection.quit()
            return targets, None
        return [session.target, *(target for target in targets if target != session.target)], session

    async def _open(self, target: Target) -> Session | None:
        try:
            counted = RELAXED not in self._job.message.envelope.options
            domains = {recipient.domain for recipient in self._pending.values()} if counted else set()
            async with asyncio.timeout(None) as self._opening:
                self.opening_since = time.monotonic()
                return Session(target, await self._opener.open(target, domains))
        except (HostTrouble, UnresolvedError) as error:
            self._note_trouble(target, error.outcome)
        except TimeoutError:
            words = "no answer yet, and other destinations wait for a connection"
            self._note_trouble(target, Deferred("4.4.1", words, target.host, Scope.HOST))
        finally:
            self._opening = self.opening_since = None
        return None

    def _note_trouble(self, target: Target, outcome: Deferred | Failed) -> None:
        if isinstance(outcome, Deferred):
            self._destination.note_trouble(target, outcome)
        for number in self._pending:
            before = self._result.outcomes.get(number)
            # What a host said of the recipient outweighs silence, a host that may come back one without address.
            if isinstance(outcome, Deferred):
                better = before is None or isinstance(before, Failed) or _host_is_out(before)
            else:
                better = before is None or (isinstance(before, Failed) and not before.elsewhere)
            if better:
                self._result.outcomes[number] = outcome

    async def _carry(self, session: Session, *, fresh: bool) -> None:
        connection = session.connection
        outcomes = await self._transactions(session)
        if not fresh and not connection.usable and all(map(_host_is_out, outcomes.values())):
            # The server closed a connection that we had kept: that says nothing about a new one.
            connection.abort()
            opened = await self._open(session.target)
            if opened is None:
                return
            session, connection = opened, opened.connection
            outcomes = await self._transactions(session)
        trouble = _trouble(session.target, outcomes)
        if trouble is not None:
            self._destination.note_trouble(session.target, trouble)
        if not all(map(_host_is_out, outcomes.values())):
            self._worked = True
        if any(isinstance(each, Delivered) for each in outcomes.values()):
            self._destination.note_success(session.target)
        for number, outcome in outcomes.items():
            if isinstance(outcome, Failed) and outcome.elsewhere:
                # It is final once every host has said so: one that was silent, or that put it off, may still take it.
                if not isinstance(self._result.outcomes.get(number), Deferred):
                    self._result.outcomes[number] = outcome
                continue
            self._result.outcomes[number] = outcome
            if not (isinstance(outcome, Deferred) and outcome.scope >= Scope.ELSEWHERE):
                del self._pending[number]
        if connection.usable and not connection.single_use:
            if self._result.session is not None:
                self._result.session.connection.quit()
            self._result.session = session
        else:
            connection.quit()

    async def _transactions(self, session: Session) -> dict[int, Outcome]:
        """As many transactions as the server wants recipients to be spread over; mostly one."""
        message = self._job.message
        left = dict(self._pending)
        outcomes: dict[int, Outcome] = {}
        while True:
            mail = Mail(message.envelope, left, message.body, self._utf8_header, self._binary)
            outcomes.update(await send(session.connection, mail))
            again = {
                number: recipient
                for number, recipient in left.items()
                if isinstance(outcome := outcomes[number], Deferred) and outcome.again
            }
            if not again or len(again) == len(left) or not session.connection.usable:
                return outcomes
            left = again


def _trouble(target: Target, outcomes: dict[int, Outcome]) -> Deferred | None:
    """What shows that a host takes nothing. An upstream relay that puts off all recipients, but not for their own
    sake (450 4.7.1 to MAIL, a full disk), is in trouble, too; an MX host may be greylisting."""
    for outcome in outcomes.values():
        if isinstance(outcome, Deferred) and outcome.scope is Scope.HOST:
            return outcome
    deferred = [each for each in outcomes.values() if isinstance(each, Deferred) and each.scope is Scope.ELSEWHERE]
    return deferred[0] if target.upstream and deferred and len(deferred) == len(outcomes) else None


def _host_is_out(outcome: Outcome) -> bool:
    return isinstance(outcome, Deferred) and outcome.scope is Scope.HOST
