# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to an SMTP server: greeting, EHLO, STARTTLS, and reading replies in time.

Sign-in is in `sign_in`, the mail transaction itself in `transaction`. Own protocol instead of a library's for
pipelining, per-stage timeouts and per-recipient replies, at a sixth of the processor time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from relay_agent.delivery.outcome import Deferred, HostTrouble, Scope, cause_of_reply
from relay_agent.delivery.reply import Reply, ReplyError, ReplyReader

__all__ = ["Connection", "Timeouts", "TlsRefusedError"]

# What a server can have us keep unread, above all while we wait for it to read.
_UNASKED = 10  # replies beyond those that were asked for
_MOST_UNREAD = 262_144  # octets; a hundred recipients refused in many words are a sixth of that


@dataclass(slots=True, frozen=True)
class Timeouts:
    """Longest waits in seconds, per stage (RFC 5321 4.5.3.2)."""

    greeting: float = 300.0
    hello: float = 300.0
    tls: float = 60.0  # the handshake; no RFC sets it
    auth: float = 120.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0  # until the other side took a block of the content
    end: float = 600.0  # its reply to the end of data
    quit: float = 5.0  # we have what we want; courtesy only


class TlsRefusedError(Exception):
    """The server offers no STARTTLS, or answered it with anything but 220."""


