# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded store when something is wrong: the disk, the file, what is beside it, or who else uses it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from relay_agent.queue import replay as replaying
from relay_agent.queue.directory import StoreDirectory, StoreLockedError
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import (
    Counts,
    QueueDamagedError,
    QueueFullError,
    RecipientState,
    Update,
)
from relay_agent.queue.schema import SCHEMA_VERSION, StoreVersionError
from tests.unit.queue.messages import Kind, large, message, whole


async def test_leftovers_are_removed_at_the_start(tmp_path: Path, kind: Kind) -> None:
    async with kind(tmp_path) as store:
        kept = large(store.spool_directory())
        await store.store(kept)
        (store.spool_directory() / "in-cut-off").write_bytes(b"x")
        (tmp_path / "0" / "bodies" / "ORPHAN").write_bytes(b"x")
    async with kind(tmp_path) as store:
        assert list(store.spool_directory().iterdir()) == []
        assert [path.name for path in (tmp_path / "0" / "bodies").iterdir()] == [kept.queue_id]
        assert whole(await store.get(kept.queue_id)) == whole(kept)


async def test_a_missing_body_is_reported_and_held(
    tmp_path: Path, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    async with kind(tmp_path) as store:
        kept = [large(store.spool_directory()) for _ in range(3)]
        for one in kept:
            await store.store(one)
        (tmp_path / "0" / "bodies" / kept[0].queue_id).unlink()
        with caplog.at_level(logging.ERROR):
            assert [m.queue_id for m in await store.due(time.time(), 10)] == [m.queue_id for m in kept[1:]]
        assert kept[0].queue_id in caplog.text
        (tmp_path / "0" / "bodies" / kept[1].queue_id).unlink()
    caplog.clear()
    async with kind(tmp_path) as store:
        assert kept[1].queue_id in caplog.text
        assert [m.queue_id for m in await store.due(time.time(), 10)] == [kept[2].queue_id]
        assert (await store.counts()).held == 2
        found = await store.get(kept[0].queue_id)
        assert found is not None
        assert found.recipients[0].state is RecipientState.HELD
        assert "missing" in found.recipients[0].last_reply
        assert await store.delete([kept[0].queue_id]) == 1


async def test_a_flipped_bit_in_a_body_is_noticed(tmp_path: Path, kind: Kind) -> None:
    async with kind(tmp_path) as store:
        kept = message(content=b"The sum is 1000 crowns.\r\n" * 100)
        await store.store(kept)
    path = tmp_path / "0" / "queue.db"
    data = path.read_bytes()
    assert data.count(b"1000 crowns") >= 90
    path.write_bytes(data.replace(b"1000 crowns", b"9000 crowns", 1))
    async with kind(tmp_path) as store:
        found = await store.get(kept.queue_id)
        assert found is not None
        with pytest.raises(OSError, match="damaged"):
            found.body.read()
        assert await store.due(time.time(), 10) == []
        assert (await store.counts()).held == 1


async def test_only_one_at_a_time(tmp_path: Path, kind: Kind) -> None:
    code = "import sys; from relay_agent.queue.embedded import EmbeddedStore; EmbeddedStore(sys.argv[1])"
    async with kind(tmp_path):
        with pytest.raises(StoreLockedError, match=f"{tmp_path}/0: in use by process"):
            kind(tmp_path)
        process = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
        )
        assert "StoreLockedError" in process.stderr
        async with kind(tmp_path, worker=1):
            pass
    async with kind(tmp_path):
        pass


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path, kind: Kind) -> None:
    async with kind(tmp_path) as store:
        await store.store(message())
    connection = sqlite3.connect(tmp_path / "0" / "queue.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreVersionError, match="written by a newer release \\(schema 99"):
        kind(tmp_path)
    assert not list((tmp_path / "0").glob("*damaged*"))
    connection = sqlite3.connect(tmp_path / "0" / "queue.db")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    async with kind(tmp_path) as store:
        assert (await store.counts()).messages == 1


async def test_a_full_database_refuses_and_recovers(embedded: EmbeddedStore) -> None:
    kept = message()
    await embedded.store(kept)
    connection = embedded._writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    results = await asyncio.gather(
        *(embedded.store(message(content=b"x" * 9000)) for _ in range(10)),
        embedded.record([Update(kept.queue_id, 0, None)]),
        return_exceptions=True,
    )
    assert results[-1] is None
    refused = [result for result in results if isinstance(result, QueueFullError)]
    assert len(refused) >= 8
    assert (await embedded.counts()).messages == 10 - len(refused)
    connection.execute("PRAGMA max_page_count = 1000000")
    await embedded.store(message(content=b"x" * 9000))
    assert (await embedded.counts()).messages == 11 - len(refused)


async def test_room_for_outcomes_is_kept_free(tmp_path: Path, kind: Kind) -> None:
    async with kind(tmp_path, minimum_free=0) as store:
        kept = message()
        await store.store(kept)
    async with kind(tmp_path, minimum_free=1 << 60) as store:
        with pytest.raises(QueueFullError, match="bytes free"):
            await store.store(message())
        await store.record([Update(kept.queue_id, 0, None)])
        assert (await store.counts()).messages == 0


async def test_damage_found_while_in_use(tmp_path: Path) -> None:
    told: list[str] = []
    async with EmbeddedStore(tmp_path, on_damage=told.append) as store:
        for _ in range(50):
            await store.store(message(content=b"x" * 3000))
        path = tmp_path / "0" / "queue.db"
        store._writer._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        data = bytearray(path.read_bytes())
        for page in range(1, len(data) // 4096):
            data[page * 4096 : page * 4096 + 8] = b"\x99" * 8
        path.write_bytes(bytes(data))
        store._reader._connection.execute("PRAGMA shrink_memory")
        store._writer._connection.execute("PRAGMA shrink_memory")
        with pytest.raises(QueueDamagedError):
            await store.list()
        with pytest.raises(QueueDamagedError):
            await store.store(message())
        with pytest.raises(QueueDamagedError):
            await store.store(message())
        assert len(told) == 1
    async with EmbeddedStore(tmp_path) as store:
        assert store.notices
        await store.store(message())


def owners(directory: Path) -> dict[Path, int]:
    """Whose everything in a directory is, but for the files of bodies (the command line stores none) and the
    journal's spares, which are just being made."""
    return {
        path: path.stat().st_uid
        for path in directory.rglob("*")
        if path.parent.name != "bodies" and not path.name.startswith("spare-")
    }


async def test_root_makes_nothing_that_the_agent_cannot_open(tmp_path: Path, kind: Kind) -> None:
    """An operator's command that opens the store as root leaves it to the directory's owner."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(tmp_path, 12345, 12345)
    async with kind(tmp_path) as store:
        await store.store(message())
        await store.store(large(store.spool_directory()))
        assert set(owners(tmp_path).values()) == {12345}, owners(tmp_path)


async def test_a_queue_that_was_large_is_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_agent.queue.salvage._SHRINK_FREE", 1 << 20)
    async with EmbeddedStore(tmp_path) as store:
        kept = [message(content=os.urandom(20_000)) for _ in range(100)]
        await asyncio.gather(*(store.store(one) for one in kept))
        await store.delete([one.queue_id for one in kept[:-5]])
    path = tmp_path / "0" / "queue.db"
    assert path.stat().st_size > 1 << 20
    async with EmbeddedStore(tmp_path) as store:
        assert path.stat().st_size < 200_000
        assert [whole(one) for one in await store.list()] == [
            whole(one) for one in sorted(kept[-5:], key=lambda one: one.queue_id)
        ]
    # The trees begin where those of a new database do: `salvage` counts on it.
    roots = []
    async with EmbeddedStore(tmp_path / "new"):
        pass
    for database in (path, tmp_path / "new" / "0" / "queue.db"):
        connection = sqlite3.connect(database)
        roots.append(connection.execute("SELECT name, rootpage FROM sqlite_schema ORDER BY name").fetchall())
        connection.close()
    assert roots[0] == roots[1]


async def test_a_fault_in_the_writer_does_not_hang_its_callers(
    embedded: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> int:
        raise PermissionError("statvfs")

    monkeypatch.setattr("relay_agent.queue.directory.StoreDirectory.free", fail)
    with pytest.raises(PermissionError):
        await asyncio.wait_for(embedded.store(message()), 5)
    monkeypatch.undo()
    await embedded.store(message())


class FailingSync:
    """A connection whose next commits end as when the disk could not sync the log."""

    def __init__(self, connection: sqlite3.Connection, failures: int) -> None:
        self._connection = connection
        self._failures = failures
        self.statements: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        """Like the connection's."""
        self.statements.append(statement)
        if statement == "COMMIT" and self._failures:
            self._failures -= 1
            self._connection.execute("ROLLBACK")
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return self._connection.execute(statement, *arguments)


async def test_after_a_failed_sync_the_log_is_begun_anew(embedded: EmbeddedStore) -> None:
    kept = message()
    await embedded.store(kept)
    failing = FailingSync(embedded._writer._connection, 1)
    embedded._writer._connection = failing  # type: ignore[assignment]
    results = await asyncio.gather(*(embedded.store(message()) for _ in range(5)), return_exceptions=True)
    assert any(isinstance(result, QueueFullError) for result in results)
    stored = sum(result is None for result in results)
    assert await embedded.counts() == Counts(1 + stored, 1 + stored, 0, (1 + stored) * kept.body.size)
    failing.statements.clear()
    await embedded.store(message())
    if not stored:
        assert failing.statements[0] == "PRAGMA wal_checkpoint(TRUNCATE)"
    assert (await embedded.counts()).messages == 2 + stored


async def test_an_older_schema_is_brought_up_to_date_or_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = message()
    async with EmbeddedStore(tmp_path) as store:
        await store.store(kept)

    def version() -> tuple[int, int]:
        connection = sqlite3.connect(tmp_path / "0" / "queue.db")
        try:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'added'").fetchone()
            return found, tables
        finally:
            connection.close()

    def add(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE added (x)")

    def fail(connection: sqlite3.Connection) -> None:
        add(connection)
        raise RuntimeError("half way")

    monkeypatch.setattr("relay_agent.queue.schema.SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr("relay_agent.queue.schema.MIGRATIONS", {SCHEMA_VERSION: fail})
    with pytest.raises(RuntimeError, match="half way"):
        EmbeddedStore(tmp_path)
    assert version() == (SCHEMA_VERSION, 0)
    monkeypatch.setattr("relay_agent.queue.schema.MIGRATIONS", {SCHEMA_VERSION: add})
    async with EmbeddedStore(tmp_path) as store:
        assert whole(await store.get(kept.queue_id)) == whole(kept)
    assert version() == (SCHEMA_VERSION + 1, 1)


def test_a_lock_holds_without_room_for_its_holders_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is free again afterwards: an error in between would have kept it for as long as the process lives."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        directory = StoreDirectory(tmp_path)
    with pytest.raises(StoreLockedError):
        StoreDirectory(tmp_path)
    directory.close()
    StoreDirectory(tmp_path).close()


async def test_spare_segments_make_room_before_anything_is_moved(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kind(tmp_path):
        pass
    spare = tmp_path / "0" / "journal" / "spare-7"
    spare.write_bytes(b"x")
    there: list[bool] = []
    replay = replaying.replay

    def look(*arguments: Any) -> Any:
        there.append(spare.exists())
        return replay(*arguments)

    monkeypatch.setattr("relay_agent.queue.embedded.replay", look)
    async with kind(tmp_path):
        pass
    assert there == [False]
