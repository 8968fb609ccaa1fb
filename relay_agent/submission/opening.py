# SPDX-License-Identifier: GPL-3.0-or-later
"""How a connection opens: who is let in, from behind which balancer, and whether TLS comes first.

TLS from the first byte (RFC 8314 3), the greeting in the clear (STARTTLS may follow), or whichever of the two
the client begins with; before any of them, where a balancer stands in front, its PROXY header.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any, cast

from relay_agent.config.schema import Listener
from relay_agent.observability import measured
from relay_agent.submission.first_bytes import FirstBytes, ProxyHeaderError, client_of, read_proxy_header
from relay_agent.submission.securing import TLS_HANDSHAKE, Securing
from relay_agent.submission.transport import PlainTransport

__all__ = ["Opening"]

_PROXY_HEADER = 5.0  # seconds; a balancer sends it at once


class Opening(Securing):
    """The first moments of a session."""

    listener: Listener
    implicit_tls: ssl.SSLContext | None  # TLS from the first byte
    auto_tls: ssl.SSLContext | None  # TLS from the first byte if the client begins with it
    auto_wait: float  # seconds that such a client has to begin
    proxied: bool  # a PROXY header comes first of all
    _opening: asyncio.Future[None] | None  # what comes before the greeting, while it lasts

    def begin(self) -> None:
        super().begin()
        self._opening = None
        self._admitted = False

    def admit(self) -> bytes | None:
        """The reply that turns the connection away, or None to let it in. Called before anything is said."""
        return None

    def from_balancer(self) -> bool:
        """Whether the other side, with whom the connection is, may send a PROXY header."""
        return False

    def accepted(self, connection: socket.socket, peer: Any) -> None:
        """Begin on a connection that was just accepted, whose other end is at `peer`; it does not block."""
        self.session = self._create_session()
        self.session.peer = peer
        self.envelope = self._create_envelope()
        if self.proxied and not self.from_balancer():
            measured.TURNED_AWAY["not_a_balancer"] += 1
            self.events.event("not_a_balancer", level="warning", peer=self.peer_address)
            self._send_and_close(connection, b"421 4.7.0 This port takes connections from its balancers only\r\n")
        elif self.proxied or self.auto_tls is not None or self.implicit_tls is not None:
            # A TLS handshake must find the socket unread.
            self._spawn(self._look_first(connection))
            self._opening = self._step_task
        else:
            self.connection_made(PlainTransport(self.loop, connection, self, peer))

    def _admit(self) -> bytes | None:
        self._admitted = True
        return self.admit()

    @staticmethod
    def _send_and_close(connection: socket.socket, reply: bytes) -> None:
        with connection, contextlib.suppress(OSError):
            connection.send(reply)

    def open(self) -> None:
        if self._secured:
            return  # STARTTLS: the session goes on
        if not self._admitted and (refusal := self._admit()) is not None:
            self._closing = True
            transport = cast(asyncio.Transport, self.transport)
            transport.write(refusal)
            transport.close()
            return
        self._opening = None
        self.welcome()

    def welcome(self) -> None:
        """Say the greeting; from now on commands are taken."""
        self._greeted = True
        self.greet()
        self._flush()

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
            refusal = self._admit()
            if refusal is not None:
                # Not over TLS even on a TLS port: a handshake for who is turned away is work for nothing.
                self._send_and_close(connection, refusal if context is None else b"")
                return
            if self.auto_tls is not None and await first.begins_with_tls(self.auto_wait):
                context = self.auto_tls
            elif context is not None and not await first.begins_with_tls(TLS_HANDSHAKE):
                self._no_hello(connection)
                return
        except (ProxyHeaderError, OSError) as error:
            connection.close()
            self._refused_connection(str(error))
            return
        except BaseException:
            connection.close()
            self.ended()
            raise
        await self._begin_on(connection, context)

    def _no_hello(self, connection: socket.socket) -> None:
        """TLS comes first here, and the client began with something else: say so, in the clear as it did."""
        with contextlib.suppress(OSError):
            # All of it is taken: closing with unread input would cut the reply off.
            said = connection.recv(65_536)
            if said:
                reply = self.refuse_line(said)
                if reply is None:
                    self.events.event("plaintext_on_tls_port", peer=self.peer_address, port=self.listener.port)
                    reply = (
                        f"554 5.5.0 Port {self.listener.port} begins with TLS: choose SSL/TLS as connection security, "
                        "or a port with STARTTLS"
                    )
                connection.send(reply.encode() + b"\r\n")
                connection.shutdown(socket.SHUT_WR)
                connection.close()
                self.ended()
                return
        connection.close()
        self.events.event("tls_failed", peer=self.peer_address, error="the client sent nothing")
        self.ended()

    async def _begin_on(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        assert self.session is not None
        if context is None:
            self.connection_made(PlainTransport(self.loop, connection, self, self.session.peer))
            return
        try:
            await self.secure(connection, context)
        except OSError:
            if self.transport is None:
                self.ended()
        except BaseException:
            self.ended()
            raise

    def _refused_connection(self, reason: str) -> None:
        measured.TURNED_AWAY["bad_opening"] += 1
        self.events.event("connection_refused", level="warning", peer=self.peer_address, reason=reason)
        self.ended()
