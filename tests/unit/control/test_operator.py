# SPDX-License-Identifier: GPL-3.0-or-later
import base64
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.load import parse_config
from relay_agent.control.operator import Office, operator_handlers
from relay_agent.control.protocol import ControlError
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import MemoryBody, Spool
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import Body, Envelope, Message, Recipient, RecipientState, new_queue_id

CONFIG = """
hostname = "relay.test"
[[listener]]
address = "127.0.0.1"
port = 2587
tls = "none"
"""


class Events(EventLog):
    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.seen.append((name, fields))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.seen]


class Carrier:
    def __init__(self) -> None:
        self.busy: set[str] = set()
        self.forgotten: list[str] = []
        self.submitted: list[Message] = []
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1

    def forget(self, queue_ids: Sequence[str]) -> None:
        self.forgotten += queue_ids

    def in_hand(self, queue_ids: Iterable[str]) -> set[str]:
        return self.busy & set(queue_ids)

    def submit(self, message: Message) -> None:
        self.submitted.append(message)


class Signer:
    async def signed(self, body: Body, queue_id: str) -> Body:
        return MemoryBody(b"Signed: yes\r\n" + body.read())


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[JournaledStore]:
    async with JournaledStore(tmp_path, minimum_free=0) as store:
        yield store


@pytest.fixture
def carrier() -> Carrier:
    return Carrier()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def run(store: JournaledStore, carrier: Carrier, events: Events) -> Any:
    office = Office(events, lambda: parse_config(CONFIG, "agent.toml"), Signer())
    handlers = operator_handlers(store, carrier, office)

    async def call(command: str, **arguments: Any) -> Any:
        return await handlers[f"queue.{command}"](arguments)

    return call


async def put(
    store: JournaledStore, *addresses: str, sender: str = "alice@alpha.test", body: Body | None = None
) -> str:
    now = time.time()
    recipients = {
        number: Recipient(address, attempts=1, next_attempt=now + 600, last_reply="451 busy")
        for number, address in enumerate(addresses)
    }
    content = body or MemoryBody(b"Subject: test\r\nMessage-ID: <a@alpha.test>\r\n\r\nHello\r\n")
    message = Message(new_queue_id(), Envelope(sender, "alice"), recipients, content, now, now + 9999)
    await store.store(message)
    return message.queue_id


async def test_holding_and_releasing_concern_what_fits(
    run: Any, store: JournaledStore, carrier: Carrier, events: Events
) -> None:
    one = await put(store, "bob@beta.test", "carl@gamma.test")
    await put(store, "dora@beta.test")
    chosen = {"destination": "gamma.test"}
    answer = await run("change", action="hold", selection=chosen)
    assert answer == {"messages": 1, "recipients": 1, "busy": 0, "unknown": [], "cursor": None}
    assert carrier.forgotten == [one]
    again = await run("change", action="hold", selection=chosen)
    assert (again["messages"], again["recipients"]) == (0, 0)
    message = await store.get(one)
    assert message is not None
    assert [each.state for each in message.recipients.values()] == [RecipientState.WAITING, RecipientState.HELD]
    assert (await run("change", action="count", selection={}))["recipients"] == 3
    assert (await run("change", action="release", selection={}))["recipients"] == 1
    assert (await run("change", action="retry", selection={"ids": [one.lower(), "NOTHING"]}))["unknown"] == ["NOTHING"]
    assert carrier.wakes == 2
    assert events.names == ["operator_held", "operator_released", "operator_retried"]
    assert events.seen[0][1]["recipients"] == ["carl@gamma.test"]


async def test_a_retry_wakes_delivery_where_nothing_waits_too(run: Any, carrier: Carrier) -> None:
    """A mended relay is used again at once, for the mail that comes next."""
    assert (await run("change", action="retry", selection={}))["messages"] == 0
    assert carrier.wakes == 1
    await run("change", action="release", selection={})
    assert carrier.wakes == 1


async def test_a_bounce_goes_to_the_sender_for_what_fits(
    run: Any, store: JournaledStore, carrier: Carrier, events: Events
) -> None:
    one = await put(store, "bob@beta.test", "carl@gamma.test")
    answer = await run("change", action="bounce", selection={"destination": "gamma.test"}, reason="wrong domain")
    assert (answer["messages"], answer["recipients"]) == (1, 1)
    (bounce,) = carrier.submitted
    content = bounce.body.read()
    assert content.startswith(b"Signed: yes\r\n")
    assert b"Status: 5.4.7" in content
    assert b"wrong domain" in content
    assert b"bob@beta.test" not in content
    assert bounce.recipients[0].address == "alice@alpha.test"
    assert await store.get(bounce.queue_id) is not None
    left = await store.get(one)
    assert left is not None
    assert [(each.address, each.state) for each in left.recipients.values()] == [
        ("bob@beta.test", RecipientState.WAITING)
    ]
    assert events.names == ["failed", "bounced"]
    await run("change", action="bounce", selection={"ids": [one]})
    assert b"the last answer was: 451 busy" in carrier.submitted[1].body.read().replace(b"\r\n    ", b" ")


