# SPDX-License-Identifier: GPL-3.0-or-later
"""A repair that is cut off, wherever that is: the next start has all the mail, and says what had happened."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import Mock

import pytest

from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import Message, QueueFullError
from relay_agent.queue.repair import Repair, any_under_way, is_under_way
from relay_agent.queue.salvage import _Salvage
from relay_agent.worker.passing import passes
from tests.unit.queue.messages import large, message, smaller_segments

PAGE = 4096
MESSAGES = 40

#: What a repair changes the disk with, and what it reads it with: it is cut off before each call of these.
STEPS = frozenset({"fsync", "fdatasync", "rename", "replace", "unlink", "mkdir", "open", "write", "execute", "close"})


class Cut(BaseException):
    """The start ends here."""


class Cutter:
    """Ends what runs at the n-th step: by an exception, or by a SIGKILL to the process itself."""

    def __init__(self, step: int, *, kill: bool = False) -> None:
        self._left = step
        self._kill = kill

    def __enter__(self) -> Cutter:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and what.__name__ in STEPS:
            self._left -= 1
            if self._left < 0:
                if self._kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                sys.setprofile(None)
                raise Cut


def fill(directory: Path, number: int) -> dict[str, bytes]:
    """A closed store; every message has its body in a file but each fourth."""
    kept: dict[str, bytes] = {}

    async def store_all() -> None:
        async with JournaledStore(directory, minimum_free=0) as store:
            for each in range(number):
                one = message() if each % 4 == 0 else large(store.spool_directory(), 5000)
                await store.store(one)
                kept[one.queue_id] = one.body.read()

    asyncio.run(store_all())
    return kept


def spoil_an_index(directory: Path) -> None:
    """What integrity_check notices, while every row can be read."""
    database = directory / "0" / "queue.db"
    connection = sqlite3.connect(database)
    ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'messages_queue_id'").fetchall()
    connection.close()
    data = bytearray(database.read_bytes())
    data[(root - 1) * PAGE : root * PAGE] = b"\xa5" * PAGE
    database.write_bytes(data)


def leave_only_the_log(directory: Path) -> None:
    """All of the database in its log, and the database itself lost."""
    database = directory / "0" / "queue.db"
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("VACUUM")
    copy = database.with_name("copy")
    shutil.copy(f"{database}-wal", copy)
    connection.close()
    database.unlink()
    copy.rename(f"{database}-wal")


def found(directory: Path) -> tuple[dict[str, bytes], list[str]]:
    """What a normal start finds, and says."""

    async def look() -> tuple[dict[str, bytes], list[str]]:
        async with EmbeddedStore(directory, minimum_free=0) as store:
            messages = await store.list()
            assert (await store.counts()).messages == len(messages)
            return {one.queue_id: one.body.read() for one in messages}, store.notices

    return asyncio.run(look())


def begin(directory: Path) -> None:
    """A start, and the orderly end that follows it at once."""

    async def opened() -> None:
        store = EmbeddedStore(directory, minimum_free=0)
        sys.setprofile(None)
        await store.close()

    asyncio.run(opened())


def cut_off_while_saving(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that ends when the damaged database is set aside, and nothing of it is saved yet."""

    def cut(*_: object) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(_Salvage, "copy", cut)
        with pytest.raises(Cut):
            begin(directory)


def steps_of(pristine: Path, place: Path) -> int:
    """How many steps a start with this damage takes."""
    shutil.copytree(pristine, place)
    step = 0
    counter = Cutter(1 << 30)
    with counter:
        begin(place)
    step = (1 << 30) - counter._left
    shutil.rmtree(place)
    assert step > 20
    return step


DAMAGES: dict[str, Callable[[Path], None]] = {"index": spoil_an_index, "log": leave_only_the_log}


@pytest.fixture(params=DAMAGES)
def damaged(request: pytest.FixtureRequest, quick: Path) -> tuple[Path, dict[str, bytes]]:
    """A store with a damaged database, and the mail in it."""
    kept = fill(quick / "damaged", 4)
    DAMAGES[request.param](quick / "damaged")
    return quick / "damaged", kept


def check_next_start(directory: Path, kept: dict[str, bytes], said_before: str) -> None:
    messages, notices = found(directory)
    assert messages == kept
    said = "\n".join([said_before, *notices])
    assert "is damaged" in said
    assert "were saved from it" in said
    # A third start has nothing left to do.
    assert found(directory) == (kept, [])
    assert not is_under_way(directory / "0")
    set_aside = [path for path in (directory / "0").glob("queue.db.damaged-*") if not path.name.endswith("-wal")]
    assert any(str(path) in said for path in set_aside)


