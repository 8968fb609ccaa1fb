# SPDX-License-Identifier: GPL-3.0-or-later
"""What a journal held when its agent was killed: all of it comes back, whatever happened to the files."""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_agent.queue import replay as module
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.journal_format import (
    BATCH_SIZE,
    ENTRY_SIZE,
    batch_header,
    decode_message,
    encode_done,
    encode_gone,
    encode_message,
)
from relay_agent.queue.model import Message, QueueFullError
from relay_agent.queue.repair import Repair
from relay_agent.queue.replay import replay
from relay_agent.queue.salvage import open_database
from tests.unit.queue.messages import message, recipient, smaller_segments, whole

EPOCH = 0xA1B2C3D4E5F60718
SIZE = 16_384


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    smaller_segments(monkeypatch, SIZE)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[StoreDirectory]:
    """A store with an empty database."""
    made = StoreDirectory(tmp_path)
    open_database(made)
    yield made
    made.close()


class Written:
    """Writes segments as the journal does."""

    def __init__(self, directory: StoreDirectory) -> None:
        self._directory = directory
        self.number = 0
        self.paths: list[Path] = []

    def batch(self, *entries: bytes) -> bytes:
        """The next batch."""
        self.number += 1
        return batch_header(EPOCH, self.number, len(entries), sum(map(len, entries))) + b"".join(entries)

    def segment(self, *batches: bytes, rest: bytes = b"") -> Path:
        """The next segment, of these batches."""
        serial = len(self.paths) + 1
        path = self._directory.journal / f"{serial:012d}-{EPOCH:016x}.log"
        path.write_bytes((b"".join(batches) + rest).ljust(SIZE, b"\0"))
        self.paths.append(path)
        return path


@pytest.fixture
def written(directory: StoreDirectory) -> Written:
    return Written(directory)


def stored(directory: StoreDirectory) -> dict[str, tuple[int, ...]]:
    """The messages in the database, with their recipients' numbers."""
    connection = sqlite3.connect(directory.database)
    try:
        rows = connection.execute(
            "SELECT queue_id, group_concat(number) FROM messages JOIN recipients ON message = seq GROUP BY seq"
        ).fetchall()
        (total,) = connection.execute("SELECT messages FROM totals").fetchone()
    finally:
        connection.close()
    assert total == len(rows)
    return {queue_id: tuple(sorted(map(int, numbers.split(",")))) for queue_id, numbers in rows}


def two() -> Message:
    """A message for two."""
    return message(recipient("a@x"), recipient("b@x"))


def test_everything_is_moved_but_what_was_done(directory: StoreDirectory, written: Written) -> None:
    kept = [two() for _ in range(5)]
    ids = [one.queue_id for one in kept]
    written.segment(
        written.batch(*map(encode_message, kept[:2])), written.batch(encode_done({ids[0]: [0, 1], ids[1]: [1]}))
    )
    written.segment(
        written.batch(encode_done({ids[1]: [1]}), encode_message(kept[2]), encode_message(kept[3])),
        written.batch(encode_gone([ids[2]]), encode_message(kept[4])),
    )
    assert replay(directory, Repair.of(directory)) == []
    assert stored(directory) == {ids[1]: (0,), ids[3]: (0, 1), ids[4]: (0, 1)}
    assert list(directory.journal.iterdir()) == []
    assert replay(directory, Repair.of(directory)) == []


async def test_messages_come_back_whole(tmp_path: Path, directory: StoreDirectory, written: Written) -> None:
    kept = [two(), message(content=bytes(range(256)) * 20)]
    written.segment(written.batch(*map(encode_message, kept)))
    directory.close()
    async with EmbeddedStore(tmp_path) as store:
        assert store.notices == []
        for one in kept:
            assert whole(await store.get(one.queue_id)) == whole(one)


def test_what_was_moved_already_is_not_moved_twice(directory: StoreDirectory, written: Written) -> None:
    """Killed between the database's commit and the journal's GONE, and again between two files that were removed."""
    kept = [two() for _ in range(4)]
    files = [written.segment(written.batch(encode_message(one))).read_bytes() for one in kept]
    assert replay(directory, Repair.of(directory)) == []
    for path, content in list(zip(written.paths, files, strict=True))[2:]:
        path.write_bytes(content)
    assert replay(directory, Repair.of(directory)) == []
    assert len(stored(directory)) == 4


def test_gone_concerns_what_stands_before(directory: StoreDirectory, written: Written) -> None:
    """Refused, said to be gone, and taken when it was tried again under its id; done, too, is said once for each."""
    again, done = two(), two()
    written.segment(written.batch(encode_message(again), encode_message(done)))
    written.segment(
        written.batch(encode_gone([again.queue_id]), encode_done({done.queue_id: [0, 1]}), encode_message(again)),
        written.batch(encode_message(done), encode_message(again)),
    )
    assert replay(directory, Repair.of(directory)) == []
    assert stored(directory) == {again.queue_id: (0, 1), done.queue_id: (0, 1)}


def test_a_torn_end_loses_only_what_nobody_was_promised(directory: StoreDirectory, written: Written) -> None:
    kept, torn = two(), two()
    content = written.batch(encode_message(kept))
    last = written.batch(encode_message(torn))
    for length in range(0, len(last), 7):
        path = written.segment(content, last[:length])
        notices = replay(directory, Repair.of(directory))
        assert kept.queue_id in stored(directory)
        assert torn.queue_id not in stored(directory)
        assert len(notices) <= 1
        assert bool(notices) == any(path.name == each.name for each in directory.root.glob("journal.damaged-*/*"))
        written.paths.clear()
        for each in directory.root.glob("journal.damaged-*/*"):
            each.unlink()


