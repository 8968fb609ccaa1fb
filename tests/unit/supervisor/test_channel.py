# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from relay_agent.control.protocol import NOT_FOUND, ControlError
from relay_agent.supervisor.channel import Channel, ChannelClosedError


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = socket.socketpair()
    yield pair
    for each in pair:
        each.close()


class Side:
    """What one side was told."""

    def __init__(self) -> None:
        self.notices: list[Any] = []
        self.closed = 0

    def handlers(self) -> dict[str, Any]:
        async def slow(arguments: dict[str, Any]) -> Any:
            await asyncio.sleep(0.01)
            return arguments["x"]

        def missing(arguments: dict[str, Any]) -> None:
            raise ControlError(NOT_FOUND, "not here")

        return {"echo": lambda a: a, "slow": slow, "missing": missing, "note": self.notices.append}

    def close(self) -> None:
        self.closed += 1


async def test_calls_go_both_ways_and_errors_come_back(ends: tuple[socket.socket, socket.socket]) -> None:
    left, right = (Channel(end, Side().handlers(), lambda: None) for end in ends)
    assert await left.call("echo", text="ü" * 300_000) == {"text": "ü" * 300_000}
    assert await asyncio.gather(*(right.call("slow", x=x) for x in range(20))) == list(range(20))
    with pytest.raises(ControlError, match="not here") as caught:
        await left.call("missing")
    assert caught.value.code == NOT_FOUND
    with pytest.raises(ControlError, match="not known"):
        await left.call("nonsense")
    left.close()
    right.close()


async def test_the_end_of_one_side_fails_the_calls_of_the_other(ends: tuple[socket.socket, socket.socket]) -> None:
    side = Side()
    left, right = Channel(ends[0], side.handlers(), side.close), Channel(ends[1], Side().handlers(), lambda: None)
    call = asyncio.ensure_future(left.call("slow", x=1))
    await asyncio.sleep(0)
    right.close()
    with pytest.raises(ChannelClosedError):
        await call
    assert side.closed == 1
    with pytest.raises(ChannelClosedError):
        await left.call("echo")
    left.notice("note")


async def test_a_replaced_side_loses_no_byte(ends: tuple[socket.socket, socket.socket]) -> None:
    """Half a line read and much not yet written: another channel goes on with both."""
    side = Side()
    left = Channel(ends[0], {}, lambda: None)
    for number in range(3):
        left.notice("note", number=number, text="x" * 400_000)
    ends[1].setblocking(False)
    got = ends[1].recv(1000)
    rest = left.detach()
    assert rest.unsent
    again = socket.socket(fileno=ends[0].detach())
    left = Channel(again, {}, lambda: None, restored=rest)
    right = Channel(ends[1], side.handlers(), lambda: None)
    right._in += got
    await left.flush(30)
    for _ in range(500):
        if len(side.notices) >= 3:
            break
        await asyncio.sleep(0.01)
    assert [notice["number"] for notice in side.notices] == [0, 1, 2]
    left.close()
    right.close()
    again.close()


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"5",
        b"[" * 100_000,
        b'{"reply":1}',
        b'{"reply":[],"result":1}',
        b'{"reply":1,"error":5}',
        b'{"reply":1,"error":{"code":1,"message":"x"}}',
        b'{"command":[],"arguments":{}}',
        b'{"command":"echo"}',
        b'{"call":"x","command":"echo","arguments":{}}',
    ],
)
async def test_nonsense_ends_the_channel(ends: tuple[socket.socket, socket.socket], line: bytes) -> None:
    side = Side()
    channel = Channel(ends[0], side.handlers(), side.close)
    call = asyncio.ensure_future(channel.call("status"))
    await asyncio.sleep(0)
    ends[1].sendall(line + b'\n{"command":"note","arguments":{}}\n')
    with pytest.raises(ChannelClosedError):
        await call
    assert side.closed == 1
    assert side.notices == []


async def test_a_result_that_json_does_not_have_is_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    left = Channel(ends[0], {"big": lambda _: float("inf"), "odd": lambda _: object()}, lambda: None)
    right = Channel(ends[1], {}, lambda: None)
    for command in ("big", "odd"):
        with pytest.raises(ControlError, match="JSON"):
            await right.call(command)
    left.close()
    right.close()


async def test_work_that_never_began_ends_with_the_channel(ends: tuple[socket.socket, socket.socket]) -> None:
    left, right = Channel(ends[0], Side().handlers(), lambda: None), Channel(ends[1], {}, lambda: None)
    right.notice("slow", x=1)
    left._readable()
    left.close()
    await asyncio.sleep(0)
    right.close()
