# SPDX-License-Identifier: GPL-3.0-or-later
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from relay_agent.control.protocol import ControlError
from relay_agent.history.writer import HistoryWriter
from relay_agent.supervisor.crew import WorkerProcess
from relay_agent.supervisor.tracing import trace_handlers


class Channel:
    """Of a worker that has something to write before it can be found."""

    def __init__(self, history: HistoryWriter | None) -> None:
        self.history = history
        self.asked: list[str] = []

    async def call(self, command: str, *, within: float) -> Any:
        self.asked.append(command)
        if self.history is None:
            raise ControlError("failed", "this one hangs")
        event = {"ts": time.time(), "event": "delivered", "queue_id": "A", "recipient": "bob@beta.test"}
        self.history.put(json.dumps(event, separators=(",", ":")))
        return self.history.flush()


async def test_what_workers_have_not_written_yet_is_found(tmp_path: Path) -> None:
    history = HistoryWriter(tmp_path / "history", keep=86_400.0, max_size=1 << 30, minimum_free=0, gather=60.0)
    channels = [Channel(history), Channel(None), Channel(history)]
    workers = [SimpleNamespace(ready=number < 2, channel=each) for number, each in enumerate(channels)]
    config = SimpleNamespace(queue=SimpleNamespace(directory=tmp_path))
    handlers = trace_handlers(lambda: cast(list[WorkerProcess], workers), lambda: cast(Any, config))
    found = await handlers["history.find"]({"anything": "bob@beta.test"})
    assert [each["id"] async for each in found] == ["A"]
    assert [each.asked for each in channels] == [["history.flush"], ["history.flush"], []]
    history.close()
