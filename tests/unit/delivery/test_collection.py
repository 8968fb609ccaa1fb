# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for a site goes over a line, and comes back into the queue when the line breaks."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from relay_agent.config.schema import Config
from relay_agent.control.server import Handler
from relay_agent.delivery.calling import Call, waits
from relay_agent.delivery.client import Timeouts
from relay_agent.delivery.collection import site_handlers
from relay_agent.delivery.dispatcher import Dispatcher
from relay_agent.queue.model import QueueStore, RecipientState

from .memory_store import Events, MemoryStore, make_message
from .scripted import Scripted, serving

CALL = Call("site").export()


def config(port: int, **delivery: Any) -> Config:
    hop = [{"host": "127.0.0.1", "port": port, "tls": "none"}]
    return Config.model_validate(
        {
            "hostname": "relay.test",
            "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
            "route": [
                {"domains": ["site.test"], "etrn": True, "owners": ["site"], "via": hop},
                {"domains": ["other.test"], "etrn": True, "owners": ["bob"]},
                {"domains": ["*"], "via": hop},
            ],
            "delivery": {"retry_first": 1, "connect_timeout": 2, **delivery},
        }
    )


class Relay:
    """A dispatcher that keeps mail for sites; all other goes to a server."""

    def __init__(self, port: int, **delivery: Any) -> None:
        self.events = Events()
        self.store = MemoryStore()
        typed = cast(QueueStore, self.store)  # it has as much of one as delivery uses
        self.dispatcher = Dispatcher(config(port, **delivery), typed, self.events, timeouts=Timeouts(end=2))

        async def status(_: dict[str, Any]) -> dict[str, Any]:
            return {"delivery": {}}

        self.commands: dict[str, Handler] = site_handlers(typed, self.dispatcher, {"store.status": status})

    async def keep(self, *recipients: str, age: float = 0.0, **options: Any) -> str:
        """Take a message; returns when its recipients at sites wait."""
        before = len(self.events.named("waits_for_call"))
        message = make_message(*recipients, created=time.time() - age, **options)
        await self.store.store(message)
        self.dispatcher.submit(message)
        expected = before + sum(each.endswith(("@site.test", "@other.test")) for each in recipients)
        await self.until("waits_for_call", expected)
        await asyncio.sleep(0.02)
        return message.queue_id

    async def until(self, event: str, count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 10
        while len(self.events.named(event)) < count:
            assert time.monotonic() < end, self.events.seen[-5:]
            await asyncio.sleep(0.005)
        return self.events.named(event)

    async def collect(self, site: Scripted) -> dict[str, Any]:
        """Have the mail fetched by a site that says what is scripted, but for the greeting."""
        site.answers[""] = None
        line = f"postroad-test-{secrets.token_hex(8)}"
        async with await asyncio.start_unix_server(site.serve, "\0" + line):
            arguments = {"call": CALL, "line": line, "host": "site.test", "peer": "192.0.2.1"}
            answer: dict[str, Any] = await self.commands["site.collect"](arguments)
        return answer


@asynccontextmanager
async def running(server: Scripted | None = None, **delivery: Any) -> AsyncIterator[Relay]:
    async with serving(server or Scripted()) as port:
        relay = Relay(port, **delivery)
        await relay.dispatcher.start()
        try:
            yield relay
        finally:
            await relay.dispatcher.stop(1)


async def test_mail_for_a_site_waits_and_the_rest_goes_on() -> None:
    async with running() as relay:
        queue_id = await relay.keep("bob@site.test", "carol@else.test")
        (delivered,) = await relay.until("delivered", 1)
        assert delivered["recipient"] == "carol@else.test"
        await asyncio.sleep(0.05)
        (left,) = relay.store.messages[queue_id].recipients.values()
        assert waits(left)
        assert (left.attempts, left.last_reply) == (0, "waits until the site of site.test calls in")
        assert (await relay.commands["site.count"]({"call": CALL})) == {"messages": 1}
        assert (await relay.commands["store.status"]({}))["delivery"]["sites"] == {"site.test": 1}
        assert not relay.events.named("deferred")


async def test_etrn_lets_it_go_to_the_known_host_once() -> None:
    server = Scripted({"RCPT": ["450 4.2.0 Not now", "250 2.1.5 Ok"]})
    async with running(server) as relay:
        await relay.keep("bob@site.test")
        assert await relay.commands["site.called"]({"call": CALL}) == {"messages": 1}
        await relay.until("deferred", 1)
        await asyncio.sleep(0.05)
        (message,) = relay.store.messages.values()
        assert waits(message.recipients[0])
        assert message.recipients[0].last_reply == "450 4.2.0 Not now"
        assert message.recipients[0].next_attempt > time.time() + 86_400
        assert await relay.commands["site.called"]({"call": CALL}) == {"messages": 1}
        await relay.until("delivered", 1)
        await asyncio.sleep(0.05)
        assert not relay.store.messages
        assert await relay.commands["site.called"]({"call": CALL}) == {"messages": 0}


async def test_nobody_is_told_of_a_delay_that_is_the_sites_own_choice() -> None:
    server = Scripted({"RCPT": "450 4.2.0 Not now"})
    async with running(server, delay_notice="1s") as relay:
        await relay.keep("bob@site.test", age=100)
        await relay.commands["site.called"]({"call": CALL})
        await relay.until("deferred", 1)
        await asyncio.sleep(0.05)
        assert not relay.events.named("delay_notice")
        message = make_message("carol@else.test", created=time.time() - 100)
        await relay.store.store(message)
        relay.dispatcher.submit(message)
        await relay.until("delay_notice", 1)


async def test_what_was_reserved_in_vain_is_counted_out_again() -> None:
    async with running() as relay:
        queue_id = await relay.keep("bob@site.test")
        assert relay.dispatcher.reserve(queue_id)
        assert not relay.dispatcher.reserve(queue_id)
        relay.dispatcher.take_reserved(queue_id, None)
        assert relay.dispatcher.snapshot()["in_hand"] == 0
        await relay.collect(Scripted())
        await asyncio.sleep(0.05)
        assert not relay.store.messages
        assert not relay.dispatcher._loader._owners


async def test_mail_that_nobody_called_for_comes_back() -> None:
    async with running() as relay:
        await relay.keep(age=31 * 86_400)
        message = make_message("bob@site.test", created=time.time() - 31 * 86_400)
        await relay.store.store(message)
        relay.dispatcher.submit(message)
        (failed,) = await relay.until("failed", 1)
        assert failed["status"] == "4.4.7"
        assert "waits until the site of site.test calls in" in failed["reply"]
        await relay.until("bounced", 1)


async def test_what_waits_goes_over_the_line() -> None:
    async with running() as relay:
        await relay.keep("bob@site.test", "carol@other.test")
        await relay.keep("dave@site.test", content=b"Subject: 2\r\n\r\n" + b"xxxxxxxx\r\n" * 5_000)
        site = Scripted()
        assert await relay.collect(site) == {"sent": 2, "complete": True}
        assert [line for line in site.seen if line.startswith("RCPT")] == [
            "RCPT TO:<bob@site.test>",
            "RCPT TO:<dave@site.test>",
        ]
        assert site.seen[0] == "EHLO relay.test"
        assert "QUIT" not in site.seen, "there may be another store"
        events = await relay.until("delivered", 2)
        assert {each["host"] for each in events} == {"site.test"}
        await asyncio.sleep(0.05)
        (left,) = relay.store.messages.values()
        assert [each.address for each in left.recipients.values()] == ["carol@other.test"]
        assert await relay.collect(Scripted()) == {"sent": 0, "complete": True}


async def test_without_a_250_it_is_still_ours() -> None:
    async with running() as relay:
        for number in range(3):
            await relay.keep(f"{number}@site.test")
        assert await relay.collect(Scripted({".": ["250 2.0.0 Taken", ""]})) == {"sent": 1, "complete": False}
        await relay.until("deferred", 1)
        await asyncio.sleep(0.05)
        assert len(relay.store.messages) == 2
        assert all(waits(message.recipients[0]) for message in relay.store.messages.values())
        assert len(relay.events.named("deferred")) == 1, "the third was not tried"
        assert await relay.collect(Scripted()) == {"sent": 2, "complete": True}
        await asyncio.sleep(0.05)
        assert not relay.store.messages


async def test_a_recipient_that_the_site_does_not_know_bounces() -> None:
    async with running() as relay:
        await relay.keep("bob@site.test")
        assert await relay.collect(Scripted({"RCPT": "550 5.1.1 No such user"})) == {"sent": 0, "complete": True}
        await relay.until("bounced", 1)


async def test_held_mail_and_mail_in_other_hands_stays() -> None:
    async with running() as relay:
        held = await relay.keep("bob@site.test")
        relay.store.messages[held].recipients[0].state = RecipientState.HELD
        busy = await relay.keep("carol@site.test")
        assert relay.dispatcher.reserve(busy)
        assert not relay.dispatcher.reserve(busy)
        assert await relay.collect(Scripted()) == {"sent": 0, "complete": True}
        relay.dispatcher.take_reserved(busy, None)
        assert await relay.collect(Scripted()) == {"sent": 1, "complete": True}


async def test_a_site_that_is_no_mail_server_gets_nothing() -> None:
    async with running() as relay:
        await relay.keep("bob@site.test")
        for said in ("554 5.0.0 No", "HTTP/1.1 400 Bad Request", "", "421 4.3.2 Later"):
            answer = await relay.collect(Scripted({"EHLO": said, "HELO": said}))
            assert answer == {"sent": 0, "complete": False}
        assert len(relay.store.messages) == 1


async def test_a_changed_route_takes_what_waits_along() -> None:
    async with running() as relay:
        await relay.keep("bob@other.test")
        changed = relay.dispatcher.config
        routes = tuple(route for route in changed.route if "other.test" not in route.domains)
        await relay.dispatcher.stop(1)
        store = cast(QueueStore, relay.store)
        relay.dispatcher = Dispatcher(changed.model_copy(update={"route": routes}), store, relay.events)
        await relay.dispatcher.start()
        await relay.until("delivered", 1)
