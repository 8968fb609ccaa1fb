# SPDX-License-Identifier: GPL-3.0-or-later
import json
import time
from pathlib import Path
from typing import Any

import pytest

from relay_agent.control.history import find_messages
from relay_agent.control.protocol import BAD_REQUEST, ControlError
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
