# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts take turns: in the database, in the journal, and in a queue that an older release left."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.lanes import in_turn, lane_of, owner_of, priority_of
from relay_agent.queue.model import Envelope, Message, Recipient

from .messages import message, whole


def of(account: str | None, priority: int = 0, due: float = 0.0) -> Message:
    found = message(Recipient("bob@beta.test", next_attempt=due))
    options = {"MT-PRIORITY": str(priority)} if priority else {}
    found.envelope = Envelope("alice@alpha.test", account, options)
    return found


def test_a_lane_is_an_accounts_and_a_prioritys() -> None:
    lanes = [lane_of(Envelope("", "alice", {"MT-PRIORITY": str(each)})) for each in range(9, -10, -1)]
    assert lanes == sorted(set(lanes))
    assert {owner_of(lane) for lane in lanes} == {owner_of(lane_of(Envelope("x", "alice")))}
    assert len({owner_of(lane_of(Envelope("", account))) for account in ("alice", "bob", "", None)}) == 4


@pytest.mark.parametrize(("value", "priority"), [("4", 4), ("-9", -9), ("77", 9), ("-77", -9), ("high", 0), ("", 0)])
def test_priorities(value: str, priority: int) -> None:
    assert priority_of({"MT-PRIORITY": value}) == priority


def test_turns() -> None:
    """One each in turn; within an account the most urgent first, but not for ever."""
    urgent, calm, other = 1 << 5 | 3, 1 << 5 | 9, 2 << 5 | 9
    given = list(in_turn({calm: iter("ab"), urgent: iter("123456789"), other: iter("xyz")}))
    assert given[:6] == ["1", "x", "2", "y", "3", "z"]
    assert given[6:] == ["4", "5", "6", "7", "a", "8", "9", "b"]


@pytest.mark.parametrize("kind", [EmbeddedStore, JournaledStore])
async def test_one_letter_is_found_behind_many(
    tmp_path: Path, kind: Callable[[Path], EmbeddedStore | JournaledStore]
) -> None:
    async with kind(tmp_path) as store:
        many = [of("news") for _ in range(300)]
        letters = [of("alice", 4), of("bob"), of("alice", 6)]
        for each in [*many, *letters]:
            await store.store(each)
        found = await store.due(time.time(), 16)
        assert {each.queue_id for each in letters} <= {each.queue_id for each in found}
        alices = [each.queue_id for each in found if each.envelope.account == "alice"]
        assert alices == [letters[2].queue_id, letters[0].queue_id]
        without = frozenset({owner_of(lane_of(many[0].envelope))})
        found = await store.due(time.time(), 16, without=without)
        assert {each.queue_id for each in found} == {each.queue_id for each in letters}
        assert len(await store.due(time.time(), 1000)) == 303


async def test_what_is_not_due_hides_nothing(tmp_path: Path) -> None:
    async with EmbeddedStore(tmp_path) as store:
        now = time.time()
        later, due = of("alice", due=now + 100), of("bob", due=now)
        await store.store(later)
        await store.store(due)
        assert [each.queue_id for each in await store.due(now, 10)] == [due.queue_id]
        assert await store.next_due(after=now) == now + 100


async def test_a_queue_of_an_older_release(tmp_path: Path) -> None:
    """Version 1 had no lanes; its messages get them, and are as they were."""
    kept = [of("news"), of("news"), of("alice", -3)]
    async with EmbeddedStore(tmp_path) as store:
        for each in kept:
            await store.store(each)
    database = sqlite3.connect(tmp_path / "0" / "queue.db", isolation_level=None)
    database.execute("DROP INDEX recipients_lane")
    database.execute("ALTER TABLE recipients DROP COLUMN lane")
    database.execute("PRAGMA user_version = 1")
    database.close()
    async with EmbeddedStore(tmp_path) as store:
        assert not store.notices
        for each in kept:
            assert whole(await store.get(each.queue_id)) == whole(each)
        assert {each.queue_id for each in await store.due(time.time(), 2)} >= {kept[2].queue_id}
    database = sqlite3.connect(tmp_path / "0" / "queue.db")
    assert {lane for (lane,) in database.execute("SELECT lane FROM recipients")} == {
        lane_of(each.envelope) for each in kept
    }
    database.close()


async def test_a_damaged_queue_gets_its_lanes_back(tmp_path: Path) -> None:
    kept = of("alice", 5)
    async with EmbeddedStore(tmp_path) as store:
        await store.store(kept)
    path = tmp_path / "0" / "queue.db"
    content = bytearray(path.read_bytes())
    content[:100] = bytes(100)
    path.write_bytes(content)
    async with EmbeddedStore(tmp_path) as store:
        assert store.notices
        found = await store.get(kept.queue_id)
        assert found is not None
    database = sqlite3.connect(path)
    assert list(database.execute("SELECT lane FROM recipients")) == [(lane_of(kept.envelope),)]
    database.close()
