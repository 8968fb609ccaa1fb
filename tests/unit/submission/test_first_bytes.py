# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of a socket, and above all what is left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from relay_agent.submission.first_bytes import FirstBytes, ProxyHeaderError, client_of, read_proxy_header

V1 = b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 587\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


async def test_a_byte_decides_and_stays(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    first = FirstBytes(near)
    assert not await first.begins_with_tls(0.05)
    asyncio.get_running_loop().call_later(0.02, far.send, b"\x16\x03")
    assert await first.begins_with_tls(5)
    assert await first.begins_with_tls(0.05)
    assert near.recv(10) == b"\x16\x03"


async def test_other_bytes_and_the_end_are_no_tls(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    first = FirstBytes(near)
    far.send(b"E")
    assert not await first.begins_with_tls(5)
    near.recv(1)
    far.close()
    assert not await first.begins_with_tls(5)


@pytest.mark.parametrize("cut", range(len(V1)))
async def test_nothing_behind_the_header_is_taken(ends: tuple[socket.socket, socket.socket], cut: int) -> None:
    near, far = ends
    far.send(V1[:cut])
    first = FirstBytes(near)
    reading = asyncio.ensure_future(read_proxy_header(first, 5))
    await asyncio.sleep(0)
    far.send(V1[cut:] + b"\x16\x03\x01")
    assert client_of(await reading) == ("2001:db8::1", 40000)
    assert near.recv(100) == b"\x16\x03\x01"


async def test_a_header_that_does_not_come(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    far.send(b"PROXY")
    first = FirstBytes(near)
    with pytest.raises(ProxyHeaderError, match="did not come within"):
        await read_proxy_header(first, 0.05)
    far.close()
    with pytest.raises(ProxyHeaderError, match="ends too early"):
        await read_proxy_header(first, 5)
