# SPDX-License-Identifier: GPL-3.0-or-later
"""When the queue is looked into: once there is room for what was left there, and not for every message that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery.dispatcher import Dispatcher
from relay_agent.queue.model import Envelope, Message

from .memory_store import Events, MemoryStore, make_message


class _Counting(MemoryStore):
    looks = 0

    async def due(self, *arguments: Any, **options: Any) -> list[Message]:
        self.looks += 1
        return await super().due(*arguments, **options)


class Memory:
    """A dispatcher with room for 20 messages, 15 of one account; nothing goes on but what the test lets go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = _Counting()
        store: Any = self.store
        events: Any = Events()
        config = {
            "hostname": "relay.test",
            "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
            "submission": {"trusted_networks": ["127.0.0.0/8"]},
            "delivery": {"port25_check": []},
        }
        self.dispatcher = Dispatcher(Config.model_validate(config), store, events, most_in_hand=20)
        monkeypatch.setattr(self.dispatcher, "_send_on", lambda message, recipients: None)

    @property
    def held(self) -> int:
        """Messages in memory."""
        return len(self.dispatcher._books.hands)

    async def submit(self, account: str) -> bool:
        """Whether it is in memory."""
        message = make_message("bob@a.test")
        message.envelope = Envelope("alice@home.test", account)
        await self.store.store(message)
        self.dispatcher.submit(message)
        return message.queue_id in self.dispatcher._books.hands

    async def leaves(self, count: int) -> None:
        """The oldest messages in memory are delivered."""
        for queue_id in list(self.dispatcher._books.hands)[:count]:
            del self.store.messages[queue_id]
            self.dispatcher._books.release(queue_id, [0])
            await asyncio.sleep(0.001)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something, up to ten seconds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Memory]:
    memory = Memory(monkeypatch)
    await memory.dispatcher.start()
    await asyncio.sleep(0.01)
    memory.store.looks = 0
    try:
        yield memory
    finally:
        await memory.dispatcher.stop(0.1)


async def test_a_busy_account_does_not_have_the_queue_looked_into_for_each_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as memory:
        assert [await memory.submit("alice") for _ in range(25)] == [True] * 15 + [False] * 10
        for _ in range(30):
            await memory.leaves(1)
            assert [await memory.submit("alice") for _ in range(2)] == [True, False]
        assert memory.store.looks == 0
        await memory.leaves(8)
        await until(lambda: memory.held == 15)
        assert memory.store.looks in {1, 2}
        assert memory.held == 15  # what was left behind has come


@pytest.mark.parametrize("accounts", [["alice"], ["alice", "bob"], ["alice", "bob", "carol"]])
async def test_what_was_left_for_want_of_room_comes_when_there_is_some(
    monkeypatch: pytest.MonkeyPatch, accounts: list[str]
) -> None:
    async with running(monkeypatch) as memory:
        taken = [await memory.submit(accounts[number % len(accounts)]) for number in range(60)]
        assert sum(taken) < 60
        for _ in range(60):
            await memory.leaves(1)
            await asyncio.sleep(0.002)
            await until(lambda: memory.held > 0 or not memory.store.messages)
        assert not memory.store.messages
        assert not memory.held
