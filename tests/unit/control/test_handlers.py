# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from relay_agent.control.client import ControlClient
from relay_agent.control.handlers import control_handlers
from relay_agent.control.merge import LocalStore, StoreCommands
from relay_agent.control.protocol import BAD_REQUEST, FAILED, NOT_FOUND, ControlError
from relay_agent.control.server import ControlServer
from relay_agent.control.store_commands import store_handlers
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Envelope, Message, Recipient, new_queue_id


class Agent:
    """The rest of an agent, as far as the handlers ask it."""

    def __init__(self) -> None:
        self.wakes = 0
        self.forgotten: list[str] = []
        self.problem: str | None = None
        self.busy: set[str] = set()
        self.submitted: list[Message] = []

    async def status(self) -> Mapping[str, Any]:
        return {"hostname": "relay.test"}

    async def reload(self) -> str | None:
        return self.problem

    async def reload_accounts(self) -> str | None:
        return self.problem

    async def reload_keys(self) -> str | None:
        return self.problem

    def snapshot(self) -> Mapping[str, Any]:
        return {"in_hand": 0}

    def wake(self) -> None:
        self.wakes += 1

    def forget(self, queue_ids: Sequence[str]) -> None:
        self.forgotten += queue_ids

    def in_hand(self, queue_ids: Iterable[str]) -> set[str]:
        return self.busy & set(queue_ids)

    def submit(self, message: Message) -> None:
        self.submitted.append(message)


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    async with EmbeddedStore(tmp_path / "queue", minimum_free=0) as store:
        yield store


@pytest.fixture
async def client(tmp_path: Path, store: EmbeddedStore, agent: Agent) -> AsyncIterator[ControlClient]:
    server = ControlServer(tmp_path / "s", control_handlers(agent, lambda: [LocalStore(store_handlers(store, agent))]))
    await server.start()
    yield ControlClient(tmp_path / "s", timeout=10)
    await server.close()


async def put(store: EmbeddedStore, *addresses: str, wait: float = 3600) -> str:
    now = time.time()
    recipients = {
        number: Recipient(address, attempts=1, next_attempt=now + wait, last_attempt=now, last_reply="busy")
        for number, address in enumerate(addresses)
    }
    message = Message(
        new_queue_id(), Envelope("alice@alpha.test", "alice"), recipients, MemoryBody(b"x\r\n"), now, now + 86_400
    )
    await store.store(message)
    return message.queue_id


