# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look at port 25 finds; the hosts are on loopback."""

from __future__ import annotations

import time

from relay_agent.delivery.resolve import Resolver
from relay_agent.delivery.routing.port25 import Port25, State
from tests.unit.delivery.memory_store import Events
from tests.unit.delivery.scripted import Scripted, serving


async def _look(port: int, *hosts: str, longest: float = 1.0) -> State:
    resolver = Resolver((), "relay.test")
    try:
        return await Port25(hosts, port, resolver, Events(), longest=longest).look()
    finally:
        await resolver.close()


async def test_a_greeting_of_any_is_open() -> None:
    server = Scripted()
    async with serving(server) as port:
        started = time.monotonic()
        assert await _look(port, "127.0.0.9", "127.0.0.1", longest=30.0) is State.OPEN
        assert time.monotonic() - started < 15


async def test_silence_refusal_and_a_stranger_are_closed() -> None:
    for answer in (None, "554 5.7.1 Blocked by your provider", ""):
        async with serving(Scripted({"": answer})) as port:
            assert await _look(port, "127.0.0.9", "127.0.0.1", longest=0.3) is State.CLOSED


async def test_an_empty_list_is_no_look() -> None:
    resolver = Resolver((), "relay.test")
    port25 = Port25((), 25, resolver, Events())
    port25.start()
    assert port25.state is State.OFF
    assert port25.known
    assert port25.snapshot("pool") == {"state": "off", "looked_at": None, "instead": None}
    port25.stop()
    await resolver.close()
