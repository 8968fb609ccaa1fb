# SPDX-License-Identifier: GPL-3.0-or-later
"""What `relay-agent status` is told of the ports and the workers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from relay_agent.config.schema import Listener
from relay_agent.control.merge import merge_numbers
from relay_agent.control.protocol import ControlError
from relay_agent.drained import Drained
from relay_agent.supervisor.crew import WorkerProcess

__all__ = ["listening", "state_of", "workers_status"]


def listening(listeners: Sequence[Listener], drained: Drained | None) -> dict[str, Any]:
    """The ports that mail is taken on: none on a drained host, which says since when, and why."""
    if drained is not None:
        return {"listeners": [], "drained": {"since": drained.since, "because": drained.because}}
    return {
        "listeners": [
            {"address": each.address, "port": each.port, "tls": each.tls, "auth": each.auth} for each in listeners
        ]
    }


async def state_of(worker: WorkerProcess) -> dict[str, Any]:
    """What a worker says of itself; nothing is going on in one that does not answer."""
    try:
        answer: dict[str, Any] = await worker.channel.call("status", within=10.0)
    except (ControlError, TimeoutError):
        return {"sessions": 0, "counters": {}, "stores": sorted(worker.stores)}
    return answer


async def workers_status(workers: Sequence[WorkerProcess], past: Counter[str]) -> dict[str, Any]:
    """Each worker, and their numbers together. past: of workers that have ended. Times in seconds."""
    asked = [each for each in workers if each.ready]
    answers = await asyncio.gather(*(state_of(each) for each in asked))
    return {
        "sessions": sum(answer["sessions"] for answer in answers),
        "counters": merge_numbers([past, *(answer["counters"] for answer in answers)]),
        "workers": [
            {
                "pid": worker.pid,
                "state": "leaving" if worker.leaving else "running",
                "stores": sorted(worker.stores),
                "uptime": time.monotonic() - worker.since,
                "sessions": answer["sessions"],
                "accepted": answer["counters"].get("accepted", 0),
            }
            for worker, answer in zip(asked, answers, strict=True)
        ],
    }
