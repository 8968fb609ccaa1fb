# SPDX-License-Identifier: GPL-3.0-or-later
"""What a clock that was ahead put off, and what waits for another reason."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from relay_agent.queue import ahead, embedded
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import AWAITS, HELD_UNTIL, SHELVED, Recipient, RecipientState
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
