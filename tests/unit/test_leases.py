# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio

import pytest

from relay_agent.leases import LeaseOffice, Leases


class Line:
    """A way to the office, which books what it grants at once; the answer comes when it is let through. `gone`: there
    is no office any more."""

    def __init__(self, office: LeaseOffice, holder: int) -> None:
        self.office = office
        self.holder = holder
        self.through = asyncio.Event()
        self.through.set()
        self.gone = False
        self.asked = 0

    async def take(self, key: str, limit: int, amount: int) -> int:
        self.asked += 1
        if self.gone:
            raise EOFError
        granted = self.office.take(self.holder, key, limit, amount)
        await asyncio.sleep(0)
        await self.through.wait()
        return granted

    def give(self, key: str, amount: int) -> None:
        self.office.give(self.holder, key, amount)


class Host:
    """Some workers under one office."""

    def __init__(self, workers: int) -> None:
        self.office = LeaseOffice(self._recall)
        self.lines = [Line(self.office, number) for number in range(workers)]
        self.workers = [Leases(line) for line in self.lines]

    def _recall(self, key: str, holders: list[int]) -> None:
        for holder in holders:
            self.workers[holder].recalled(key)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def taken(leases: Leases, limit: int, tries: int) -> int:
    count = 0
    for _ in range(tries):
        count += leases.take("k", limit)
        await settle()
    return count


def test_alone_the_limit_is_exact() -> None:
    leases = Leases()
    assert [leases.take("k", 2) for _ in range(3)] == [True, True, False]
    leases.give("k")
    assert leases.take("k", 2)


@pytest.mark.parametrize("limit", [1, 2, 10, 100, 5000])
async def test_the_whole_limit_is_to_be_had_by_one_of_many(limit: int) -> None:
    host = Host(3)
    assert await taken(host.workers[0], limit, limit + 50) == limit


@pytest.mark.parametrize("limit", [1, 2, 10, 100, 1000])
async def test_many_together_exceed_it_by_the_credit_at_most(limit: int) -> None:
    host = Host(4)
    count = 0
    for _ in range(limit):
        for worker in host.workers:
            count += worker.take("k", limit)
        await settle()
    await asyncio.sleep(0.15)  # what some had in hand while others were refused has been called back
    for worker in host.workers:
        count += await taken(worker, limit, limit)
    assert limit <= count <= limit + 4 * max(1, min(64, limit // 8))
    assert host.office.held("k") <= limit


async def test_what_one_does_not_use_another_gets() -> None:
    host = Host(2)
    first, second = host.workers
    assert await taken(first, 16, 16) == 16
    for _ in range(15):
        first.give("k")
    await settle()
    # What the first keeps in hand is called back as soon as it is missed.
    first_time = await taken(second, 16, 15)
    await asyncio.sleep(0.15)
    assert first_time + await taken(second, 16, 15) >= 15


async def test_a_silent_office_leaves_what_is_held_and_the_credit() -> None:
    host = Host(1)
    (leases,) = host.workers
    host.lines[0].through.clear()
    assert await taken(leases, 80, 50) == 10
    host.lines[0].through.set()
    await settle()
    assert await taken(leases, 80, 100) == 70


async def test_without_an_office_there_is_the_credit() -> None:
    host = Host(1)
    host.lines[0].gone = True
    assert await taken(host.workers[0], 80, 50) == 10


async def test_late_answers_cost_nothing_of_the_limit() -> None:
    """As of a supervisor that is stopped now and then: what it granted is used, or given back."""
    host = Host(2)
    first, second = host.workers
    for _ in range(20):
        host.lines[0].through.clear()
        assert first.take("k", 1000)
        await settle()
        host.lines[0].through.set()
        await settle()
        first.give("k")
        first.recalled("k")
    assert host.office.held("k") == first.used("k") == 0
    assert await taken(second, 1000, 1000) == 1000


async def test_an_answer_after_retirement_is_given_back() -> None:
    host = Host(1)
    (leases,) = host.workers
    host.lines[0].through.clear()
    leases.take("k", 80)
    leases.give("k")
    await settle()
    assert host.office.held("k") > 0
    leases.retire()
    host.lines[0].through.set()
    await settle()
    assert host.office.held("k") == 0


async def test_the_dead_hold_nothing() -> None:
    host = Host(2)
    await taken(host.workers[0], 100, 100)
    assert host.office.held("k") == 100
    host.office.forget(0)
    assert host.office.held("k") == 0
    assert await taken(host.workers[1], 100, 100) == 100


async def test_the_books_survive_a_replacement() -> None:
    host = Host(1)
    await taken(host.workers[0], 100, 20)
    other = LeaseOffice()
    other.restore(host.office.export())
    assert other.held("k") == host.office.held("k") >= 20
    other.give(0, "k", other.held("k"))
    assert other.export() == {}


async def test_who_retires_keeps_nothing_for_later() -> None:
    host = Host(2)
    first, second = host.workers
    assert await taken(first, 16, 4) == 4
    first.retire()
    assert host.office.held("k") == 4
    assert await taken(second, 16, 12) == 12
    first.give("k")
    assert host.office.held("k") <= 15
