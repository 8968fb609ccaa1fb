# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal in front of the database: what is on its way between the two is neither lost nor there twice."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from relay_agent.queue import journaled as module
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import HELD_UNTIL, Counts, Message, QueueDamagedError, QueueFullError, Recipient, Update
from relay_agent.queue.operations import MoveIn
from relay_agent.queue.reader import StoredBody
from tests.unit.queue.messages import large, message, recipient, smaller_segments, whole


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    smaller_segments(monkeypatch)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[JournaledStore]:
    async with JournaledStore(tmp_path, minimum_free=0) as opened:
        yield opened


def deferred(one: Message, number: int = 0) -> Update:
    """It did not work, and is tried again in an hour."""
    return Update(one.queue_id, number, replace(one.recipients[number], attempts=1, next_attempt=time.time() + 3600))


async def in_database(store: JournaledStore) -> list[str]:
    """The messages that are in the database."""
    return [one.queue_id for one in await store._base.list()]


def crashed(tmp_path: Path) -> Path:
    """What a killed process leaves at this moment, elsewhere."""
    place = tmp_path / f"crash-{time.monotonic_ns()}"
    shutil.copytree(tmp_path / "0", place / "0", ignore=lambda *_: ["queue.db-shm", "lock"])
    return place


async def found(directory: Path) -> dict[str, list[int]]:
    """What is in a store when it is opened: the messages with their recipients."""
    async with JournaledStore(directory, minimum_free=0) as store:
        assert store.notices == []
        counts = await store.counts()
        listed = await store.list()
        assert counts.messages == len(listed)
        assert counts.recipients == sum(len(one.recipients) for one in listed)
        return {one.queue_id: list(one.recipients) for one in listed}


