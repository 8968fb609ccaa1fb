# SPDX-License-Identifier: GPL-3.0-or-later
"""A submission session: the commands a mail program gives, and what it is told (RFC 5321, RFC 6409).

The commands that make up a message are in `hello`, `authentication`, `envelope` and `intake`; those of
a site that fetches its mail in `calls`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from relay_agent.config.schema import Listener
from relay_agent.observability import measured
from relay_agent.submission.authentication import AuthCommands
from relay_agent.submission.calls import CallCommands
from relay_agent.submission.envelope import EnvelopeCommands
from relay_agent.submission.hello import HelloCommands
from relay_agent.submission.intake import ContentCommands
from relay_agent.submission.limits import source_of
from relay_agent.submission.rights import Rights
from relay_agent.submission.service import SubmissionService
from relay_agent.submission.stating import StateCommand

__all__ = ["SubmissionSession", "session_factory", "session_maker"]

_HTTP = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"CONNECT ", b"PRI * HTTP")
# BDAT is among them because its chunk has to be read before it is refused.
_BEFORE_TLS = frozenset({"EHLO", "HELO", "STARTTLS", "NOOP", "QUIT", "RSET", "AUTH", "BDAT", "XRELAY"})


class SubmissionSession(CallCommands, StateCommand, HelloCommands, AuthCommands, EnvelopeCommands, ContentCommands):
    """One mail program's session on one listener."""

    # ---- beginning and end ----------------------------------------------------------------------------

    def begin(self) -> None:
        super().begin()
        self.account = None
        self.rights = Rights(self.service)
        self._incoming = None
        self._chunks = None
        self._source = ""
        self._trusted = False
        self._auth_failures = 0
        self._counted = False
        self._turned = None
        self.implicit_tls = self.service.tls_context if self.listener.tls == "implicit" else None
        self.auto_tls = self.service.tls_context if self.listener.tls == "auto" else None
        self.auto_wait = self.service.config.submission.auto_wait
        self.proxied = bool(self.listener.proxy_from)
        self.web = self.listener.web_server
        self.web_wait = self.service.config.submission.web_wait

    def admit(self) -> bytes | None:
        config, sessions = self.service.config.submission, self.service.sessions
        self._source = source_of(self.peer_address)
        self.service.counters["connections"] += 1
        measured.CONNECTIONS[self.listener.port, self.listener.tls] += 1
        reason = sessions.take(
            self._source, most=config.max_connections, most_from_source=config.max_connections_per_source
        )
        if reason:
            self.service.counters["turned_away"] += 1
            self.events.event(
                "turned_away", level="warning", peer=self.peer_address, port=self.listener.port, reason=reason
            )
            return f"421 4.7.0 {self.hostname}: {reason}; try again later\r\n".encode()
        sessions.add(self, self._source)
        self._counted = True
        if config.trusted_networks and self.peer_address:
            self._trusted = self._peer_in(config.trusted_networks)
            if self._trusted:
                self.known()
        return None

    def from_balancer(self) -> bool:
        return bool(self.peer_address) and self._peer_in(self.listener.proxy_from)

    def _peer_in(self, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
        return _is_in(self.peer_address, networks)

    def ended(self) -> None:
        self._drop_incoming()
        self.rights.leave()
        if self._counted:
            self._counted = False
            self.service.sessions.remove(self, self._source)

    def refuse_line(self, line: bytes) -> str | None:
        if line[:2] == b"\x16\x03" and not self.tls_active:
            self.events.event("tls_on_plaintext_port", peer=self.peer_address, port=self.listener.port)
            return (
                f"554 5.5.0 Port {self.listener.port} begins without TLS: choose STARTTLS as connection security, "
                "or a port with TLS from the start"
            )
        if line.startswith(_HTTP):
            self.events.event("http_request", peer=self.peer_address, port=self.listener.port)
            return "554 5.5.0 This is a mail server; a web browser finds nothing here"
        return None

    def command_for(self, verb: bytes) -> str | None:
        name = _COMMANDS.get(verb)
        if name is None:
            self.say("500 5.5.1 Unknown command" if verb else "500 5.5.2 An empty line is no command")
        elif self.starts_tls and not self.tls_active and name[5:] not in _BEFORE_TLS:
            self.say("530 5.7.0 Give STARTTLS first: this port takes mail over TLS only")
            name = None
        return name

    # ---- the rest -------------------------------------------------------------------------------------

    async def smtp_RSET(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.5."""
        self._reset()
        self.say("250 2.0.0 Dropped")

    async def smtp_NOOP(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.9."""
        self.say("250 2.0.0 OK")

    async def smtp_VRFY(self, arg: str | None) -> None:
        """RFC 5321 3.5.3: nothing is told about who exists."""
        self.say("252 2.5.0 Send to it and see")

    async def smtp_HELP(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.8."""
        self.say("214 2.0.0 " + " ".join(_VERBS))

    async def smtp_QUIT(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.10."""
        self.say("221 2.0.0 Bye")
        self.close_after_reply()


@lru_cache(maxsize=1024)
def _is_in(peer: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    address = ip_address(peer.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in networks)


_VERBS = (
    *("EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT"),
    *("RSET", "NOOP", "VRFY", "HELP", "ETRN", "ATRN", "XRELAY", "QUIT"),
)
_COMMANDS = {verb.encode(): f"smtp_{verb}" for verb in _VERBS}


def session_factory(
    service: SubmissionService, listener: Listener, loop: asyncio.AbstractEventLoop
) -> Callable[[], SubmissionSession]:
    """A maker of sessions.

    `SMTP.__init__` looks through its own and the handler's attributes, which takes 100 microseconds; it is
    run once here, and every session starts as a copy of what it found out.
    """
    model = SubmissionSession(object(), hostname=service.config.hostname, loop=loop, enable_SMTPUTF8=True)
    state = dict(vars(model))
    for name in list(state):
        if name.startswith(("_stream", "_source", "_strong", "_reject", "_client", "_task", "_closed", "_over")):
            del state[name]
    state.update(service=service, listener=listener, events=service.events)

    def make() -> SubmissionSession:
        session = SubmissionSession.__new__(SubmissionSession)
        vars(session).update(state)
        session.begin()
        return session

    return make


def session_maker(
    service: SubmissionService, listener: Listener, loop: asyncio.AbstractEventLoop
) -> Callable[[socket.socket, Any], None]:
    """What begins a session on a connection that an `Acceptor` took."""
    make = session_factory(service, listener, loop)
    return lambda connection, peer: make().accepted(connection, peer)