async def test_a_bounce_is_not_bounced(run: Any, store: JournaledStore, carrier: Carrier, events: Events) -> None:
    one = await put(store, "alice@alpha.test", sender="")
    assert (await run("change", action="bounce", selection={}))["messages"] == 1
    assert carrier.submitted == []
    assert await store.get(one) is None
    assert events.names == ["failed", "dropped"]


async def test_what_is_being_delivered_is_left_alone(run: Any, store: JournaledStore, carrier: Carrier) -> None:
    one, two = await put(store, "bob@beta.test"), await put(store, "carl@beta.test")
    carrier.busy = {one}
    answer = await run("change", action="delete", selection={"destination": "beta.test"})
    assert (answer["messages"], answer["busy"]) == (1, 1)
    assert await store.get(two) is None
    left = await store.get(one)
    assert left is not None
    assert left.recipients[0].state is RecipientState.WAITING


async def test_content_comes_in_pieces(run: Any, store: JournaledStore) -> None:
    spool = Spool(store.spool_directory(), threshold=1000, minimum_free=0)
    content = bytes(range(256)) * 10_000
    spool.write(content)
    large = await put(store, "bob@beta.test", body=spool.finish(b"prefix", skip=0))
    small = await put(store, "bob@beta.test")
    pieces, more = b"", True
    while more:
        answer = await run("read", id=large, offset=len(pieces))
        pieces += base64.b64decode(answer["content"])
        more = answer["more"]
    assert pieces == b"prefix" + content
    answer = await run("read", id=small.lower())
    assert b"Hello" in base64.b64decode(answer["content"])
    assert answer["more"] is False
    with pytest.raises(ControlError, match="NOTHING is not in the queue"):
        await run("read", id="nothing")


async def test_matches_have_the_recipients_that_fit(run: Any, store: JournaledStore) -> None:
    one = await put(store, "bob@beta.test", "carl@gamma.test")
    answer = await run("matches", selection={"destination": "gamma.test"})
    assert [(each["id"], [to["address"] for to in each["recipients"]]) for each in answer["items"]] == [
        (one, ["carl@gamma.test"])
    ]
    (group,) = (await run("groups", selection={"recipient": "bob@beta.test"}))["groups"]
    assert (group["destination"], group["reason"], group["recipients"]) == ("beta.test", "451 busy", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"action": "explode"},
        {"action": "hold", "selection": []},
        {"action": "hold", "selection": {"colour": "red"}},
        {"action": "hold", "selection": {"reason": 7}},
        {"action": "hold", "selection": {"reason": "x" * 2000}},
        {"action": "hold", "selection": {"reason": "\ud800"}},
        {"action": "hold", "selection": {"ids": "all"}},
        {"action": "hold", "selection": {"held": 1}},
        {"action": "hold", "selection": {"before": True}},
        {"action": "hold", "selection": {"before": 10**400}},
        {"action": "hold", "selection": {"before": float("nan")}},
        {"action": "hold", "cursor": [1]},
        {"action": "hold", "cursor": [-1, 2]},
        {"action": "bounce", "reason": "two\r\nlines"},
        {"action": "bounce", "reason": 7},
    ],
)
async def test_a_bad_request_changes_nothing(run: Any, store: JournaledStore, arguments: dict[str, Any]) -> None:
    one = await put(store, "bob@beta.test")
    with pytest.raises(ControlError):
        await run("change", **arguments)
    message = await store.get(one)
    assert message is not None
    assert message.recipients[0].state is RecipientState.WAITING


async def test_without_a_configuration_no_bounce_is_written(store: JournaledStore) -> None:
    one = await put(store, "bob@beta.test")
    with pytest.raises(ControlError, match="no bounce can be written"):
        await operator_handlers(store, None, Office())["queue.change"]({"action": "bounce"})
    assert (await operator_handlers(store, None, Office())["queue.change"]({"action": "delete"}))["messages"] == 1
    assert await store.get(one) is None
