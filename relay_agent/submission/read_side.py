# SPDX-License-Identifier: GPL-3.0-or-later
"""aiosmtpd's SMTP class with a read side of its own.

Stock aiosmtpd takes a task and a StreamReader per connection and reads DATA line by line. Here the protocol
searches its own buffer, steps each command's coroutine in place and makes it a task only when it really
waits for something, and writes the replies of a pipelined batch at once (RFC 2920). It also puts right what
stock aiosmtpd does in ways that lose mail or let somebody in: a client that hangs up does not cancel a
commit, a hook's exception is a 451 and tells the client nothing, commands end with CRLF alone, what came in
the clear behind STARTTLS is thrown away, and silence is counted from the last whole line or, in DATA, the
last kilobyte: a client that sends a byte now and then is silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, cast

from relay_agent.observability import measured
from relay_agent.submission.lines import LineReader, LineTooLongError
from relay_agent.submission.stepping import SessionEndedError, Stepping
from relay_agent.submission.transport import PlainTransport

__all__ = ["Content", "ReadSide"]

_LONGEST_COMMAND = 2048  # bytes with CRLF: RFC 5321's 512 and what its extensions add
_LONGEST_AUTH = 12_288  # bytes of an AUTH line or answer (RFC 4954 4.5)
_HIGH_WATER = 262_144  # bytes buffered while a command waits; beyond, reading pauses
_LOW_WATER = 16_384  # the same for whoever is not known: more than a legal client can send before it has signed in
_TOO_MUCH = 2 * _LOW_WATER  # bytes of somebody unknown, read at once with TLS, that are not kept while a command waits
_LAST_WORDS = 1.0  # seconds to take leave of somebody that sends too much
_TURN = 200  # replies of one client before the others have their turn
_PROGRESS = 1024  # bytes of content that are a sign of life


class Content(Protocol):
    """Input that is no command."""

    def feed(self, buffer: bytearray) -> bool:
        """Take what there is of it from the front of `buffer`; True once it is complete."""


class ReadSide(Stepping):
    """One session's connection: bytes in, commands stepped, replies out.

    Made by `relay_agent.submission.session.session_factory`, which copies what `SMTP.__init__` works out
    once instead of working it out for every connection.
    """

    _high_water = _LOW_WATER  # bytes; a session's own once it is `known`

    def begin(self) -> None:
        """Set up the state of a fresh connection."""
        self._in = bytearray()
        self._lines = LineReader()
        self._out: list[bytes] = []
        self._step_task = None
        self._content: Content | None = None
        self._line_waiter: asyncio.Future[bytes] | None = None
        self._held = False  # a TLS handshake is under way
        self._secured = False  # TLS came with STARTTLS
        self._write_blocked = False
        self._queued = False  # the next turn is due
        self._content_came = 0  # bytes of content since the last sign of life
        self._closing = False
        self._eof = False
        self._greeted = False
        self.tls_active = False
        self.last_activity = self.loop.time()
        self.transport = None
        self.session = None
        self.envelope = None

    # ---- what a session class adds -------------------------------------------------------------------

    def open(self) -> None:
        """The connection is there, with TLS if it began with that, or once more, with TLS after STARTTLS."""
        raise LookupError

    def greet(self) -> None:
        """Say the greeting."""
        self.say(f"220 {self.hostname} ESMTP")

    def command_for(self, verb: bytes) -> str | None:
        """The attribute that handles a command, None for an unknown one."""
        raise LookupError

    def refuse_line(self, line: bytes) -> str | None:
        """The reply for a line that is no SMTP at all (and the end of the session), or None."""
        return None

    def content_complete(self, content: Content) -> Coroutine[Any, Any, None]:
        """What to do when a message's content, or a chunk of it, is complete."""
        raise LookupError

    def ended(self) -> None:
        """The connection is gone; give back what it held. Called once."""

    # ---- the transport's side -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not by class
        if self._high_water == _HIGH_WATER:
            self.known()  # since before there was a transport: behind a balancer, or where TLS may come first
        if self.session is None:
            self.session = self._create_session()
            self.session.peer = transport.get_extra_info("peername")
            self.envelope = self._create_envelope()
        if transport.get_extra_info("ssl_object") is not None:
            self.tls_active = True
            measured.INCOMING_TLS[transport.get_extra_info("ssl_object").version()] += 1
            self.session.ssl = {name: transport.get_extra_info(name) for name in ("cipher", "peercert", "ssl_object")}
        else:
            self._resume_reading()
        self.open()

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is None:
            return
        self.transport = None
        waiter, self._line_waiter = self._line_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(SessionEndedError())
        # A command that waits (a commit, a password check) runs to its end: its answer is lost, its work is not.
        self._in.clear()
        self.ended()

    def eof_received(self) -> bool:
        """The client will send nothing more: what it sent before still counts."""
        self._eof = True
        if self._waits_for_client and not self._held:
            self._pump()
        # Half-open stays open only in the clear; TLS has no such state.
        return not self.tls_active and self.transport is not None and not self._closing

    def pause_writing(self) -> None:
        self._write_blocked = True

    def resume_writing(self) -> None:
        self._write_blocked = False
        if self._waits_for_client and not self._held:
            self._pump()

    def data_received(self, data: bytes) -> None:
        self._in += data
        if self._content is not None:
            self._content_came += len(data)
            if self._content_came >= _PROGRESS:
                self._sign_of_life()
        if self._held or self._write_blocked or self._queued or not self._waits_for_client:
            self._pause_when_full()
        else:
            self._pump()

    @property
    def _waits_for_client(self) -> bool:
        """Whether it is the client's turn: no command of its is under way, or one asked for a line."""
        return self._step_task is None or self._line_waiter is not None

    def _sign_of_life(self) -> None:
        self._content_came = 0
        self.last_activity = self.loop.time()

    def _pause_when_full(self) -> None:
        if len(self._in) > self._high_water and self.transport is not None:
            if len(self._in) > _TOO_MUCH and self._high_water == _LOW_WATER and not self._queued:
                self._too_much()
            else:
                cast(asyncio.Transport, self.transport).pause_reading()

    def _too_much(self) -> None:
        """Thousands of strangers that do this would take a gigabyte of memory."""
        if self._closing:
            self._in.clear()
            return
        self.events.event("too_much_before_sign_in", level="warning", peer=self.peer_address, bytes=len(self._in))
        self._in.clear()
        if self._write_blocked or self._held:
            self.transport.abort()  # type: ignore[union-attr]
            return
        self.say("421 4.7.0 Too much at once from somebody who has not signed in; closing")
        self._closing = True
        self._flush()
        self.transport.close()  # type: ignore[union-attr]
        # TLS waits half a minute for the client's goodbye, and has as much of it in hand as we had.
        self.loop.call_later(_LAST_WORDS, self.transport.abort)  # type: ignore[union-attr]

    def known(self) -> None:
        """The client has signed in or is of a trusted network: it may send much ahead."""
        self._high_water = _HIGH_WATER
        if isinstance(self.transport, PlainTransport):
            self.transport.read_large()

    # ---- stepping -------------------------------------------------------------------------------------

    def _pump(self) -> None:
        buffer = self._in
        while self.transport is not None and not self._closing and not self._write_blocked and not self._held:
            if len(self._out) >= _TURN:
                self._next_turn()
                return
            if self._line_waiter is not None:
                line = self._next_line(_LONGEST_AUTH)
                if line is None:
                    break
                waiter, self._line_waiter = self._line_waiter, None
                if not waiter.done():
                    waiter.set_result(line)
                break
            if self._step_task is not None:
                break
            if self._content is not None:
                if not self._content.feed(buffer):
                    break
                content, self._content = self._content, None
                self._sign_of_life()
                self._step(self.content_complete(content))
                continue
            line = self._next_line(_LONGEST_AUTH if buffer[:5].upper() == b"AUTH " else _LONGEST_COMMAND)
            if line is None:
                break
            self._command(line)
        self._flush()
        if self.transport is None:
            return
        ended = self._eof and self._waits_for_client and not self._write_blocked and not self._held
        if self._closing or ended:
            self.transport.close()
        elif (
            not self._write_blocked and not self._held and (len(buffer) < self._high_water or self._content is not None)
        ):
            self._resume_reading()
        else:
            self._pause_when_full()

    def _next_turn(self) -> None:
        """Write what there is and go on when the other sessions have had their turn."""
        self._flush()
        if not self._queued:
            self._queued = True
            self.loop.call_soon(self._turn)
        self._pause_when_full()

    def _turn(self) -> None:
        self._queued = False
        self._pump()

    def _resume_reading(self) -> None:
        transport = cast(asyncio.Transport | None, self.transport)
        if transport is not None and not transport.is_reading():
            transport.resume_reading()

    def _next_line(self, longest: int) -> bytes | None:
        """The next command line without its CRLF; None when it is not all there or the session ends."""
        while True:
            try:
                line = self._lines.take(self._in, longest)
                break
            except LineTooLongError as error:
                refusal = self.refuse_line(error.beginning)
                if refusal is None and self._line_waiter is None and error.beginning[:5].upper() == b"BDAT ":
                    refusal = "500 5.5.2 The line is too long; closing, as the chunk cannot be told from commands"
                if refusal is not None:
                    self.say(refusal)
                    self._closing = True
                    return None
                self.say("500 5.5.2 The line is too long")
        refusal = None
        if line is not None:
            self._sign_of_life()
            refusal = self.refuse_line(line)
            if refusal is None and not line.endswith(b"\r\n"):
                refusal = "500 5.5.2 A line must end with CRLF, this one ended with a bare LF (RFC 5321 2.3.8)"
        elif len(self._in) >= 3:  # enough to tell what will never become an SMTP line
            refusal = self.refuse_line(bytes(self._in[:16]))
        if refusal is not None:
            self.say(refusal)
            self._closing = True
            return None
        return line[:-2] if line is not None else None

    def _command(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        name = self.command_for(verb.upper())
        if name is None:
            return
        try:
            text = argument.decode("utf-8")
        except UnicodeDecodeError:
            self.say("501 5.5.4 The argument is not UTF-8")
            if name == "smtp_BDAT":  # its chunk cannot be told from commands
                self._closing = True
            return
        self._step(getattr(self, name)(text.strip(" ") or None))

    # ---- what commands use ----------------------------------------------------------------------------

    def say(self, reply: str) -> None:
        """Queue a reply line; it is written when the batch of commands is through."""
        self._out.append(reply.encode("utf-8") + b"\r\n")

    async def push(self, status: str | bytes) -> None:
        """aiosmtpd's way to reply; hooks use it."""
        self._out.append((status.encode("utf-8") if isinstance(status, str) else status) + b"\r\n")

    async def read_line(self) -> bytes:
        """Wait for the client's next line, as in a sign-in dialogue; without its CRLF.

        Raises SessionEndedError when the client goes away or stays silent too long.
        """
        waiter: asyncio.Future[bytes] = self.loop.create_future()
        self._line_waiter = waiter
        if self._in or self._eof:
            self.loop.call_soon(self._pump)
        self._flush()
        return await waiter

    def expect_content(self, content: Content) -> None:
        """From here on the input is a message's content."""
        self._content = content
        self._sign_of_life()

    def close_after_reply(self) -> None:
        """End the session once what was said is written."""
        self._closing = True

    def time_out(self) -> None:
        """The client has been silent too long: tell it and end the session; cut it if that does not help."""
        if self.transport is None:
            return
        if self._held:
            self._cancel_handshake()
            return
        if self._write_blocked or not self._greeted or self._closing:
            self.transport.abort()  # type: ignore[attr-defined]
            return
        self.say("421 4.4.2 Nothing heard for too long; closing")
        self._closing = True
        self._flush()
        self.transport.close()

    def shut_down(self) -> None:
        """The relay stops: end the session when it is the client's turn and no message is under way."""
        if self.transport is None or self._closing:
            return
        if self._held:
            self._cancel_handshake()
        elif self._waits_for_client and self._content is None:
            self.say(f"421 4.3.2 {self.hostname} is restarting; connect again")
            self._closing = True
            self._flush()
            self.transport.close()

    def _cancel_handshake(self) -> None:
        if self._step_task is not None:
            self._step_task.cancel()

    @property
    def busy(self) -> bool:
        """Whether a command or a message is under way."""
        return self._step_task is not None or self._content is not None

    @property
    def in_transaction(self) -> bool:
        """Whether the client has begun a message (MAIL) that it has not sent yet."""
        return self.envelope is not None and self.envelope.mail_from is not None

    def _flush(self) -> None:
        out = self._out
        if out and self.transport is not None and not self._held:
            self.transport.write(b"".join(out))  # type: ignore[attr-defined]
            out.clear()
