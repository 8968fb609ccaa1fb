# SPDX-License-Identifier: GPL-3.0-or-later
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay_agent.queue import selection as module
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import AWAITS, Envelope, Message, Recipient, RecipientState, Update, new_queue_id
from relay_agent.queue.selection import Cursor, Group, OperatedStore, Selection
from tests.unit.queue.messages import message, recipient


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[JournaledStore]:
    async with JournaledStore(tmp_path, minimum_free=0) as store:
        yield store


async def put(
    store: JournaledStore,
    *addresses: str,
    sender: str = "alice@alpha.test",
    account: str | None = "alice",
    reply: str = "451 4.7.1 greylisted",
    age: float = 60.0,
) -> str:
    now = time.time()
    recipients = {
        number: Recipient(address, attempts=1, next_attempt=now + 600, last_status="4.7.1", last_reply=reply)
        for number, address in enumerate(addresses)
    }
    kept = Message(new_queue_id(), Envelope(sender, account), recipients, MemoryBody(b"x"), now - age, now + 9999)
    await store.store(kept)
    return kept.queue_id


async def matches(store: OperatedStore, **wanted: object) -> list[tuple[str, int]]:
    found, cursor = [], None
    while True:
        part = await store.find(Selection(**wanted), cursor)  # type: ignore[arg-type]
        found += [(each.queue_id, each.number) for each in part.matches]
        cursor = part.cursor
        if cursor is None:
            return found


async def groups(store: OperatedStore, **wanted: object) -> list[Group]:
    found: list[Group] = []
    cursor: Cursor | None = None
    while True:
        part, cursor = await store.groups(Selection(**wanted), cursor)  # type: ignore[arg-type]
        found += part
        if cursor is None:
            return found


async def test_each_filter_picks_recipients(store: JournaledStore) -> None:
    one = await put(store, "bob@Beta.test", '"a@b"@gamma.test')
    two = await put(store, "eve@sub.gamma.test", account="Bob", sender="", reply="100% full_now", age=7200.0)
    await store.mark([(one, 1)], "held")
    everything = [(one, 0), (one, 1), (two, 0)]
    assert await matches(store) == everything
    for wanted, expected in (
        ({"ids": (two, "NOTHING")}, [(two, 0)]),
        ({"destination": "BETA.test"}, [(one, 0)]),
        ({"destination": "gamma.test"}, [(one, 1)]),
        ({"destination": "*.gamma.test"}, [(two, 0)]),
        ({"destination": "*.test"}, everything),
        ({"destination": "%.test"}, []),
        ({"account": "bob"}, [(two, 0)]),
        ({"sender": ""}, [(two, 0)]),
        ({"sender": "ALICE@alpha.test"}, [(one, 0), (one, 1)]),
        ({"recipient": "BOB@beta.test"}, [(one, 0)]),
        ({"reason": "GREYLISTED"}, [(one, 0), (one, 1)]),
        ({"reason": "4.7.1*grey"}, [(one, 0), (one, 1)]),
        ({"reason": "0% full_n"}, [(two, 0)]),
        ({"reason": "full%now"}, []),
        ({"held": True}, [(one, 1)]),
        ({"held": False, "destination": "gamma.test"}, []),
        ({"before": time.time() - 3600}, [(two, 0)]),
        ({"ids": (one,), "held": True}, [(one, 1)]),
    ):
        assert await matches(store, **wanted) == expected, wanted


