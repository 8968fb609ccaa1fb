# SPDX-License-Identifier: GPL-3.0-or-later
"""Two families side by side: real sockets on loopback, and addresses that a test makes silent."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest

from relay_agent.delivery.routing import reach as module
from relay_agent.delivery.routing.reach import Families, Origin, Unreached, reach

Connect = Callable[[str, int, str | None, float], object]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def _silent(address: str, port: int, source: str | None, longest: float) -> socket.socket:
    await asyncio.sleep(longest)
    raise TimeoutError


def _silencing(monkeypatch: pytest.MonkeyPatch, address: str) -> list[str]:
    """Makes one address silent; returns the list of those connected to."""
    real, tried = module._connect, []

    async def connect(to: str, port: int, source: str | None, longest: float) -> socket.socket:
        tried.append(to)
        return await (_silent if to == address else real)(to, port, source, longest)

    monkeypatch.setattr(module, "_connect", connect)
    return tried


async def test_the_second_family_does_not_wait_for_a_silent_first(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = _silencing(monkeypatch, "2001:db8::1")
    families = Families()
    for _ in range(4):
        started = time.monotonic()
        reached, failed = await reach(["2001:db8::1", "127.0.0.1"], port, Origin(), families, longest=20)
        assert reached is not None
        assert (reached.address, failed) == ("127.0.0.1", [])
        assert time.monotonic() - started < 10
        reached.socket.close()
    assert tried[-1] == "127.0.0.1"  # after three lost races the first family is not even begun with
    assert tried.count("2001:db8::1") == 3


async def test_a_family_without_a_way_out_is_remembered(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    families = Families(lambda: now)
    families.no_way("2001:db8::1")
    assert families.order(["2001:db8::1", "192.0.2.1"]) == ["192.0.2.1", "2001:db8::1"]
    now += 301
    assert families.order(["2001:db8::1", "192.0.2.1"]) == ["2001:db8::1", "192.0.2.1"]
    real = module._connect

    async def connect(to: str, port: int, source: str | None, longest: float) -> socket.socket:
        if ":" in to:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        return await real(to, port, source, longest)

    monkeypatch.setattr(module, "_connect", connect)
    reached, failed = await reach(["2001:db8::1", "127.0.0.1"], port, Origin(), families, longest=5)
    assert reached is not None
    reached.socket.close()
    assert [each.address for each in failed] == ["2001:db8::1"]
    assert families.order(["2001:db8::1", "192.0.2.1"]) == ["192.0.2.1", "2001:db8::1"]


async def test_all_refuse() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        reached, failed = await reach(
            ["127.0.0.2", "127.0.0.1"], unused.getsockname()[1], Origin(), Families(), longest=5
        )
    assert reached is None
    assert [each.address for each in failed] == ["127.0.0.2", "127.0.0.1"]
    assert all(isinstance(each.error, ConnectionRefusedError) for each in failed)


async def test_from_an_address_of_our_own(port: int) -> None:
    reached, _ = await reach(["127.0.0.1"], port, Origin("127.0.0.9"), Families(), longest=5)
    assert reached is not None
    assert reached.socket.getsockname()[0] == "127.0.0.9"
    reached.socket.close()


async def test_from_an_address_that_is_not_ours(port: int) -> None:
    reached, (failed,) = await reach(["127.0.0.1"], port, Origin("192.0.2.77"), Families(), longest=5)
    assert reached is None
    assert isinstance(failed, Unreached)
    assert "cannot connect from 192.0.2.77" in str(failed.error)
