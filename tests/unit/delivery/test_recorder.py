# SPDX-License-Identifier: GPL-3.0-or-later
"""Outcomes reach the queue, whatever its disk says first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from relay_agent.delivery import recorder as module
from relay_agent.delivery.recorder import Recorder
from relay_agent.queue.model import Message, QueueDamagedError, Update

from .memory_store import Events, MemoryStore, make_message


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.01)


async def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def test_many_outcomes_share_few_writes() -> None:
    store, done = MemoryStore(), []
    messages = [make_message("a@a.test") for _ in range(1200)]
    for each in messages:
        await store.store(each)
    recorder = Recorder(store, Events())  # type: ignore[arg-type]
    for each in messages:
        recorder.put([Update(each.queue_id, 0, None)], [], lambda each=each: done.append(each.queue_id))  # type: ignore[misc]
    await _until(lambda: len(done) == 1200)
    assert done == [each.queue_id for each in messages]
    assert store.recorded == 3
    assert not store.messages


async def test_a_full_disk_is_tried_until_it_takes_them() -> None:
    store, events, done = MemoryStore(refusals=7), Events(), []
    message = make_message("a@a.test")
    await store.store(message)
    recorder = Recorder(store, events)  # type: ignore[arg-type]
    recorder.put([Update(message.queue_id, 0, None)], [], lambda: done.append(1))
    await _until(lambda: done)
    assert not store.messages
    assert len(events.named("outcomes_not_recorded")) == 1
    assert recorder.pending == 0


async def test_who_asks_what_waits_can_wait_for_what_is_on_its_way() -> None:
    store, done = MemoryStore(refusals=2), []
    message = make_message("a@a.test")
    await store.store(message)
    recorder = Recorder(store, Events())  # type: ignore[arg-type]
    await recorder.settled(5)  # nothing is
    recorder.put([Update(message.queue_id, 0, None)], [], lambda: done.append(1))
    await recorder.settled(0.001)
    assert not done
    await recorder.settled(5)
    assert done == [1]


class _NoRoomForBounces(MemoryStore):
    async def record(self, updates: object, bounces: object = ()) -> None:
        if bounces:
            self.refusals = 1
        await super().record(updates, bounces)  # type: ignore[arg-type]


async def test_what_needs_no_room_does_not_wait_for_what_does() -> None:
    store, done = _NoRoomForBounces(), []
    one, two = make_message("a@a.test"), make_message("b@a.test")
    bounce: Message = make_message("alice@home.test", sender="")
    for each in (one, two):
        await store.store(each)
    recorder = Recorder(store, Events())  # type: ignore[arg-type]
    recorder.put([Update(one.queue_id, 0, None)], [bounce], lambda: done.append("one"))
    recorder.put([Update(two.queue_id, 0, None)], [], lambda: done.append("two"))
    await _until(lambda: done)
    assert done == ["two"]
    assert await recorder.close(0.05) == 1
    assert list(store.messages) == [one.queue_id]


class _Broken(MemoryStore):
    """Says the same to everything."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.asked = 0

    async def record(self, updates: object, bounces: object = ()) -> None:
        self.asked += 1
        raise self.error


async def _of_one_outcome(store: _Broken, tries: int) -> tuple[int, list[str], int]:
    """What is pending after so many tries, why something was held instead, and what `close` says."""
    held: list[str] = []

    def refused(error: Exception) -> list[Update]:
        held.append(str(error))
        return [Update("1M8JF47VXB8WQBZ", 0, None)]

    recorder = Recorder(store, Events())  # type: ignore[arg-type]
    recorder.put([Update("1M8JF47VXB8WQBZ", 0, None)], [], lambda: None, refused)
    await _until(lambda: store.asked >= tries or not recorder.pending)
    return recorder.pending, held, await recorder.close(0.01)


async def test_a_damaged_database_is_no_reason_to_give_an_outcome_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the worker to end, and nothing could be held in its place either."""
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)
    assert await _of_one_outcome(_Broken(QueueDamagedError("malformed")), 20) == (1, [], 1)


async def test_what_was_given_up_is_not_told_as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)
    assert await _of_one_outcome(_Broken(ValueError("no such thing")), 1000) == (0, ["no such thing"], 1)
