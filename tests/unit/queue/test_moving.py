# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues that move: nothing is lost, nothing is in two places, wherever the move is cut off."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from relay_agent.queue import moving
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.lock import store_numbers
from relay_agent.queue.model import Envelope, Message, Recipient, RecipientState, Update
from relay_agent.queue.moving import Arrival, arrive, forget, leave, leaving, snapshot
from relay_agent.queue.parcel import ParcelError, write_parcel
from tests.unit.queue.messages import large, message


class Stop(Exception):
    """The power cut."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The host that mail leaves."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The host that it arrives at."""
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


async def _fill(directory: Path, number: int = 0) -> list[Message]:
    """A message with every option, one in a file, one held, one that waits for its time."""
    async with JournaledStore(directory, number) as store:
        demanding = message(
            Recipient("bob@beta.test", {"NOTIFY": "SUCCESS,FAILURE", "ORCPT": "rfc822;bob@beta.test"}),
            Recipient("eve@beta.test", {"NOTIFY": "NEVER"}),
        )
        demanding.envelope = Envelope("alice@alpha.test", "alice", {"RET": "HDRS", "ENVID": "QQ314159"})
        messages = [demanding, large(store.spool_directory()), message(), message()]
        for each in messages:
            await store.store(each)
        await store.hold([messages[2].queue_id])
        later = Recipient("bob@beta.test", attempts=3, next_attempt=4e9, last_reply="451 later", last_host="mx")
        await store.record([Update(messages[3].queue_id, 0, later)])
    return messages


async def _all(directory: Path) -> dict[str, Message]:
    found: dict[str, Message] = {}
    for number in store_numbers(directory):
        async with JournaledStore(directory, number) as store:
            assert store.notices == []
            for each in await store.list():
                assert each.queue_id not in found, "in two stores"
                each.body = type(message().body)(each.body.read())  # type: ignore[call-arg]
                found[each.queue_id] = each
    return found


def _packed(stores: Any, host: str = "here.test") -> bytes:
    stream = io.BytesIO()
    write_parcel(stream, host, stores)
    return stream.getvalue()


def _found(directory: Path, pattern: str) -> list[bytes]:
    return [path.read_bytes() if path.is_file() else b"" for path in directory.glob(pattern)]


def _reader(parcel: bytes) -> Callable[[], IO[bytes]]:
    return lambda: io.BytesIO(parcel)


async def _arrive(there: Path, parcel: bytes) -> Arrival:
    return await asyncio.to_thread(arrive, there, _reader(parcel))


async def _leave(here: Path) -> bytes:
    return _packed(await asyncio.to_thread(leave, here))


async def test_what_leaves_arrives_as_it_was(here: Path, there: Path) -> None:
    await _fill(here)
    before = {**await _all(here)}
    parcel = await _leave(here)
    assert await _all(here) == {}, "nobody delivers from here any more"
    assert sum(entry.messages for entry, _ in leaving(here)) == 4
    arrival = await _arrive(there, parcel)
    assert (arrival.host, arrival.stores, arrival.messages, arrival.recipients) == ("here.test", 1, 4, 5)
    assert forget(here, [entry.id for entry, _ in leaving(here)]) == 4
    assert leaving(here) == []
    after = await _all(there)
    assert after.keys() == before.keys()
    for queue_id, kept in before.items():
        moved = after[queue_id]
        assert (moved.envelope, moved.recipients) == (kept.envelope, kept.recipients)
        assert (moved.created, moved.expires) == (kept.created, kept.expires)
        assert moved.body.read() == kept.body.read()
    assert [each for each in after.values() if each.recipients[0].state is RecipientState.HELD]


async def test_a_parcel_arrives_once_however_often_it_is_brought(here: Path, there: Path) -> None:
    await _fill(here)
    parcel = await _leave(here)
    await _arrive(there, parcel)
    again = await _arrive(there, parcel)
    assert (again.stores, again.messages, len(again.before)) == (0, 0, 1)
    assert len(await _all(there)) == 4
    async with JournaledStore(there, store_numbers(there)[0]) as store:  # delivered meanwhile
        await store.delete([each.queue_id for each in await store.list()])
    assert len((await _arrive(there, parcel)).before) == 1
    assert await _all(there) == {}


