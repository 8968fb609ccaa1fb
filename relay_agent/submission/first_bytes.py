# SPDX-License-Identifier: GPL-3.0-or-later
"""The first bytes of a connection, looked at before there is a transport.

A TLS handshake must find the client's hello unread. So this reads from the bare socket, and takes exactly what
it means to take. A balancer's header is as HAProxy's proxy-protocol.txt has it, version 1 or 2.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address

from aiosmtpd.proxy_protocol import PROTO, V2_CMD, ProxyData, get_proxy

__all__ = ["FirstBytes", "ProxyHeaderError", "client_of", "read_proxy_header"]

_HANDSHAKE = b"\x16"  # the type of a TLS record that holds a hello (RFC 8446 5.1): no SMTP command begins with it
_LONGEST_HEADER = 4096  # bytes of a PROXY header: addresses take 216, the rest is for what balancers add
_LONGEST_LINE = 107  # bytes of a header of version 1


class FirstBytes:
    """What a client sent first on a socket, which must not block and stays the caller's."""

    def __init__(self, connection: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connection
        self._left = _LONGEST_HEADER

    async def begins_with_tls(self, wait: float) -> bool:
        """Whether a TLS hello begins here. A client that says nothing for `wait` seconds waits for a greeting.

        One byte decides, so it does not matter how the hello is cut. Nothing is taken.
        """
        try:
            async with asyncio.timeout(wait):
                return await self._peek() == _HANDSHAKE
        except (TimeoutError, OSError):  # a transport will meet the error, too
            return False

    async def _peek(self) -> bytes:
        while True:
            try:
                return self._socket.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                readable = self._loop.create_future()
                self._loop.add_reader(self._socket, _wake, readable)
                try:
                    await readable
                finally:
                    self._loop.remove_reader(self._socket)

    # What aiosmtpd's reader of PROXY headers asks for.

    async def read(self, n: int = -1) -> bytes:
        """Some bytes, `n` at most; b"" at the end of the stream."""
        if n > self._left:
            raise ProxyHeaderError(f"is longer than {_LONGEST_HEADER} bytes")
        part = await self._loop.sock_recv(self._socket, n)
        self._left -= len(part)
        return part

    async def readexactly(self, n: int) -> bytes:
        """`n` bytes. Raises ProxyHeaderError at the end of the stream."""
        found = b""
        while len(found) < n:
            part = await self.read(n - len(found))
            if not part:
                raise ProxyHeaderError("ends too early")
            found += part
        return found

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """Bytes up to and with `separator`; byte by byte, because nothing behind it may be taken."""
        found = b""
        while not found.endswith(separator):
            if len(found) >= _LONGEST_LINE:
                raise ProxyHeaderError(f"is longer than {_LONGEST_LINE} bytes")
            found += await self.readexactly(1)
        return found


class ProxyHeaderError(Exception):
    """What came is no PROXY header; the text says why."""


async def read_proxy_header(first: FirstBytes, wait: float) -> ProxyData:
    """Take a PROXY header of version 1 or 2 (HAProxy's proxy-protocol.txt, 2.1 and 2.2) and nothing behind it.

    wait: seconds that all of it may take. Raises ProxyHeaderError.
    """
    try:
        async with asyncio.timeout(wait):
            found = await get_proxy(first)
    except TimeoutError:
        raise ProxyHeaderError(f"did not come within {wait:.0f} seconds") from None
    except OSError as error:
        raise ProxyHeaderError(error.strerror or type(error).__name__) from error
    if not found.valid:
        raise ProxyHeaderError(found.error or "cannot be read")
    return found


def client_of(header: ProxyData) -> tuple[str, int] | None:
    """Address and port of the client; None when the balancer speaks for itself (a health check) or does not
    know the client. Such a connection must not be taken for one from the balancer's own network."""
    if header.version == 2 and header.command == V2_CMD.LOCAL:
        return None
    if header.protocol != PROTO.STREAM or not isinstance(header.src_addr, IPv4Address | IPv6Address):
        return None
    address = getattr(header.src_addr, "ipv4_mapped", None) or header.src_addr
    return str(address), header.src_port or 0


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
