# SPDX-License-Identifier: GPL-3.0-or-later
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay_agent.control.merge import merge_delivery
from relay_agent.control.protocol import NOT_FOUND, ControlError
from relay_agent.control.store_commands import queue_handlers
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Envelope, Message, Recipient, new_queue_id


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[list[EmbeddedStore]]:
    opened = [EmbeddedStore(tmp_path, number, minimum_free=0) for number in range(3)]
    yield opened
    for store in opened:
        await store.close()


async def put(store: EmbeddedStore, age: float) -> str:
    now = time.time() - age
    recipients = {0: Recipient("bob@beta.test", next_attempt=now + 3600)}
    message = Message(new_queue_id(now), Envelope("a@alpha.test"), recipients, MemoryBody(b"x\r\n"), now, now + 86_400)
    await store.store(message)
    return message.queue_id


async def listed(handlers: dict[str, Any], **arguments: Any) -> list[str]:
    return [item["id"] async for item in await handlers["queue.list"](arguments)]


async def test_the_lists_of_all_stores_are_one(stores: list[EmbeddedStore]) -> None:
    ids = [await put(stores[number % 3], 1000.0 - number) for number in range(20)]
    handlers = queue_handlers(stores)
    assert await listed(handlers) == ids == sorted(ids)
    assert await listed(handlers, limit=0) == ids
    assert await listed(handlers, limit=7) == ids[:7]


async def test_a_message_is_found_wherever_it_is(stores: list[EmbeddedStore]) -> None:
    ids = [await put(store, 10.0) for store in stores]
    handlers = queue_handlers(stores)
    for queue_id in ids:
        assert (await handlers["queue.show"]({"id": queue_id}))["id"] == queue_id
    with pytest.raises(ControlError) as caught:
        await handlers["queue.show"]({"id": "NONE"})
    assert caught.value.code == NOT_FOUND
    assert await handlers["queue.retry"]({"ids": [*ids, "NONE"]}) == {"recipients": 3, "unknown": ["NONE"]}
    assert await handlers["queue.delete"]({"ids": [ids[1], "NONE"]}) == {"messages": 1, "unknown": ["NONE"]}
    assert await listed(handlers) == sorted([ids[0], ids[2]])


def test_destinations_of_several_workers_are_one() -> None:
    def snapshot(waiting: int, trouble: str) -> dict[str, Any]:
        return {
            "in_hand": waiting,
            "destinations_by_state": {"busy": 1, "paused": 0},
            "quarantined": [{"id": trouble, "at": 9.0 - waiting, "reason": "oops"}],
            "destinations": [
                {
                    "name": "mx.test",
                    "waiting": waiting,
                    "active": 1,
                    "window": 2,
                    "messages_per_minute": None,
                    "blocked_for": 1.0 * waiting,
                    "last_error": trouble,
                }
            ],
        }

    assert merge_delivery([snapshot(2, ""), snapshot(5, "busy")]) == {
        "in_hand": 7,
        "destinations_by_state": {"busy": 2, "paused": 0},
        "quarantined": [{"id": "busy", "at": 4.0, "reason": "oops"}, {"id": "", "at": 7.0, "reason": "oops"}],
        "destinations": [
            {
                "name": "mx.test",
                "waiting": 7,
                "active": 2,
                "window": 4,
                "messages_per_minute": None,
                "blocked_for": 5.0,
                "last_error": "busy",
            }
        ],
    }


def test_what_waits_for_sites_is_added_up() -> None:
    merged = merge_delivery([{"sites": {"a.test": 1, "b.test": 2}}, {"sites": {"b.test": 3}}, {}])
    assert merged["sites"] == {"a.test": 1, "b.test": 5}


def test_an_upstream_relay_is_shown_in_its_worst_state() -> None:
    well = {"name": "a:587", "user": "u", "state": "well"}
    rests = well | {"state": "rests", "cause": "tls", "rests_for": 10.0}
    longer = rests | {"rests_for": 20.0}
    merged = merge_delivery([{"upstreams": [each]} for each in (well, rests, longer, well)])
    assert merged["upstreams"] == [longer | {"troubled": 2}]


def test_the_latest_look_at_port_25_counts() -> None:
    looks = [{"port25": {"state": state, "looked_at": at}} for state, at in (("open", 1.0), ("closed", 2.0))]
    assert merge_delivery([*looks, {"port25": {"state": "unknown", "looked_at": None}}])["port25"]["state"] == "closed"