async def call(client: ControlClient, command: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(client.call, command, **arguments)


async def listed(client: ControlClient, **arguments: Any) -> list[Any]:
    return await asyncio.to_thread(lambda: list(client.stream("queue.list", **arguments)))


async def test_the_queue_is_listed_oldest_first(client: ControlClient, store: EmbeddedStore) -> None:
    assert await listed(client) == []
    first = await put(store, "bob@beta.test", "carl@beta.test")
    await asyncio.sleep(0.01)  # ids of the same millisecond are in no order
    second = await put(store, "dora@beta.test")
    found = await listed(client)
    assert [message["id"] for message in found] == [first, second]
    assert [recipient["address"] for recipient in found[0]["recipients"]] == ["bob@beta.test", "carl@beta.test"]
    assert found[0]["recipients"][0]["last_reply"] == "busy"
    assert (found[0]["sender"], found[0]["account"], found[0]["size"]) == ("alice@alpha.test", "alice", 3)
    assert [message["id"] for message in await listed(client, limit=1)] == [first]


async def test_a_list_longer_than_a_page(client: ControlClient, store: EmbeddedStore) -> None:
    ids = set(await asyncio.gather(*(put(store, "bob@beta.test") for _ in range(1100))))
    assert {message["id"] for message in await listed(client, limit=0)} == ids
    assert len(await listed(client)) == 1000
    assert len(await listed(client, limit=501)) == 501


async def test_one_message_is_shown_whatever_the_case_of_its_id(client: ControlClient, store: EmbeddedStore) -> None:
    queue_id = await put(store, "bob@beta.test")
    assert (await call(client, "queue.show", id=queue_id.lower()))["id"] == queue_id
    with pytest.raises(ControlError, match="NOTHING is not in the queue") as caught:
        await call(client, "queue.show", id="nothing")
    assert caught.value.code == NOT_FOUND


async def test_retry_makes_due_and_wakes_delivery(client: ControlClient, store: EmbeddedStore, agent: Agent) -> None:
    queue_id = await put(store, "bob@beta.test")
    await put(store, "carl@beta.test", "dora@beta.test")
    assert await store.due(time.time(), 10) == []
    assert await call(client, "queue.retry", ids=[queue_id, "X"]) == {"recipients": 1, "unknown": ["X"]}
    assert [message.queue_id for message in await store.due(time.time(), 10)] == [queue_id]
    assert (await call(client, "queue.retry", all=True))["recipients"] == 3
    assert len(await store.due(time.time(), 10)) == 2
    assert agent.wakes == 2


async def test_a_deleted_message_is_out_of_the_queue_and_out_of_hand(
    client: ControlClient, store: EmbeddedStore, agent: Agent
) -> None:
    queue_id = await put(store, "bob@beta.test")
    assert await call(client, "queue.delete", ids=[queue_id, queue_id, "X"]) == {"messages": 1, "unknown": ["X"]}
    assert (await store.counts()).messages == 0
    assert queue_id in agent.forgotten


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("queue.list", {"limit": -1}),
        ("queue.list", {"limit": "many"}),
        ("queue.list", {"limit": True}),
        ("queue.show", {}),
        ("queue.show", {"id": 5}),
        ("queue.retry", {}),
        ("queue.retry", {"all": "yes"}),
        ("queue.retry", {"ids": []}),
        ("queue.delete", {"all": True}),
        ("queue.delete", {"ids": "X"}),
        ("queue.delete", {"ids": [5]}),
    ],
)
async def test_bad_arguments_are_refused(client: ControlClient, command: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ControlError, match="expected") as caught:
        await call(client, command, **arguments)
    assert caught.value.code == BAD_REQUEST


async def test_the_status_has_the_queue_and_the_delivery(client: ControlClient, store: EmbeddedStore) -> None:
    await put(store, "bob@beta.test")
    assert await call(client, "status") == {
        "hostname": "relay.test",
        "queue": {"messages": 1, "recipients": 1, "held": 0, "bytes": 3},
        "delivery": {"in_hand": 0, "destinations_by_state": {}, "quarantined": [], "destinations": []},
    }


async def test_the_status_of_a_part_of_the_queue_is_for_those_who_ask_for_it(
    tmp_path: Path, store: EmbeddedStore, agent: Agent
) -> None:
    """Whoever waits for an empty queue must not be given the numbers of what happens to be open."""

    class Closed:
        async def call(self, command: str, arguments: dict[str, Any]) -> Any:
            raise ControlError(FAILED, "store 1 is open in no worker: the disk fails")

        def stream(self, command: str, arguments: dict[str, Any]) -> Any:
            raise NotImplementedError

    parts: list[StoreCommands] = [LocalStore(store_handlers(store, agent)), Closed()]
    server = ControlServer(tmp_path / "t", control_handlers(agent, lambda: parts))
    await server.start()
    client = ControlClient(tmp_path / "t", timeout=10)
    await put(store, "bob@beta.test")
    with pytest.raises(ControlError, match="the disk fails"):
        await call(client, "status")
    answer = await call(client, "status", partly=True)
    await server.close()
    assert answer["unopened"] == ["store 1 is open in no worker: the disk fails"]
    assert answer["queue"]["messages"] == 1


@pytest.mark.parametrize("command", ["reload", "accounts.reload", "dkim.reload"])
async def test_a_reload_that_is_refused_says_why(client: ControlClient, agent: Agent, command: str) -> None:
    assert await call(client, command) is None
    agent.problem = "agent.toml: hostname: is missing"
    with pytest.raises(ControlError, match="hostname: is missing"):
        await call(client, command)
