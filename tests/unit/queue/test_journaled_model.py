# SPDX-License-Identifier: GPL-3.0-or-later
"""The store against a simple model, in any order of calls, crashes and restarts (hypothesis, stateful)."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import Message, Update
from relay_agent.queue.segments import segment_files
from tests.unit.queue.messages import message, recipient, smaller_segments

ResultT = TypeVar("ResultT")
_SEGMENT = 8192


class Machine(RuleBasedStateMachine):
    """The model: for each message that was accepted, what may be left of it.

    must: the recipients that have to be there. May: those that were done since the last clean end, and may be
    back after a crash.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        smaller_segments(self.patch, _SEGMENT)
        self.root = Path(tempfile.mkdtemp(prefix="postroad-model-"))
        self.directory = self.root / "0-th"
        self.generation = 0
        self.loop = asyncio.new_event_loop()
        self.must: dict[str, set[int]] = {}
        self.may: dict[str, set[int]] = {}
        self.held: set[str] = set()
        self.contents: dict[str, bytes] = {}
        self.addresses: dict[str, Message] = {}
        self.abandoned: list[JournaledStore] = []
        self.open()

    def run(self, call: Coroutine[Any, Any, ResultT]) -> ResultT:
        return self.loop.run_until_complete(asyncio.wait_for(call, 30))

    def open(self) -> None:
        async def opened() -> JournaledStore:
            return JournaledStore(self.directory, minimum_free=0)

        self.store = self.run(opened())

    def pick(self, number: int) -> str:
        return sorted(self.must)[number % len(self.must)]

    def forget(self, queue_id: str, numbers: set[int]) -> None:
        self.may.setdefault(queue_id, set()).update(numbers & self.must[queue_id])
        self.must[queue_id] -= numbers
        if not self.must[queue_id]:
            del self.must[queue_id]
            self.held.discard(queue_id)

    # ---- calls --------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 6), recipients=st.integers(1, 3), size=st.sampled_from([0, 50, 1500, 9000]))
    def take(self, count: int, recipients: int, size: int) -> None:
        new = [
            message(*(recipient(f"r{n}@x") for n in range(recipients)), content=random.randbytes(size))
            for _ in range(count)
        ]

        async def stored() -> None:
            await asyncio.gather(*map(self.store.store, new))

        self.run(stored())
        for one in new:
            self.must[one.queue_id] = set(one.recipients)
            self.contents[one.queue_id] = one.body.read()
            self.addresses[one.queue_id] = one

    @precondition(lambda self: self.must)
    @rule(numbers=st.lists(st.integers(0, 50), min_size=1, max_size=5), parts=st.sets(st.integers(0, 2), min_size=1))
    def deliver(self, numbers: list[int], parts: set[int]) -> None:
        chosen = {self.pick(number) for number in numbers}
        self.run(self.store.record([Update(queue_id, part, None) for queue_id in chosen for part in parts]))
        for queue_id in chosen:
            self.forget(queue_id, parts)

    @precondition(lambda self: self.must)
    @rule(number=st.integers(0, 50))
    def defer(self, number: int) -> None:
        queue_id = self.pick(number)
        part = min(self.must[queue_id])
        kept = replace(self.addresses[queue_id].recipients[part], attempts=1, next_attempt=time.time() - 1)
        self.run(self.store.record([Update(queue_id, part, kept)]))
        self.held.discard(queue_id)

    @precondition(lambda self: self.must)
    @rule(number=st.integers(0, 50))
    def bounce(self, number: int) -> None:
        queue_id = self.pick(number)
        part = min(self.must[queue_id])
        notice = message(content=b"it failed")
        self.run(self.store.record([Update(queue_id, part, None)], [notice]))
        self.forget(queue_id, {part})
        self.must[notice.queue_id] = {0}
        self.contents[notice.queue_id] = b"it failed"
        self.addresses[notice.queue_id] = notice

    @precondition(lambda self: self.must)
    @rule(number=st.integers(0, 50))
    def hold_and_release(self, number: int) -> None:
        queue_id = self.pick(number)
        assert self.run(self.store.hold([queue_id])) == len(self.must[queue_id])
        assert queue_id not in {one.queue_id for one in self.run(self.store.due(time.time(), 1000))}
        assert self.run(self.store.release([queue_id])) == len(self.must[queue_id])

    @precondition(lambda self: self.must)
    @rule(number=st.integers(0, 50))
    def delete(self, number: int) -> None:
        queue_id = self.pick(number)
        assert self.run(self.store.delete([queue_id, "GONE"])) == 1
        self.forget(queue_id, {0, 1, 2})

    @rule(which=st.sampled_from(["retry", "due", "list"]))
    def look(self, which: str) -> None:
        match which:
            case "retry":
                self.retry()
            case "due":
                self.everything_is_due()
            case _:
                self.compare({})

    def retry(self) -> None:
        assert self.run(self.store.retry(None)) == sum(map(len, self.must.values()))

    @rule()
    def idle(self) -> None:
        self.run(asyncio.sleep(0.001))

    def everything_is_due(self) -> None:
        due = {one.queue_id: set(one.recipients) for one in self.run(self.store.due(time.time(), 10_000))}
        assert due == self.must
        some = self.run(self.store.due(time.time(), 3, exclude=frozenset(list(self.must)[:2])))
        assert len(some) == min(3, max(0, len(self.must) - 2))

    # ---- ends ---------------------------------------------------------------------------------------

    @rule()
    def close_and_open(self) -> None:
        self.run(self.store.close())
        assert list((self.directory / "0" / "journal").iterdir()) == []
        self.may.clear()
        self.open()
        assert self.store.notices == []
        self.compare({})

    @rule()
    def crash_at_rest(self) -> None:
        """Nothing was under way: nothing that was done comes back."""
        self.run(self.store._journal.settle())
        self.may.clear()
        self.crash(None)

    @rule(cut=st.none() | st.floats(0, 1))
    def crash(self, cut: float | None) -> None:
        """The process ends here. With `cut` the disk has lost what was written to the journal last, from somewhere
        behind what was synced."""
        self.generation += 1
        elsewhere = self.root / f"{self.generation}-th"
        synced = self.synced_end()
        shutil.copytree(self.directory / "0", elsewhere / "0", ignore=lambda *_: ["queue.db-shm", "lock"])
        files = segment_files(elsewhere / "0" / "journal")
        if cut is not None and files:
            path, _ = files[-1]
            content = path.read_bytes()
            at = synced + int(cut * (len(content) - synced))
            path.write_bytes(content[:at].ljust(len(content), b"\0"))
        self.abandoned.append(self.store)
        self.directory = elsewhere
        self.open()
        if cut is None:
            assert self.store.notices == []
        self.compare(self.may)
        self.must = {one.queue_id: set(one.recipients) for one in self.run(self.store.list(10_000))}
        self.may.clear()

    def synced_end(self) -> int:
        """Where in the newest segment there is nothing that anybody was promised."""
        journal = self.store._journal
        newest = journal._segments.open[-1] if journal._segments.open else None
        if newest is None:
            return 0
        ends = [live.offset + live.length for live in journal.live.values() if live.segment is newest]
        return max([*ends, *([newest.end] if self.moved_lately() else [])], default=0)

    def moved_lately(self) -> bool:
        """GONE of what went into the database is promised: it must not be moved again once it has left there."""
        return self.store._moves > 0

    def compare(self, may: dict[str, set[int]]) -> None:
        found = {one.queue_id: one for one in self.run(self.store.list(10_000))}
        for queue_id, numbers in self.must.items():
            assert queue_id in found, "lost"
            there = set(found[queue_id].recipients)
            assert numbers <= there, "lost"
            assert there <= numbers | may.get(queue_id, set()), "done, and back"
        for queue_id, one in found.items():
            assert queue_id in self.must or queue_id in may, "done, and back"
            assert one.body.read() == self.contents[queue_id]

    @invariant()
    def counts_are_exact(self) -> None:
        counts = self.run(self.store.counts())
        assert counts.messages == len(self.must)
        assert counts.recipients == sum(map(len, self.must.values()))
        assert counts.bytes == sum(len(self.contents[queue_id]) for queue_id in self.must)

    def teardown(self) -> None:
        for store in (*self.abandoned, self.store):
            self.run(store.close())
        self.loop.close()
        self.patch.undo()
        shutil.rmtree(self.root)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
