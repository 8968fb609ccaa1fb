# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a start takes long: said to systemd, which would end it after `TimeoutStartSec` otherwise."""

from __future__ import annotations

import asyncio
from pathlib import Path

from relay_agent.notify import notify
from relay_agent.queue.repair import any_under_way

__all__ = ["hold_off"]

_EVERY = 10.0  # seconds
_FOR = 60  # seconds that systemd gives from each time it is asked


async def hold_off(directory: Path) -> None:
    """Ask systemd for more time for as long as a store below the queue directory is repaired; until cancelled.

    A repair that is cut off loses nothing but the time it took: each start would be ended like the one before.
    """
    while True:
        if await asyncio.to_thread(any_under_way, directory):
            notify(f"EXTEND_TIMEOUT_USEC={_FOR * 1_000_000}", "STATUS=Saving what can be read of a damaged queue")
        await asyncio.sleep(_EVERY)
