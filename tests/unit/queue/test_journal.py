# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: one sync for many, and nothing that hangs or is forgotten when the disk refuses."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from relay_agent.queue import journal as module
from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.journal import Journal, JournalError
from relay_agent.queue.journal_format import DamagedEntryError, Kind, decode_done, decode_gone, read_batches
from relay_agent.queue.segments import segment_files
from tests.unit.queue.messages import message, recipient, smaller_segments, whole


@pytest_asyncio.fixture
async def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Journal]:
    smaller_segments(monkeypatch)
    monkeypatch.setattr(module, "_AFTER_ERROR", 0.05)
    monkeypatch.setattr(module, "_SYNC_WITHIN", 0.05)
    directory = StoreDirectory(tmp_path)
    opened = Journal(directory, minimum_free=0)
    yield opened
    await asyncio.wait_for(opened.settle(), 5)
    opened.close()
    directory.close()


def entries(tmp_path: Path) -> list[tuple[int, bytes]]:
    """What stands in the journal: kind and payload."""
    return [
        (kind, payload)
        for path, epoch in segment_files(tmp_path / "0" / "journal")
        for batch in read_batches(path.read_bytes(), epoch)
        for kind, _, payload in batch.entries
    ]


def numbers(tmp_path: Path) -> list[int]:
    """The numbers of all batches."""
    return [
        batch.number
        for path, epoch in segment_files(tmp_path / "0" / "journal")
        for batch in read_batches(path.read_bytes(), epoch)
    ]


