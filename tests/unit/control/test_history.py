# SPDX-License-Identifier: GPL-3.0-or-later
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from relay_agent.control import history as module
from relay_agent.control.history import find_messages
from relay_agent.control.protocol import BAD_REQUEST, ControlError
from relay_agent.history import finder, lines
from relay_agent.history.writer import HistoryWriter


async def test_messages_come_one_by_one(tmp_path: Path) -> None:
    history = HistoryWriter(tmp_path / "history", keep=86_400.0, max_size=1 << 30, minimum_free=0)
    for queue_id in ("A", "B"):
        event = {"ts": time.time(), "event": "delivered", "queue_id": queue_id, "recipient": "bob@beta.test"}
        history.put(json.dumps(event, separators=(",", ":")))
    history.close()
    found = await find_messages(tmp_path / "history", {"recipient": "bob@beta.test", "limit": 1})
    assert [each["id"] async for each in found] == ["B"]
    nothing = await find_messages(tmp_path / "history", {"anything": "\ud800"})
    assert [each async for each in nothing] == []


async def test_a_long_search_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = HistoryWriter(tmp_path / "history", keep=86_400.0, max_size=1 << 30, minimum_free=0)
    event = {"ts": time.time(), "event": "delivered", "queue_id": "A", "recipient": "bob@beta.test"}
    history.put(json.dumps(event, separators=(",", ":")))
    history.close()
    told = threading.Event()
    lines_with = lines.lines_with

    def slowly(*arguments: Any) -> Any:
        told.wait(10.0)
        return lines_with(*arguments)

    monkeypatch.setattr(module, "_BETWEEN", 0.01)
    monkeypatch.setattr(finder, "lines_with", slowly)
    items = []
    async for each in await find_messages(tmp_path / "history", {"recipient": "bob@beta.test"}):
        items.append(each)
        told.set()
    assert items[0] == {"progress": {"files": 0}}
    assert [each["id"] for each in items if "progress" not in each] == ["A"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"anything": 7},
        {"anything": "x" * 3000},
        {"anything": "x", "since": True},
        {"anything": "x", "since": 10**400},
        {"anything": "x", "limit": 0},
        {"anything": "x", "limit": 10**6},
    ],
)
async def test_a_bad_request_is_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ControlError) as caught:
        await find_messages(tmp_path, arguments)
    assert caught.value.code == BAD_REQUEST
