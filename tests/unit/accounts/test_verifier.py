# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from relay_agent.accounts import verifier as module
from relay_agent.accounts.hashing import DUMMY_HASH, cost_of, dummy_hash, hash_password, verify_password
from relay_agent.accounts.store import Account
from relay_agent.accounts.verifier import Verifier, VerifierBusyError

ALICE = Account("alice", hash_password("right"))


@pytest.fixture
async def verifier() -> AsyncIterator[Verifier]:
    verifier = Verifier({"alice": ALICE})
    yield verifier
    verifier.close()


async def test_who_may_and_who_may_not(verifier: Verifier) -> None:
    assert await verifier.verify("alice", b"right") == ALICE
    assert await verifier.verify("Alice", b"right") == ALICE
    assert await verifier.verify("alice", b"wrong") is None
    assert await verifier.verify("nobody", b"right") is None


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "\ud800", "x" * 100_000, "alice\0"])
async def test_impossible_names_are_unknown_names(verifier: Verifier, name: str) -> None:
    assert await verifier.verify(name, b"right") is None


async def test_a_success_is_remembered_and_a_failure_is_not(verifier: Verifier) -> None:
    await verifier.verify("alice", b"right")
    await verifier.verify("alice", b"wrong")
    verifier.close()  # from here on nothing can be hashed
    assert await verifier.verify("alice", b"right") == ALICE
    with pytest.raises(RuntimeError, match="shutdown"):
        await verifier.verify("alice", b"wrong")


async def test_what_is_remembered_ends() -> None:
    verifier = Verifier({"alice": ALICE}, remember=0.0)
    assert await verifier.verify("alice", b"right") == ALICE
    verifier.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        await verifier.verify("alice", b"right")


async def test_a_changed_account_is_asked_again(verifier: Verifier) -> None:
    assert await verifier.verify("alice", b"right")
    verifier.reload({"alice": replace(ALICE, hash=hash_password("new"))})
    assert await verifier.verify("alice", b"right") is None
    assert await verifier.verify("alice", b"new")
    verifier.reload({"alice": replace(ALICE, disabled=True)})
    assert await verifier.verify("alice", b"right") is None
    verifier.reload({})
    assert await verifier.verify("alice", b"right") is None
    assert len(verifier) == 0


async def test_an_unchanged_account_stays_remembered(verifier: Verifier) -> None:
    await verifier.verify("alice", b"right")
    verifier.reload({"alice": replace(ALICE), "bob": Account("bob", ALICE.hash)})
    verifier.close()
    assert await verifier.verify("alice", b"right") == ALICE


async def test_a_change_during_the_check_counts(verifier: Verifier) -> None:
    check = asyncio.create_task(verifier.verify("alice", b"right"))
    await asyncio.sleep(0)
    verifier.reload({"alice": replace(ALICE, disabled=True)})
    assert await check is None


async def test_too_many_at_once_are_told_to_come_again() -> None:
    verifier = Verifier({"alice": ALICE}, threads=1, max_waiting=2)
    try:
        checks = [asyncio.create_task(verifier.verify("alice", b"%d" % number)) for number in range(10)]
        results = await asyncio.gather(*checks, return_exceptions=True)
        assert sum(isinstance(result, VerifierBusyError) for result in results) == 7
        assert results.count(None) == 3
        assert await verifier.verify("alice", b"right") == ALICE
    finally:
        verifier.close()


async def test_the_same_sign_in_at_the_same_time_is_checked_once() -> None:
    verifier = Verifier({"alice": ALICE}, threads=1, max_waiting=0)
    try:
        assert await asyncio.gather(*(verifier.verify("alice", b"right") for _ in range(50))) == [ALICE] * 50
    finally:
        verifier.close()


async def test_who_hangs_up_does_not_take_the_answer_from_others(verifier: Verifier) -> None:
    gone = asyncio.create_task(verifier.verify("alice", b"right"))
    stays = asyncio.create_task(verifier.verify("alice", b"right"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == ALICE


async def test_the_event_loop_goes_on_meanwhile(verifier: Verifier) -> None:
    checks = asyncio.gather(*(verifier.verify("alice", b"%d" % number) for number in range(6)))
    turns = 0
    while not checks.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert turns > 10


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that passwords are held against, in turn."""
    found: list[str] = []

    def note(which: str, password: bytes) -> bool:
        found.append(which)
        return verify_password(which, password)

    monkeypatch.setattr(module, "verify_password", note)
    return found


async def test_every_name_costs_one_hash(verifier: Verifier, hashed: list[str]) -> None:
    """So that the time tells nobody which accounts there are."""
    for name in ("nobody", "", "a b", "x" * 1000):
        assert await verifier.verify(name, b"right") is None
    assert hashed == [DUMMY_HASH] * 4
    hashed.clear()
    verifier.reload({"alice": replace(ALICE, disabled=True)})
    assert await verifier.verify("alice", b"right") is None
    assert await verifier.verify("alice", b"wrong") is None
    assert hashed == [ALICE.hash] * 2


async def test_and_one_as_dear_as_those_of_the_accounts(verifier: Verifier, hashed: list[str]) -> None:
    """A file may have hashes from another system, which take longer or shorter than ours."""
    cheap, dear = (dummy_hash(f"m={memory},t=1,p=1") for memory in (64, 128))
    verifier.reload({str(number): Account(str(number), dear if number % 4 else cheap) for number in range(40)})
    names = [f"unknown {number}" for number in range(200)]
    for name in names * 2:
        assert await verifier.verify(name.replace(" ", "-"), b"x") is None
    assert hashed[:200] == hashed[200:]
    assert {cost_of(each) for each in hashed} == {"m=64,t=1,p=1", "m=128,t=1,p=1"}
    assert 100 < sum(each == dear for each in hashed[:200]) < 190
