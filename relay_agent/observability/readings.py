# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker reads off when the supervisor asks for its metrics: its counts, its sessions, its stores."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from relay_agent.observability import measured
from relay_agent.observability.log import MailLog
from relay_agent.observability.metrics import Snapshot
from relay_agent.queue.model import QueueDamagedError, QueueFullError, QueueStore

__all__ = ["LoopLag", "Opened", "counted", "resident_bytes", "worker_report"]

_BEAT: Final = 1.0  # seconds
_REMEMBERED: Final = 30  # beats
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class LoopLag:
    """How late an event loop is: a timer that goes off each second measures by how much it missed its time."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=_REMEMBERED)
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + _BEAT
        self._handle = loop.call_at(self._due, self._beat, loop)

    def stop(self) -> None:
        """Measure no more."""
        if self._handle is not None:
            self._handle.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._lags.append(max(0.0, now - self._due))
        self._due = now + _BEAT
        self._handle = loop.call_at(self._due, self._beat, loop)

    @property
    def longest(self) -> float:
        """Seconds; the longest of the last half minute, the lag of right now included."""
        late = asyncio.get_running_loop().time() - self._due if self._handle is not None else 0.0
        return max(*self._lags, late, 0.0) if self._lags else max(late, 0.0)


class Opened(Protocol):
    """A store that a worker has open."""

    @property
    def store(self) -> QueueStore: ...

    @property
    def dispatcher(self) -> Any: ...


def counted(log: MailLog, process: str) -> Snapshot:
    """What this process has counted since it began; process: `supervisor` or `worker`."""
    measured.LOG_EVENTS.update(log.counts)
    measured.CPU_SECONDS[process] = round(time.process_time() - _USED_BEFORE, 3)
    return measured.REGISTRY.snapshot()


def resident_bytes() -> int:
    """Memory of this process that is in use; 0 where the kernel does not tell."""
    try:
        return int(_STATM.read_text("ascii").split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


async def worker_report(log: MailLog, lag: LoopLag, sessions: int, holdings: Mapping[int, Opened]) -> dict[str, Any]:
    """The answer to the supervisor's `metrics`, JSON-ready; sizes in bytes, times in seconds since the epoch."""
    stores: dict[str, dict[str, Any]] = {}
    for number, holding in list(holdings.items()):
        try:
            stores[str(number)] = await _store(holding)
        except (QueueDamagedError, QueueFullError, RuntimeError, OSError):
            continue  # damaged or being closed; whoever opens it next tells of it
    return {
        "counted": counted(log, "worker"),
        "worker": {"sessions": sessions, "lag": round(lag.longest, 6), "resident": resident_bytes()},
        "stores": stores,
    }


async def _store(holding: Opened) -> dict[str, Any]:
    counts = await holding.store.counts()
    now = holding.dispatcher.snapshot()
    return {
        "messages": counts.messages,
        "recipients": counts.recipients,
        "held": counts.held,
        "bytes": counts.bytes,
        "oldest": await holding.store.oldest(),
        "in_hand": now["in_hand"],
        "connections": now["connections"],
        "destinations": now["destinations_by_state"],
    }


# The clock of a process that replaced its program goes on; what was used before is in the totals already.
_USED_BEFORE = time.process_time()
