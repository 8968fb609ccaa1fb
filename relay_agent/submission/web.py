# SPDX-License-Identifier: GPL-3.0-or-later
"""A browser's connection, carried to the web server on this host; its TLS, if any, ends here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

__all__ = ["WebTunnel", "proxy_header"]

_CONNECT = 5.0  # seconds; it is on this host
_HIGH = 262_144  # bytes that wait for the web server, beyond which the browser has to wait
_SORRY = b"The page is not there right now. Mail goes on.\r\n"
_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Retry-After: 60\r\nContent-Length: %d\r\n\r\n%s" % (len(_SORRY), _SORRY)
)


def proxy_header(peer: str, port: int, own: str, own_port: int) -> bytes:
    """A PROXY header of version 1 (HAProxy's proxy-protocol.txt, 2.1), by which the web server knows the browser."""
    if not peer:
        return b"PROXY UNKNOWN\r\n"
    if (":" in peer) != (":" in own):
        # A balancer told of the one. The web server has to learn the port all the same, by which it knows of TLS.
        peer, own = (each if ":" in each else f"::ffff:{each}" for each in (peer, own))
    return f"PROXY TCP{6 if ':' in peer else 4} {peer} {own} {port} {own_port}\r\n".encode("ascii")


class WebTunnel(asyncio.Protocol):
    """Takes the browser's side of a connection over from a session.

    alive: called when something came from either side. ended: called once, when the browser's side is gone.
    """

    def __init__(
        self,
        browser: asyncio.Transport,
        beginning: bytes,
        *,
        alive: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._browser = browser
        self._waiting = bytearray(beginning)  # for a web server that is not connected yet
        self._alive = alive
        self._ended = ended
        self._server: asyncio.Transport | None = None
        self._closed = False

    async def connect(self, host: str, port: int) -> None:
        """Connect with the web server, and begin to carry; a browser is told in HTTP when that fails."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT):
                await loop.create_connection(lambda: _ServerSide(self), host, port)
        except (OSError, TimeoutError):
            if not self._closed:
                self._browser.write(_UNAVAILABLE)
                self._browser.close()

    def close(self) -> None:
        """End both sides."""
        self._browser.abort()

    # ---- the browser's side ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._alive()
        if self._server is None:
            self._waiting += data
            if len(self._waiting) > _HIGH:
                self._browser.pause_reading()
        else:
            self._server.write(bytes(data))

    def eof_received(self) -> bool:
        # A browser that says nothing more still reads; over TLS there is no such state.
        if self._server is not None and self._server.can_write_eof():
            self._server.write_eof()
        return self._browser.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        if self._server is not None:
            self._server.pause_reading()

    def resume_writing(self) -> None:
        if self._server is not None:
            self._server.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            if self._server is not None:
                self._server.abort()
            self._ended()

    # ---- the web server's side -------------------------------------------------------------------------

    def server_connected(self, server: asyncio.Transport) -> None:
        if self._closed:
            server.abort()
            return
        self._server = server
        server.write(bytes(self._waiting))
        self._waiting.clear()
        if not self._browser.is_reading():
            self._browser.resume_reading()

    def server_said(self, data: bytes) -> None:
        self._alive()
        if not self._closed:
            self._browser.write(data)

    def server_left(self) -> None:
        if not self._closed:
            self._browser.close()

    def server_is_slow(self, *, slow: bool) -> None:
        if self._closed:
            return
        if slow:
            self._browser.pause_reading()
        elif not self._browser.is_reading():
            self._browser.resume_reading()


class _ServerSide(asyncio.Protocol):
    def __init__(self, tunnel: WebTunnel) -> None:
        self._tunnel = tunnel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tunnel.server_connected(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._tunnel.server_said(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._tunnel.server_left()

    def pause_writing(self) -> None:
        self._tunnel.server_is_slow(slow=True)

    def resume_writing(self) -> None:
        self._tunnel.server_is_slow(slow=False)
