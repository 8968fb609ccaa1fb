# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise behind the 250: first on the disk, then handed on, and counted."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay_agent.accounts.verifier import Verifier
from relay_agent.config.load import read_config
from relay_agent.observability.log import MailLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Envelope, Message, QueueFullError, Recipient, new_queue_id
from relay_agent.submission.service import SubmissionService


class Carrier:
    """Takes what it is given, and looks whether a restart would find it."""

    def __init__(self, queue: Path) -> None:
        self.queue = queue
        self.taken: list[str] = []

    def submit(self, message: Message) -> None:
        assert any(path.stat().st_size for path in self.queue.rglob("*") if path.is_file())
        self.taken.append(message.queue_id)


@pytest.fixture
def carrier(tmp_path: Path) -> Carrier:
    return Carrier(tmp_path / "queue")


async def service(directory: Path, carrier: Carrier, store: EmbeddedStore) -> AsyncIterator[SubmissionService]:
    path = directory / "agent.toml"
    path.write_text('hostname = "relay.test"\n[[listener]]\naddress = "127.0.0.1"\nport = 2587\ntls = "none"\n')
    verifier = Verifier({})
    yield SubmissionService(
        config=read_config(path),
        store=store,
        carrier=carrier,
        verifier=verifier,
        events=MailLog(),
        tls_context=None,
    )
    verifier.close()


def message(body: bytes = b"Subject: x\r\n\r\nbody\r\n") -> Message:
    now = time.time()
    recipients = {0: Recipient("bob@beta.test")}
    return Message(
        new_queue_id(now), Envelope("alice@alpha.test", "alice"), recipients, MemoryBody(body), now, now + 60
    )


async def test_what_is_accepted_is_kept_before_it_is_on_its_way(tmp_path: Path, carrier: Carrier) -> None:
    first, second = message(), message(b"x" * 1000)
    async with EmbeddedStore(tmp_path / "queue", minimum_free=0) as store:
        async for ours in service(tmp_path, carrier, store):
            await ours.accept(first)
            await ours.accept(second)
            assert carrier.taken == [first.queue_id, second.queue_id]
            assert ours.counters["accepted"] == 2
            assert ours.counters["accepted_bytes"] == first.body.size + 1000
            assert ours.counters["commit_microseconds"] > 0
    async with EmbeddedStore(tmp_path / "queue", minimum_free=0) as store:
        found = await store.get(first.queue_id)
        assert found is not None
        assert found.body.read() == b"Subject: x\r\n\r\nbody\r\n"


async def test_what_the_disk_refuses_is_neither_handed_on_nor_counted(tmp_path: Path, carrier: Carrier) -> None:
    async with EmbeddedStore(tmp_path / "queue", minimum_free=1 << 62) as store:
        async for ours in service(tmp_path, carrier, store):
            with pytest.raises(QueueFullError):
                await ours.accept(message())
            assert carrier.taken == []
            assert not ours.counters
