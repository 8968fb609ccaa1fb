# SPDX-License-Identifier: GPL-3.0-or-later
"""aiosmtpd's own commands, sessions, envelopes and hooks over our read side.

Nothing of aiosmtpd's commands is written again here: only what belongs to its read loop (which command is
taken at all, how often, after what) and the three places where its commands read from the connection
themselves (STARTTLS, the answers in AUTH, the content after DATA).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, cast

from aiosmtpd.smtp import ALLOWED_BEFORE_STARTTLS, BOGUS_LIMIT, SMTP, syntax

from relay_agent.delivery.content import END_OF_DATA, stuffed
from relay_agent.submission.content import ContentReader
from relay_agent.submission.read_side import Content, ReadSide
from relay_agent.submission.stepping import SessionEndedError

__all__ = ["StockCommands"]

_LARGEST = 1 << 40  # bytes of content; aiosmtpd's commands have a limit of their own


class _Quiet:
    """The log of events, which nobody reads here."""

    def event(self, name: str, **fields: object) -> None:
        """Drop it."""


class _Answers:
    """What aiosmtpd's commands take for their StreamReader."""

    def __init__(self, session: StockCommands) -> None:
        self._session = session
        self.content: list[bytes] = []

    async def readline(self) -> bytes:
        """A line that the client sends now."""
        return await self._session.read_line() + b"\r\n"

    async def readuntil(self, separator: bytes) -> bytearray:
        """The next line of the content that our read side has taken already."""
        return bytearray(self.content.pop(0))


class _Connection:
    """What aiosmtpd's tests take for its StreamWriter, to see whether the session closed it."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    def close(self) -> None:
        self.transport.close()


class StockCommands(ReadSide):
    """Takes the place of aiosmtpd.smtp.SMTP, with the same arguments."""

    def __init__(self, handler: Any, **settings: Any) -> None:
        super().__init__(handler, **settings)
        self.events = cast(Any, _Quiet())
        self.begin()
        self._answers = _Answers(self)
        self._reader = cast(Any, self._answers)
        self._taken: list[bytes] = []
        self._said_before = False
        limits = self._call_limit_base if self._enforce_call_limit else {}
        self._left = defaultdict(lambda: self._call_limit_default, limits)
        self._bogus_left = BOGUS_LIMIT

    def open(self) -> None:
        self._watch()
        self._writer = cast(Any, _Connection(self.transport))
        self._handler_coroutine = self.loop.create_task(self._until_stopped())
        self._greeted = True
        self.greet()
        self._flush()

    def greet(self) -> None:
        self.say(f"220 {self.hostname} {self.__ident__}")

    async def _until_stopped(self) -> None:
        """aiosmtpd's controllers end their sessions by cancelling all tasks; ours have none while they wait."""
        try:
            await self.loop.create_future()
        finally:
            if self.transport is not None:
                self.transport.close()

    def ended(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    def _watch(self) -> None:
        silent_until = self.last_activity + float(self._timeout_duration)
        if self.transport is not None and self.loop.time() >= silent_until:
            self.time_out()
        elif self.transport is not None:
            self.loop.call_at(silent_until, self._watch)

    def command_for(self, verb: bytes) -> str | None:
        command = verb.decode("ascii", errors="replace")
        method = self._smtp_methods.get(command)
        if not verb.isascii() or not verb:
            self.say("500 Error: bad syntax")
        elif not self._tls_handshake_okay and command != "QUIT":
            self.say("554 Command refused due to lack of security")
        elif self.require_starttls and not self._tls_protocol and command not in ALLOWED_BEFORE_STARTTLS:
            self.say("530 Must issue a STARTTLS command first")
        elif self._enforce_call_limit and not self._may_call(command):
            self.say(f"421 4.7.0 {command} sent too many times")
            self.close_after_reply()
        elif method is None:
            self._bogus_left -= 1
            if self._bogus_left < 1:
                self.say("502 5.5.1 Too many unrecognized commands, goodbye.")
                self.close_after_reply()
            else:
                self.say(f'500 Error: command "{command}" not recognized')
        else:
            return f"smtp_{command}"
        return None

    def _may_call(self, command: str) -> bool:
        self._left[command] -= 1
        return self._left[command] >= 0

    async def handle_exception(self, error: Exception) -> str:
        return await SMTP.handle_exception(self, error)

    async def push(self, status: str | bytes) -> None:
        """Written at once: aiosmtpd's commands may close the transport behind it."""
        if self._said_before:
            self._said_before = False
            return
        await super().push(status)
        self._flush()

    @syntax("QUIT")
    async def smtp_QUIT(self, arg: str | None) -> None:
        await super().smtp_QUIT(cast(str, arg))
        if not arg:
            self.close_after_reply()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Over asyncio's own transport, which aiosmtpd's controllers make: ours gives its socket away instead."""
        self._flush()
        self._in.clear()
        self._held = True
        try:
            transport = await self.loop.start_tls(cast(Any, self.transport), self, context, server_side=True)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.connection_lost(error)
            raise SessionEndedError from error
        finally:
            self._held = False
        if transport is None or self.transport is None:
            self.connection_lost(None)
            raise SessionEndedError
        peer = self.session.peer if self.session is not None else None
        self.transport, self.tls_active = transport, True
        self.session = self._create_session()
        self.session.peer = peer
        self.session.ssl = {name: transport.get_extra_info(name) for name in ("cipher", "peercert", "ssl_object")}
        self.envelope = self._create_envelope()

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str | None) -> None:
        if arg or not self.tls_context:
            await super().smtp_STARTTLS(cast(str, arg))
            return
        await self.push("220 Ready to start TLS")
        await self.start_tls(self.tls_context)
        self._tls_protocol = cast(Any, self.transport)
        hook = self._handle_hooks.get("STARTTLS")
        self._tls_handshake_okay = hook is None or hook(self, self.session, self.envelope)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:
        assert self.envelope is not None
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        if not self.envelope.rcpt_tos or arg:
            await super().smtp_DATA(cast(str, arg))
            return
        self.expect_content(ContentReader(self._taken.append, _LARGEST))
        await self.push("354 End data with <CR><LF>.<CR><LF>")

    def content_complete(self, content: Content) -> Coroutine[Any, Any, None]:
        assert isinstance(content, ContentReader)
        return self._take_content(content.fault)

    async def _take_content(self, fault: str | None) -> None:
        blocks, self._taken = self._taken, []
        if fault is not None:
            self.envelope = self._create_envelope()
            await self.push(fault)
            return
        # aiosmtpd's DATA, from the top: what it reads is here already, and its 354 was said.
        self._answers.content = [*_lines(b"".join(stuffed(blocks))), END_OF_DATA]
        self._said_before = True
        await super().smtp_DATA(cast(str, None))


def _lines(content: bytes) -> list[bytes]:
    return [line + b"\r\n" for line in content.split(b"\r\n")[:-1]]
