# SPDX-License-Identifier: GPL-3.0-or-later
"""From when on a message is late: a hold that its sender asked for (RFC 4865) is none of the delay."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery.hand import Hand
from relay_agent.delivery.outcome import Deferred, Delivered, Scope
from relay_agent.queue.model import HELD_UNTIL, SHELVED, Message

from .memory_store import Events, make_message

HOUR, DAY = 3600.0, 86_400.0
GREYLISTED = Deferred("4.7.1", "450 4.7.1 greylisted, try again later", "mx.test", Scope.ELSEWHERE)
CONFIG = Config.model_validate(
    {
        "hostname": "relay.test",
        "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
        "submission": {"trusted_networks": ["127.0.0.0/8"]},
    }
)


def _held(accepted: float, released: float) -> Message:
    message = make_message("bob@a.test", created=accepted, lifetime=released - accepted + 5 * DAY)
    message.envelope = replace(message.envelope, options={HELD_UNTIL: f"{released:.0f}"})
    return message


@pytest.mark.parametrize(
    ("since_release", "told"), [(0.0, False), (3.9 * HOUR, False), (4.1 * HOUR, True), (-2 * HOUR, False)]
)
async def test_the_sender_is_told_of_a_delay_that_is_one(since_release: float, told: bool) -> None:
    now = time.time()
    hand, events = Hand(_held(now - DAY, now - since_release)), Events()
    hand.decide({0: GREYLISTED}, CONFIG, events, now)
    assert bool(await hand.notices(CONFIG, events)) is told
    (deferred,) = events.named("deferred")
    assert deferred["delay"] == pytest.approx(max(since_release, 0.0), abs=2)


async def test_a_bounce_says_for_how_long_it_was_tried() -> None:
    now = time.time()
    hand, events = Hand(_held(now - 7 * DAY, now - 5 * DAY - 1)), Events()
    hand.decide({0: GREYLISTED}, CONFIG, events, now)
    assert events.named("failed")[0]["reply"].startswith("gave up after 5 days;")


async def test_without_a_hold_it_counts_from_acceptance() -> None:
    for options in ({}, {HELD_UNTIL: "soon"}):
        message = make_message("bob@a.test", created=time.time() - 10)
        message.envelope = replace(message.envelope, options=options)
        events = Events()
        Hand(message).decide({0: Delivered("2.0.0", "250 Ok", "mx.test")}, CONFIG, events, time.time())
        assert events.named("delivered")[0]["delay"] == pytest.approx(10, abs=2)


async def test_what_is_shelved_knows_since_when() -> None:
    message = make_message("bob@a.test", created=time.time())
    (update,) = Hand(message).postponed([0], time.time() + 60)
    assert update.recipient is not None
    assert float(update.recipient.options[SHELVED]) == pytest.approx(time.time(), abs=2)
