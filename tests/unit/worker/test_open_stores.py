# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening, taking over and letting go of stores; what their mail needs to leave, tests/integration/agent shows."""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay_agent.config.schema import Config
from relay_agent.control.protocol import FAILED, MOVED, WAITS, ControlError
from relay_agent.dkim.signer import Signer
from relay_agent.observability.log import MailLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.holdings import open_one
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import Envelope, Message, QueueFullError, Recipient, new_queue_id
from relay_agent.worker import open_stores
from relay_agent.worker.open_stores import OpenStores


class Owner:
    """The worker, as far as its stores ask it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ending = False
        self.released: list[int] = []
        self.let_go = asyncio.Event()
        config = Config.model_validate(
            {
                "hostname": "relay.test",
                "listener": [{"address": "127.0.0.1", "port": 2525, "tls": "none", "auth": "none"}],
                "submission": {"trusted_networks": ["192.0.2.0/24"]},
                "queue": {"directory": str(directory)},
            }
        )
        self.log = io.StringIO()
        self.events = log = MailLog(self.log)
        self.stores = OpenStores(
            config,
            log,
            signer=Signer(config.dkim, log),
            suppression=None,
            damaged=lambda number, what: None,
            ending=lambda: self.ending,
            released=self._hear,
        )

    def _hear(self, number: int) -> None:
        self.released.append(number)
        self.let_go.set()

    async def leave(self, number: int) -> str:
        """What a worker that is gone leaves behind: a store with a message for later. Returns its queue id."""
        store = await asyncio.to_thread(open_one, self.directory, number, lambda *_: None)
        now = time.time()
        later = Recipient("bob@beta.test", attempts=1, next_attempt=now + 3600, last_attempt=now, last_reply="busy")
        message = Message(
            new_queue_id(), Envelope("a@alpha.test", "a"), {0: later}, MemoryBody(b"x\r\n"), now, now + 9e4
        )
        await store.store(message)
        await store.close()
        return message.queue_id


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Owner]:
    owner = Owner(tmp_path / "queue")
    yield owner
    await owner.stores.close(1.0)


async def test_its_own_is_the_first_that_nobody_has(owner: Owner) -> None:
    other = await asyncio.to_thread(open_one, owner.directory, 0, lambda *_: None)
    assert (await owner.stores.open_own(0)).number == 1
    assert list(owner.stores.holdings) == [1]
    await other.close()


async def test_a_command_goes_to_the_store_that_it_names(owner: Owner) -> None:
    queue_id = await owner.leave(3)
    await owner.stores.open_own(3)
    assert (await owner.stores.run("queue.show", 3, {"id": queue_id}))["id"] == queue_id
    with pytest.raises(ControlError) as caught:
        await owner.stores.run("queue.show", 4, {"id": queue_id})
    assert caught.value.code == MOVED


async def test_mail_of_a_worker_that_is_gone_is_taken_over_until_it_has_left(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_stores, "_LOOK_AGAIN", 0.01)
    await owner.stores.open_own(0)
    queue_id = await owner.leave(1)
    assert await owner.stores.adopt(1)
    assert await owner.stores.adopt(1), "again is as good"
    await asyncio.sleep(0.1)
    assert owner.released == []
    await owner.stores.run("queue.delete", 1, {"ids": [queue_id]})
    async with asyncio.timeout(10):
        await owner.let_go.wait()
    assert owner.released == [1]
    assert list(owner.stores.holdings) == [0]
    # Free for another.
    await (await asyncio.to_thread(open_one, owner.directory, 1, lambda *_: None)).close()


async def test_an_empty_one_is_let_go_at_once(owner: Owner) -> None:
    assert not await owner.stores.adopt(0)
    await (await asyncio.to_thread(open_one, owner.directory, 0, lambda *_: None)).close()


async def test_one_that_somebody_has_is_refused(owner: Owner) -> None:
    other = await asyncio.to_thread(open_one, owner.directory, 0, lambda *_: None)
    with pytest.raises(ControlError, match="store 0 is in use") as caught:
        await owner.stores.adopt(0)
    assert caught.value.code == FAILED
    await other.close()


async def test_who_is_ending_takes_nothing_over(owner: Owner) -> None:
    await owner.leave(0)
    owner.ending = True
    assert not await owner.stores.adopt(0)
    assert owner.stores.holdings == {}


async def test_one_that_the_disk_has_no_room_for_is_left_to_a_later_look(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.leave(0)

    free = iter(range(3))

    def full(*_: object) -> None:
        raise QueueFullError(f"0: database or disk is full: {next(free)} MiB free")

    with monkeypatch.context() as patch:
        patch.setattr("relay_agent.queue.embedded.replay", full)
        for _ in range(3):
            with pytest.raises(ControlError, match="disk is full") as caught:
                await owner.stores.adopt(0)
            assert caught.value.code == WAITS
    owner.events.flush()
    assert owner.log.getvalue().count("queue_not_taken_over") == 1
    assert await owner.stores.adopt(0)


async def test_one_that_cannot_be_read_once_open_is_let_go(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept open by a worker that does not carry it on, nobody could for as long as that lives."""
    await owner.leave(0)

    async def full(_: JournaledStore) -> None:
        raise QueueFullError("0: disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(JournaledStore, "counts", full)
        with pytest.raises(QueueFullError):
            await owner.stores.adopt(0)
    assert await owner.stores.adopt(0)
