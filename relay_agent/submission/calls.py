# SPDX-License-Identifier: GPL-3.0-or-later
"""A site calls in for the mail that waits for it: ETRN (RFC 1985) and ATRN (RFC 2645).

Only the account that owns a domain may; nobody else is told whether there is such a domain, or mail for it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

from relay_agent.delivery.calling import Call, SitesBusyError
from relay_agent.delivery.client import Connection
from relay_agent.delivery.domain import ascii_domain
from relay_agent.observability import measured
from relay_agent.submission.address import shown
from relay_agent.submission.state import SessionState
from relay_agent.submission.turned import TurnedConnection

__all__ = ["CallCommands"]

_MOST_DOMAINS = 50  # of one ATRN


class CallCommands(SessionState):
    """What a site says to get its mail."""

    _turned: TurnedConnection | None

    def calls_offered(self) -> bool:
        """Whether there is anything to call for, in a session that can sign in."""
        return self._auth_offered() and any(route.etrn for route in self.service.config.route)

    async def smtp_ETRN(self, arg: str | None) -> None:
        """RFC 1985: send what waits for a domain, or with ``@`` for those below it, too, to the site's known host."""
        if not self._may_call("ETRN"):
            return
        below = bool(arg) and cast(str, arg)[0] == "@"
        name = (arg or "").removeprefix("@")
        if not name or " " in name:
            self.say("501 5.5.4 Say for which domain, as in: ETRN example.org")
            return
        call: Call | None = None
        with suppress(ValueError, IndexError):  # ``#queue`` is none either: there are no queues with names
            call = Call(self.account or "", (ascii_domain(name),), below)
        routes = call.routes(self.service.config) if call is not None else []
        node = shown(name)
        if call is None or not routes:
            self._called("etrn", "refused", arg)
            self.say(f"459 4.7.1 Node {node} not allowed: it is no domain of your account's")
            return
        if not all(route.via for route in routes):
            self._called("etrn", "refused", arg)
            self.say(f"458 4.3.2 Unable to queue messages for node {node}: it has no known host; fetch them with ATRN")
            return
        if self._too_often("458", node):
            return
        sites = self.service.sites
        assert sites is not None
        try:
            count = await sites.called(call)
        except SitesBusyError as error:
            self._called("etrn", "failed", arg, problem=str(error))
            self.say(f"458 4.3.0 Unable to queue messages for node {node} now; try again in a minute")
            return
        self._called("etrn", "started" if count else "empty", arg, messages=count)
        if count:
            self.say(f"253 2.0.0 OK, {count} pending messages for node {node} started")
        else:
            self.say(f"251 2.0.0 OK, no messages waiting for node {node}")

    async def smtp_ATRN(self, arg: str | None) -> None:
        """RFC 2645 5: send what waits for these domains (none: all of the account's) over this connection."""
        if not self._may_call("ATRN"):
            return
        assert self.envelope is not None
        if self.envelope.mail_from is not None:
            self.say("503 5.5.1 Not in the middle of a message")
            return
        names = [] if arg is None else [name.strip() for name in arg.split(",")]
        if len(names) > _MOST_DOMAINS or any(" " in name for name in names):
            self.say(f"501 5.5.4 Say for which domains, {_MOST_DOMAINS} at most, as in: ATRN example.org,example.com")
            return
        call: Call | None = None
        with suppress(ValueError, IndexError):
            call = Call(self.account or "", tuple(ascii_domain(name) for name in names))
        if call is None or not call.routes(self.service.config):
            self._called("atrn", "refused", arg)
            self.say("450 4.7.1 ATRN request refused: not all of these are domains of your account's")
            return
        if self._too_often("450", "ATRN"):
            return
        sites = self.service.sites
        assert sites is not None
        try:
            counts = await sites.count(call)
        except SitesBusyError as error:
            self._called("atrn", "failed", arg, problem=str(error))
            self.say("451 4.3.0 Unable to process ATRN request now; try again in a minute")
            return
        if not counts:
            self._called("atrn", "empty", arg)
            self.say("453 4.0.0 You have no mail")
            return
        self._called("atrn", "started", arg, messages=sum(counts.values()))
        await self._turn_round(call, list(counts))

    async def _turn_round(self, call: Call, stores: list[int]) -> None:
        """Be the client from here on; the session ends with it."""
        sites, transport, peer = self.service.sites, self.transport, self.peer_address
        assert sites is not None
        if transport is None or self._closing:
            return
        self.say("250 2.0.0 OK now reversing the connection")
        self._flush()
        self._closing = True
        already_said = bytes(self._in)
        self._in.clear()
        host = call.domains[0] if call.domains else self._owned_name(call)
        client = Connection(host, self.hostname, self.service.site_timeouts)
        turned = TurnedConnection(cast(asyncio.Transport, transport), client, self._sign_of_life, self.connection_lost)
        self._turned = turned
        sent, problem = 0, "the connection was lost"  # with which this task is cancelled
        try:
            found = await turned.begin(already_said)
            for store in [] if found else stores:

                async def use(line: str, store: int = store) -> tuple[int, bool]:
                    return await sites.collect(store, call, line, host, peer)

                more, complete = await turned.lend(use)
                sent += more
                if not complete:
                    found = "the site hung up, or a worker ended"
                    break
            problem = found
            if not problem:
                await turned.end()
        except SitesBusyError as error:
            problem = str(error)
        finally:
            turned.abort()
            self.events.event(
                "site_collected",
                level="warning" if problem else "info",
                account=self.account,
                peer=peer,
                messages=sent,
                problem=problem or None,
            )

    def _owned_name(self, call: Call) -> str:
        """A name for the site, for the log and for bounces."""
        return call.routes(self.service.config)[0].domains[0].removeprefix("*.")

    def _may_call(self, verb: str) -> bool:
        """Says why not."""
        if not self.calls_offered() or self.service.sites is None:
            self.say(f"502 5.5.1 {verb} is not offered here")
            return False
        assert self.session is not None
        if not self.session.authenticated or self.account is None:
            self.say("530 5.7.0 Sign in first: mail is kept for those who own its domain")
            return False
        if self.service.verifier.account(self.account) is None:
            self.say("530 5.7.0 Your account was locked or deleted; ask its administrator")
            return False
        return True

    def _too_often(self, code: str, what: str) -> bool:
        """Whether the account has called too often; says so."""
        assert self.service.sites is not None
        seconds = self.service.sites.wait(self.account or "")
        if seconds:
            measured.SITE_CALLS["etrn" if code == "458" else "atrn", "limited"] += 1
            self.say(f"{code} 4.7.1 {what}: called too often; try again in {max(1, round(seconds))} seconds")
        return bool(seconds)

    def _called(self, verb: str, result: str, what: str | None, **more: object) -> None:
        measured.SITE_CALLS[verb, result] += 1
        level = "warning" if result in ("refused", "failed") else "info"
        domains = (what or "")[:300] or None
        self.events.event(
            "site_called", level=level, verb=verb, result=result, account=self.account, domains=domains, **more
        )

    def time_out(self) -> None:
        """A site that has been silent too long after its ATRN is no client to be told."""
        if self._turned is not None:
            self._turned.abort()
        else:
            super().time_out()
