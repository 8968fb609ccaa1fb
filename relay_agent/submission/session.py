# SPDX-License-Identifier: GPL-3.0-or-later
"""A submission session: the commands a mail program gives, and what it is told (RFC 5321, RFC 6409).

The commands that make up a message are in `hello`, `envelope` and `intake`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, cast

from relay_agent.accounts.verifier import VerifierBusyError
from relay_agent.config.schema import Listener
from relay_agent.submission.envelope import EnvelopeCommands
from relay_agent.submission.hello import HelloCommands
from relay_agent.submission.intake import ContentCommands
from relay_agent.submission.limits import source_of
from relay_agent.submission.service import SubmissionService
from relay_agent.submission.sign_in import MECHANISMS, SignInError

__all__ = ["SubmissionSession", "session_factory"]

_HTTP = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"CONNECT ", b"PRI * HTTP")
# BDAT is among them because its chunk has to be read before it is refused.
_BEFORE_TLS = frozenset({"EHLO", "HELO", "STARTTLS", "NOOP", "QUIT", "RSET", "AUTH", "BDAT"})


class SubmissionSession(HelloCommands, EnvelopeCommands, ContentCommands):
    """One mail program's session on one listener."""

    # ---- beginning and end ----------------------------------------------------------------------------

    def begin(self) -> None:
        super().begin()
        self.account = None
        self._incoming = None
        self._chunks = None
        self._source = ""
        self._trusted = False
        self._auth_failures = 0
        self._counted = False
        self.implicit_tls = self.service.tls_context if self.listener.tls == "implicit" else None

    def admit(self) -> bytes | None:
        config, sessions = self.service.config.submission, self.service.sessions
        self._source = source_of(self.peer_address)
        self.service.counters["connections"] += 1
        reason = ""
        if len(sessions) >= config.max_connections:
            reason = "the relay has all the connections it takes"
        elif sessions.from_source(self._source) >= config.max_connections_per_source:
            reason = "too many connections from your address"
        if reason:
            self.service.counters["turned_away"] += 1
            self.events.event(
                "turned_away", level="warning", peer=self.peer_address, port=self.listener.port, reason=reason
            )
            return f"421 4.7.0 {self.hostname}: {reason}; try again later\r\n".encode()
        sessions.add(self, self._source)
        self._counted = True
        if config.trusted_networks and self.peer_address:
            address = ip_address(self.peer_address.partition("%")[0])
            address = getattr(address, "ipv4_mapped", None) or address
            self._trusted = any(address in network for network in config.trusted_networks)
        return None

    def ended(self) -> None:
        self._drop_incoming()
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
        elif self.listener.tls == "starttls" and not self.tls_active and name[5:] not in _BEFORE_TLS:
            self.say("530 5.7.0 Give STARTTLS first: this port takes mail over TLS only")
            name = None
        return name

    # ---- sign-in ----------------------------------------------------------------------------------------

    async def smtp_AUTH(self, arg: str | None) -> None:
        """RFC 4954. A wrong password takes a second; too many end the session."""
        assert self.session is not None
        refusal = self._auth_refusal(arg)
        if refusal is not None:
            self.say(refusal)
            return
        words = (arg or "").split()
        initial = words[1].encode() if len(words) == 2 else None
        try:
            name, password = await MECHANISMS[words[0].upper()](initial, self._challenge)
            account = await self.service.verifier.verify(name, password)
        except SignInError as error:
            self.say(str(error))
            return
        except VerifierBusyError:
            self.say("454 4.7.0 Too many sign-ins at once; try again in a moment")
            return
        if account is None:
            self._auth_failures += 1
            self.service.counters["auth_failed"] += 1
            self.events.event(
                "auth_failed", level="warning", peer=self.peer_address, port=self.listener.port, account=name[:128]
            )
            await asyncio.sleep(1.0)
            self.say("535 5.7.8 The user name or the password is wrong")
            if self._auth_failures >= self.service.config.submission.max_auth_failures:
                self.say("421 4.7.0 Too many failed sign-ins; closing")
                self.close_after_reply()
            return
        self.account = account.name
        self.session.authenticated = True
        self.session.auth_data = cast(Any, account.name)
        self.service.counters["auth_succeeded"] += 1
        self.say("235 2.7.0 Signed in")

    def _auth_refusal(self, arg: str | None) -> str | None:
        assert self.session is not None
        if not self.session.extended_smtp:
            return "503 5.5.1 Give EHLO first"
        if self.listener.auth == "none":
            return "502 5.5.1 This port has no sign-in"
        if not self._auth_offered():
            return "538 5.7.11 Give STARTTLS first: a password travels over TLS only"
        if self.session.authenticated:
            return "503 5.5.1 Signed in already"
        if self.envelope is not None and self.envelope.mail_from is not None:
            return "503 5.5.1 Not within a message"
        words = (arg or "").split()
        if not 1 <= len(words) <= 2:
            return "501 5.5.4 Syntax: AUTH mechanism [initial-response]"
        if words[0].upper() not in MECHANISMS:
            return f"504 5.5.4 Choose one of: {' '.join(MECHANISMS)}"
        return None

    async def _challenge(self, challenge: bytes) -> bytes:
        self.say("334 " + base64.b64encode(challenge).decode("ascii"))
        return await self.read_line()

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


_VERBS = ("EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "QUIT")
_COMMANDS = {verb.encode(): f"smtp_{verb}" for verb in _VERBS}


def session_factory(
    service: SubmissionService, listener: Listener, loop: asyncio.AbstractEventLoop
) -> Callable[[], SubmissionSession]:
    """A maker of sessions for `loop.create_server`.

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
