# SPDX-License-Identifier: GPL-3.0-or-later
"""A session's connection after ATRN (RFC 2645): the client is the server now, and we are its client.

Ours is the greeting and the QUIT; what is between is done by the stores' workers (`relay_agent.delivery.collection`),
to whom the connection is lent over a line: an abstract Unix socket that takes one connection of our own user.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

from relay_agent.delivery.client import Connection
from relay_agent.delivery.outcome import HostTrouble
from relay_agent.delivery.reply import ReplyError

__all__ = ["TurnedConnection"]

_CREDENTIALS = struct.Struct("3i")  # of SO_PEERCRED: pid, uid, gid
_TAKEN_WITHIN = 30.0  # seconds; a store that is between two workers has ten
_ANSWERED_WITHIN = 5.0  # seconds after the line was closed


class TurnedConnection(asyncio.Protocol):
    """The site's connection, in the place of the session.

    heard: called when the site says something. lost: called once, when the connection is gone.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        client: Connection,
        heard: Callable[[], None],
        lost: Callable[[Exception | None], None],
    ) -> None:
        self._transport = transport
        self._client = client  # has the word while no line is open
        self._heard = heard
        self._lost = lost
        self._line: _Line | None = None

    async def begin(self, already_said: bytes) -> str:
        """Take the connection over; wait for the site's greeting and answer it. already_said: input that came
        behind the ATRN. Returns "", or what is wrong."""
        self._client.connection_made(self._transport)
        self._transport.set_protocol(self)
        self._transport.resume_reading()
        if already_said:
            self._client.data_received(already_said)
        try:
            await self._client.greet()
        except HostTrouble as error:
            return error.outcome.text
        except (OSError, EOFError, ReplyError) as error:
            return str(error) or type(error).__name__
        return ""

    async def lend(self, use: Callable[[str], Awaitable[tuple[int, bool]]]) -> tuple[int, bool]:
        """Open a line, let `use` have its name, and return what that returns, once the line is closed again.

        0 and False when nobody takes the line, or `use` has no answer though the line is closed: a supervisor that is
        replaced has forgotten what it was asked.
        """
        if not self._client.usable:
            return 0, False
        name = f"postroad-line-{secrets.token_hex(16)}"
        line = _Line(self)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listening.bind("\0" + name)  # uvloop knows no abstract names
            server = await asyncio.get_running_loop().create_unix_server(lambda: _End(line), sock=listening, backlog=1)
        except BaseException:
            listening.close()
            raise
        line.server = server
        using = asyncio.ensure_future(use(name))
        try:
            for moment, patience in ((line.taken, _TAKEN_WITHIN), (line.gone, None), (using, _ANSWERED_WITHIN)):
                await asyncio.wait((using, moment), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if using.done() or not moment.done():
                    break
            sent, complete = using.result() if using.done() else (0, False)
        finally:
            using.cancel()
            server.close()
            line.close()
            self._line = None
        # What the site says unasked would be taken for an answer to the next store.
        return sent, complete and self._client.usable

    async def end(self) -> None:
        """Say QUIT where that can be said, and wait until the connection is gone."""
        self._client.quit()
        if not self._transport.is_closing():
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * self._client.timeouts.quit):
                    await self._client.wait_closed()
        self.abort()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def use(self, line: _Line) -> None:
        """The word is with whoever is at the other end of the line."""
        self._line = line

    def write(self, data: bytes) -> None:
        """Say something to the site."""
        self._transport.write(data)

    def hold(self, *, full: bool) -> None:
        """The line takes no more for now, or again."""
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # What the site's transport calls.

    def data_received(self, data: bytes) -> None:
        self._heard()
        data = bytes(data)  # it may be a view of a buffer that others use, too
        if self._line is not None:
            self._line.write(data)
        else:
            self._client.data_received(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._line is not None:
            self._line.close()
        self._client.connection_lost(error)
        self._lost(error)

    def pause_writing(self) -> None:
        self._client.pause_writing()
        if self._line is not None:
            self._line.hold(full=True)

    def resume_writing(self) -> None:
        self._client.resume_writing()
        if self._line is not None:
            self._line.hold(full=False)


class _Line:
    """Our side of a line; it takes one connection, and once only."""

    def __init__(self, site: TurnedConnection) -> None:
        loop = asyncio.get_running_loop()
        self.site = site
        self.server: asyncio.AbstractServer | None = None
        self.taken: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    def take(self, transport: asyncio.Transport) -> bool:
        """A connection has come; whether it is the one."""
        connection: socket.socket = transport.get_extra_info("socket")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(credentials)
        if user != os.geteuid() or self.taken.done() or self.gone.done():
            return False  # anybody on this host can find the name
        self._transport = transport
        self.taken.set_result(None)
        if self.server is not None:
            self.server.close()
        self.site.use(self)
        return True

    def lost(self) -> None:
        """The connection is gone."""
        if not self.gone.done():
            self.gone.set_result(None)

    def write(self, data: bytes) -> None:
        """What the site said."""
        if self._transport is not None:
            self._transport.write(data)

    def hold(self, *, full: bool) -> None:
        """The site takes no more for now, or again."""
        if self._transport is None or self._transport.is_closing():
            return
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self) -> None:
        """No more."""
        self.lost()
        if self._transport is not None:
            self._transport.abort()


class _End(asyncio.Protocol):
    """A connection to a line."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._good = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast(asyncio.Transport, transport)
        self._good = self._line.take(made)
        if not self._good:
            made.abort()

    def data_received(self, data: bytes) -> None:
        if self._good and not self._line.gone.done():
            self._line.site.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._good:
            self._line.lost()

    def pause_writing(self) -> None:
        self._line.site.hold(full=True)

    def resume_writing(self) -> None:
        self._line.site.hold(full=False)
