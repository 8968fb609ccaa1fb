# SPDX-License-Identifier: GPL-3.0-or-later
"""A wall clock that was ahead and is put right: the queue is read through, and only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_agent.delivery import clock
from relay_agent.delivery.clock import ClockWatch
from relay_agent.queue.model import SHELVED

from .memory_store import Events, MemoryStore, make_message

HOUR = 3600.0


class Wall:
    """The wall clock's lead over the monotonic one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lead = 1_000_000.0
        self.store, self.events, self.woken = MemoryStore(), Events(), 0
        monkeypatch.setattr(clock, "_lead", lambda: self.lead)
        monkeypatch.setattr(clock, "_LOOK_EVERY", 0.01)
        store: Any = self.store
        self.watch = ClockWatch(store, self.events)

    def wake(self) -> None:
        self.woken += 1

    async def settled(self, seconds: float) -> None:
        assert seconds > 0


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


@asynccontextmanager
async def running(wall: Wall) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(wall.watch.run(wall.settled, wall.wake))
    try:
        await _until(lambda: wall.store.caught_up)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def test_what_an_earlier_run_put_off_ahead_of_the_clock_is_due_at_the_start(wall: Wall) -> None:
    message = make_message("a@a.test", "b@a.test", "c@a.test", created=time.time())
    now = time.time()
    put_off, shelved, right = message.recipients.values()
    put_off.last_attempt, put_off.next_attempt = now + HOUR, now + HOUR + 60
    shelved.options, shelved.next_attempt = {SHELVED: f"{now + HOUR:.0f}"}, now + HOUR + 60
    right.last_attempt, right.next_attempt = now - 1, now + 60
    await wall.store.store(message)
    async with running(wall):
        (found,) = await wall.store.due(time.time(), 10)
        assert [each.address for each in found.recipients.values()] == ["a@a.test", "b@a.test"]
        assert wall.woken == 1
        assert wall.events.named("clock_was_ahead")[0]["made_due"] == 2


async def test_a_clock_that_goes_right_costs_one_look_at_the_queue(wall: Wall) -> None:
    async with running(wall):
        for step in (0.0, 2.0, -3.0, HOUR, -2.0):  # slewed, and once set forward
            wall.lead += step
            await asyncio.sleep(0.03)
        assert wall.store.caught_up == 1
        assert not wall.events.seen
        assert not wall.woken


async def test_a_clock_that_is_set_back_has_the_queue_looked_at(wall: Wall) -> None:
    async with running(wall):
        wall.lead -= HOUR
        await _until(lambda: wall.store.caught_up == 2)
        await asyncio.sleep(0.05)
        assert wall.store.caught_up == 2
        assert wall.events.named("clock_was_ahead")[0]["seconds"] == HOUR


async def test_a_clock_that_was_ahead_for_a_moment_only_counts_if_something_was_put_off_then(wall: Wall) -> None:
    async with running(wall):
        wall.lead += HOUR
        wall.watch.note()
        wall.lead -= HOUR
        await _until(lambda: wall.store.caught_up == 2)


async def test_a_queue_that_cannot_be_read_is_read_later(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    catch_up = wall.store.catch_up
    calls = 0

    async def faulty(ahead: float) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("no disk")
        return await catch_up(ahead)

    monkeypatch.setattr(wall.store, "catch_up", faulty)
    async with running(wall):
        assert wall.events.named("clock_not_caught_up")[0]["error"] == "OSError: no disk"
        assert calls == 2
