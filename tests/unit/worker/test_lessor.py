# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases over the channel to a supervisor that is stopped now and then."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from relay_agent.leases import LeaseOffice, Leases
from relay_agent.supervisor.channel import Channel
from relay_agent.worker.lessor import ChannelLessor

LIMIT = 1000


class Host:
    """An office that does not answer while it is `stopped`, and one worker."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.office = LeaseOffice(lambda key, holders: None)
        self.asked = 0
        self.runs = asyncio.Event()
        self.runs.set()
        self.supervisor = Channel(
            ours,
            {"lease.take": self._take, "lease.give": lambda a: self.office.give(1, a["key"], a["amount"])},
            lambda: None,
        )
        self.worker = Channel(theirs, {}, lambda: None)
        self.leases = Leases(ChannelLessor(self.worker))

    async def _take(self, arguments: dict[str, int | str]) -> int:
        self.asked += 1
        await self.runs.wait()
        return self.office.take(1, str(arguments["key"]), int(arguments["limit"]), int(arguments["amount"]))


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host(*socket.socketpair())
    yield host
    host.supervisor.close()
    host.worker.close()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_answer_after_any_time_counts(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    late = 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + late)
    taken = 0
    for number in range(1, 7):
        host.runs.clear()
        while host.asked < number:
            assert host.leases.take("k", LIMIT)
            taken += 1
            await settle()
        late += 3600
        await settle()
        host.runs.set()
        await settle()
    # All of it is to be had by the one who holds it; before, each answer took an eighth of it away for good.
    while host.leases.take("k", LIMIT):
        taken += 1
        await settle()
    assert taken == LIMIT
    for _ in range(taken):
        host.leases.give("k")
    host.leases.retire()
    await settle()
    assert host.office.held("k") == 0


async def test_the_end_of_the_supervisor_ends_the_wait(host: Host) -> None:
    host.runs.clear()
    assert host.leases.take("k", 8)
    await settle()
    host.supervisor.close()
    await settle()
    assert not host.leases.take("k", 8)
