# SPDX-License-Identifier: GPL-3.0-or-later
"""A damaged database is set aside and what can be read of it is carried over."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Message, Update
from tests.unit.queue.messages import large, message, recipient

PAGE = 4096
MESSAGES = 200


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store of two hundred messages, every tenth with its body in a file."""
    directory = tmp_path_factory.mktemp("pristine")

    async def fill() -> None:
        async with EmbeddedStore(directory) as store:
            for number in range(MESSAGES):
                one = large(store.spool_directory(), 5000) if number % 10 == 0 else message()
                one.recipients = {n: recipient(f"r{number}.{n}@x", number) for n in range(1 + number % 3)}
                await store.store(one)

    asyncio.run(fill())
    return directory


@pytest.fixture
def directory(pristine: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(pristine, tmp_path / "queue")
    return tmp_path / "queue"


async def contents(directory: Path) -> tuple[dict[str, Message], dict[str, bytes], list[str]]:
    """What the store holds when opened, and what it said."""
    async with EmbeddedStore(directory) as store:
        messages = {one.queue_id: one for one in await store.list()}
        counts = await store.counts()
        assert counts.messages == len(messages)
        assert counts.recipients == sum(len(one.recipients) for one in messages.values())
        due = {one.queue_id for one in await store.due(1e12, 10_000)}
        assert due <= set(messages)
        bodies = {queue_id: messages[queue_id].body.read() for queue_id in due}
        return messages, bodies, store.notices


async def test_undamaged(directory: Path, pristine: Path) -> None:
    messages, bodies, notices = await contents(directory)
    assert len(messages) == len(bodies) == MESSAGES
    assert notices == []


@pytest.mark.parametrize("seed", range(12))
async def test_pages_overwritten(directory: Path, pristine: Path, seed: int) -> None:
    """One page in ten is noise: most messages are saved and none is changed."""
    chance = random.Random(seed)
    path = directory / "0" / "queue.db"
    data = bytearray(path.read_bytes())
    pages = len(data) // PAGE
    for page in chance.sample(range(1, pages), pages // 10):
        data[page * PAGE : (page + 1) * PAGE] = chance.randbytes(PAGE)
    path.write_bytes(data)
    expected, expected_bodies, _ = await contents(pristine)
    messages, bodies, notices = await contents(directory)
    assert len(messages) >= MESSAGES // 4
    assert "is damaged" in notices[0]
    assert f"{len(messages)} messages to " in notices[1]
    assert "were saved" in notices[1]
    (kept,) = (path for path in (directory / "0").glob("queue.db.damaged-*") if path.suffix != ".lost")
    assert kept.read_bytes() == bytes(data)
    incomplete = []
    for queue_id, one in messages.items():
        for number, found in one.recipients.items():
            assert found == expected[queue_id].recipients[number]
        if one.recipients != expected[queue_id].recipients:
            incomplete.append(queue_id)
        assert one.envelope == expected[queue_id].envelope
    for queue_id, body in bodies.items():
        assert body == expected_bodies[queue_id]
    if incomplete:
        (lost,) = (directory / "0").glob("*.lost")
        assert all(queue_id in lost.read_text() for queue_id in incomplete)
    again, _, quiet = await contents(directory)
    assert again.keys() == messages.keys()
    assert quiet == []


async def test_the_first_page_destroyed(directory: Path) -> None:
    path = directory / "0" / "queue.db"
    data = bytearray(path.read_bytes())
    data[:PAGE] = b"\xa5" * PAGE
    path.write_bytes(data)
    messages, bodies, notices = await contents(directory)
    assert len(messages) == len(bodies) == MESSAGES
    assert "not a database" in notices[0]


@pytest.mark.parametrize("part", [0.9, 0.5, 0.2])
async def test_cut_short(directory: Path, part: float) -> None:
    path = directory / "0" / "queue.db"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    messages, _, notices = await contents(directory)
    assert notices
    if part == 0.9:
        assert len(messages) > MESSAGES // 2
    for lost in (directory / "0").glob("*.lost"):
        # A message with some of its recipients is saved and has a line.
        gone = [line for line in lost.read_text().splitlines() if "the others could" not in line]
        assert len(gone) <= MESSAGES - len(messages)


async def test_a_page_that_the_disk_cannot_read_ends_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said of which file; once the disk reads again, or its copy does, all goes on."""
    path = directory / "0" / "queue.db"
    with path.open("r+b") as file:
        file.write(b"\0" * 100)
    bad, pread = 7 * PAGE, os.pread

    def from_a_failing_disk(fd: int, size: int, place: int) -> bytes:
        if size == PAGE and place == bad:
            raise OSError(errno.EIO, "Input/output error")
        return pread(fd, size, place)

    monkeypatch.setattr(os, "pread", from_a_failing_disk)
    for _ in range(2):
        with pytest.raises(OSError, match=r"Input/output error: '.*/0/queue\.db\.damaged-") as raised:
            EmbeddedStore(directory)
        assert raised.value.errno == errno.EIO
    monkeypatch.undo()
    messages, _, notices = await contents(directory)
    assert len(messages) == MESSAGES
    assert "was damaged" in "".join(notices) or "is damaged" in "".join(notices)


async def test_cut_to_nothing(directory: Path) -> None:
    """Nothing to save but the bodies in files, which are kept."""
    (directory / "0" / "queue.db").write_bytes(b"")
    messages, _, notices = await contents(directory)
    assert messages == {}
    assert "gone or empty" in notices[0]
    assert "bodies" in notices[1]
    (aside,) = (directory / "0").glob("bodies.damaged-*")
    assert len(list(aside.iterdir())) == MESSAGES // 10


async def test_single_flipped_bytes(directory: Path, pristine: Path, tmp_path: Path) -> None:
    """Wherever one byte is flipped, the store opens and what it gives out is what was stored."""
    _, expected_bodies, _ = await contents(pristine)
    original = (directory / "0" / "queue.db").read_bytes()
    chance = random.Random(1)
    for number in range(24):
        data = bytearray(original)
        # Every other time in the headers of pages, where it hurts most.
        place = chance.randrange(len(data)) if number % 2 else chance.randrange(len(data) // PAGE) * PAGE + number
        data[place] ^= 1 << chance.randrange(8)
        copy = tmp_path / f"flipped-{number}"
        shutil.copytree(pristine, copy)
        (copy / "0" / "queue.db").write_bytes(data)
        messages, bodies, _ = await contents(copy)
        assert len(messages) >= MESSAGES * 0.8
        for queue_id, body in bodies.items():
            if queue_id in expected_bodies:
                assert body == expected_bodies[queue_id]
        shutil.rmtree(copy)


async def test_the_log_alone_is_left(tmp_path: Path) -> None:
    """Killed before the log was copied, and then the database itself is lost."""
    store = EmbeddedStore(tmp_path)
    kept = [message() for _ in range(20)]
    for one in kept:
        await store.store(one)
    saved = tmp_path / "saved"
    saved.mkdir()
    shutil.copy(tmp_path / "0" / "queue.db-wal", saved)
    await store.close()
    (tmp_path / "0" / "queue.db").unlink()
    shutil.copy(saved / "queue.db-wal", tmp_path / "0")
    messages, _, notices = await contents(tmp_path)
    assert "gone or empty" in notices[0]
    assert messages.keys() == {one.queue_id for one in kept}


async def test_a_foreign_database_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    connection = sqlite3.connect(tmp_path / "0" / "queue.db")
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.commit()
    connection.close()
    messages, _, notices = await contents(tmp_path)
    assert messages == {}
    assert "not a queue of this agent" in notices[0]
    (kept,) = (tmp_path / "0").glob("queue.db.damaged-*")
    connection = sqlite3.connect(kept)
    assert connection.execute("SELECT count(*) FROM songs").fetchone() == (0,)
    connection.close()


async def test_remnants_of_delivered_mail_are_held_not_sent_again(tmp_path: Path) -> None:
    """The root of a tree and the list of free pages are gone: nobody can tell what was deleted."""
    async with EmbeddedStore(tmp_path) as store:
        delivered = [message() for _ in range(400)]
        waiting = [message() for _ in range(400)]
        await asyncio.gather(*(store.store(one) for one in (*delivered, *waiting)))
        await store.record([Update(one.queue_id, 0, None) for one in delivered])
    path = tmp_path / "0" / "queue.db"
    data = bytearray(path.read_bytes())
    # Only the number of free pages is wrong: the trees are whole, so what they hold is sure.
    data[36:40] = (7).to_bytes(4, "big")
    path.write_bytes(data)
    messages, bodies, _ = await contents(tmp_path)
    assert messages.keys() == bodies.keys() == {one.queue_id for one in waiting}
    async with EmbeddedStore(tmp_path) as store:
        await store.delete([one.queue_id for one in waiting[:50]])
    connection = sqlite3.connect(path)
    roots = [page for (page,) in connection.execute("SELECT rootpage FROM sqlite_schema WHERE type = 'table'")]
    connection.close()
    data = bytearray(path.read_bytes())
    for page in (1, *roots):
        data[(page - 1) * PAGE : page * PAGE] = bytes(PAGE)
    path.write_bytes(data)
    async with EmbeddedStore(tmp_path) as store:
        assert "are held because" in store.notices[2]
        saved = {one.queue_id for one in await store.list()}
        # Two recipients were in the root page itself.
        missing = [one.queue_id for one in waiting[50:] if one.queue_id not in saved]
        assert len(missing) <= 3
        report = "".join(path.read_text() for path in (tmp_path / "0").glob("*.lost"))
        assert all(queue_id in report for queue_id in missing)
        assert await store.due(1e12, 1000) == []
        assert await store.release(sorted(saved)[:1]) == 1
        assert len(await store.due(1e12, 1000)) == 1
