# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets a connection and who gets memory, when many hosts are silent, slow or held to a rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery import workers
from relay_agent.queue.model import Envelope

from .memory_store import make_message
from .scripted import GOOD, Scripted, serving
from .test_dispatcher import Fixture, running


@asynccontextmanager
async def with_silent(count: int, **delivery: Any) -> AsyncIterator[tuple[Fixture, Scripted]]:
    """One good host for good.test, and so many that never greet for d0.test, d1.test ..."""
    good = Scripted()
    async with AsyncExitStack() as stack:
        fixture = await stack.enter_async_context(running(good, connect_timeout=30, retry_first=60, **delivery))
        routes = [{"domains": ["good.test"], "via": [fixture.config.route[0].via[0].model_dump()]}]
        for number in range(count):
            port = await stack.enter_async_context(serving(Scripted({"": None})))
            hop = {"host": "127.0.0.1", "port": port, "tls": "none"}
            routes.append({"domains": [f"d{number}.test"], "via": [hop]})
        config = {**fixture.config.model_dump(), "route": routes}
        fixture.dispatcher.reconfigure(Config.model_validate(config))
        yield fixture, good


async def test_silent_hosts_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", (0.5, 0.2))
    async with with_silent(12, max_connections=8) as (fixture, good):
        for number in range(12):
            for _ in range(3):
                await fixture.send(f"x@d{number}.test")
        started = time.monotonic()
        await fixture.send("bob@good.test")
        await fixture.outcome("delivered")
        assert time.monotonic() - started < 5
        assert len(good.content) == 1
        # What waited for those that gave way is put off with the first.
        events = await fixture.outcome("deferred", 18)
        assert {event["status"] for event in events} == {"4.4.1"}
        # A proven host goes first from now on.
        started = time.monotonic()
        await fixture.send("carol@good.test")
        await fixture.outcome("delivered", 2)
        assert time.monotonic() - started < 4
        shown = fixture.dispatcher.snapshot()
        assert shown["destinations_by_state"]["paused"] >= 6
        assert {each["standing"] for each in shown["destinations"]} >= {"suspect"}


async def test_what_waits_for_slow_hosts_leaves_room_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_SHELF", 0.2)
    async with with_silent(1) as (fixture, _):
        fixture.dispatcher._workers._doubtful_room = 4
        await fixture.send("x@d0.test")
        peer = next(iter(fixture.dispatcher._workers.destinations.values())).peer
        peer.wanted_since -= 5  # it has had its time
        for _ in range(20):
            await fixture.send("x@d0.test")
        await fixture.until(lambda: fixture.dispatcher.snapshot()["in_hand"] <= 7)
        waiting = [each.recipients[0] for each in fixture.store.messages.values()]
        assert all(not each.attempts for each in waiting)
        assert sum(each.next_attempt > 0 for each in waiting) >= 14


async def test_a_rate_is_kept_and_the_rest_of_memory_is_free() -> None:
    server = Scripted()
    async with running(server) as fixture:
        rule = {"destinations": ["127.0.0.1"], "messages_per_minute": 60, "connections": 2}
        fixture.dispatcher.reconfigure(
            Config.model_validate({**fixture.config.model_dump(exclude_unset=True), "shaping": [rule]})
        )
        for number in range(80):
            await fixture.send(f"r{number}@a.test")
        started = time.monotonic()
        await fixture.outcome("delivered", 5)
        await fixture.until(lambda: len(server.content) >= 6)
        await asyncio.sleep(1.2)
        # One for each second, and what a burst and the connections in hand let through.
        assert 6 <= len(server.content) <= 7 + (time.monotonic() - started)
        shown = fixture.dispatcher.snapshot()
        assert shown["in_hand"] <= 60
        assert shown["destinations"][0]["messages_per_minute"] == 60
        assert shown["destinations"][0]["window"] == 2
        assert shown["destinations_by_state"]["at_rate"] == 1


async def test_anothers_letter_does_not_wait_for_the_newsletter() -> None:
    server = Scripted({"MAIL": [GOOD["MAIL"]]})
    async with running(server, max_connections=1) as fixture:
        fixture.dispatcher._loader._room = fixture.dispatcher._loader._reserve = 40
        fixture.dispatcher._loader._most_of_one = 30
        for _ in range(200):
            await fixture.send("many@a.test")
        letter = make_message("bob@a.test", created=time.time())
        letter.envelope = Envelope("carol@home.test", "carol")
        await fixture.store.store(letter)
        fixture.dispatcher.submit(letter)
        await fixture.outcome("delivered", 201)
        order = [event["queue_id"] for event in fixture.events.named("delivered")]
        assert order.index(letter.queue_id) <= 60
        assert len(server.content) == 201


async def test_throttling_takes_connections_away() -> None:
    async with running(Scripted({"RCPT": "451 4.7.1 You are throttled, slow down"})) as fixture:
        await fixture.send("a@a.test")
        await fixture.outcome("deferred")
        peer = next(iter(fixture.dispatcher._workers.destinations.values())).peer
        assert peer.window == 1


async def test_a_greylisting_host_has_its_own_schedule() -> None:
    async with running(Scripted({"RCPT": "450 4.2.0 Greylisted"}), retry_greylisted=[100, 200]) as fixture:
        await fixture.send("a@a.test")
        (event,) = await fixture.outcome("deferred")
        assert 98 <= event["next_attempt"] - time.time() <= 112


@pytest.mark.parametrize(
    ("notify", "sender", "told"),
    [
        (None, "alice@good.test", True),
        ("DELAY,FAILURE", "alice@good.test", True),
        ("FAILURE", "alice@good.test", False),
        ("NEVER", "alice@good.test", False),
        (None, "", False),
    ],
)
async def test_a_sender_is_told_once_that_mail_waits(notify: str | None, sender: str, told: bool) -> None:
    server = Scripted({"RCPT": ["450 4.2.1 Busy", "450 4.2.1 Busy", "250 Ok"]})
    async with running(server, delay_notice="1s", retry_first=1, retry_max=1, retry_greylisted=[]) as fixture:
        message = make_message("bob@good.test", created=time.time() - 5, sender=sender)
        message.recipients[0] = replace(message.recipients[0], options={"NOTIFY": notify} if notify else {})
        await fixture.store.store(message)
        fixture.dispatcher.submit(message)
        await fixture.outcome("delivered", 2 if told else 1)
        notices = fixture.events.named("delay_notice")
        assert len(notices) == told
        if told:
            assert notices[0]["to"] == sender
            news = next(each for each in server.content if b"Action: delayed" in each)
            assert b"Will-Retry-Until: " in news
            assert b"has not reached" in news
        assert all(b"DELAY-TOLD" not in each for each in server.content)
        assert not any("DELAY-TOLD" in line for line in server.seen)
