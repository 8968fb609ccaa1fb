# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import io
import time
from pathlib import Path
from typing import Any

import pytest

from relay_agent.observability import readings
from relay_agent.observability.log import MailLog
from relay_agent.observability.readings import LoopLag, counted, resident_bytes, worker_report
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Envelope, Message, Recipient


class Dispatcher:
    def snapshot(self) -> dict[str, Any]:
        return {"in_hand": 1, "connections": 2, "destinations_by_state": {"busy": 1}}


class Holding:
    def __init__(self, store: EmbeddedStore) -> None:
        self.store = store
        self.dispatcher = Dispatcher()


def hold_up() -> None:
    time.sleep(0.3)


def message(created: float) -> Message:
    recipients = {0: Recipient("bob@beta.test"), 1: Recipient("carol@beta.test")}
    return Message(
        f"06A7PZ3K0QX{created:.0f}", Envelope("a@b.test"), recipients, MemoryBody(b"x\r\n"), created, created + 60
    )


async def test_a_store_is_read_off(tmp_path: Path) -> None:
    async with EmbeddedStore(tmp_path, 3, minimum_free=0) as store:
        holdings = {3: Holding(store)}
        empty = await worker_report(MailLog(io.StringIO()), LoopLag(), 7, holdings)
        assert empty["worker"]["sessions"] == 7
        assert empty["worker"]["resident"] > 1_000_000
        assert empty["stores"]["3"]["oldest"] is None
        await store.store(message(1000.0))
        await store.store(message(2000.0))
        report = await worker_report(MailLog(io.StringIO()), LoopLag(), 0, holdings)
    assert report["stores"] == {
        "3": {
            "messages": 2, "recipients": 4, "held": 0, "bytes": 6, "oldest": 1000.0, "in_hand": 1, "connections": 2,
            "destinations": {"busy": 1},
        }
    }  # fmt: skip
    # Closed in the meantime: not there, instead of an error.
    assert (await worker_report(MailLog(io.StringIO()), LoopLag(), 0, holdings))["stores"] == {}


def test_the_log_is_counted_by_event() -> None:
    log = MailLog(io.StringIO())
    for _ in range(3):
        log.event("counted_here")
    log.event("debugged_here", level="debug")
    found = counted(log, "worker")["postroad_log_events_total"]
    assert [["counted_here"], [3]] in found
    assert [["debugged_here"], [1]] in found


async def test_the_lag_of_a_loop_that_was_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "_BEAT", 0.02)
    lag = LoopLag()
    assert lag.longest == 0.0
    lag.start()
    await asyncio.sleep(0.1)
    hold_up()
    assert lag.longest > 0.2  # before the timer has gone off
    await asyncio.sleep(0.1)
    assert 0.2 < lag.longest < 5
    lag.stop()


def test_memory_where_the_kernel_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(readings, "_STATM", tmp_path / "nothing")
    assert resident_bytes() == 0
