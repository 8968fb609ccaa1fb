# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk: refused with an error that says so, nothing changed, and good again when there is room."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from relay_agent.queue.body import MemoryBody, Spool
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import Message, QueueFullError, Update
from tests.unit.queue.messages import Opened, message, smaller_segments


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


async def fill(store: Opened, size: int) -> list[Message]:
    """Store until refused, a few at once; what was acknowledged."""
    kept: list[Message] = []
    while True:
        batch = [message(content=os.urandom(size)) for _ in range(8)]
        results = await asyncio.gather(*(store.store(one) for one in batch), return_exceptions=True)
        kept += [one for one, result in zip(batch, results, strict=True) if result is None]
        failures = [result for result in results if result is not None]
        assert all(isinstance(failure, QueueFullError) for failure in failures), failures
        if failures:
            return kept


async def check(store: Opened, kept: list[Message]) -> None:
    """Exactly these messages are there, with their content."""
    found = {one.queue_id: one.body.read() for one in await store.list(10_000)}
    assert found == {one.queue_id: one.body.read() for one in kept}
    counts = await store.counts()
    assert (counts.messages, counts.bytes) == (len(kept), sum(one.body.size for one in kept))


async def test_the_database_on_a_full_disk(small_disk: Path) -> None:
    async with EmbeddedStore(small_disk, minimum_free=0) as store:
        # Somebody else's data, on the same disk.
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(6 << 20))
        kept = await fill(store, 20_000)
        assert len(kept) > 20
        for size in (60_000, 20_000, 100):
            kept += await fill(store, size)
        await check(store, kept)
        with pytest.raises(QueueFullError):
            await store.record([Update(one.queue_id, 0, None) for one in kept])
        await check(store, kept)
        ballast.unlink()
        await store.record([Update(one.queue_id, 0, None) for one in kept[:10]])
        kept = kept[10:]
        for _ in range(5):
            kept.append(message(content=os.urandom(20_000)))
            await store.store(kept[-1])
        await check(store, kept)
    async with EmbeddedStore(small_disk, minimum_free=0) as store:
        assert store.notices == []
        await check(store, kept)


async def test_mail_goes_out_while_none_comes_in(small_disk: Path) -> None:
    """With the room that the store keeps free, outcomes are recorded although new mail is refused.

    The room is less than what they write to the log: it has to be copied back, and begun anew, on the way.
    """
    async with EmbeddedStore(small_disk, minimum_free=1 << 20) as store:
        kept = await fill(store, 20_000)
        for one in kept[::2]:
            await store.record([Update(one.queue_id, 0, None)])
        for one in kept[1::2]:
            await store.record([Update(one.queue_id, 0, replace(one.recipients[0], attempts=1))])
        await check(store, kept[1::2])


async def test_large_bodies_on_a_full_disk(small_disk: Path) -> None:
    kept: list[Message] = []
    async with EmbeddedStore(small_disk, minimum_free=0) as store:

        async def submit() -> None:
            with Spool(store.spool_directory(), minimum_free=0) as spool:
                for _ in range(20):
                    spool.write(os.urandom(65536))
                one = message()
                one.body = spool.finish(b"Received: x\r\n")
                await store.store(one)
                kept.append(one)

        async def submit_until_refused() -> None:
            while True:
                await submit()

        with pytest.raises(QueueFullError):
            await submit_until_refused()
        assert len(kept) >= 3
        await check(store, kept)
        assert list(store.spool_directory().iterdir()) == []
        await store.delete([kept.pop().queue_id])
        await submit()
        await check(store, kept)


async def test_a_write_that_fails_in_the_middle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file size limit stands for an I/O error: SQLite's write of the log fails half way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with EmbeddedStore(tmp_path, minimum_free=0) as store:
        kept = [message(content=os.urandom(5000)) for _ in range(20)]
        for one in kept:
            await store.store(one)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "0" / "queue.db-wal").stat().st_size, before[1]))
        try:
            kept += await asyncio.wait_for(fill(store, 50_000), 20)
            kept += await asyncio.wait_for(fill(store, 50_000), 20)
            assert "SQLITE_IOERR" in caplog.text
            await check(store, kept)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        later = message(content=os.urandom(50_000))
        await store.store(later)
        await check(store, [*kept, later])
    async with EmbeddedStore(tmp_path) as store:
        await check(store, [*kept, later])
        assert len(await store.due(time.time(), 1000)) == len(kept) + 1
        assert isinstance((await store.due(time.time(), 1))[0].body, MemoryBody)


async def test_the_journal_on_a_disk_that_is_kept_from_being_full(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New mail is refused; what became of the other mail is recorded, and so is room made."""
    smaller_segments(monkeypatch, 256 << 10)
    async with JournaledStore(small_disk, minimum_free=3 << 20) as store:
        kept = await fill(store, 20_000)
        assert len(kept) > 20
        for one in kept[::2]:
            await store.record([Update(one.queue_id, 0, None)])
        for one in kept[1::2]:
            await store.record([Update(one.queue_id, 0, replace(one.recipients[0], attempts=1))])
        await check(store, kept[1::2])
        await store.record([Update(one.queue_id, 0, None) for one in kept[1::2]])
        await asyncio.sleep(1.1)
        later = [message(content=os.urandom(20_000)) for _ in range(5)]
        for one in later:
            await store.store(one)
        await check(store, later)
    async with JournaledStore(small_disk, minimum_free=0) as store:
        assert store.notices == []
        await check(store, later)


async def test_the_journal_on_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smaller_segments(monkeypatch, 256 << 10)
    store = JournaledStore(small_disk, minimum_free=0)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6 << 20))
    kept = await fill(store, 20_000)
    assert len(kept) > 20
    for size in (60_000, 20_000, 100):
        kept += await fill(store, size)
    counts = await store.counts()
    assert (counts.messages, counts.bytes) == (len(kept), sum(one.body.size for one in kept))
    # Closed with what the database has no room for: it stays in the journal, for whoever opens it next.
    await store.close()
    ballast.unlink()
    async with JournaledStore(small_disk, minimum_free=0) as store:
        assert store.notices == []
        await check(store, kept)
        kept.append(message(content=os.urandom(20_000)))
        await store.store(kept[-1])
        await store.record([Update(one.queue_id, 0, None) for one in kept[:-1]])
        await check(store, kept[-1:])
