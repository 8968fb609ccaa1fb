# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back to the queue of an earlier release."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.lock import QueueLock
from relay_agent.queue.model import QueueDamagedError
from relay_agent.queue.older import REVERSALS, close_all, downgrade, schema_of
from relay_agent.queue.schema import MIGRATIONS, SCHEMA_VERSION, StoreVersionError
from tests.unit.queue.messages import large, message

# What the release before accounts took turns made, but for the columns' options.
_COLUMNS_OF_1 = [
    "message", "number", "state", "next_attempt", "attempts", "address", "options", "last_attempt", "last_status",
    "last_reply", "last_host",
]  # fmt: skip


async def _filled(directory: Path) -> list[str]:
    ids = []
    for number in (0, 3):
        async with JournaledStore(directory, number) as store:
            for each in (message(), large(store.spool_directory())):
                await store.store(each)
                ids.append(each.queue_id)
    return ids


def _columns(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    try:
        return [row[1] for row in connection.execute("PRAGMA table_info(recipients)")]
    finally:
        connection.close()


def test_every_migration_has_its_way_back() -> None:
    assert set(REVERSALS) == {version + 1 for version in MIGRATIONS}


async def test_down_and_up_again_nothing_is_lost(tmp_path: Path) -> None:
    ids = await _filled(tmp_path)
    lock = QueueLock(tmp_path)
    changed = await _in_thread(downgrade, tmp_path, 1)
    lock.close()
    assert changed == [0, 3]
    for number in (0, 3):
        assert schema_of(tmp_path / str(number) / "queue.db") == 1
        assert _columns(tmp_path / str(number) / "queue.db") == _COLUMNS_OF_1
        assert not (tmp_path / str(number) / "queue.db-wal").exists()
    assert await _in_thread(downgrade, tmp_path, 1) == [], "a second time there is nothing to do"
    found = []
    for number in (0, 3):
        async with JournaledStore(tmp_path, number) as store:
            assert store.notices == []
            for each in await store.list():
                assert each.body.read()
                found.append(each.queue_id)
            assert [each.queue_id for each in await store.due(1e12, 10)], "found by lane"
        assert schema_of(tmp_path / str(number) / "queue.db") == SCHEMA_VERSION
    assert sorted(found) == sorted(ids)


async def test_a_journal_that_a_killed_agent_left_is_in_the_database_first(tmp_path: Path) -> None:
    killed = JournaledStore(tmp_path)
    await killed.store(kept := message())
    twin = tmp_path / "twin"
    _copy(tmp_path / "0", twin / "0")
    await killed.close()
    assert any((twin / "0/journal").iterdir())
    assert await _in_thread(downgrade, twin, 1) == [0]
    assert not any((twin / "0/journal").iterdir())
    connection = sqlite3.connect(twin / "0/queue.db")
    assert connection.execute("SELECT queue_id FROM messages").fetchall() == [(kept.queue_id,)]
    connection.close()


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
async def test_a_schema_that_cannot_be_written_is_refused(tmp_path: Path, version: int) -> None:
    await _filled(tmp_path)
    with pytest.raises(StoreVersionError, match="cannot be written"):
        await _in_thread(downgrade, tmp_path, version)
    assert schema_of(tmp_path / "0/queue.db") == SCHEMA_VERSION


async def test_a_reversal_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(tmp_path)

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("DROP INDEX recipients_lane")
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("relay_agent.queue.older.REVERSALS", {2: half})
    with pytest.raises(sqlite3.OperationalError):
        await _in_thread(downgrade, tmp_path, 1)
    assert schema_of(tmp_path / "0/queue.db") == SCHEMA_VERSION
    async with EmbeddedStore(tmp_path) as store:
        assert len(await store.due(1e12, 10)) == 2


def test_of_nothing_and_of_what_is_not_ours(tmp_path: Path) -> None:
    close_all(tmp_path)
    assert schema_of(tmp_path / "0/queue.db") == 0
    foreign = tmp_path / "foreign.db"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE mail (x)")
    connection.close()
    with pytest.raises(QueueDamagedError, match="not a queue"):
        schema_of(foreign)


def _copy(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target)
    (target / "lock").unlink()


async def _in_thread(function: object, *arguments: object) -> object:
    import asyncio

    return await asyncio.to_thread(function, *arguments)  # type: ignore[arg-type]
