# SPDX-License-Identifier: GPL-3.0-or-later
"""The beginning of a session, and servers that misbehave in it."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from relay_agent.delivery.client import Connection, Timeouts, TlsRefusedError
from relay_agent.delivery.outcome import HostTrouble
from relay_agent.delivery.reply import ReplyError

from .scripted import Scripted, connected

QUICK = Timeouts(greeting=0.2, hello=0.2, quit=0.2)


async def test_extensions() -> None:
    server = Scripted({"EHLO": "250-mx.test\r\n250-size 1000\r\n250-AUTH=LOGIN\r\n250-AUTH PLAIN\r\n250 X"})
    async with connected(server) as connection:
        await connection.greet()
        assert connection.extensions == {"SIZE": "1000", "AUTH": "LOGIN", "X": ""}
        assert server.seen == ["EHLO relay.test"]


async def test_helo_where_ehlo_is_unknown() -> None:
    server = Scripted({"EHLO": "502 5.5.1 What?"})
    async with connected(server) as connection:
        await connection.greet()
        assert connection.extensions == {}
        assert server.seen == ["EHLO relay.test", "HELO relay.test"]


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ({"": "554 5.7.1 Your address is listed"}, "4.7.1"),
        ({"": "421 4.7.0 Too busy"}, "4.7.0"),
        ({"EHLO": "421 Leaving"}, "4.3.2"),
        ({"EHLO": "450 4.7.1 Who are you?"}, "4.7.1"),
        ({"EHLO": "550 no", "HELO": "550 no"}, "4.3.2"),
        ({"EHLO": "250 RELAY.test"}, "4.4.6"),
    ],
)
async def test_not_wanted(answers: dict[str, str | None], status: str) -> None:
    async with connected(Scripted({**answers})) as connection:
        with pytest.raises(HostTrouble) as caught:
            await connection.greet()
        assert caught.value.outcome.status == status


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"": None}, TimeoutError),
        ({"": ""}, EOFError),
        ({"": "SSH-2.0-OpenSSH_9.2"}, ReplyError),
        ({"": "220-" + "x" * 10_000}, ReplyError),
        ({"EHLO": "250-x\r\n" * 500}, ReplyError),
        ({"EHLO": "250-without end"}, TimeoutError),
        ({"EHLO": ""}, EOFError),
    ],
)
async def test_broken(answers: dict[str, str | None], error: type[Exception]) -> None:
    async with connected(Scripted({**answers}), QUICK) as connection:
        with pytest.raises(error):
            await connection.greet()
        assert not connection.usable


async def test_a_byte_now_and_then_does_not_stretch_the_timeout() -> None:
    dripped = 0

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                nonlocal dripped
                dripped += 1
                writer.write(b"2")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            writer.close()
            ended.set()

    ended = asyncio.Event()
    listening = await asyncio.start_server(drip, "127.0.0.1", 0)
    connection = Connection("mx.test", "relay.test", QUICK)
    port = listening.sockets[0].getsockname()[1]
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
    # A byte comes four times in the 0.2 seconds that it has.
    async with asyncio.timeout(20):
        with pytest.raises(TimeoutError):
            await connection.greet()
    assert dripped <= 100
    await connection.wait_closed()
    await ended.wait()
    listening.close()


async def test_a_421_out_of_the_blue_makes_an_idle_connection_unusable() -> None:
    server = Scripted({"RSET": "250 Ok\r\n421 4.3.2 Going down"})
    async with connected(server) as connection:
        await connection.greet()
        assert connection.usable
        await connection.command(b"RSET", 1)
        await asyncio.sleep(0.05)
        assert not connection.usable
        with pytest.raises(HostTrouble):
            await connection.command(b"NOOP", 1)


async def _replies(connection: Connection, count: int) -> list[int]:
    return [(await connection.reply(1)).code for _ in range(count)]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"250 ok\r\n", "replies that nobody asked for"),
        ((b"250-" + b"x" * 1000 + b"\r\n") * 31 + b"250 ok\r\n", "more"),
    ],
)
async def test_what_a_server_says_unasked_is_bounded(said: bytes, words: str) -> None:
    """While we wait for it to read, nobody reads what it says."""
    async with connected(Scripted()) as connection:
        await connection.greet()
        for _ in range(2000):
            connection.data_received(said)
        assert len(connection._replies) <= 11
        assert sum(len(line) for reply in connection._replies for line in reply.lines) < 300_000
        assert not connection.usable
        with pytest.raises(ReplyError, match=words):
            await _replies(connection, 12)


async def test_as_many_replies_as_commands_may_come_at_once() -> None:
    async with connected(Scripted()) as connection:
        await connection.greet()
        connection.write(b"", replies=102)  # a hundred recipients, pipelined, each refused in many words
        connection.data_received((b"550-5.1.1 " + b"x" * 400 + b"\r\n550 5.1.1 Unknown\r\n") * 102)
        assert await _replies(connection, 102) == [550] * 102
        assert connection.usable
        connection.data_received(b"250 ok\r\n" * 11)  # the next one has no more than before
        with pytest.raises(ReplyError):
            await _replies(connection, 12)


async def test_quit_waits_for_nobody() -> None:
    server = Scripted({"QUIT": None})
    async with connected(server, QUICK) as connection:
        await connection.greet()
        connection.quit()
        assert not connection.usable
        async with asyncio.timeout(20):
            await connection.wait_closed()
    assert server.seen[-1] == "QUIT"


async def test_no_starttls_offered_or_refused() -> None:
    context = ssl.create_default_context()
    async with connected(Scripted()) as connection:
        await connection.greet()
        with pytest.raises(TlsRefusedError, match="offers no STARTTLS"):
            await connection.start_tls(context)
        assert connection.usable
    offering = "250-mx.test\r\n250 STARTTLS"
    async with connected(Scripted({"EHLO": offering, "STARTTLS": "454 4.7.0 not now"})) as connection:
        await connection.greet()
        with pytest.raises(TlsRefusedError, match=r"454 4\.7\.0 not now"):
            await connection.start_tls(context)
        assert connection.usable


async def test_plaintext_behind_starttls_is_not_taken_for_a_reply() -> None:
    """The injected EHLO reply must not survive; here no TLS follows, so the handshake fails."""
    server = Scripted({"EHLO": "250-mx.test\r\n250 STARTTLS", "STARTTLS": "220 go\r\n250 AUTH PLAIN"})
    async with connected(server, Timeouts(tls=0.5)) as connection:
        await connection.greet()
        with pytest.raises((OSError, EOFError)):
            await connection.start_tls(ssl.create_default_context())
        assert "AUTH" not in connection.extensions
