# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection that was turned round is lent to one taker after the other, and to nobody else."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_agent.delivery.client import Connection, Timeouts
from relay_agent.submission import turned as module
from relay_agent.submission.transport import PlainTransport
from relay_agent.submission.turned import TurnedConnection


class Session(asyncio.Protocol):
    """What had the connection before."""

    def __init__(self) -> None:
        self.lost = 0
        self.heard = 0

    def was_lost(self, error: Exception | None) -> None:
        self.lost += 1

    def was_heard(self) -> None:
        self.heard += 1


class Site:
    """The other end, and the turned connection at this one."""

    def __init__(self, end: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.session = Session()
        loop = asyncio.get_running_loop()
        self.transport = PlainTransport(loop, end, self.session, ("192.0.2.1", 50000))
        client = Connection("site.test", "relay.test", Timeouts(greeting=1, hello=1, quit=0.2))
        self.turned = TurnedConnection(self.transport, client, self.session.was_heard, self.session.was_lost)

    async def says(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def hears(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), 5)).decode().rstrip("\r\n")

    async def begin(self) -> None:
        await self.says("220 site.test", "250 site.test")
        assert await self.turned.begin(b"") == ""
        assert await self.hears() == "EHLO relay.test"


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    made = Site(ours, *await asyncio.open_connection(sock=theirs))
    try:
        yield made
    finally:
        made.turned.abort()
        made.writer.close()
        await asyncio.sleep(0)


async def test_what_is_said_goes_to_whoever_has_the_line_and_back() -> None:
    async with site() as there:
        await there.begin()

        async def use(name: str) -> tuple[int, bool]:
            reader, writer = await asyncio.open_unix_connection("\0" + name)
            writer.write(b"NOOP\r\n" + b"x" * 300_000 + b"\r\n")
            assert await there.hears() == "NOOP"
            assert len(await there.reader.readexactly(300_002)) == 300_002
            await there.says("250 Ok")
            assert await reader.readline() == b"250 Ok\r\n"
            writer.write(b"y" * 1_000_000)  # more than the site takes at once
            assert len(await there.reader.readexactly(1_000_000)) == 1_000_000
            there.writer.write(b"z" * 1_000_000)
            assert len(await reader.readexactly(1_000_000)) == 1_000_000
            writer.close()
            return 7, True

        for _ in range(2):
            assert await there.turned.lend(use) == (7, True)
        ending = asyncio.ensure_future(there.turned.end())
        assert await there.hears() == "QUIT"
        await there.says("221 Bye")
        await ending
        assert await there.reader.read() == b""
        assert there.session.lost == 1
        assert there.session.heard > 5


async def test_a_line_is_for_one() -> None:
    async with site() as there:
        await there.begin()

        async def use(name: str) -> tuple[int, bool]:
            _, writer = await asyncio.open_unix_connection("\0" + name)
            writer.write(b"NOOP\r\n")
            assert await there.hears() == "NOOP"
            with pytest.raises(ConnectionError):
                await asyncio.open_unix_connection("\0" + name)
            await there.says("250 Ok")
            await asyncio.sleep(0.05)
            writer.close()
            return 1, True

        assert await there.turned.lend(use) == (1, True)


async def test_another_users_process_gets_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as there:
        await there.begin()
        monkeypatch.setattr(os, "geteuid", lambda: 54_321)

        async def use(name: str) -> tuple[int, bool]:
            reader, writer = await asyncio.open_unix_connection("\0" + name)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
            return 0, False

        assert await there.turned.lend(use) == (0, False)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (["554 No"], "554 No"),
        (["220 site.test", "421 Later"], "421 Later"),
        (["220 site.test", "250 relay.test"], "own name"),
        (["HTTP/1.1 400 Bad Request"], ""),
        ([], ""),
    ],
)
async def test_a_site_that_is_no_mail_server(said: list[str], problem: str) -> None:
    async with site() as there:
        await there.says(*said)
        found = await there.turned.begin(b"")
        assert found
        assert problem in found


async def test_the_greeting_may_come_behind_the_command() -> None:
    async with site() as there:
        await there.says("250 site.test")
        assert await there.turned.begin(b"220 site.test\r\n") == ""


async def test_what_the_site_says_unasked_ends_it() -> None:
    async with site() as there:
        await there.begin()

        async def use(name: str) -> tuple[int, bool]:
            return 0, True

        assert await there.turned.lend(use) == (0, True)
        await there.says("250 Nobody asked")
        await asyncio.sleep(0.05)
        assert await there.turned.lend(use) == (0, False)


async def test_a_site_that_hangs_up_takes_the_line_along() -> None:
    async with site() as there:
        await there.begin()
        seen: list[Any] = []

        async def use(name: str) -> tuple[int, bool]:
            reader, writer = await asyncio.open_unix_connection("\0" + name)
            writer.write(b"NOOP\r\n")
            assert await there.hears() == "NOOP"
            there.writer.close()
            try:
                seen.append(await reader.read())
            except ConnectionError:
                seen.append(b"")
            writer.close()
            return 0, False

        assert await there.turned.lend(use) == (0, False)
        assert seen == [b""]
        assert there.session.lost == 1


async def test_whoever_does_not_take_the_line_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TAKEN_WITHIN", 0.05)
    async with site() as there:
        await there.begin()

        async def use(name: str) -> tuple[int, bool]:
            await asyncio.sleep(60)
            return 1, True

        assert await there.turned.lend(use) == (0, False)


async def test_an_answer_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWERED_WITHIN", 0.05)
    async with site() as there:
        await there.begin()

        async def use(name: str) -> tuple[int, bool]:
            _, writer = await asyncio.open_unix_connection("\0" + name)
            writer.close()
            await asyncio.sleep(60)
            return 1, True

        assert await there.turned.lend(use) == (0, False)