async def becomes(condition: Callable[[], bool]) -> None:
    """Wait until it holds, up to half a minute: the disk takes its time."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)


class Syncs:
    """Stands for the disk: ends each sync when told, or fails it."""

    def __init__(self, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[Callable[[OSError | None], None]] = []
        monkeypatch.setattr(journal._syncer, "begin", lambda loop, fd, done: self.waiting.append(done))

    async def begun(self) -> Callable[[OSError | None], None]:
        """The end of the next sync, to be called."""
        for _ in range(500):
            if self.waiting:
                return self.waiting.pop()
            await asyncio.sleep(0.002)
        raise AssertionError("no sync was begun")


async def test_what_comes_together_is_synced_together(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs(journal, monkeypatch)
    first = [journal.add(message()) for _ in range(5)]
    end = await syncs.begun()
    second = [journal.add(message()) for _ in range(7)]
    await asyncio.sleep(0.01)
    assert not syncs.waiting  # one at a time
    assert not any(each.done() for each in first)
    assert not journal.live
    end(None)
    assert all(each.done() for each in first)
    assert not any(each.done() for each in second)
    (await syncs.begun())(None)
    await asyncio.gather(*second)
    assert len(journal.live) == 12
    monkeypatch.undo()


async def test_a_busy_loop_gathers_and_an_idle_one_does_not_wait(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        time.sleep(0.002)

    await journal.add(message())
    monkeypatch.setattr(module, "_GATHER", 60.0)
    await asyncio.wait_for(journal.add(message()), 5)
    gathered = []
    for _ in range(10):
        gathered.append(journal.add(message()))
        work()
        await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.gather(*gathered), 5)
    assert numbers(tmp_path) == [1, 2, 3]


async def test_what_is_read_is_what_was_added(journal: Journal) -> None:
    kept = [message(recipient("a@x"), recipient("b@x"), content=os.urandom(3000)) for _ in range(60)]
    await asyncio.gather(*map(journal.add, kept))
    for one in kept:
        assert whole(journal.read(one.queue_id)) == whole(one)
    assert (journal.bytes, journal.recipients) == (180_000, 120)
    journal.done(kept[0].queue_id, [1, 1, 9])
    assert list(journal.read(kept[0].queue_id).recipients) == [0]
    journal.done(kept[0].queue_id, [0])
    assert (journal.bytes, journal.recipients, len(journal.live)) == (177_000, 118, 59)
    await journal.forget([each.queue_id for each in kept[1:]])
    assert (journal.bytes, journal.recipients, len(journal.live)) == (0, 0, 0)


async def test_files_are_freed_and_used_again(journal: Journal, tmp_path: Path) -> None:
    for _ in range(30):
        kept = [message(content=os.urandom(3000)) for _ in range(10)]
        await asyncio.gather(*map(journal.add, kept))
        for one in kept:
            journal.done(one.queue_id, [0])
    await becomes(lambda: len(list((tmp_path / "0" / "journal").iterdir())) <= 5)
    files = list((tmp_path / "0" / "journal").iterdir())
    assert len(files) <= 5
    assert journal.size <= 2 * 65_536


async def test_outcomes_are_synced_soon_without_new_mail(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = message()
    await journal.add(kept)
    journal.done(kept.queue_id, [0])
    synced: list[int] = []
    begin = journal._syncer.begin

    def noted(loop: asyncio.AbstractEventLoop, fd: int, done: Callable[[OSError | None], None]) -> None:
        synced.append(fd)
        begin(loop, fd, done)

    monkeypatch.setattr(journal._syncer, "begin", noted)
    await becomes(lambda: bool(synced))
    await asyncio.sleep(0.2)
    assert len(synced) == 1
    assert [decode_done(payload) for kind, payload in entries(tmp_path) if kind == Kind.DONE] == [{kept.queue_id: [0]}]


async def test_a_failed_sync_refuses_and_says_that_it_does_not_count(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, refused = message(), message()
    await journal.add(kept)
    with monkeypatch.context() as patch:
        syncs = Syncs(journal, patch)
        outcome = journal.add(refused)
        journal.done(kept.queue_id, [0])
        moved = journal._barrier(asyncio.get_running_loop())
        (await syncs.begun())(OSError(errno.EIO, "broken"))
    for each in (outcome, moved):
        with pytest.raises(JournalError, match="broken"):
            await each
    # A process that is killed here has nothing of it in its journal.
    assert [kind for kind, _ in entries(tmp_path)] == [Kind.MESSAGE]
    with pytest.raises(JournalError, match="at present"):
        journal.add(message())
    await becomes(lambda: {kind for kind, _ in entries(tmp_path)} >= {Kind.GONE, Kind.DONE})
    await asyncio.sleep(0.1)  # new mail is taken again a moment after the error
    found = entries(tmp_path)
    assert [decode_gone(payload) for kind, payload in found if kind == Kind.GONE] == [[refused.queue_id]]
    assert [decode_done(payload) for kind, payload in found if kind == Kind.DONE] == [{kept.queue_id: [0]}]
    await journal.add(message())
    assert numbers(tmp_path) == sorted(set(numbers(tmp_path)))
    assert numbers(tmp_path)[-1] - numbers(tmp_path)[0] == len(numbers(tmp_path)) - 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), MemoryError("full")])
async def test_a_failed_write_is_tried_again(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    kept = message()
    await journal.add(kept)

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(journal._segments, "append", fail)
        with pytest.raises(JournalError, match="full"):
            await journal.add(message())
        journal.done(kept.queue_id, [0])
        await asyncio.sleep(0.15)
        await asyncio.wait_for(journal.settle(), 30)
    await becomes(lambda: Kind.DONE in [kind for kind, _ in entries(tmp_path)])
    await asyncio.sleep(0.15)  # new mail is taken again a moment after the error
    assert [kind for kind, _ in entries(tmp_path) if kind == Kind.DONE] == [Kind.DONE]
    await journal.add(message())
    assert numbers(tmp_path) == list(range(1, len(numbers(tmp_path)) + 1))  # no gap where nothing was lost


async def test_a_cancelled_caller_changes_nothing(journal: Journal) -> None:
    one, other = message(), message()
    cancelled = journal.add(one)
    waiting = journal.add(other)
    cancelled.cancel()
    await waiting
    assert list(journal.live) == [one.queue_id, other.queue_id]


async def test_damage_is_noticed_when_it_is_read(journal: Journal) -> None:
    kept = message(content=b"The sum is 1000 crowns.\r\n")
    await journal.add(kept)
    live = journal.live[kept.queue_id]
    os.pwrite(live.segment.fd, b"9", live.offset + live.length - 15)
    with pytest.raises(DamagedEntryError):
        journal.read(kept.queue_id)
    os.ftruncate(live.segment.fd, 10)
    with pytest.raises(DamagedEntryError):
        journal.read(kept.queue_id)


async def test_what_is_old(journal: Journal) -> None:
    kept = [message(content=bytes(40_000)) for _ in range(4)]  # one a segment
    for one in kept:
        await journal.add(one)
    ids = [one.queue_id for one in kept]
    assert journal.old(10 * 65_536, 0.0) == []
    assert journal.old(10 * 65_536, time.monotonic() + 1) == ids
    assert journal.old(2 * 65_536, 0.0) == ids[:2]


async def test_room_that_is_kept_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smaller_segments(monkeypatch)
    directory = StoreDirectory(tmp_path)
    journal = Journal(directory, minimum_free=1 << 60)
    with pytest.raises(JournalError, match="No space left"):
        await journal.add(message())
    journal.close()
    directory.close()


async def test_after_its_end_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may have the directory by then."""
    smaller_segments(monkeypatch)
    directory = StoreDirectory(tmp_path)
    journal = Journal(directory, minimum_free=0)
    kept = message()
    await journal.add(kept)
    late = journal.add(message())  # still to be written
    journal.done(kept.queue_id, [0])
    journal.close()
    journal.close()
    with pytest.raises(JournalError):
        await late
    with pytest.raises(JournalError):
        await journal.add(message())
    with pytest.raises(JournalError):
        await journal.forget([])
    await journal.settle()
    await asyncio.sleep(0.05)
    assert list((tmp_path / "0" / "journal").iterdir()) == []
    directory.close()
