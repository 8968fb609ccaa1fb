# SPDX-License-Identifier: GPL-3.0-or-later
"""The dispatcher with a queue in memory and scripted servers: what real ones cannot be made to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery import loader, recorder
from relay_agent.delivery.client import Timeouts
from relay_agent.delivery.dispatcher import Dispatcher
from relay_agent.delivery.hand import Hand
from relay_agent.delivery.local import Local
from relay_agent.delivery.outcome import Deferred, Delivered, Outcome
from relay_agent.delivery.route import Plan
from relay_agent.queue.model import Message, RecipientState

from .memory_store import Events, MemoryStore, make_message
from .scripted import GOOD, Scripted, serving


class Fixture:
    """A running dispatcher whose every route leads to one port."""

    def __init__(self, server: Scripted, port: int, local: Local | None = None, **delivery: Any) -> None:
        self.server = server
        self.events = Events()
        self.store = MemoryStore()
        self.config = self.with_port(port, **delivery)
        store: Any = self.store
        events: Any = self.events
        self.dispatcher = Dispatcher(self.config, store, events, timeouts=Timeouts(end=2), local=local)

    def with_port(self, port: int, **delivery: Any) -> Config:
        return Config.model_validate(
            {
                "hostname": "relay.test",
                "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
                "submission": {"trusted_networks": ["127.0.0.0/8"]},
                "route": [{"domains": ["*"], "via": [{"host": "127.0.0.1", "port": port, "tls": "none"}]}],
                "delivery": {"retry_first": 1, "connect_timeout": 2, "port25_check": [], **delivery},
            }
        )

    async def send(self, *recipients: str, **options: Any) -> Message:
        message = make_message(*recipients, created=time.time(), **options)
        await self.store.store(message)
        self.dispatcher.submit(message)
        return message

    async def until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.events.seen[-5:]
            await asyncio.sleep(0.005)

    async def outcome(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        await self.until(lambda: len(self.events.named(name)) >= count)
        return self.events.named(name)


@asynccontextmanager
async def running(server: Scripted, local: Local | None = None, **delivery: Any) -> AsyncIterator[Fixture]:
    async with serving(server) as port:
        fixture = Fixture(server, port, local, **delivery)
        await fixture.dispatcher.start()
        try:
            yield fixture
        finally:
            await fixture.dispatcher.stop(1)


async def test_a_full_disk_sends_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_FIRST_WAIT", 0.05)
    server = Scripted()
    async with running(server) as fixture:
        fixture.store.refusals = 3
        await fixture.send("bob@a.test")
        await fixture.outcome("delivered")
        assert fixture.dispatcher.snapshot()["in_hand"] == 1
        fixture.dispatcher.wake()  # an impatient operator
        await fixture.until(lambda: not fixture.store.messages)
        await asyncio.sleep(0.05)
        assert len(server.content) == 1
        assert fixture.dispatcher.snapshot()["in_hand"] == 0


async def test_what_one_upstream_puts_off_the_next_takes_in_the_same_attempt() -> None:
    """Throttling (4.7.x) in reply to one recipient; a mailbox that is busy (4.2.x) is busy everywhere."""
    first = Scripted({"RCPT": ["451 4.7.1 Throttled", "450 4.2.1 Busy", "550 5.1.1 Who?", "250 Ok"]})
    second = Scripted()
    async with serving(second) as port, running(first) as fixture:
        other = {"host": "127.0.0.1", "port": port, "tls": "none"}
        hop = fixture.config.route[0].via[0].model_dump()
        routes = [{"domains": ["*"], "via": [hop, other]}]
        fixture.dispatcher.reconfigure(Config.model_validate({**fixture.config.model_dump(), "route": routes}))
        await fixture.send("a@a.test", "b@a.test", "c@a.test", "d@a.test", sender="")
        assert {event["recipient"] for event in await fixture.outcome("delivered", 2)} == {"a@a.test", "d@a.test"}
        assert [event["recipient"] for event in await fixture.outcome("deferred")] == ["b@a.test"]
        assert [event["recipient"] for event in await fixture.outcome("failed")] == ["c@a.test"]
        assert [line for line in second.seen if line.startswith("RCPT")] == ["RCPT TO:<a@a.test>"]


async def test_what_is_in_line_takes_the_new_route() -> None:
    silent, good = Scripted({"": None}), Scripted()
    async with serving(good) as port, running(silent) as fixture:
        for _ in range(10):
            await fixture.send("a@a.test")
        await fixture.until(lambda: silent.connections == 2)
        fixture.dispatcher.reconfigure(fixture.with_port(port))
        await fixture.outcome("delivered", 8)
        await fixture.dispatcher.stop(0.1)
        await fixture.dispatcher.start()


async def test_memory_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_MOST_BYTES", 100_000)
    server = Scripted({"MAIL": [None, GOOD["MAIL"]]})
    async with running(server) as fixture:
        for _ in range(20):
            await fixture.send("a@a.test", content=b"x" * 30_000)
        assert fixture.dispatcher.snapshot()["in_hand"] == 4
        await fixture.outcome("delivered", 19)


class _Unreadable:
    size = 70_000

    def read(self) -> bytes:
        raise OSError("bad sector")

    def blocks(self, size: int = 65536) -> Iterator[bytes]:
        raise OSError("bad sector")


async def test_a_message_that_cannot_be_read_is_held_and_passed_by() -> None:
    server = Scripted()
    async with running(server) as fixture:
        bad = make_message("bob@a.test", created=time.time())
        bad.body = _Unreadable()
        await fixture.store.store(bad)
        fixture.dispatcher.submit(bad)
        await fixture.send("carol@a.test")
        await fixture.outcome("delivered")
        await fixture.outcome("deferred", 2)
        first, second = fixture.events.named("deferred")
        assert (first["queue_id"], first["status"], first["held"]) == (bad.queue_id, "4.3.0", None)
        assert second["held"]
        assert "bad sector" in second["reply"]
        assert fixture.events.named("delivery_fault")[0]["queue_id"] == bad.queue_id
        await fixture.until(lambda: not fixture.dispatcher.snapshot()["in_hand"])
        assert fixture.store.messages[bad.queue_id].recipients[0].state is RecipientState.HELD


async def test_a_fault_in_our_own_code_is_held_and_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Scripted()) as fixture:
        known = fixture.dispatcher._router.known

        def faulty(plan: Plan) -> Any:
            if plan.domain == "poison.test":
                raise ZeroDivisionError("oops")
            return known(plan)

        monkeypatch.setattr(fixture.dispatcher._router, "known", faulty)
        await fixture.send("bob@poison.test")
        await fixture.send("carol@a.test")
        await fixture.outcome("delivered")
        events = await fixture.outcome("deferred", 2)
        assert "ZeroDivisionError: oops" in events[1]["reply"]
        assert events[1]["held"]


async def test_a_connection_closed_while_idle_is_not_the_next_messages_trouble() -> None:
    """421 in reply to the second MAIL of a kept connection: a new one is opened in the same attempt."""
    server = Scripted({"MAIL": [GOOD["MAIL"], "421 4.4.2 Idle too long", GOOD["MAIL"]]})
    async with running(server) as fixture:
        await fixture.send("bob@a.test")
        await fixture.outcome("delivered")
        await fixture.send("carol@a.test")
        await fixture.outcome("delivered", 2)
        assert server.connections == 2
        assert not fixture.events.named("deferred")


async def test_one_connection_too_many_defers_nothing() -> None:
    """The server takes one session at a time and says 421 to others."""
    server = Scripted({"": [GOOD[""], "421 4.7.0 Too many connections"]})
    async with running(server) as fixture:
        for number in range(30):
            await fixture.send(f"r{number}@a.test")
        await fixture.outcome("delivered", 30)
        assert not fixture.events.named("deferred")


async def test_the_spread_of_recipients_that_a_server_wants() -> None:
    server = Scripted({"RCPT": ["250 Ok", "452 4.5.3 Too many", "452 4.5.3 Too many", "250 Ok", "250 Ok"]})
    async with running(server) as fixture:
        await fixture.send("a@a.test", "b@a.test", "c@a.test")
        await fixture.outcome("delivered", 3)
        assert len(server.content) == 2
        assert server.connections == 1


async def test_one_bounce_for_all_failures_of_an_attempt() -> None:
    server = Scripted({"RCPT": ["550 5.1.1 Who?", "250 Ok", "550 5.2.1 Gone", "250 Ok"]})
    async with running(server) as fixture:
        await fixture.send("a@a.test", "b@a.test", "c@a.test")
        (bounced,) = await fixture.outcome("bounced")
        assert bounced["recipients"] == ["a@a.test", "c@a.test"]
        await fixture.outcome("delivered", 2)
        assert b"Final-Recipient: rfc822; a@a.test" in server.content[1]
        await fixture.until(lambda: not fixture.store.messages)


async def test_notify_never_is_heeded() -> None:
    async with running(Scripted({"RCPT": "550 5.1.1 Who?"})) as fixture:
        message = make_message("a@a.test", created=time.time())
        message.recipients[0].options = {"NOTIFY": "NEVER"}
        await fixture.store.store(message)
        fixture.dispatcher.submit(message)
        await fixture.outcome("dropped")
        await fixture.until(lambda: not fixture.store.messages)
        assert not fixture.events.named("bounced")


async def test_connections_stay_within_their_limits() -> None:
    server = Scripted()
    open_now = most = 0
    serve = server.serve

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            await serve(reader, writer)
        finally:
            open_now -= 1

    server.serve = counted  # type: ignore[method-assign]
    async with running(server, max_connections_per_destination=3) as fixture:
        for number in range(200):
            await fixture.send(f"r{number}@a.test")
        await fixture.outcome("delivered", 200)
        assert 1 < most <= 3


async def test_forgotten_messages_are_not_begun() -> None:
    server = Scripted({"MAIL": None})
    async with running(server) as fixture:
        messages = [await fixture.send("a@a.test") for _ in range(10)]
        await fixture.until(lambda: len([line for line in server.seen if line.startswith("MAIL")]) == 2)
        fixture.dispatcher.forget([each.queue_id for each in messages])
        assert fixture.dispatcher.snapshot()["in_hand"] == 2
        assert len(fixture.dispatcher.in_hand([each.queue_id for each in messages[:9]] + ["NOTHING"])) in (1, 2)


async def test_stop_lets_an_attempt_end_and_begins_none() -> None:
    server = Scripted()
    async with serving(server) as port:
        fixture = Fixture(server, port)
        await fixture.dispatcher.start()
        await fixture.send("bob@a.test")
        await asyncio.sleep(0)
        await fixture.dispatcher.stop(2)
        assert len(server.content) == 1
        assert not fixture.store.messages
        await fixture.send("carol@a.test")
        assert len(fixture.store.messages) == 1


async def test_stop_does_not_wait_for_a_silent_server() -> None:
    server = Scripted({"MAIL": None})
    async with running(server) as fixture:
        await fixture.send("bob@a.test")
        await fixture.until(lambda: len(server.seen) > 1)
        started = time.monotonic()
        await fixture.dispatcher.stop(0.2)
        assert time.monotonic() - started < 2
        assert fixture.events.named("attempts_cut")
        assert len(fixture.store.messages) == 1
        await fixture.dispatcher.start()


async def test_what_a_stop_cut_off_is_delivered_after_the_next_start() -> None:
    server = Scripted({"MAIL": [None, GOOD["MAIL"]]})
    async with running(server) as fixture:
        await fixture.send("bob@a.test")
        await fixture.until(lambda: len(server.seen) > 1)
        await fixture.dispatcher.stop(0.1)
        await fixture.dispatcher.start()
        await fixture.outcome("delivered")
        await fixture.until(lambda: not fixture.store.messages)


async def test_a_fault_while_writing_down_outcomes_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = Hand.decide

    def faulty(hand: Hand, *arguments: Any) -> Any:
        if hand.message.envelope.reverse_path == "poison@home.test":
            raise ZeroDivisionError("oops")
        return decide(hand, *arguments)

    monkeypatch.setattr(Hand, "decide", faulty)
    async with running(Scripted()) as fixture:
        await fixture.send("bob@a.test", sender="poison@home.test")
        await fixture.send("bob@a.test")
        await fixture.outcome("delivered")
        assert "ZeroDivisionError: oops" in fixture.events.named("delivery_fault")[0]["error"]
        await fixture.until(lambda: not fixture.dispatcher.snapshot()["in_hand"])
        assert len(fixture.store.messages) == 1
        # It is held, not tried and delivered again and again, and the operator is told which it is.
        (held,) = fixture.store.messages.values()
        assert held.recipients[0].state is RecipientState.HELD
        assert "oops" in held.recipients[0].last_reply
        assert [each["id"] for each in fixture.dispatcher.snapshot()["quarantined"]] == [held.queue_id]
        assert fixture.events.named("quarantined")[0]["queue_id"] == held.queue_id
        assert len(fixture.server.content) == 2


async def test_news_of_mail_that_was_handed_on() -> None:
    async with running(Scripted()) as fixture:
        message = make_message("bob@a.test", created=time.time())
        message.recipients[0].options = {"NOTIFY": "SUCCESS"}
        await fixture.store.store(message)
        fixture.dispatcher.submit(message)
        (notice,) = await fixture.outcome("relay_notice")
        assert notice["to"] == "alice@home.test"
        # The news goes the same way as any mail.
        delivered = await fixture.outcome("delivered", 2)
        assert delivered[1]["queue_id"] == notice["notice"]
        assert delivered[1]["recipient"] == "alice@home.test"
        await fixture.until(lambda: not fixture.store.messages)


async def test_a_message_that_is_held_waits_for_its_time() -> None:
    async with running(Scripted()) as fixture:
        message = make_message("bob@a.test", created=time.time())
        message.recipients[0].next_attempt = due = time.time() + 0.5
        await fixture.store.store(message)
        fixture.dispatcher.submit(message)
        assert not fixture.dispatcher.snapshot()["in_hand"]
        await fixture.outcome("delivered")
        assert due <= time.time() < due + 5


@pytest.mark.parametrize(("options", "whole"), [({"RET": "FULL"}, True), ({"RET": "HDRS"}, False), ({}, False)])
async def test_what_comes_back_in_a_bounce(options: dict[str, str], whole: bool) -> None:
    async with running(Scripted({"RCPT": ["550 5.1.1 Unknown", "250 Ok"]})) as fixture:
        await fixture.send("bob@a.test", content=b"Subject: x\r\n\r\nthe body\r\n", **options)
        await fixture.outcome("delivered")
        assert len(fixture.events.named("bounced")) == 1
    content = fixture.server.content[-1]
    assert (b"the body" in content) is whole
    assert (b"Content-Type: message/rfc822" in content) is whole


class _Here:
    """The recipients of a.test end here, with one outcome; what else happened is kept."""

    def __init__(self, outcome: Outcome | Exception) -> None:
        self.outcome = outcome
        self.taken: list[Message] = []
        self.learned: list[tuple[str, Outcome, bool]] = []

    def takes(self, address: str) -> bool:
        return address.endswith("@a.test")

    async def take(self, message: Message) -> Outcome:
        self.taken.append(message)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def learn(self, message: Message, outcomes: Mapping[int, Outcome], *, by_own_host: bool) -> None:
        self.learned += [(message.recipients[number].address, each, by_own_host) for number, each in outcomes.items()]


async def test_mail_that_ends_here_goes_nowhere_else() -> None:
    server = Scripted({"RCPT": "550 5.1.1 Who?"})
    here = _Here(Delivered("2.0.0", "taken", ""))
    async with running(server, here) as fixture:
        await fixture.send("fbl@a.test", "other@a.test", "bob@b.test", sender="")
        assert {event["recipient"] for event in await fixture.outcome("delivered", 2)} == {"fbl@a.test", "other@a.test"}
        await fixture.outcome("failed")
        await fixture.until(lambda: not fixture.store.messages)
        assert len(here.taken) == 1
        assert [line for line in server.seen if line.startswith("RCPT")] == ["RCPT TO:<bob@b.test>"]
        ((address, outcome, by_own_host),) = here.learned
        assert (address, outcome.status, by_own_host) == ("bob@b.test", "5.1.1", False)  # by an upstream relay


async def test_mail_that_ends_here_can_be_held_at_once() -> None:
    async with running(Scripted(), _Here(Deferred("5.6.0", "the report is none", hold=True))) as fixture:
        message = await fixture.send("fbl@a.test")
        (event,) = await fixture.outcome("deferred")
        assert event["held"]
        await fixture.until(lambda: not fixture.dispatcher.snapshot()["in_hand"])
        (recipient,) = fixture.store.messages[message.queue_id].recipients.values()
        assert (recipient.state, recipient.last_reply) == (RecipientState.HELD, "the report is none")
        assert not fixture.dispatcher.snapshot()["quarantined"]  # none of our own code's faults


async def test_a_fault_at_what_ends_here_is_told() -> None:
    async with running(Scripted(), _Here(ZeroDivisionError("oops"))) as fixture:
        await fixture.send("fbl@a.test")
        assert (await fixture.outcome("deferred"))[0]["status"] == "4.3.0"
        assert fixture.events.named("delivery_fault")
