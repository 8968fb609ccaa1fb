# SPDX-License-Identifier: GPL-3.0-or-later
"""A session's connection before TLS, over a pair of sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from relay_agent.submission.transport import PlainTransport


class Heard(asyncio.Protocol):
    """What a transport says to its protocol."""

    def __init__(self) -> None:
        self.data = b""
        self.events: list[str] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.fault: Exception | None = None

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.fault is not None:
            raise self.fault

    def eof_received(self) -> bool:
        self.events.append("eof")
        return "half" in self.events

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Connected:
    """A transport, its protocol, and the program at the other end."""

    def __init__(self) -> None:
        ours, self.program = socket.socketpair()
        ours.setblocking(False)
        self.program.setblocking(False)
        self.ours = ours
        self.heard = Heard()
        self.loop = asyncio.get_running_loop()
        self.transport = PlainTransport(self.loop, ours, self.heard, ("192.0.2.1", 99))

    async def read(self, count: int) -> bytes:
        found = b""
        while len(found) < count and (part := await asyncio.wait_for(self.loop.sock_recv(self.program, 65536), 5)):
            found += part
        return found

    async def until(self, length: int) -> None:
        for _ in range(500):
            if len(self.heard.data) >= length:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(self.heard.data)


@pytest_asyncio.fixture
async def connected() -> AsyncIterator[Connected]:
    made = Connected()
    yield made
    made.transport.abort()
    await asyncio.sleep(0)
    made.ours.close()
    made.program.close()


async def test_both_ways(connected: Connected) -> None:
    transport = connected.transport
    connected.program.send(b"EHLO x\r\n")
    await asyncio.sleep(0.02)
    assert connected.heard.data == b""  # not begun
    assert not transport.is_reading()
    transport.resume_reading()
    transport.resume_reading()
    await connected.until(8)
    transport.write(b"250 ")
    transport.write(memoryview(b"ok\r\n"))
    assert await connected.read(8) == b"250 ok\r\n"
    transport.pause_reading()
    transport.pause_reading()
    connected.program.send(b"QUIT\r\n")
    await asyncio.sleep(0.02)
    assert connected.heard.data == b"EHLO x\r\n"
    transport.resume_reading()
    await connected.until(14)
    assert transport.get_extra_info("peername") == ("192.0.2.1", 99)
    assert transport.get_extra_info("socket") is connected.ours
    assert transport.get_extra_info("sslcontext", 7) == 7
    assert transport.get_protocol() is connected.heard
    assert not transport.can_write_eof()


async def test_a_client_that_does_not_read_is_waited_for(connected: Connected) -> None:
    blocks = [bytes([n]) * 50_000 for n in range(40)]
    for block in blocks:
        connected.transport.write(block)
    assert connected.heard.events == ["pause"]
    assert connected.transport.get_write_buffer_size() > 65_536
    connected.transport.close()
    connected.transport.write(b"too late")
    assert connected.transport.is_closing()
    assert await connected.read(2_000_000) == b"".join(blocks)
    assert connected.heard.events == ["pause", "resume"]
    assert await connected.read(1) == b""
    assert await connected.heard.lost is None


async def test_the_end_of_input(connected: Connected) -> None:
    connected.transport.resume_reading()
    connected.program.shutdown(socket.SHUT_WR)
    assert await asyncio.wait_for(connected.heard.lost, 5) is None
    assert connected.heard.events == ["eof"]
    assert connected.ours.fileno() == -1


async def test_half_an_end(connected: Connected) -> None:
    connected.heard.events.append("half")
    connected.transport.resume_reading()
    connected.program.shutdown(socket.SHUT_WR)
    await asyncio.sleep(0.05)
    connected.transport.write(b"still here")
    assert await connected.read(10) == b"still here"
    assert not connected.heard.lost.done()


@pytest.mark.parametrize("waiting", [False, True])
async def test_aborted(connected: Connected, waiting: bool) -> None:
    if waiting:
        connected.transport.write(bytes(5_000_000))
    connected.transport.resume_reading()
    connected.transport.abort()
    connected.transport.abort()
    connected.transport.close()
    connected.transport.resume_reading()
    assert await asyncio.wait_for(connected.heard.lost, 5) is None
    assert not connected.transport.is_reading()


async def test_a_connection_that_is_cut(connected: Connected) -> None:
    connected.program.close()
    connected.transport.write(b"x")
    connected.transport.write(b"y")
    assert isinstance(await asyncio.wait_for(connected.heard.lost, 5), OSError)


async def test_cut_while_it_is_written_to(connected: Connected) -> None:
    connected.transport.write(bytes(5_000_000))
    connected.program.close()
    assert isinstance(await asyncio.wait_for(connected.heard.lost, 5), OSError)


async def test_a_fault_of_the_session_ends_it(connected: Connected) -> None:
    told: list[dict[str, Any]] = []
    connected.loop.set_exception_handler(lambda _, context: told.append(context))
    connected.heard.fault = LookupError("a fault")
    connected.transport.resume_reading()
    connected.program.send(b"x")
    assert await asyncio.wait_for(connected.heard.lost, 5) is connected.heard.fault
    assert [each["exception"] for each in told] == [connected.heard.fault]
    connected.loop.set_exception_handler(None)


async def test_the_socket_is_given_unread_and_after_the_reply(connected: Connected) -> None:
    connected.transport.resume_reading()
    connected.transport.write(bytes(3_000_000))
    giving = asyncio.create_task(connected.transport.give_socket())
    await asyncio.sleep(0.02)
    assert not giving.done()
    connected.program.send(b"hello of TLS")
    assert len(await connected.read(3_000_000)) == 3_000_000
    given = await giving
    assert connected.heard.data == b""
    assert given.recv(100) == b"hello of TLS"
    connected.transport.abort()
    connected.transport.close()
    await asyncio.sleep(0.02)
    assert given.fileno() >= 0  # the caller's
    assert not connected.heard.lost.done()


@pytest.mark.parametrize("end", ["abort", "cut", "cancel", "before", "between"])
async def test_no_socket_when_the_connection_is_lost(connected: Connected, end: str) -> None:
    transport = connected.transport
    if end == "before":
        transport.close()
    else:
        transport.write(bytes(3_000_000))
    giving = asyncio.create_task(transport.give_socket())
    await asyncio.sleep(0.02)
    match end:
        case "abort":
            transport.abort()
        case "cut":
            connected.program.close()
        case "cancel":
            giving.cancel()
        case "between":
            transport._out.clear()
            transport._loop.remove_writer(transport._fd)
            assert transport._drained is not None
            transport._drained.set_result(None)
            transport.abort()
    with pytest.raises(asyncio.CancelledError if end == "cancel" else OSError):
        await asyncio.wait_for(giving, 5)
    transport.abort()
    with contextlib.suppress(OSError):
        await asyncio.wait_for(asyncio.shield(connected.heard.lost), 5)
    assert connected.ours.fileno() == -1


async def test_little_is_read_at_once_of_who_is_not_known(connected: Connected) -> None:
    sizes: list[int] = []
    all_there = asyncio.Event()

    def hear(data: bytes) -> None:
        sizes.append(len(data))
        if sum(sizes) >= sent:
            all_there.set()

    connected.heard.data_received = hear  # type: ignore[method-assign]
    connected.program.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    sent = connected.program.send(bytes(100_000))
    connected.transport.resume_reading()
    await asyncio.wait_for(all_there.wait(), 5)
    assert max(sizes) == 16_384
    sizes.clear()
    all_there.clear()
    connected.transport.read_large()
    sent = connected.program.send(bytes(100_000))
    await asyncio.wait_for(all_there.wait(), 5)
    assert max(sizes) > 16_384