class Connection(asyncio.Protocol):
    """A connection to one server. Not for concurrent use: one command or transaction at a time.

    host: the server's name, for outcomes and logs. own_name: what we say in EHLO.
    Methods that talk raise HostTrouble (a 421, at any moment), TimeoutError, EOFError or OSError (connection
    lost), ReplyError (not SMTP); after any of them the connection is of no more use.
    """

    def __init__(self, host: str, own_name: str, timeouts: Timeouts | None = None) -> None:
        self.host = host
        self.own_name = own_name
        self.timeouts = timeouts or Timeouts()
        self.extensions: dict[str, str] = {}
        self.peer_address = ""
        self.own_address = ""
        self.authenticated: bool | None = None  # whether the server has proved its name; None: its context tells
        self.single_use = False  # good for the mail it was opened for, and no other
        self.transactions = 0  # begun so far
        self.unfinished = False  # a transaction was begun and not ended: RSET comes first
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._asked = 1  # replies to come; the greeting is one
        self._unread = 0  # octets that came since all replies had been read
        self._waiter: asyncio.Future[None] | None = None
        self._lost: BaseException | None = None
        self._room: asyncio.Future[None] | None = None  # set while the other side reads too slowly
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._quit_timer: asyncio.TimerHandle | None = None
        self.on_close: Callable[[Connection], None] | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer_address = str(peer[0]) if peer else ""
        own = transport.get_extra_info("sockname")
        self.own_address = str(own[0]) if own else ""

    def data_received(self, data: bytes) -> None:
        if self._quit_timer is not None:
            self._close()
            return
        if self._lost is not None:
            return
        try:
            self._replies.extend(self._reader.feed(data))
            self._unread += len(data)
            if len(self._replies) > self._asked + _UNASKED:
                raise ReplyError("sends replies that nobody asked for")
            if self._unread > _MOST_UNREAD:
                raise ReplyError("says more than replies hold")
        except ReplyError as error:
            self._lost = error
            self.abort()
        if self._replies or self._lost is not None:
            self._wake()  # not for a part of a reply: the time runs on until all of it is there

    def connection_lost(self, error: Exception | None) -> None:
        if self._lost is None:
            self._lost = error or EOFError()
        if self._quit_timer is not None:
            self._quit_timer.cancel()
        if not self._closed.done():
            self._closed.set_result(None)
        if self.on_close is not None:
            self.on_close(self)
        self.resume_writing()
        self._wake()

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Bytes out, replies in.

    @property
    def usable(self) -> bool:
        """Whether a further command can be sent: open, and nothing unasked for came in."""
        if self._transport is None or self._transport.is_closing():
            return False
        return self._lost is None and not self._replies and self._reader.idle and self._quit_timer is None

    @property
    def interrupted(self) -> bool:
        """Whether the server spoke or hung up while it was ours to speak (in the middle of the content)."""
        return self._lost is not None or bool(self._replies)

    @property
    def encrypted(self) -> bool:
        """Whether TLS is on."""
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is not None

    @property
    def verified(self) -> bool:
        """Whether TLS is on, with a certificate that was checked against an authority and the server's name, or
        in another way that `authenticated` tells of."""
        tls = self.tls
        if tls is None or self.authenticated is not None:
            return tls is not None and bool(self.authenticated)
        return tls.context.verify_mode is ssl.CERT_REQUIRED and tls.context.check_hostname

    @property
    def tls(self) -> ssl.SSLObject | None:
        """TLS's own object; None in the clear."""
        found = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return cast("ssl.SSLObject | None", found)

    @property
    def tls_version(self) -> str | None:
        """TLS version, e.g. ``TLSv1.3``; None in the clear."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return tls.version() if tls is not None else None

    def write(self, data: bytes, *, replies: int = 0) -> None:
        """Send bytes; what the network does not take yet is buffered (see `drained`). replies: how many they are to
        be answered with."""
        self._asked += replies
        if self._lost is None and self._transport is not None:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the other side has taken what was written. Raises TimeoutError when it takes too long."""
        if self._room is not None:
            async with asyncio.timeout(self.timeouts.block):
                await asyncio.shield(self._room)

    async def reply(self, timeout: float) -> Reply:  # noqa: ASYNC109 - a timer handle costs less than a scope
        """The next reply. Raises HostTrouble for a 421, and what the class tells."""
        while not self._replies:
            if self._lost is not None:
                raise self._lost
            waiter = self._waiter = self._loop.create_future()
            timer = self._loop.call_later(timeout, _expire, waiter)
            try:
                await waiter
            except TimeoutError as error:
                self._lost = self._lost or error
                self.abort()
                raise
            finally:
                timer.cancel()
                self._waiter = None
        answer = self._replies.popleft()
        self._asked = max(self._asked - 1, 0)
        if not self._replies:
            self._unread = 0
        if answer.code == 421:
            trouble = HostTrouble(
                Deferred(answer.enhanced or "4.3.2", answer.text, self.host, Scope.HOST, cause=cause_of_reply(answer))
            )
            self._lost = self._lost or trouble
            self._close()
            raise trouble
        return answer

    async def command(self, line: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - see reply
        """Send one command (without its CRLF) and return the reply."""
        self.write(line + b"\r\n", replies=1)
        return await self.reply(timeout)

    # The beginning of a session.

    async def greet(self) -> None:
        """Read the greeting and say EHLO, or HELO to a server that does not know EHLO.

        Raises HostTrouble when the server does not want us. A 5xx greeting is a deferral, too: it speaks of
        this host (or of our address), and the next host or a changed route may carry the mail.
        """
        greeting = await self.reply(self.timeouts.greeting)
        if greeting.code != 220:
            raise self._trouble(greeting, "4.3.2")
        await self.hello()

    async def hello(self) -> None:
        """EHLO (HELO where refused); fills `extensions`, keywords in upper case."""
        self.extensions = {}
        name = self.own_name.encode("ascii")
        answer = await self.command(b"EHLO " + name, self.timeouts.hello)
        if answer.code // 100 == 2:
            for line in answer.lines[1:]:
                keyword, _, parameters = line.strip().partition(" ")
                if keyword.upper().startswith("AUTH="):  # a spelling older than RFC 2554
                    keyword, parameters = "AUTH", f"{keyword[5:]} {parameters}"
                self.extensions.setdefault(keyword.upper(), parameters.strip())
        elif answer.code // 100 == 5:
            answer = await self.command(b"HELO " + name, self.timeouts.hello)
        if answer.code // 100 != 2:
            raise self._trouble(answer, "4.3.2")
        if answer.lines[0].partition(" ")[0].rstrip(".").lower() == self.own_name.lower():
            raise HostTrouble(
                Deferred("4.4.6", "the server has our own name: mail would go in a circle", self.host, Scope.HOST)
            )

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """STARTTLS (RFC 3207), then EHLO anew. What came in plaintext behind the 220 is thrown away.

        server_name: the name to ask for, where it is not the host's.
        Raises TlsRefusedError when the server will not; the connection is then still good. Raises
        ssl.SSLError or another OSError when the handshake fails.
        """
        if "STARTTLS" not in self.extensions:
            raise TlsRefusedError("the server offers no STARTTLS")
        answer = await self.command(b"STARTTLS", self.timeouts.hello)
        if answer.code != 220:
            raise TlsRefusedError(f"STARTTLS refused: {answer.text}")
        assert self._transport is not None
        self._replies.clear()
        self._unread = 0
        self._reader.reset()
        transport = await self._loop.start_tls(
            self._transport,
            self,
            context,
            server_hostname=server_name or (None if self.host.startswith("[") else self.host),
            ssl_handshake_timeout=self.timeouts.tls,
            ssl_shutdown_timeout=self.timeouts.quit,
        )
        if transport is None:
            raise EOFError
        self._transport = transport
        self._replies.clear()
        self._unread = 0
        self._reader.reset()
        await self.hello()

    def _trouble(self, answer: Reply, status: str) -> HostTrouble:
        enhanced = answer.enhanced
        if enhanced is not None and answer.code // 100 in (4, 5):
            status = f"4{enhanced[1:]}"
        return HostTrouble(Deferred(status, answer.text, self.host, Scope.HOST, cause=cause_of_reply(answer)))

    # The end.

    def quit(self) -> None:
        """Say QUIT and close when it is answered, or soon anyway. Does not wait."""
        if self._transport is None or self._transport.is_closing():
            return
        if not self.usable:
            self._close()
            return
        self._quit_timer = self._loop.call_later(self.timeouts.quit, self.abort)
        self._transport.write(b"QUIT\r\n")

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone (after `quit` or `abort`)."""
        if self._transport is not None:
            await asyncio.shield(self._closed)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
