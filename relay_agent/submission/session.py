# SPDX-License-Identifier: GPL-3.0-or-later
"""A submission session: the commands a mail program gives, and what it is told (RFC 5321, RFC 6409)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Any, cast

from relay_agent.accounts.verifier import VerifierBusyError
from relay_agent.config.schema import Listener
from relay_agent.queue.model import Envelope, Message, QueueFullError, Recipient
from relay_agent.submission.address import PathError, check_mail_parameters, parse_path
from relay_agent.submission.content import ContentReader
from relay_agent.submission.incoming import NO_ROOM, IncomingMessage
from relay_agent.submission.limits import source_of
from relay_agent.submission.read_side import ReadSide
from relay_agent.submission.service import SubmissionService
from relay_agent.submission.sign_in import MECHANISMS, SignInError

__all__ = ["SubmissionSession", "session_factory"]

_HTTP = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"CONNECT ", b"PRI * HTTP")
_BEFORE_TLS = frozenset({"EHLO", "HELO", "STARTTLS", "NOOP", "QUIT", "RSET", "AUTH"})


class SubmissionSession(ReadSide):
    """One mail program's session on one listener."""

    service: SubmissionService
    listener: Listener
    account: str | None
    _incoming: IncomingMessage | None
    _source: str
    _trusted: bool
    _auth_failures: int
    _counted: bool

    # ---- beginning and end ----------------------------------------------------------------------------

    def begin(self) -> None:
        super().begin()
        self.account = None
        self._incoming = None
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

    def _may_submit(self) -> bool:
        return bool(self.session and self.session.authenticated) or (self._trusted and self.listener.auth != "required")

    def _auth_offered(self) -> bool:
        return self.listener.auth != "none" and (self.tls_active or self.listener.tls == "none")

    def trace_protocol(self) -> str:
        """The protocol's name in the Received line: RFC 3848, and RFC 6531 4.3 for UTF8SMTP."""
        assert self.session is not None
        assert self.envelope is not None
        name = "ESMTP" if self.session.extended_smtp else "SMTP"
        if self.envelope.smtp_utf8:
            name = "UTF8SMTP"
        if self.session.extended_smtp:
            name += ("S" if self.tls_active else "") + ("A" if self.session.authenticated else "")
        return name

    # ---- hello ----------------------------------------------------------------------------------------

    async def smtp_EHLO(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.1, with the extensions this session has now."""
        if not self._hello(arg, extended=True):
            return
        lines = [self.hostname, "PIPELINING", f"SIZE {self.service.config.submission.max_message_size}", "8BITMIME"]
        lines += ["SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self.listener.tls == "starttls" and not self.tls_active:
            lines.append("STARTTLS")
        if self._auth_offered():
            lines.append("AUTH " + " ".join(MECHANISMS))
        for line in lines[:-1]:
            self.say(f"250-{line}")
        self.say(f"250 {lines[-1]}")

    async def smtp_HELO(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.1."""
        if self._hello(arg, extended=False):
            self.say(f"250 {self.hostname}")

    def _hello(self, name: str | None, *, extended: bool) -> bool:
        assert self.session is not None
        if not name or len(name) > 255 or not name.isprintable():
            self.say("501 5.5.4 Say who you are, as in: EHLO laptop.example.org")
            return False
        self._reset()
        self.session.host_name = name
        self.session.extended_smtp = extended
        return True

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """RFC 3207."""
        if self.tls_active or self.listener.tls != "starttls" or self.service.tls_context is None:
            self.say("503 5.5.1 TLS is on already" if self.tls_active else "502 5.5.1 This port has no STARTTLS")
            return
        if arg:
            self.say("501 5.5.4 STARTTLS takes no argument")
            return
        self._reset()
        self.say("220 2.0.0 Go ahead with TLS")
        if self._in:
            self.events.event("input_behind_starttls", level="warning", peer=self.peer_address, bytes=len(self._in))
        await self.start_tls(self.service.tls_context)

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

    # ---- the envelope ---------------------------------------------------------------------------------

    async def smtp_MAIL(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.2, with SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531) and AUTH (RFC 4954)."""
        assert self.session is not None
        assert self.envelope is not None
        if not self.session.host_name:
            self.say("503 5.5.1 Give EHLO first")
        elif not self._may_submit():
            self.say("530 5.7.0 Sign in first: this relay takes mail from its own users only")
        elif self.envelope.mail_from is not None:
            self.say("503 5.5.1 A message is begun already; give RSET to drop it")
        else:
            try:
                address, parameters = parse_path(arg or "", keyword="FROM")
                utf8 = check_mail_parameters(address, parameters, self.service.config.submission.max_message_size)
            except PathError as error:
                self.say(str(error))
                return
            self.envelope.mail_from = address
            self.envelope.smtp_utf8 = utf8
            self.envelope.mail_options = [key if not value else f"{key}={value}" for key, value in parameters.items()]
            self.say("250 2.1.0 Sender noted")

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.3."""
        envelope = self.envelope
        assert envelope is not None
        if envelope.mail_from is None:
            self.say("503 5.5.1 Give MAIL first")
            return
        if len(envelope.rcpt_tos) >= self.service.config.submission.max_recipients:
            self.say(f"452 4.5.3 No more than {self.service.config.submission.max_recipients} recipients a message")
            return
        try:
            address, parameters = parse_path(arg or "", keyword="TO")
            if parameters:
                raise PathError(f"555 5.5.4 RCPT parameter {next(iter(parameters))} is not known here")
            if not address.isascii() and not envelope.smtp_utf8:
                raise PathError("553 5.6.7 An address beyond ASCII needs SMTPUTF8 on MAIL")
        except PathError as error:
            self.say(str(error))
            return
        envelope.rcpt_tos.append(address)
        self.say("250 2.1.5 Recipient noted")

    # ---- the message ----------------------------------------------------------------------------------

    async def smtp_DATA(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.4."""
        assert self.envelope is not None
        if self.envelope.mail_from is None or not self.envelope.rcpt_tos:
            self.say(
                "503 5.5.1 Give RCPT first" if self.envelope.mail_from is not None else "503 5.5.1 Give MAIL first"
            )
            return
        if arg:
            self.say("501 5.5.4 DATA takes no argument")
            return
        incoming = self._incoming = IncomingMessage(
            self.service.store.spool_directory(), self.hostname, self.trace_protocol()
        )
        limit = self.service.config.submission.max_message_size
        self.expect_content(ContentReader(incoming.write, limit))
        self.say("354 Go ahead; end with a line that is only a dot")

    def content_complete(self, content: ContentReader) -> Coroutine[Any, Any, None]:
        return self._take_message(content)

    async def _take_message(self, content: ContentReader) -> None:
        incoming, envelope = self._incoming, self.envelope
        assert incoming is not None
        assert envelope is not None
        assert envelope.mail_from is not None
        # From here on the message is no longer the connection's: a client that hangs up does not undo a commit.
        self._incoming = None
        self.envelope = self._create_envelope()
        refusal = content.fault or incoming.complete()
        if refusal is not None:
            incoming.discard()
            self._refused(incoming, refusal)
            return
        try:
            body = incoming.body()
            # An id a recipient, once each: a program that names one twice means one copy.
            addresses = list(dict.fromkeys(envelope.rcpt_tos))
            message = Message(
                queue_id=incoming.queue_id,
                envelope=Envelope(envelope.mail_from, self.account or "", _kept_options(envelope.mail_options)),
                recipients={number: Recipient(address) for number, address in enumerate(addresses)},
                body=body,
                created=incoming.started,
                expires=incoming.started + self.service.config.delivery.retry_for,
            )
            await self.service.accept(message)
        except QueueFullError:
            incoming.discard()
            self._refused(incoming, NO_ROOM)
            return
        except Exception:
            incoming.discard()
            raise
        self.events.event(
            "accepted",
            queue_id=incoming.queue_id,
            account=self.account,
            peer=self.peer_address,
            port=self.listener.port,
            tls=self.tls_active,
            sender=envelope.mail_from,
            recipients=len(addresses),
            size=body.size,
            message_id=incoming.message_id,
        )
        self.say(f"250 2.0.0 Queued as {incoming.queue_id}")

    def _refused(self, incoming: IncomingMessage, reply: str) -> None:
        self.service.counters["refused"] += 1
        self.events.event(
            "refused",
            level="warning",
            queue_id=incoming.queue_id,
            account=self.account,
            peer=self.peer_address,
            reply=reply,
        )
        self.say(reply)

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

    def _reset(self) -> None:
        self._drop_incoming()
        self.envelope = self._create_envelope()

    def _drop_incoming(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.discard()


_VERBS = ("EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "VRFY", "HELP", "QUIT")
_COMMANDS = {verb.encode(): f"smtp_{verb}" for verb in _VERBS}


def _kept_options(options: list[str]) -> dict[str, str]:
    pairs = (option.partition("=") for option in options)
    return {key: value for key, _, value in pairs if key in ("BODY", "SMTPUTF8")}


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
