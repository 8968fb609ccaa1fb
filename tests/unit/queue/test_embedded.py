# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded store, alone and behind the journal: what goes in comes out, once, and only when it is due."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from relay_agent.queue.body import FileBody, MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import (
    AWAITS,
    Counts,
    Envelope,
    QueueStore,
    Recipient,
    RecipientState,
    Update,
    new_queue_id,
)
from relay_agent.queue.reader import StoredBody
from relay_agent.queue.writer import Pending
from tests.unit.queue.messages import Kind, Opened, large, message, recipient, whole


async def test_it_is_a_queue_store(store: Opened) -> None:
    typed: QueueStore = store
    assert await typed.counts() == Counts(0, 0, 0, 0)
    assert await typed.next_due() is None
    assert await typed.due(1e12, 10) == []
    assert await typed.list() == []
    assert await typed.get("nothing") is None


@pytest.mark.parametrize("size", [0, 1, 4096, 300_000])
async def test_what_is_stored_is_found_after_reopening(tmp_path: Path, kind: Kind, size: int) -> None:
    kept = message(
        Recipient("bøb@beta.test", {"NOTIFY": "NEVER", "ORCPT": "rfc822;x"}, next_attempt=5.0),
        Recipient(
            "carol@beta.test",
            state=RecipientState.HELD,
            attempts=3,
            next_attempt=7.5,
            last_attempt=6.25,
            last_status="4.4.1",
            last_reply="später",
            last_host="mx.beta.test",
        ),
        content=b"\x00\xff\r\n" * (size // 4) + b"x" * (size % 4),
    )
    null = message()
    null.envelope = Envelope("")
    async with kind(tmp_path) as store:
        await store.store(kept)
        await store.store(null)
        assert whole(await store.get(kept.queue_id)) == whole(kept)
    async with kind(tmp_path) as store:
        assert store.notices == []
        assert whole(await store.get(kept.queue_id)) == whole(kept)
        assert whole(await store.get(null.queue_id)) == whole(null)
        assert await store.counts() == Counts(2, 3, 1, size + null.body.size)


async def test_a_large_body_stays_a_file(tmp_path: Path, kind: Kind) -> None:
    async with kind(tmp_path) as store:
        kept = large(store.spool_directory())
        content = kept.body.read()
        await store.store(kept)
        assert isinstance(kept.body, FileBody)
        assert kept.body.path == tmp_path / "0" / "bodies" / kept.queue_id
        assert kept.body.read() == content
        assert list(store.spool_directory().iterdir()) == []
    async with kind(tmp_path) as store:
        (found,) = await store.due(time.time(), 10)
        assert whole(found) == whole(kept)
        assert (await store.counts()).bytes == len(content)
        await store.record([Update(kept.queue_id, 0, None)])
        assert list((tmp_path / "0" / "bodies").iterdir()) == []
        assert await store.counts() == Counts(0, 0, 0, 0)
        with pytest.raises(FileNotFoundError):
            found.body.read()


async def test_due_is_by_time_and_by_recipient(embedded: EmbeddedStore) -> None:
    late = message(recipient("a@x", 30), recipient("b@x", 20))
    early = message(recipient("c@x", 10), recipient("d@x", 40))
    held = message(Recipient("e@x", state=RecipientState.HELD))
    for kept in (late, early, held):
        await embedded.store(kept)
    assert await embedded.due(9.9, 10) == []
    assert [m.queue_id for m in await embedded.due(20, 10)] == [early.queue_id, late.queue_id]
    (first,) = await embedded.due(20, 1)
    assert first.queue_id == early.queue_id
    assert list(first.recipients) == [0]
    (other,) = await embedded.due(35, 10, exclude=frozenset({early.queue_id}))
    assert list(other.recipients) == [0, 1]
    assert await embedded.due(35, 0) == []
    assert await embedded.next_due() == 10
    assert await embedded.next_due(after=10) == 20
    assert await embedded.next_due(after=40) is None


async def test_outcomes(store: Opened) -> None:
    kept = message(recipient("a@x", 1), recipient("b@x", 2), recipient("c@x", 3))
    await store.store(kept)
    later = replace(
        kept.recipients[1], attempts=1, next_attempt=50.0, last_attempt=2.5, last_status="4.2.0", last_reply="busy"
    )
    bounce = message(recipient("alice@alpha.test", 4), content=b"it failed")
    await store.record(
        [Update(kept.queue_id, 0, None), Update(kept.queue_id, 1, later), Update(kept.queue_id, 9, None)], [bounce]
    )
    found = await store.get(kept.queue_id)
    assert found is not None
    assert found.recipients == {1: later, 2: kept.recipients[2]}
    assert whole(await store.get(bounce.queue_id)) == whole(bounce)
    assert await store.counts() == Counts(2, 3, 0, kept.body.size + bounce.body.size)
    await store.record([Update(kept.queue_id, 1, None), Update(kept.queue_id, 2, None), Update("gone", 0, None)])
    assert await store.get(kept.queue_id) is None
    await store.record([Update(kept.queue_id, 1, later)])
    assert await store.counts() == Counts(1, 1, 0, bounce.body.size)


async def test_outcomes_of_one_message_recorded_at_once(store: Opened) -> None:
    kept = message(*(recipient(f"r{n}@d{n}.test", 1) for n in range(50)))
    await store.store(kept)
    await asyncio.gather(*(store.record([Update(kept.queue_id, n, None)]) for n in range(49)))
    assert await store.counts() == Counts(1, 1, 0, kept.body.size)
    await asyncio.gather(*(store.record([Update(kept.queue_id, 49, None)]) for _ in range(5)))
    assert await store.counts() == Counts(0, 0, 0, 0)


async def test_what_a_peer_said_in_raw_bytes_is_kept_as_far_as_it_is_text(store: Opened) -> None:
    kept = message()
    await store.store(kept)
    said = b"caf\xe9 \x00".decode("utf-8", "surrogateescape")
    await store.record([Update(kept.queue_id, 0, replace(kept.recipients[0], last_reply=said))])
    found = await store.get(kept.queue_id)
    assert found is not None
    assert found.recipients[0].last_reply == "caf? \x00"


async def test_one_bad_operation_does_not_fail_its_neighbours(embedded: EmbeddedStore) -> None:
    first = message()
    await embedded.store(first)
    twin = message()
    twin.queue_id = first.queue_id
    unwritable = message(recipient("\ud800@x"))
    good = [message() for _ in range(20)]
    results = await asyncio.gather(
        *(embedded.store(m) for m in [*good[:10], twin, unwritable, *good[10:]]), return_exceptions=True
    )
    assert [type(result) for result in results if result is not None] == [sqlite3.IntegrityError, UnicodeEncodeError]
    assert (await embedded.counts()).messages == 21
    with pytest.raises(ValueError, match="no recipients"):
        await embedded.store(replace(message(), recipients={}))


async def test_concurrent_calls_share_a_sync(embedded: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    transactions = []
    transact = embedded._writer._transact

    def counted(batch: Sequence[Pending]) -> None:
        transactions.append(len(batch))
        transact(batch)

    monkeypatch.setattr(embedded._writer, "_transact", counted)
    await asyncio.gather(*(embedded.store(message()) for _ in range(300)))
    assert sum(transactions) == 300
    assert len(transactions) < 60
    assert (await embedded.counts()).messages == 300
    assert len(await embedded.list()) == 300


async def test_the_list_is_in_order_and_in_pages(store: Opened) -> None:
    kept = [message(created=1000.0 + number) for number in range(10)]
    for one in reversed(kept):
        await store.store(one)
    listed = await store.list()
    assert [whole(m) for m in listed] == [whole(m) for m in kept]
    assert all(isinstance(m.body, StoredBody) for m in listed)
    assert [m.queue_id for m in await store.list(3, 4)] == [m.queue_id for m in kept[4:7]]
    assert await store.list(3, 40) == []


async def test_operator_commands(store: Opened) -> None:
    far = time.time() + 3600
    kept = [message(recipient("a@x", far), recipient("b@x", far)) for _ in range(4)]
    for one in kept:
        await store.store(one)
    ids = [one.queue_id for one in kept]
    assert await store.hold([ids[0]]) == 2
    assert (await store.counts()).held == 2
    assert await store.retry([ids[0], "unknown"]) == 0
    assert await store.retry([ids[1]]) == 2
    assert [m.queue_id for m in await store.due(time.time(), 10)] == [ids[1]]
    assert await store.retry(None) == 6
    assert {m.queue_id for m in await store.due(time.time(), 10)} == set(ids[1:])
    assert await store.release([ids[0]]) == 2
    assert len(await store.due(time.time(), 10)) == 4
    assert await store.delete([ids[0], ids[1], ids[0], "unknown"]) == 2
    assert await store.delete([]) == 0
    assert (await store.counts()).messages == 2


async def test_retry_of_a_large_queue_goes_in_portions(store: Opened) -> None:
    far = time.time() + 3600
    await asyncio.gather(*(store.store(message(*(recipient(due=far) for _ in range(100)))) for _ in range(45)))
    assert await store.retry(None) == 4500
    assert len(await store.due(time.time(), 100)) == 45
    assert await store.next_due(after=time.time()) is None


async def test_a_cancelled_store_is_done_all_the_same(store: Opened) -> None:
    for kept in (message(), large(store.spool_directory())):
        task = asyncio.create_task(store.store(kept))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(200):
            if await store.get(kept.queue_id):
                break
            await asyncio.sleep(0.01)
        assert whole(await store.get(kept.queue_id)) == whole(kept)


async def test_the_file_of_a_refused_message_is_removed(store: Opened) -> None:
    kept, refused = message(), large(store.spool_directory())
    await store.store(kept)
    refused.queue_id = kept.queue_id
    assert isinstance(refused.body, FileBody)
    with pytest.raises(sqlite3.IntegrityError):
        await store.store(refused)
    assert not refused.body.path.exists()
    assert files_of(store) == []
    first, second = large(store.spool_directory()), large(store.spool_directory(), 5000)
    await store.store(first)
    second.queue_id = first.queue_id
    with pytest.raises(FileExistsError):
        await store.store(second)
    assert whole(await store.get(first.queue_id)) == whole(first)
    assert len(files_of(store)) == 1


async def test_the_file_of_a_refused_bounce_is_given_back(store: Opened) -> None:
    kept, bounce = message(), large(store.spool_directory())
    await store.store(kept)
    bounce.queue_id = kept.queue_id
    assert isinstance(bounce.body, FileBody)
    arrived = bounce.body.path
    with pytest.raises(sqlite3.IntegrityError):
        await store.record([], [bounce])
    assert bounce.body.path == arrived
    bounce.queue_id = new_queue_id()
    await store.record([Update(kept.queue_id, 0, None)], [bounce])
    assert whole(await store.get(bounce.queue_id)) == whole(bounce)
    assert len(files_of(store)) == 1


def files_of(store: Opened) -> list[Path]:
    """What lies in the spool and among the bodies."""
    spool = store.spool_directory()
    return [*spool.iterdir(), *(spool.parent / "bodies").iterdir()]


async def test_a_bounce_in_a_file(store: Opened) -> None:
    kept, bounce = message(), large(store.spool_directory())
    await store.store(kept)
    await store.record([Update(kept.queue_id, 0, None)], [bounce])
    (found,) = await store.list()
    assert whole(found) == whole(bounce)


async def test_bodies_beyond_what_is_read_along_are_read_later(
    embedded: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_agent.queue.reader._READ_ALONG", 2500)
    kept = [message(recipient(due=float(n)), content=bytes([n]) * 1000) for n in range(5)]
    for one in kept:
        await embedded.store(one)
    found = await embedded.due(100, 10)
    assert [type(m.body) for m in found] == [MemoryBody] * 2 + [StoredBody] * 3
    assert [whole(m) for m in found] == [whole(m) for m in kept]
    assert [len(b) for b in found[4].body.blocks(600)] == [600, 400]
    await embedded.delete([kept[4].queue_id])
    with pytest.raises(FileNotFoundError):
        found[4].body.read()


async def test_a_closed_store_says_so(tmp_path: Path, kind: Kind) -> None:
    store = kind(tmp_path)
    waiting = [asyncio.ensure_future(store.store(message())) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*waiting)
    await store.close()
    with pytest.raises(RuntimeError, match="closed"):
        await store.store(message())
    with pytest.raises(RuntimeError, match="closed"):
        await store.counts()
    async with kind(tmp_path) as store:
        assert (await store.counts()).messages == 50


@pytest.mark.parametrize("queue_id", ["", "../../etc/passwd", "A/B", "A.B", "\u00c4"])
async def test_a_queue_id_is_no_path(store: Opened, queue_id: str) -> None:
    kept = message()
    kept.queue_id = queue_id
    with pytest.raises(ValueError, match="not a queue id"):
        await store.store(kept)


async def test_what_waits_for_a_site_is_found_by_its_domain(store: EmbeddedStore) -> None:
    def kept(address: str, **more: object) -> Recipient:
        return Recipient(address, {AWAITS: "x", "NOTIFY": "NEVER"}, next_attempt=1e11, **more)  # type: ignore[arg-type]

    first = message(kept("bob@Site.test"), kept("carol@site.test"), kept("dave@other.test"), recipient("eve@site.test"))
    second = message(kept("bob@site.test"))
    held = message(kept("bob@site.test", state=RecipientState.HELD))
    claimed = message(Recipient("bob@site.test", {"ORCPT": 'rfc822;"AWAITS":'}))
    for each in (first, second, held, claimed):
        await store.store(each)
    found = await store.awaiting(lambda domain: domain == "site.test")
    assert found == [(first.queue_id, "site.test"), (second.queue_id, "site.test")]
    assert await store.awaiting(lambda domain: domain == "other.test") == [(first.queue_id, "other.test")]
    assert await store.awaiting(lambda _: False) == []