@pytest.mark.parametrize("at", [0, 5, 9, 17, 25, 30, 33, 38, 41, 45, 60, 150])
def test_a_flipped_byte_is_told_and_the_rest_is_saved(directory: StoreDirectory, written: Written, at: int) -> None:
    kept = [two() for _ in range(6)]
    batches = [written.batch(encode_message(one)) for one in kept]
    path = written.segment(*batches)
    content = bytearray(path.read_bytes())
    content[sum(map(len, batches[:5])) + at] ^= 0x55  # the last one: nothing behind it tells
    path.write_bytes(content)
    (notice,) = replay(directory, Repair.of(directory))
    (aside,) = directory.root.glob("journal.damaged-*/*")
    assert str(aside) in notice
    assert bytes(content) == aside.read_bytes()
    saved = stored(directory)
    assert set(saved) >= {one.queue_id for one in kept[:5]}
    if at in (0, 17, 25, 30):  # of the header; the epoch is there
        assert len(saved) == 6


@pytest.mark.parametrize("which", ["in a batch", "between batches", "before all"])
def test_a_file_cut_short_is_told(directory: StoreDirectory, written: Written, which: str) -> None:
    kept = [two(), two()]
    batches = [written.batch(encode_message(one)) for one in kept]
    path = written.segment(*batches)
    length = {"in a batch": len(batches[0]) + 50, "between batches": len(batches[0]), "before all": 0}[which]
    path.write_bytes(path.read_bytes()[:length])
    (notice,) = replay(directory, Repair.of(directory))
    assert f"cut short at byte {length}" in notice
    assert list(stored(directory)) == [one.queue_id for one in kept[: which != "before all"]]


def test_a_missing_file_is_told(directory: StoreDirectory, written: Written) -> None:
    kept = [two() for _ in range(3)]
    for one in kept:
        written.segment(written.batch(encode_message(one)))
    written.paths[1].unlink()
    (notice,) = replay(directory, Repair.of(directory))
    assert "what was before byte 0 is missing" in notice
    assert list(stored(directory)) == [kept[0].queue_id, kept[2].queue_id]


def test_leftovers_of_an_earlier_use_are_no_mail(directory: StoreDirectory, written: Written) -> None:
    kept, old = two(), two()
    entry = encode_message(old)
    stale = (batch_header(EPOCH ^ 1, 1, 1, len(entry)) + entry) * 5
    for rest in (stale, stale[11:]):
        written.segment(written.batch(encode_message(kept)), rest=rest)
        assert replay(directory, Repair.of(directory)) == []
        written.paths.clear()
    assert list(stored(directory)) == [kept.queue_id]


def test_what_the_disk_cannot_read(
    directory: StoreDirectory, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [message(content=bytes(3500)) for _ in range(4)]
    path = written.segment(*(written.batch(encode_message(one)) for one in kept))
    read = os.pread

    def bad_sector(fd: int, length: int, at: int) -> bytes:
        if at == 8192:
            raise OSError(errno.EIO, "bad sector")
        return read(fd, length, at)

    def unreadable(self: Path) -> bytes:
        raise OSError(errno.EIO, "bad sector", str(self))

    monkeypatch.setattr(os, "pread", bad_sector)
    monkeypatch.setattr(Path, "read_bytes", unreadable)
    (notice,) = replay(directory, Repair.of(directory))
    monkeypatch.undo()
    assert "cannot read 4096 bytes" in notice
    saved = list(stored(directory))
    assert saved[:2] == [one.queue_id for one in kept[:2]]
    assert not path.exists()


def test_what_this_release_does_not_know_is_kept(directory: StoreDirectory, written: Written) -> None:
    kept = two()
    payload = b"from a later release"
    written.segment(
        written.batch(struct.pack("<III", 77, len(payload), zlib.crc32(payload, 77)) + payload, encode_message(kept))
    )
    (notice,) = replay(directory, Repair.of(directory))
    assert "no such kind" in notice
    assert list(stored(directory)) == [kept.queue_id]


def test_one_that_the_database_does_not_take(
    directory: StoreDirectory, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [two() for _ in range(3)]
    decode = decode_message

    def odd(payload: bytes) -> Message:
        found = decode(payload)
        if found.queue_id == kept[1].queue_id:
            found.created = None  # type: ignore[assignment]
        return found

    monkeypatch.setattr(module, "decode_message", odd)
    written.segment(written.batch(*map(encode_message, kept)))
    (notice,) = replay(directory, Repair.of(directory))
    assert f"does not take {kept[1].queue_id}" in notice
    assert list(stored(directory)) == [kept[0].queue_id, kept[2].queue_id]


def test_a_refusing_disk_leaves_the_journal_as_it_was(
    directory: StoreDirectory, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = two()
    path = written.segment(written.batch(encode_message(kept)))
    before = path.read_bytes()

    def full(*_: Any) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    monkeypatch.setattr(module, "_transact", full)
    with pytest.raises(QueueFullError):
        replay(directory, Repair.of(directory))
    monkeypatch.undo()
    smaller_segments(monkeypatch, SIZE)
    assert path.read_bytes() == before
    assert replay(directory, Repair.of(directory)) == []
    assert list(stored(directory)) == [kept.queue_id]


def test_more_than_a_transaction_takes(
    directory: StoreDirectory, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    kept = [message(content=b"") for _ in range(20)]
    written.segment(*(written.batch(encode_message(one)) for one in kept))
    assert replay(directory, Repair.of(directory)) == []
    assert list(stored(directory)) == [one.queue_id for one in kept]
    assert isinstance(kept[0].body, MemoryBody)
    assert ENTRY_SIZE < BATCH_SIZE
