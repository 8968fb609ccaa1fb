# SPDX-License-Identifier: GPL-3.0-or-later
"""Many mail hosts in one process, each at a loopback address of its own: some take mail, some never say a word.

``python -m benchmarks.rivals.many PORT LIVE SILENT DELAY``: live ones at 127.10.0.1 and on, which answer the end of
each message after DELAY seconds; silent ones at 127.11.0.1 and on. Whoever is at 127.12.0.1 and on refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

__all__ = ["address", "main"]


def address(kind: int, number: int) -> str:
    """The address of the number-th host; kind: 10 live, 11 silent, 12 dead."""
    return f"127.{kind}.{number // 250}.{number % 250 + 1}"


def listening(kind: int, number: int, port: int) -> socket.socket:
    """A port of one host."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address(kind, number), port))
    opened.listen(512)
    opened.setblocking(False)
    return opened


class Host(asyncio.Protocol):
    """Just enough SMTP to be given mail, pipelined or not."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._buffer = b""
        self._content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"220 many.test\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = []
        while True:
            end = b"\r\n.\r\n" if self._content else b"\r\n"
            line, found, rest = self._buffer.partition(end)
            if not found:
                break
            self._buffer = rest
            if self._content:
                self._content = False
                if self._delay:
                    asyncio.get_running_loop().call_later(self._delay, self._transport.write, b"250 2.0.0 Ok\r\n")
                else:
                    answers.append(b"250 2.0.0 Ok\r\n")
                continue
            verb = line[:4].upper()
            if verb == b"EHLO":
                answers.append(b"250-many.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif verb == b"DATA":
                self._content = True
                answers.append(b"354 Go on\r\n")
            else:
                answers.append(b"250 2.0.0 Ok\r\n")
                if verb == b"QUIT":
                    self._transport.write(b"".join(answers))
                    self._transport.close()
                    return
        self._transport.write(b"".join(answers))


async def serve(port: int, live: int, silent: int, delay: float) -> None:
    """Until killed."""
    loop = asyncio.get_running_loop()
    quiet = [listening(11, number, port) for number in range(silent)]  # the kernel takes the connections
    for number in range(live):
        await loop.create_server(lambda: Host(delay), sock=listening(10, number, port))
    print(f"{live} live, {len(quiet)} silent", flush=True)
    await asyncio.Event().wait()


def main() -> int:
    """See the module's docstring."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
