# SPDX-License-Identifier: GPL-3.0-or-later
"""Outcomes on their way into the queue, and what becomes of them when that goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery import recorder
from relay_agent.delivery.books import Books
from relay_agent.delivery.hand import Hand
from relay_agent.delivery.outcome import Delivered, Failed
from relay_agent.queue.model import Message, RecipientState, Update

from .memory_store import Events, MemoryStore, make_message

CONFIG = Config.model_validate(
    {
        "hostname": "relay.test",
        "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
        "submission": {"trusted_networks": ["127.0.0.0/8"]},
    }
)
UNKNOWN = Failed("5.1.1", "550 5.1.1 Unknown", "mx.test")


class _Signer:
    async def signed(self, body: object, queue_id: str) -> object:
        raise RuntimeError("key unusable")


class Fixture:
    def __init__(self, store: MemoryStore, signer: object = None) -> None:
        self.store, self.events = store, Events()
        self.submitted: list[Message] = []
        queue: Any = store
        given: Any = signer
        self.books = Books(CONFIG, queue, self.events, given, self.submitted.append)
        loader: Any = SimpleNamespace(expect=lambda due: None, finished=lambda message: None)
        self.books.loader = loader

    async def in_hand(self, *recipients: str) -> Message:
        message = make_message(*recipients, created=time.time())
        await self.store.store(message)
        self.books.hands[message.queue_id] = Hand(message)
        return message

    def states(self, message: Message) -> list[RecipientState]:
        return [each.state for each in self.store.messages[message.queue_id].recipients.values()]


async def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def test_a_fault_at_the_bounce_holds_everyone_it_was_for() -> None:
    """Also those that failed in an earlier attempt at another host, and waited for the last one's outcome."""
    fixture = Fixture(MemoryStore(), _Signer())
    message = await fixture.in_hand("a@a.test", "b@b.test")
    await fixture.books.conclude(message, {0: UNKNOWN}, time.time())
    await fixture.books.conclude(message, {1: UNKNOWN}, time.time())
    await _until(lambda: not fixture.books.hands)
    assert fixture.states(message) == [RecipientState.HELD, RecipientState.HELD]
    assert [each["id"] for each in fixture.books.quarantined] == [message.queue_id]


async def test_a_fault_at_the_bounce_leaves_those_alone_that_were_delivered() -> None:
    fixture = Fixture(MemoryStore(), _Signer())
    message = await fixture.in_hand("a@a.test", "b@b.test")
    await fixture.books.conclude(message, {0: Delivered("2.0.0", "250 Ok", "mx.test")}, time.time())
    await fixture.books.conclude(message, {1: UNKNOWN}, time.time())
    await _until(lambda: not fixture.books.hands)
    assert list(fixture.store.messages[message.queue_id].recipients) == [1]


class _Poisoned(MemoryStore):
    """Refuses bounces, or whatever is said of `poison`, for ever; the disk has room."""

    poison = ""

    async def record(self, updates: Sequence[Update], bounces: Sequence[Message] = ()) -> None:
        if bounces or any(each.queue_id == self.poison for each in updates):
            raise ValueError("cannot be stored")
        await super().record(updates, bounces)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_FIRST_WAIT", 0.01)


@pytest.mark.usefixtures("quick")
async def test_a_bounce_that_can_never_be_stored_has_its_message_held() -> None:
    fixture = Fixture(_Poisoned())
    message = await fixture.in_hand("a@a.test", "b@b.test")
    await fixture.books.conclude(message, {0: UNKNOWN, 1: Delivered("2.0.0", "250 Ok", "mx.test")}, time.time())
    await _until(lambda: not fixture.books.hands)
    assert set(fixture.states(message)) == {RecipientState.HELD}
    assert "cannot be stored" in fixture.events.named("quarantined")[0]["reason"]
    assert not fixture.submitted  # no such bounce is in the queue
    assert fixture.books.recorder.pending == 0


@pytest.mark.usefixtures("quick")
async def test_what_cannot_even_be_held_stays_in_hand_and_nobody_waits_for_it() -> None:
    store = _Poisoned()
    fixture = Fixture(store)
    message = await fixture.in_hand("a@a.test")
    store.poison = message.queue_id
    delivered = {0: Delivered("2.0.0", "250 Ok", "mx.test")}
    await fixture.books.conclude(message, delivered, time.time())
    await _until(lambda: not fixture.books.recorder.pending)
    assert list(fixture.books.hands) == [message.queue_id]  # from where the loader takes nothing a second time
    other = await fixture.in_hand("b@b.test")
    await fixture.books.conclude(other, delivered, time.time())
    await _until(lambda: list(fixture.books.hands) == [message.queue_id])
    assert list(store.messages) == [message.queue_id]
