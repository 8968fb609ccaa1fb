# SPDX-License-Identifier: GPL-3.0-or-later
"""Which stores count, and what is said of those that no worker has open."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay_agent.control.protocol import WAITS, ControlError
from relay_agent.queue.holdings import open_one
from relay_agent.supervisor import stores as module
from relay_agent.supervisor.crew import WorkerProcess
from relay_agent.supervisor.stores import Stores


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path, cast("Any", SimpleNamespace(workers=[])))


def make_unfinished(store: Path) -> None:
    """What a full disk leaves of a store that was to be made."""
    for name in ("bodies", "journal", "spool"):
        (store / name).mkdir(parents=True)
    (store / "lock").write_text("123\n")
    (store / "queue.db").touch()


async def test_one_that_was_never_finished_does_not_count(stores: Stores, tmp_path: Path) -> None:
    make_unfinished(tmp_path / "0")
    (tmp_path / "1").mkdir()
    assert stores.all() == []
    await (await asyncio.to_thread(open_one, tmp_path, 2, lambda *_: None)).close()
    assert [each.number for each in stores.all()] == [2]


@pytest.mark.parametrize("name", ["queue.db", "queue.db-wal", "journal/000000000001-00.log", "bodies/1M8JH8P3"])
def test_one_with_anything_in_it_counts(stores: Stores, tmp_path: Path, name: str) -> None:
    make_unfinished(tmp_path / "0")
    (tmp_path / "0" / name).write_text("x")
    assert [each.number for each in stores.all()] == [0]


async def test_one_that_waits_for_room_is_not_waited_for(stores: Stores, tmp_path: Path) -> None:
    """Whoever asks hears the reason at once."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "queue.db").write_text("x")
    stores.trouble = "the disk is full"
    begun = time.monotonic()
    with pytest.raises(ControlError, match="store 0 of the queue is open in no worker: the disk is full; it is opened"):
        await stores.all()[0].call("store.status", {})
    assert time.monotonic() - begun < 5


async def test_why_no_worker_takes_one_over_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a store beyond the number of workers, which none of them starts with."""
    monkeypatch.setattr(module, "_PATIENCE", 0.5)
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "queue.db").write_text("x")
    broken = True

    async def answer(command: str, **_: Any) -> Any:
        if command == "store":
            return {"queue": {"messages": 1}}
        assert command == "adopt"
        if broken:
            raise ControlError(WAITS, "/q/3/queue.db: the disk fails")
        return True

    worker = WorkerProcess(1, 1001, cast("Any", SimpleNamespace(call=answer)), {0}, 0.0, ready=True)
    stores = Stores(tmp_path, cast("Any", SimpleNamespace(workers=[worker])))
    looking = asyncio.create_task(stores.run(0.05))
    words = "store 3 of the queue is open in no worker: /q/3/queue.db: the disk fails; it is tried again"
    with pytest.raises(ControlError, match=words):
        await stores.all()[0].call("store.status", {})
    broken = False
    assert await stores.all()[0].call("store.status", {}) == {"queue": {"messages": 1}}
    assert stores.refused == {}
    looking.cancel()


def test_one_that_is_open_counts_whatever_is_in_it(tmp_path: Path) -> None:
    make_unfinished(tmp_path / "0")
    worker = WorkerProcess(1, 1001, cast("Any", None), {0}, 0.0, ready=True)
    stores = Stores(tmp_path, cast("Any", SimpleNamespace(workers=[worker])))
    assert [each.number for each in stores.all()] == [0]