async def test_a_search_goes_in_short_steps_and_ends_though_mail_comes_in(
    store: JournaledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPAN", 3)
    ids = [await put(store, "bob@beta.test", "carl@gamma.test") for _ in range(10)]
    cursor, steps, found = None, 0, []
    while True:
        part = await store.find(Selection(), cursor)
        found += part.matches
        assert len(part.matches) <= 5
        steps += 1
        await put(store, "late@beta.test")
        cursor = part.cursor
        if cursor is None:
            break
    assert steps > 3
    assert [each.queue_id for each in found] == [queue_id for queue_id in ids for _ in range(2)]


async def test_groups_are_by_destination_and_shared_reason(store: JournaledStore) -> None:
    await put(store, "bob@beta.test", reply="451 4.7.1 wait 30 s", age=500.0)
    second = await put(store, "carl@BETA.test", reply="451 4.7.1 wait 45 s")
    await put(store, "dora@gamma.test", reply="")
    await store.mark([(second, 0)], "held")
    by_key = {(each.destination, each.reason): each for each in await groups(store)}
    assert by_key.keys() == {("beta.test", "451 4.7.1 wait * s"), ("gamma.test", "4.7.1")}
    beta = by_key["beta.test", "451 4.7.1 wait * s"]
    assert (beta.recipients, beta.held) == (2, 1)
    assert beta.oldest == pytest.approx(time.time() - 500, abs=30)
    assert beta.next_attempt == pytest.approx(time.time() + 600, abs=30)
    assert [each.recipients for each in await groups(store, account="alice", destination="beta.test")] == [2]
    assert [each.held for each in await groups(store, ids=(second,))] == [1]
    # What a group says is what selects it.
    assert len(await matches(store, reason="451 4.7.1 wait * s")) == 2


async def test_what_waits_for_its_site_to_call_in_has_no_next_attempt(store: JournaledStore) -> None:
    now = time.time()
    waiting = {0: Recipient("bob@site.test", {AWAITS: "site.test"}, next_attempt=now + 9000, last_reply="waits")}
    kept = Message(new_queue_id(), Envelope("alice@alpha.test", "alice"), waiting, MemoryBody(b"x"), now, now + 9999)
    await store.store(kept)
    (group,) = await groups(store, destination="site.test")
    assert (group.recipients, group.held, group.next_attempt) == (1, 0, None)


async def test_mail_that_only_the_journal_has_is_found(store: JournaledStore) -> None:
    async def fresh(*addresses: str) -> str:
        kept = message(*map(recipient, addresses))
        await store.store(kept)
        assert await store._base.get(kept.queue_id) is None
        return kept.queue_id

    one = await fresh("bob@beta.test", "carl@gamma.test")
    assert [(each.destination, each.reason) for each in await groups(store)] == [
        ("beta.test", "not tried yet"),
        ("gamma.test", "not tried yet"),
    ]
    two = await fresh("dora@beta.test")
    assert await matches(store, destination="beta.test") == [(one, 0), (two, 0)]
    three = await fresh("eve@beta.test")
    assert await matches(store, ids=(three,)) == [(three, 0)]
    four = await fresh("bob@beta.test", "carl@gamma.test")
    assert await store.mark([(four, 1)], "held") == 1
    assert await matches(store, held=True) == [(four, 1)]
    # What an attempt under way says of the others changes nothing of it.
    await store.record([Update(four, 0, None)])
    assert await matches(store, ids=(four,)) == [(four, 1)]


async def test_a_held_recipient_stays_held_whatever_an_attempt_under_way_says(store: JournaledStore) -> None:
    queue_id = await put(store, "bob@beta.test", "carl@beta.test")
    assert await store.mark([(queue_id, 0), (queue_id, 7), ("NOTHING", 0)], "held") == 1
    found = await store.get(queue_id)
    assert found is not None
    later = Recipient("bob@beta.test", attempts=2, next_attempt=1.0, last_reply="452 full")
    await store.record([Update(queue_id, 0, later)])
    found = await store.get(queue_id)
    assert found is not None
    assert found.recipients[0].state is RecipientState.HELD
    assert found.recipients[0].last_reply == "452 full"
    assert await store.mark([(queue_id, 0), (queue_id, 1)], "due") == 1
    assert await store.mark([(queue_id, 0), (queue_id, 1)], "released") == 1
    assert await store.mark([], "released") == 0
    assert len(await store.due(time.time() + 1, 10)) == 1
