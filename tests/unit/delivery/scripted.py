# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that says what a test tells it to: for what no real server can be made to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from relay_agent.delivery.client import Connection, Timeouts

__all__ = ["Scripted", "connected", "serving"]

#: What a well-behaved server says, by the start of the command.
GOOD = {
    "": "220 mx.test ready",
    "EHLO": "250-mx.test hello\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES",
    "HELO": "250 mx.test",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 Go on",
    ".": "250 2.0.0 Taken",
    "BDAT": "250 2.0.0 Taken",
    "RSET": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}


@dataclass
class Scripted:
    """Answers commands from `answers` (a list is used up, its last item stays; "" closes the connection,
    None says nothing). `seen`: the commands; `content`: what came after DATA, or in each BDAT."""

    answers: dict[str, str | Sequence[str | None] | None] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    content: list[bytes] = field(default_factory=list)
    connections: int = 0

    def _answer(self, key: str) -> str | None:
        said = self.answers.get(key, GOOD.get(key, "500 5.5.1 What?"))
        if said is None or isinstance(said, str):
            return said
        if len(said) == 1:
            return said[0]
        self.answers[key] = said[1:]
        return said[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._session(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = ""
        while True:
            answer = self._answer(key)
            if answer == "":
                return
            if answer is not None:
                writer.write(answer.encode() + b"\r\n")
                await writer.drain()
            if key == "QUIT":
                return
            if key == "DATA" and answer is not None and answer.startswith("354"):
                content = b""
                while not (b"\r\n" + content).endswith(b"\r\n.\r\n"):
                    content += await reader.readuntil(b"\n")
                self.content.append(content)
                key = "."
                continue
            line = (await reader.readuntil(b"\n")).decode().rstrip("\r\n")
            self.seen.append(line)
            key = line.partition(" ")[0].upper()
            if key == "BDAT":
                self.content.append(await reader.readexactly(int(line.split()[1])))


@asynccontextmanager
async def serving(server: Scripted) -> AsyncIterator[int]:
    """The port that the server listens on."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


@asynccontextmanager
async def connected(server: Scripted, timeouts: Timeouts | None = None) -> AsyncIterator[Connection]:
    """A connection to the server, not yet greeted."""
    async with serving(server) as port:
        connection = Connection("mx.test", "relay.test", timeouts)
        await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
        try:
            yield connection
        finally:
            connection.abort()
            await connection.wait_closed()
