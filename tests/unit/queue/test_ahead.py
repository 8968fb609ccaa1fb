# SPDX-License-Identifier: GPL-3.0-or-later
"""What a clock that was ahead put off, and what waits for another reason."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from relay_agent.queue import ahead, embedded
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import AWAITS, HELD_FOR, HELD_UNTIL, SHELVED, Message, Recipient, RecipientState
from tests.unit.queue.messages import Opened, message

HOUR = 3600.0


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_BETWEEN_GOES", 0)


async def _due(store: Opened) -> set[str]:
    found = await store.due(time.time() + 1, 100)
    return {each.address for one in found for each in one.recipients.values()}


async def test_what_was_put_off_by_a_clock_ahead_is_due(store: Opened) -> None:
    now = time.time()
    wrong, later = now + HOUR, now + HOUR + 60
    ahead_of_us = Recipient("put-off@b.test", attempts=1, last_attempt=wrong, next_attempt=later)
    await store.store(
        message(
            ahead_of_us,
            Recipient("shelved@b.test", {SHELVED: f"{wrong:.0f}"}, next_attempt=later),
            replace(ahead_of_us, address="stopped@b.test", state=RecipientState.HELD),
            replace(ahead_of_us, address="site@b.test", options={AWAITS: "b.test"}),
            Recipient("right@b.test", attempts=1, last_attempt=now, next_attempt=now + 60),
            Recipient("shelved-right@b.test", {"NOTIFY": "NEVER", SHELVED: f"{now:.0f}"}, next_attempt=now + 60),
            Recipient("odd@b.test", {"ORCPT": 'rfc822;"SHELVED":'}, next_attempt=later),
        )
    )
    assert await _due(store) == set()
    assert await store.catch_up(10) == 2
    assert await _due(store) == {"put-off@b.test", "shelved@b.test"}
    assert await store.catch_up(10) == 0


async def test_a_hold_of_the_sender_is_a_time_of_day(store: Opened) -> None:
    held = message(Recipient("held@b.test", next_attempt=time.time() + HOUR))
    held.envelope = replace(held.envelope, options={HELD_UNTIL: f"{time.time() + HOUR:.0f}"})
    await store.store(held)
    assert await store.catch_up(10) == 0
    assert await _due(store) == set()


def _held_for(seconds: float, one: Recipient) -> Message:
    held = message(one)
    options = {HELD_UNTIL: f"{one.next_attempt:.0f}", HELD_FOR: f"{seconds:.0f}"}
    held.envelope = replace(held.envelope, options=options)
    return held


async def test_a_hold_of_so_many_seconds_ends_in_so_many_at_the_latest(store: Opened) -> None:
    now = time.time()
    long = _held_for(600, Recipient("long@b.test", next_attempt=now + HOUR + 600))
    right = _held_for(600, Recipient("right@b.test", next_attempt=now + 590))
    over = _held_for(1, Recipient("over@b.test", attempts=1, last_attempt=now - 60, next_attempt=now + HOUR))
    shelved = _held_for(1, Recipient("shelved@b.test", {SHELVED: f"{now:.0f}"}, next_attempt=now + HOUR))
    for one in (long, right, over, shelved):
        await store.store(one)
    assert await store.catch_up(10) == 1
    found = await store.get(long.queue_id)
    assert found is not None
    assert found.recipients[0].next_attempt == pytest.approx(time.time() + 600, abs=5)
    assert await store.catch_up(10) == 0
    assert await _due(store) == set()
    for one in (right, over, shelved):
        assert (found := await store.get(one.queue_id)) is not None
        assert found.recipients == one.recipients


async def _retry(store: Opened, one: Message) -> int:
    return await store.retry([one.queue_id])


async def _retry_all(store: Opened, _: Message) -> int:
    return await store.retry(None)


async def _due_now(store: Opened, one: Message) -> int:
    return await store.mark([(one.queue_id, number) for number in one.recipients], "due")


async def _release(store: Opened, one: Message) -> int:
    await store.hold([one.queue_id])
    return await store.release([one.queue_id])


async def _release_some(store: Opened, one: Message) -> int:
    await store.hold([one.queue_id])
    return await store.mark([(one.queue_id, number) for number in one.recipients], "released")


@pytest.mark.parametrize("ask", [_retry, _retry_all, _due_now, _release, _release_some])
async def test_what_the_operator_asked_for_while_the_clock_was_ahead_is_due(
    store: Opened, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Opened, Message], Awaitable[int]]
) -> None:
    now = time.time()
    tried = Recipient("tried@b.test", attempts=1, last_attempt=now - 60, next_attempt=now + 2 * HOUR)
    never = Recipient("never@b.test", next_attempt=now + 2 * HOUR)
    ahead_of_us = replace(tried, address="ahead@b.test", last_attempt=now + HOUR - 60)
    one = message(tried, never, ahead_of_us)
    await store.store(one)
    everybody = {each.address for each in one.recipients.values()}
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: now + HOUR)
        assert await ask(store, one) == 3
        assert await _due(store) == everybody
    await store.catch_up(10)  # for the one that was attempted by the wrong clock
    assert await _due(store) == everybody


async def test_a_difference_of_seconds_is_none(store: Opened) -> None:
    now = time.time()
    await store.store(message(Recipient("a@b.test", attempts=1, last_attempt=now + 5, next_attempt=now + 65)))
    assert await store.catch_up(10) == 0


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
async def test_in_goes_of_any_size_nobody_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(ahead, "_AT_ONCE", at_once)
    wrong = time.time() + HOUR
    recipients = [Recipient(f"{n}@b.test", attempts=1, last_attempt=wrong, next_attempt=wrong + 60) for n in range(5)]
    async with EmbeddedStore(tmp_path) as store:
        for count in (1, 5, 2):
            await store.store(message(*recipients[:count]))
        assert await store.catch_up(10) == 8