def test_cut_off_by_an_error_at_every_step(
    damaged: tuple[Path, dict[str, bytes]], quick: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pristine, kept = damaged
    for step in range(steps_of(pristine, quick / "counted")):
        place = quick / f"cut-{step}"
        shutil.copytree(pristine, place)
        caplog.clear()
        with pytest.raises(Cut), Cutter(step):
            begin(place)
        check_next_start(place, kept, caplog.text)
        shutil.rmtree(place)


def test_killed_at_every_step(damaged: tuple[Path, dict[str, bytes]], quick: Path) -> None:
    pristine, kept = damaged
    for step in itertools.count():
        place = quick / f"killed-{step}"
        shutil.copytree(pristine, place)
        said = quick / f"said-{step}"
        child = os.fork()
        if not child:
            logging.getLogger().handlers = [logging.FileHandler(said)]
            with Cutter(step, kill=True):
                begin(place)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not status:
            assert step > 20
            break
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        check_next_start(place, kept, said.read_text() if said.exists() else "")
        shutil.rmtree(place)


def test_a_damaged_journal_is_told_of_when_its_start_is_cut_off(
    quick: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segment is set aside, and the next start knows where: nothing else would lead to it."""
    smaller_segments(monkeypatch)
    pristine = quick / "damaged"
    kept: dict[str, bytes] = {}

    async def leave_a_journal() -> None:
        async with JournaledStore(quick / "running", minimum_free=0) as store:
            for number in range(4):
                one = message(content=b"Subject: %d\r\n\r\nhello\r\n" % number)
                await store.store(one)
                kept[one.queue_id] = one.body.read()
            shutil.copytree(quick / "running", pristine)

    asyncio.run(leave_a_journal())
    (segment,) = [path for path in (pristine / "0" / "journal").iterdir() if b"Subject: 2" in path.read_bytes()]
    segment.write_bytes(segment.read_bytes().replace(b"Subject: 2", b"Subject: x"))
    del kept[[*kept][2]]
    for step in range(steps_of(pristine, quick / "counted")):
        place = quick / f"cut-{step}"
        shutil.copytree(pristine, place)
        caplog.clear()
        with pytest.raises(Cut), Cutter(step):
            begin(place)
        messages, notices = found(place)
        assert messages == kept
        said = "\n".join([caplog.text, *notices])
        (aside,) = (place / "0").glob("journal.damaged-*/*")
        assert f"the file is now {aside}" in said
        assert b"Subject: x" in aside.read_bytes()
        assert found(place) == (kept, [])
        shutil.rmtree(place)


@pytest.mark.parametrize("after", [0, 1, 10, 39])
def test_no_room_for_what_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The disk is full again and again; when there is room, everything is saved."""
    kept = fill(tmp_path, MESSAGES)
    spoil_an_index(tmp_path)
    take = _Salvage._take_message
    taken = 0

    def take_some(self: _Salvage, row: Any) -> None:
        nonlocal taken
        taken += 1
        if taken > after:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        take(self, row)

    with monkeypatch.context() as patched:
        patched.setattr(_Salvage, "_take_message", take_some)
        for _ in range(3):
            taken = 0
            with pytest.raises(QueueFullError, match="disk is full"):
                begin(tmp_path)
            assert not list((tmp_path / "0").glob("queue.db.saving*"))  # in the way of everything else
            assert is_under_way(tmp_path / "0")
            assert len(list((tmp_path / "0" / "bodies").iterdir())) == 30
    messages, notices = found(tmp_path)
    assert messages == kept
    assert "is damaged" in notices[0]
    assert any("was cut off" in notice for notice in notices)
    assert any("40 messages to 40 recipients" in notice for notice in notices)
    assert found(tmp_path) == (kept, [])


def everything_in(directory: Path) -> dict[str, bytes]:
    """What is in a store, but for what SQLite shares between its readers and the log's own preallocated room."""
    store = directory / "0"
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.name not in ("lock", "queue.db-shm", "queue.db-wal")
    }


@pytest.mark.parametrize("when", ["never begun", "cut off before", "note only"])
def test_a_salvage_without_room_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """It says how much is lacking, leaves everything as it was, and is done once there is room."""
    kept = fill(tmp_path, 8)
    spoil_an_index(tmp_path)
    if when == "cut off before":
        cut_off_while_saving(tmp_path, monkeypatch)
        (tmp_path / "0" / "queue.db.saving").unlink(missing_ok=True)
    elif when == "note only":
        with monkeypatch.context() as patched:
            patched.setattr("relay_agent.queue.salvage._set_aside", Mock(side_effect=Cut))
            with pytest.raises(Cut):
                begin(tmp_path)
    before = everything_in(tmp_path)
    pages = max(path.stat().st_size for path in (tmp_path / "0").glob("queue.db*") if not path.name.endswith("-wal"))
    with monkeypatch.context() as patched:
        patched.setattr(StoreDirectory, "free", lambda _: pages)
        for _ in range(2):
            with pytest.raises(
                QueueFullError, match=r"needs 1\.\d MiB in .*/0, and the disk has 0\.\d MiB free"
            ) as told:
                begin(tmp_path)
            assert "damaged" in str(told.value)
            assert passes(told.value)
            assert everything_in(tmp_path) == before
        patched.setattr(StoreDirectory, "free", lambda _: pages + (1 << 20))
        begin(tmp_path)
    messages, _ = found(tmp_path)
    assert messages == kept


def leave_free_pages(database: Path, content: str) -> None:
    """Three megabytes that were in use once. content: what was in them, as SQL."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("CREATE TABLE large (content BLOB)")
    connection.execute(f"INSERT INTO large VALUES ({content})")
    connection.execute("DROP TABLE large")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def test_room_is_needed_for_the_pages_in_use_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was large once is saved on a disk that has no room for another of its size."""
    kept = fill(tmp_path, 8)
    database = tmp_path / "0" / "queue.db"
    leave_free_pages(database, "zeroblob(3000000)")
    spoil_an_index(tmp_path)
    assert database.stat().st_size > 3_000_000
    monkeypatch.setattr(StoreDirectory, "free", lambda _: 2_000_000)
    messages, notices = found(tmp_path)
    assert messages == kept
    assert "is damaged" in notices[0]


def test_room_is_not_needed_for_what_a_power_cut_left_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was made longer, and got nothing."""
    kept = fill(tmp_path, 8)
    spoil_an_index(tmp_path)
    os.truncate(tmp_path / "0" / "queue.db", 40_000_000)
    monkeypatch.setattr(StoreDirectory, "free", lambda _: 2_000_000)
    messages, _ = found(tmp_path)
    assert messages == kept


def test_what_may_be_free_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the list of free pages nobody knows whether what is in no tree's page is content or left over."""
    fill(tmp_path, 8)
    database = tmp_path / "0" / "queue.db"
    leave_free_pages(database, "randomblob(3000000)")
    with database.open("r+b") as file:
        file.seek(32)
        file.write(bytes(8))
    spoil_an_index(tmp_path)
    monkeypatch.setattr(StoreDirectory, "free", lambda _: 2_000_000)
    _, notices = found(tmp_path)
    assert "is damaged" in notices[0]


def test_room_for_a_database_of_which_the_log_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = fill(tmp_path, 8)
    leave_only_the_log(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(StoreDirectory, "free", lambda _: 1 << 20)
        with pytest.raises(QueueFullError, match=r"needs 1\.\d MiB"):
            begin(tmp_path)
    with (tmp_path / "0" / "queue.db-wal").open("r+b") as log:
        log.truncate(20_000_000)  # room given to it in advance is no content
    monkeypatch.setattr(StoreDirectory, "free", lambda _: 3_000_000)
    messages, _ = found(tmp_path)
    assert messages == kept


def test_bodies_of_a_database_that_is_gone_are_put_aside_at_every_step(quick: Path) -> None:
    """No message is known any more: the files are kept, whenever a start is cut off."""
    pristine = quick / "damaged"
    kept = fill(pristine, 8)
    (pristine / "0" / "queue.db").unlink()
    bodies = {path.name for path in (pristine / "0" / "bodies").iterdir()}
    assert len(bodies) == 6
    assert bodies < kept.keys()
    for step in range(steps_of(pristine, quick / "counted")):
        place = quick / f"cut-{step}"
        shutil.copytree(pristine, place)
        with pytest.raises(Cut), Cutter(step):
            begin(place)
        found(place)
        there = {path.name for path in (place / "0").glob("bodies*/*")}
        assert there == bodies
        assert len(list((place / "0").glob("bodies.damaged-*"))) == 1
        shutil.rmtree(place)


def test_a_body_without_its_message_is_kept_when_another_lacks_its_file(tmp_path: Path) -> None:
    """One flipped byte in the index of bodies in files, in a database too large to be checked whole."""
    kept = fill(tmp_path, 8)
    bodies = tmp_path / "0" / "bodies"
    lost, *_ = sorted(bodies.iterdir())
    lost.rename(bodies / "A1")
    messages, notices = _listed(tmp_path)
    assert {one.queue_id for one in messages} == set(kept)
    assert any("bodies that no message refers to" in notice for notice in notices)
    ((aside,),) = (list(path.iterdir()) for path in (tmp_path / "0").glob("bodies.damaged-*"))
    assert aside.name == "A1"


def test_a_message_that_forgot_its_file_keeps_it(tmp_path: Path) -> None:
    fill(tmp_path, 8)
    body, *_ = sorted((tmp_path / "0" / "bodies").iterdir())
    connection = sqlite3.connect(tmp_path / "0" / "queue.db")
    connection.execute("UPDATE messages SET file_offset = NULL WHERE queue_id = ?", (body.name,))
    connection.commit()
    connection.close()
    _listed(tmp_path)
    assert body.exists()


def _listed(directory: Path) -> tuple[list[Message], list[str]]:
    async def look() -> tuple[list[Message], list[str]]:
        async with EmbeddedStore(directory, minimum_free=0) as store:
            return await store.list(), store.notices

    return asyncio.run(look())


def test_left_over_bodies_of_finished_mail_are_removed(tmp_path: Path) -> None:
    kept = fill(tmp_path, 8)
    (tmp_path / "0" / "bodies" / "A1").write_bytes(b"of a message that was never accepted")
    assert found(tmp_path) == (kept, [])
    assert not (tmp_path / "0" / "bodies" / "A1").exists()


def test_a_database_that_a_person_made_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = fill(tmp_path, 8)
    spoil_an_index(tmp_path)
    cut_off_while_saving(tmp_path, monkeypatch)
    (tmp_path / "0" / "queue.db").write_bytes(b"made by hand")
    messages, notices = found(tmp_path)
    assert messages == kept
    (notice,) = [each for each in notices if "was there while another was being saved" in each]
    assert Path(notice.rpartition(" ")[2]).read_bytes() == b"made by hand"


def test_a_note_that_cannot_be_read_means_the_worst(tmp_path: Path) -> None:
    kept = fill(tmp_path, 8)
    (tmp_path / "0" / "bodies" / "A1").write_bytes(b"whose message may have been lost")
    for content in (
        b"",
        b"[]",
        b'{"stamp": 1}',
        b"\xff",
        b'{"stamp":"","damaged":"../x","saved":false,"lost":true,"notices":[]}',
    ):
        (tmp_path / "0" / "repair.json").write_bytes(content)
        messages, notices = found(tmp_path)
        assert messages == kept
        assert "cannot be read" in notices[0]
        assert len(list((tmp_path / "0").glob("bodies.damaged-*/A1"))) == 1
        assert not is_under_way(tmp_path / "0")


def test_a_note_that_is_lost_half_way_loses_no_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = fill(tmp_path, 8)
    spoil_an_index(tmp_path)
    cut_off_while_saving(tmp_path, monkeypatch)
    assert not (tmp_path / "0" / "queue.db").exists()
    (tmp_path / "0" / "repair.json").write_bytes(b"\0" * 40)
    messages, notices = found(tmp_path)
    assert messages == kept
    assert "were saved from it" in "".join(notices)


def test_a_repair_is_told_until_it_ended(tmp_path: Path) -> None:
    directory = StoreDirectory(tmp_path)
    repair = Repair.of(directory)
    assert not is_under_way(directory.root)
    repair.end()
    repair.tell("one", "two", "one")
    repair.keep(directory)
    again = Repair.of(directory)
    assert again.notices == ["one", "two"]
    assert again.stamp == repair.stamp
    again.end()
    assert Repair.of(directory).notices == []
    directory.close()


def test_a_database_that_is_no_file_of_ours_needs_a_person(tmp_path: Path) -> None:
    """SQLite says the same of it as of a full disk, for which a start would wait."""
    (tmp_path / "0" / "queue.db").mkdir(parents=True)
    with pytest.raises(PermissionError, match=r"cannot be read and written by the agent's user: .*queue\.db") as caught:
        EmbeddedStore(tmp_path, minimum_free=0)
    assert not passes(caught.value)


def test_a_start_takes_long_for_a_suspect_database_too(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    assert not any_under_way(tmp_path)
    (tmp_path / "3" / "suspect").touch()
    assert any_under_way(tmp_path)
