# SPDX-License-Identifier: GPL-3.0-or-later
"""How a connection opens: who is let in, from behind which balancer, and whether TLS comes first.

TLS from the first byte (RFC 8314 3), the greeting in the clear (STARTTLS may follow), or whichever of the two
the client begins with; before any of them, where a balancer stands in front, its PROXY header.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Any, cast

from relay_agent.observability import measured
from relay_agent.submission.first_bytes import FirstBytes, ProxyHeaderError, client_of, read_proxy_header
from relay_agent.submission.read_side import TLS_GOODBYE, TLS_HANDSHAKE, ReadSide

__all__ = ["Opening"]

_PROXY_HEADER = 5.0  # seconds; a balancer sends it at once


class Opening(ReadSide):
    """The first moments of a session."""

    implicit_tls: ssl.SSLContext | None  # TLS from the first byte
    auto_tls: ssl.SSLContext | None  # TLS from the first byte if the client begins with it
    auto_wait: float  # seconds that such a client has to begin
    proxied: bool  # a PROXY header comes first of all
    _opening: asyncio.Task[None] | None  # what comes before the greeting, while it lasts

    def begin(self) -> None:
        super().begin()
        self._opening = None

    def admit(self) -> bytes | None:
        """The reply that turns the connection away, or None to let it in. Called before anything is said."""
        return None

    def from_balancer(self) -> bool:
        """Whether the other side, with whom the connection is, may send a PROXY header."""
        return False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.session is None:
            super().connection_made(transport)
            return
        # The socket comes back from `_look_first`, with TLS if there is to be any.
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if transport.get_extra_info("ssl_object") is not None:
            self.tls_active = True
            measured.INCOMING_TLS[transport.get_extra_info("ssl_object").version()] += 1
            self.session.ssl = {name: transport.get_extra_info(name) for name in ("cipher", "peercert", "ssl_object")}
        self._begin_session()

    def open(self) -> None:
        transport = self.transport
        assert isinstance(transport, asyncio.Transport)
        if self.proxied and not self.from_balancer():
            measured.TURNED_AWAY["not_a_balancer"] += 1
            self.events.event("not_a_balancer", level="warning", peer=self.peer_address)
            transport.write(b"421 4.7.0 This port takes connections from its balancers only\r\n")
            self._closing = True
            transport.close()
        elif self.proxied or self.auto_tls is not None or self.implicit_tls is not None:
            # What a transport reads is lost to the TLS handshake, and uvloop's reads even if it is paused here.
            # So the socket is taken from it before it has read anything.
            self.transport = None
            try:
                detached = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            except OSError as error:
                self._refused_connection(str(error))
            else:
                detached.setblocking(False)
                self._spawn(self._look_first(detached))
                self._opening = self._step_task
            transport.set_protocol(asyncio.Protocol())  # its end is not the session's
            transport.abort()
        elif (refusal := self.admit()) is not None:
            transport.write(refusal)
            self._closing = True
            transport.close()
        else:
            self._begin_session()

    @property
    def busy(self) -> bool:
        """Whether a command or a message is under way; a client that has not begun yet has neither."""
        return self._opening is None and super().busy

    def time_out(self) -> None:
        """The client has been silent too long."""
        if self._opening is None:
            super().time_out()
        else:
            self._opening.cancel()

    def shut_down(self) -> None:
        """The relay stops: who has not been greeted yet is let go at once."""
        if self._opening is None:
            super().shut_down()
        else:
            self._opening.cancel()

    def _begin_session(self) -> None:
        self._opening = None
        self._greeted = True
        self.greet()
        self._flush()

    async def _look_first(self, connection: socket.socket) -> None:
        """Take the PROXY header where one is due, find out whether TLS comes first, and begin the session."""
        first = FirstBytes(connection)
        context = self.implicit_tls
        try:
            if self.proxied:
                header = await read_proxy_header(first, _PROXY_HEADER)
                assert self.session is not None
                self.session.proxy_data = header
                self.session.peer = cast(Any, client_of(header))
            refusal = self.admit()
            if refusal is not None:
                # Not over TLS even on a TLS port: a handshake for who is turned away is work for nothing.
                if context is None:
                    connection.send(refusal)
                connection.close()
                return
            if self.auto_tls is not None and await first.begins_with_tls(self.auto_wait):
                context = self.auto_tls
        except (ProxyHeaderError, OSError) as error:
            connection.close()
            self._refused_connection(str(error))
            return
        except BaseException:
            connection.close()
            self.ended()
            raise
        await self._begin_on(connection, context)

    async def _begin_on(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        tls = context is not None
        try:
            await self.loop.connect_accepted_socket(
                lambda: self,
                connection,
                ssl=context,
                ssl_handshake_timeout=TLS_HANDSHAKE if tls else None,
                ssl_shutdown_timeout=TLS_GOODBYE if tls else None,
            )
        except OSError as error:
            connection.close()
            if self.transport is None:
                reason = getattr(error, "reason", None) or str(error) or type(error).__name__
                self.events.event("tls_failed", peer=self.peer_address, error=reason)
                self.ended()
        except asyncio.CancelledError:
            self.ended()
            raise

    def _refused_connection(self, reason: str) -> None:
        measured.TURNED_AWAY["bad_opening"] += 1
        self.events.event("connection_refused", level="warning", peer=self.peer_address, reason=reason)
        self.ended()
