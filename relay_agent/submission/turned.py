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
        """Open a line, let `use` have its name, and return what that returns, once the line is closed again."""
        if not self._client.usable:
            return 0, False
        name = f"postroad-line-{secrets.token_hex(16)}"
        line = _Line(self)
        server = await asyncio.get_running_loop().create_unix_server(line.accept, "\0" + name, backlog=1)
        line.server = server
        try:
            sent, complete = await use(name)
        finally:
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


class _Line(asyncio.Protocol):
    """Our end of a line; it takes one connection, and once only."""

    def __init__(self, site: TurnedConnection) -> None:
        self._site = site
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self.server: asyncio.AbstractServer | None = None

    def accept(self) -> asyncio.Protocol:
        """The protocol of a connection: this one for the first."""
        return self if self._transport is None and not self._closed else _Refused()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection: socket.socket = transport.get_extra_info("socket")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(credentials)
        if user != os.geteuid() or self._closed or self._transport is not None:
            cast(asyncio.Transport, transport).abort()  # anybody on this host can find the name
            return
        self._transport = cast(asyncio.Transport, transport)
        if self.server is not None:
            self.server.close()
        self._site.use(self)

    def data_received(self, data: bytes) -> None:
        if not self._closed:
            self._site.write(data)

    def pause_writing(self) -> None:
        self._site.hold(full=True)

    def resume_writing(self) -> None:
        self._site.hold(full=False)

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
        self._closed = True
        if self._transport is not None:
            self._transport.abort()


class _Refused(asyncio.Protocol):
    """A connection that is not wanted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