async def test_an_interrupted_leave_is_packed_again_with_what_came_since(here: Path, there: Path) -> None:
    await _fill(here)
    first = await _leave(here)
    await _fill(here, 2)
    second = await _leave(here)
    await _arrive(there, first)
    arrival = await _arrive(there, second)
    assert (arrival.messages, len(arrival.before)) == (4, 1)
    assert len(await _all(there)) == 8


@pytest.mark.parametrize("cut", ["_entry", "_leave_out_known", "replace_file", "sync_directory", "unpack", "rename"])
async def test_an_arrival_that_is_cut_off_is_ended_by_the_next(
    here: Path, there: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    await _fill(here)
    await _fill(here, 1)
    parcel = await _leave(here)

    def stop(*_: object, **__: object) -> None:
        raise Stop

    with monkeypatch.context() as patched:
        if cut == "rename":
            patched.setattr(Path, "rename", stop)
        else:
            patched.setattr(moving, cut, stop)
        with pytest.raises(Stop):
            await _arrive(there, parcel)
    await _arrive(there, parcel)
    assert len(await _all(there)) == 8
    assert not any((there / "arriving").iterdir())


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign"])
async def test_a_damaged_parcel_is_refused_and_nothing_arrives(here: Path, there: Path, damage: str) -> None:
    await _fill(here)
    parcel = bytearray(await _leave(here))
    match damage:
        case "cut":
            del parcel[len(parcel) // 2 :]
        case "flipped":
            parcel[parcel.index(b"SQLite format 3") + 20_000] ^= 1
        case "foreign":
            parcel[:] = b"this is no parcel" * 1000
    with pytest.raises((ParcelError, EOFError, OSError)):
        await _arrive(there, bytes(parcel))
    assert store_numbers(there) == []


async def test_a_parcel_of_a_newer_release_is_refused(here: Path, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await _fill(here)
    monkeypatch.setattr("relay_agent.queue.parcel.SCHEMA_VERSION", 99)
    parcel = await _leave(here)
    monkeypatch.undo()
    with pytest.raises(ParcelError, match="newer release"):
        await _arrive(there, parcel)


async def test_a_copy_of_a_queue_in_use(here: Path, there: Path) -> None:
    kept = await _fill(here)
    (here / "copying-999999999").mkdir()  # of one that was killed
    async with JournaledStore(here) as store:
        await store.store(late := message())
        await store.list(1)  # has the journal moved
        with snapshot(here) as stores:
            parcel = _packed(stores)
        assert not _found(here, "copying-*")
        await store.delete([kept[1].queue_id])
    await _arrive(there, parcel)
    found = await _all(there)
    assert found.keys() == {late.queue_id, *(each.queue_id for each in kept)}
    assert len(found[kept[1].queue_id].body.read()) == kept[1].body.size


async def test_a_body_that_leaves_while_it_is_copied_is_no_loss(
    here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await _fill(here)

    def link(*_: object) -> None:
        raise FileNotFoundError

    with monkeypatch.context() as patched:
        patched.setattr("relay_agent.queue.moving.os.link", link)
        with snapshot(here) as stores:
            parcel = _packed(stores)
    arrival = await _arrive(there, parcel)
    assert arrival.messages == 3
    assert kept[1].queue_id not in await _all(there)


async def test_what_waits_here_already_is_left_out(here: Path) -> None:
    kept = await _fill(here)
    with snapshot(here) as stores:
        parcel = _packed(stores)
    async with JournaledStore(here) as store:
        await store.delete([kept[0].queue_id, kept[1].queue_id])
    arrival = await _arrive(here, parcel)
    assert (arrival.messages, arrival.recipients, arrival.known) == (2, 3, 2)
    assert len(await _all(here)) == 4


async def test_what_was_set_aside_as_damaged_stays(here: Path) -> None:
    await _fill(here)
    (here / "0/journal.damaged-x").mkdir()
    (here / "0/journal.damaged-x/segment").write_bytes(b"perhaps mail")
    await _leave(here)
    forget(here, [entry.id for entry, _ in leaving(here)])
    assert _found(here, "set-aside/*/journal.damaged-x/segment") == [b"perhaps mail"]


async def test_a_name_with_a_way_out_is_refused(there: Path) -> None:
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        head = {"format": 1, "schema": 1, "host": "x", "made": 0, "entries": []}
        for name, content in (("parcel.json", json.dumps(head).encode()), ("A/bodies/../../../x", b"x")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    from relay_agent.queue.parcel import read_parcel

    with pytest.raises(ParcelError, match="no place"):
        list(read_parcel(io.BytesIO(stream.getvalue())))
