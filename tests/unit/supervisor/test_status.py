# SPDX-License-Identifier: GPL-3.0-or-later
"""What the status is told of ports and workers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from relay_agent.config.schema import Listener
from relay_agent.control.protocol import ControlError
from relay_agent.drained import Drained
from relay_agent.supervisor.status import listening, workers_status


class _Channel:
    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer

    async def call(self, command: str, *, within: float) -> dict[str, Any]:
        assert (command, within) == ("status", 10.0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class _Worker:
    def __init__(self, pid: int, answer: dict[str, Any] | Exception, *, ready: bool = True) -> None:
        self.pid = pid
        self.ready = ready
        self.leaving = False
        self.stores = {pid}
        self.since = 0.0
        self.channel = _Channel(answer)


def test_a_listener_is_shown_in_plain_values() -> None:
    listener = Listener(address="::1", port=465, tls="implicit", auth="required")
    shown = {"address": "::1", "port": 465, "tls": "implicit", "auth": "required"}
    assert listening([listener], None) == {"listeners": [shown]}


def test_a_drained_host_shows_no_port() -> None:
    listener = Listener(port=465, tls="implicit")
    assert listening([listener], Drained(5.0, "new host")) == {
        "listeners": [],
        "drained": {"since": 5.0, "because": "new host"},
    }


async def test_workers_are_counted_together_with_those_that_have_ended() -> None:
    workers: Any = [
        _Worker(1, {"sessions": 3, "counters": {"accepted": 5}, "stores": [1]}),
        _Worker(2, ControlError("busy", "it hangs")),
        _Worker(3, TimeoutError()),
        _Worker(4, AssertionError("not asked before it is ready"), ready=False),
    ]
    status = await workers_status(workers, Counter(accepted=7))
    assert status["sessions"] == 3
    assert status["counters"] == {"accepted": 12}
    assert [(each["pid"], each["accepted"], each["stores"]) for each in status["workers"]] == [
        (1, 5, [1]),
        (2, 0, [2]),
        (3, 0, [3]),
    ]