class Gate:
    """Holds the database's moves until it is opened, or has them fail."""

    def __init__(self, store: JournaledStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.error: Exception | None = None
        move_in = store._base.move_in

        async def gated(messages: list[Message]) -> None:
            self.reached.set()
            await self.open.wait()
            if self.error is not None:
                raise self.error
            await move_in(messages)

        monkeypatch.setattr(store._base, "move_in", gated)


async def test_what_a_sender_holds_is_never_journaled(store: JournaledStore) -> None:
    """Not even where its time seems past: the clock was put back between its first byte and its last."""
    one = message()
    now = time.time()
    one.created = now + 3600
    one.envelope = replace(one.envelope, options={HELD_UNTIL: f"{now + 60:.0f}"})
    one.recipients = {0: replace(one.recipients[0], next_attempt=now + 60)}
    await store.store(one)
    assert await in_database(store) == [one.queue_id]
    assert await store.due(now, 10) == []
    assert await store.next_due() == pytest.approx(now + 60, abs=1)


async def test_most_mail_never_meets_the_database(store: JournaledStore) -> None:
    kept = [message() for _ in range(20)]
    await asyncio.gather(*map(store.store, kept))
    assert await in_database(store) == []
    assert await store.counts() == Counts(20, 20, 0, 20 * kept[0].body.size)
    await asyncio.gather(*(store.record([Update(one.queue_id, 0, None)]) for one in kept))
    assert await store.counts() == Counts(0, 0, 0, 0)
    assert await in_database(store) == []


@pytest.mark.parametrize("which", ["large", "held", "later", "tried"])
async def test_what_waits_or_is_large_goes_there_at_once(store: JournaledStore, which: str) -> None:
    now = time.time()
    kept = {
        "large": large(store.spool_directory()),
        "held": message(recipient(), recipient(due=now + 600)),
        "later": message(content=bytes((1 << 20) + 1)),
        "tried": message(Recipient("a@x", attempts=1)),
    }[which]
    await store.store(kept)
    assert await in_database(store) == [kept.queue_id]


async def test_what_is_deferred_goes_there(store: JournaledStore) -> None:
    kept = message(recipient("a@x"), recipient("b@x"), recipient("c@x"))
    await store.store(kept)
    await store.record([Update(kept.queue_id, 0, None)])
    await store.record([deferred(kept, 1)])
    assert await in_database(store) == [kept.queue_id]
    there = await store.get(kept.queue_id)
    assert there is not None
    assert {number: each.attempts for number, each in there.recipients.items()} == {1: 1, 2: 0}
    await store.record([Update(kept.queue_id, 1, None), Update(kept.queue_id, 2, None)])
    assert await store.counts() == Counts(0, 0, 0, 0)


async def test_a_bounce_comes_with_what_it_is_about(store: JournaledStore, tmp_path: Path) -> None:
    kept, bounce = message(recipient("a@x"), recipient("b@x")), message(content=b"it failed")
    await store.store(kept)
    await store.record([Update(kept.queue_id, 0, None)], [bounce])
    assert await found(crashed(tmp_path)) == {kept.queue_id: [1], bounce.queue_id: [0]}


async def test_a_move_that_nobody_waits_for_ends(
    store: JournaledStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked is gone; mail in both places would be sent twice."""
    kept = message()
    await store.store(kept)
    gate = Gate(store, monkeypatch)
    asked = asyncio.create_task(store.get(kept.queue_id))
    await gate.reached.wait()
    asked.cancel()
    await asyncio.wait([asked])
    outcome = asyncio.create_task(store.record([Update(kept.queue_id, 0, None)]))
    await asyncio.sleep(0.02)
    assert not outcome.done()  # its message is on its way
    gate.open.set()
    await outcome
    assert await store.counts() == Counts(0, 0, 0, 0)
    assert await found(crashed(tmp_path)) == {}


async def test_closed_while_the_old_ones_are_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIDY_EVERY", 0.01)
    monkeypatch.setattr(module, "_FRESH_FOR", 0.0)
    store = JournaledStore(tmp_path, minimum_free=0)
    gate = Gate(store, monkeypatch)
    kept = [message() for _ in range(3)]
    await asyncio.gather(*map(store.store, kept))
    await gate.reached.wait()
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0.02)
    gate.open.set()
    await closing
    assert list((tmp_path / "0" / "journal").iterdir()) == []
    assert set(await found(tmp_path)) == {one.queue_id for one in kept}


async def test_a_move_that_is_refused_can_be_made_again(
    store: JournaledStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [message() for _ in range(3)]
    await asyncio.gather(*map(store.store, kept))
    gate = Gate(store, monkeypatch)
    gate.error = QueueFullError("full")
    gate.open.set()
    for call in (store.list(), store.retry(None), store.record([deferred(kept[0])])):
        with pytest.raises(QueueFullError):
            await call
    await store.record([Update(kept[1].queue_id, 0, None)])  # what leaves the queue leaves it
    assert (await store.counts()).messages == 2
    await store._journal.settle()
    assert set(await found(crashed(tmp_path))) == {kept[0].queue_id, kept[2].queue_id}
    gate.error = None
    await store.record([deferred(kept[0])])
    assert (await store.counts()).messages == 2
    assert len(await store.list()) == 2


async def test_everybody_who_waits_for_a_move_hears_of_it(
    store: JournaledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = message()
    await store.store(kept)
    gate = Gate(store, monkeypatch)
    gate.error = QueueFullError("full")
    calls = [asyncio.create_task(call) for call in (store.list(), store.hold([kept.queue_id]))]
    await gate.reached.wait()
    outcome = asyncio.create_task(store.record([deferred(kept)]))
    await asyncio.sleep(0.01)
    gate.open.set()
    for each in (*calls, outcome):
        with pytest.raises(QueueFullError):
            await each


async def test_crashes_between_the_steps_of_a_move(
    store: JournaledStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [message(recipient("a@x"), recipient("b@x")) for _ in range(3)]
    await asyncio.gather(*map(store.store, kept))
    await store.record([Update(kept[0].queue_id, 0, None)])
    await asyncio.sleep(0)
    expected = {one.queue_id: [0, 1] for one in kept} | {kept[0].queue_id: [1]}
    states = [crashed(tmp_path)]  # before
    move_in, forget = store._base.move_in, store._journal.forget

    async def between(messages: list[Message]) -> None:
        await move_in(messages)
        states.append(crashed(tmp_path))  # in both

    def begun(ids: object) -> asyncio.Future[None]:
        barrier = forget(ids)  # type: ignore[arg-type]
        states.append(crashed(tmp_path))  # GONE is not written
        return barrier

    monkeypatch.setattr(store._base, "move_in", between)
    monkeypatch.setattr(store._journal, "forget", begun)
    await store.list()
    states.append(crashed(tmp_path))  # after
    assert len(states) == 4
    for state in states:
        assert await found(state) == expected
    await store.record([Update(one.queue_id, number, None) for one in kept for number in (0, 1)])
    assert await found(crashed(tmp_path)) == {}


async def test_the_counts_are_exact_while_mail_moves(store: JournaledStore) -> None:
    kept = [message() for _ in range(400)]
    await asyncio.gather(*map(store.store, kept))

    async def move() -> None:
        for one in kept:
            await store._move([one.queue_id])

    moving = asyncio.create_task(move())
    seen = []
    while not moving.done():
        seen.append(await store.counts())
    assert set(seen) == {Counts(400, 400, 0, 400 * kept[0].body.size)}


async def test_due_misses_nothing_and_has_nothing_twice(store: JournaledStore) -> None:
    kept = [message() for _ in range(300)]
    await asyncio.gather(*map(store.store, kept))

    async def move() -> None:
        for at in range(0, 300, 3):
            await store._move([one.queue_id for one in kept[at : at + 3]])

    moving = asyncio.create_task(move())
    while not moving.done():
        due = [one.queue_id for one in await store.due(time.time(), 1000)]
        assert sorted(due) == sorted(one.queue_id for one in kept)
    assert len(await store.due(time.time(), 1000)) == 300


async def test_new_mail_has_its_part(store: JournaledStore) -> None:
    old = [message(recipient(due=1.0)) for _ in range(20)]
    await asyncio.gather(*map(store._base.store, old))
    new = [message() for _ in range(20)]
    await asyncio.gather(*map(store.store, new))
    ids = {one.queue_id for one in new}
    due = await store.due(time.time(), 11)
    assert sum(one.queue_id in ids for one in due) == 6
    assert len(due) == 11
    in_hand = frozenset(one.queue_id for one in due)
    assert not in_hand & {one.queue_id for one in await store.due(time.time(), 11, exclude=in_hand)}
    assert len(await store.due(time.time(), 1000)) == 40
    assert await store.due(time.time(), 0) == []


async def test_what_would_fill_memory_is_read_when_it_is_sent(
    store: JournaledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BYTES_AT_ONCE", 25_000)
    monkeypatch.setattr("relay_agent.queue.reader._READ_ALONG", 0)
    kept = [message(content=os.urandom(10_000)) for _ in range(6)]
    for one in kept:
        await store.store(one)
    due = await store.due(time.time(), 100)
    assert sorted(one.queue_id for one in due) == sorted(one.queue_id for one in kept)
    assert sum(isinstance(one.body, StoredBody) for one in due) == 4
    contents = {one.queue_id: one.body.read() for one in kept}
    assert {one.queue_id: one.body.read() for one in due} == contents


async def test_what_is_old_or_far_back_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIDY_EVERY", 0.02)
    monkeypatch.setattr(module, "_MOST_BYTES", 3 * 65_536)
    async with JournaledStore(tmp_path, minimum_free=0) as store:
        kept = [message(content=bytes(40_000)) for _ in range(6)]
        for one in kept:
            await store.store(one)
        for _ in range(200):
            # They are in the database before the journal lets go of their segments.
            if len(await in_database(store)) == 3 and store._journal.size <= 3 * 65_536:
                break
            await asyncio.sleep(0.02)
        assert sorted(await in_database(store)) == sorted(one.queue_id for one in kept[:3])
        assert store._journal.size <= 3 * 65_536


async def test_a_failing_journal_leaves_it_to_the_database(
    store: JournaledStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "no descriptors")

    with monkeypatch.context() as patch:
        patch.setattr(store._journal._segments, "append", fail)
        kept = [message() for _ in range(10)]
        await asyncio.gather(*map(store.store, kept))
        assert len(await in_database(store)) == 10
        assert len(await found(crashed(tmp_path))) == 10
    await store.record([Update(one.queue_id, 0, None) for one in kept])
    assert await store.counts() == Counts(0, 0, 0, 0)


async def test_what_both_refused_does_not_come_back(
    store: JournaledStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It got no 250; and when it is tried again under its id it counts."""
    kept = message()

    async def full(_: Message) -> None:
        raise QueueFullError("full")

    with monkeypatch.context() as patch:
        patch.setattr(store._journal._syncer, "begin", lambda loop, fd, done: done(OSError(errno.EIO, "broken")))
        patch.setattr(store._base, "store", full)
        with pytest.raises(QueueFullError):
            await store.store(kept)
        assert await found(crashed(tmp_path)) == {}
    assert (await store.counts()).messages == 0
    store._journal._resting_until = 0.0
    await store.store(kept)
    assert await in_database(store) == []
    await store._journal.settle()
    assert list(await found(crashed(tmp_path))) == [kept.queue_id]


async def test_an_id_that_is_in_use(store: JournaledStore) -> None:
    kept = message()
    await store.store(kept)
    with pytest.raises(Exception, match="UNIQUE"):
        await store.store(replace(message(), queue_id=kept.queue_id))
    assert whole(await store.get(kept.queue_id)) == whole(kept)


async def test_the_same_id_said_twice_by_the_operator(store: JournaledStore) -> None:
    kept = message()
    await store.store(kept)
    assert await store.delete([kept.queue_id, kept.queue_id]) == 1
    assert (await store.counts()).messages == 0


async def test_damage_in_the_journal_is_told_and_set_aside(tmp_path: Path) -> None:
    told: list[str] = []
    kept = [message(recipient("a@x"), content=b"The sum is 1000 crowns.\r\n") for _ in range(5)]
    async with JournaledStore(tmp_path, minimum_free=0, on_damage=told.append) as store:
        for one in kept:
            await store.store(one)
        live = store._journal.live[kept[2].queue_id]
        os.pwrite(live.segment.fd, b"9", live.offset + live.length - 14)
        assert len(await store.due(time.time(), 10)) == 4
        assert len(await store.list()) == 4
        for _ in range(2):
            with pytest.raises(QueueDamagedError, match="cannot be read"):
                await store.record([deferred(kept[2])])
        assert (await store.counts()).messages == 5
        (words,) = told
        assert kept[2].queue_id in words
    async with JournaledStore(tmp_path, minimum_free=0) as store:
        (notice,) = store.notices
        (aside,) = (tmp_path / "0").glob("journal.damaged-*/*")
        assert str(aside) in notice
        assert b"sum is 9000 crowns" in aside.read_bytes()
        assert (await store.counts()).messages == 4
    async with JournaledStore(tmp_path, minimum_free=0) as store:
        assert store.notices == []


async def test_what_is_damaged_but_delivered_is_done_with(store: JournaledStore) -> None:
    kept, bounce = message(), message(content=b"it failed")
    await store.store(kept)
    live = store._journal.live[kept.queue_id]
    os.pwrite(live.segment.fd, b"\0" * 20, live.offset)
    await store.record([Update(kept.queue_id, 0, None)], [bounce])
    assert [one.queue_id for one in await store.list()] == [bounce.queue_id]


async def test_mail_that_arrives_at_the_end(tmp_path: Path) -> None:
    """It is either accepted and there, or its session hears that it is not; nobody waits for ever."""
    store = JournaledStore(tmp_path, minimum_free=0)
    kept = [message() for _ in range(30)]
    calls = []
    for one in kept:
        calls.append(asyncio.create_task(store.store(one)))
        if len(calls) == 20:
            await asyncio.sleep(0)
            closing = asyncio.create_task(store.close())
            await asyncio.sleep(0)
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
    await closing
    accepted = [one.queue_id for one, result in zip(kept, results, strict=True) if result is None]
    assert len(accepted) >= 20
    assert all(result is None or isinstance(result, RuntimeError) for result in results)
    assert sorted(await found(tmp_path)) == sorted(accepted)


async def test_an_outcome_after_the_end(tmp_path: Path) -> None:
    store = JournaledStore(tmp_path, minimum_free=0)
    kept = message()
    await store.store(kept)
    await store.close()
    await store.close()
    with pytest.raises(RuntimeError, match="closed"):
        await store.record([Update(kept.queue_id, 0, None)])
    assert list((tmp_path / "0" / "journal").iterdir()) == []
    assert list(await found(tmp_path)) == [kept.queue_id]


async def test_handed_over_with_mail_that_the_disk_did_not_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JournaledStore(tmp_path, minimum_free=0)
    kept = [message(recipient("a@x"), recipient("b@x")) for _ in range(3)]
    await asyncio.gather(*map(store.store, kept))
    await store.record([Update(kept[0].queue_id, 0, None), Update(kept[1].queue_id, 1, None)])
    gate = Gate(store, monkeypatch)
    gate.error = QueueFullError("full")
    gate.open.set()
    await store.close()
    # An older release, which knows no journal, sees none of it, and leaves it alone.
    assert len(list((tmp_path / "0" / "journal").glob("*.log"))) == 1
    assert await found(tmp_path) == {
        kept[0].queue_id: [1],
        kept[1].queue_id: [0],
        kept[2].queue_id: [0, 1],
    }
    async with EmbeddedStore(tmp_path) as base:
        assert (await base.counts()).messages == 3


async def test_a_move_is_all_or_nothing_and_made_once(tmp_path: Path) -> None:
    async with EmbeddedStore(tmp_path, minimum_free=1 << 60) as base:
        kept = [message() for _ in range(5)]
        await base.move_in(kept[:2])  # its room was kept free by the journal
        await base.move_in(kept)
        assert (await base.counts()).messages == 5
        bad = replace(message(), envelope=replace(kept[0].envelope, reverse_path="\ud800"))
        with pytest.raises(UnicodeEncodeError):
            await base.move_in([message(), bad])
        assert (await base.counts()).messages == 5
    assert MoveIn(kept).weight > 5 * 512
